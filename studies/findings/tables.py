"""The tables of docs/findings.md, as Markdown; what has not been run is said to be missing and never filled in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from smidgen.evaluation.collapse.labels import slope_text
from smidgen.evaluation.statistics import SIGNIFICANCE
from smidgen.experiments.boards import ADDED_COMPARISONS, BOARDS, COMPARISONS, PICTURE_TASKS, REFERENCES
from smidgen.runtime.markdown import escape_markdown, left, markdown_table, right
from studies.claims.decisions import Results
from studies.claims.plan import StudyPlan
from studies.claims.report import effect_text, state_text
from studies.findings.contrasts import CHOICES, IN_CLOSED_LOOP, Choice
from studies.findings.entries import Entries, Entry
from studies.findings.measures import Tested, all_tested, ratio_of_steps, transfer

MISSING, TIMES, TO = "\u2013", "\u00d7", "\u2192"
NOT_RUN = "not run yet"


def board_table(entries: Entries) -> str:
    """Success and sight of every recipe on every task of the boards, and of the references."""
    tasks = list(dict.fromkeys(task for board in BOARDS for task in board.tasks))
    recipes = list(dict.fromkeys(recipe for board in BOARDS for recipe in board.recipes))
    rows = [
        [f"`{recipe}`", *(cell(entries.get((task, recipe))) for task in tasks)]
        for recipe in (*recipes, *REFERENCES)
        if any((task, recipe) in entries for task in tasks)
    ]
    num_missing = sum(
        (task, recipe) not in entries for board in BOARDS for task in board.tasks for recipe in board.recipes
    )
    said = f"{num_missing} of the boards' entries have not been run." if num_missing else "Every entry has been run."
    return (
        f"{markdown_table(left('recipe or reference') + right(*tasks), rows)}\n\n{said}"
        if rows
        else f"No entry has been run. {said}"
    )


def cell(entry: Entry | None) -> str:
    """An entry's success and sight in a few characters, with its number of training seeds and of blind ones."""
    if entry is None:
        return MISSING
    sight = "" if entry.sight is None else f", sight {slope_text(entry.sight)}"
    blind = f", {entry.num_blind} blind" if entry.num_blind else ""
    if not entry.row.training_seeds:
        return f"{percent(entry.rate)}{sight}"
    return f"{percent(entry.rate)}{sight} ({len(entry.records)} seeds{blind})"


def comparison_table(
    entries: Entries, comparisons: Sequence[tuple[str, str, str]] = COMPARISONS, tasks: Sequence[str] = BOARDS[0].tasks
) -> str:
    """The planned comparisons, on each of their tasks."""
    tested = all_tested(comparisons, tasks, entries)
    rows = [[each.task, f"`{each.first}`", f"`{each.second}`", each.asked, *_answer(each)] for each in tested]
    heads = left("task", "first", "second", "what it asks") + right("difference of success", "p", "p (Holm)") + left("")
    return markdown_table(heads, rows)


def _answer(tested: Tested) -> list[str]:
    if tested.difference is None or tested.p is None or tested.p_holm is None:
        return [MISSING, MISSING, MISSING, NOT_RUN]
    word = "not separable"
    if tested.p_holm <= SIGNIFICANCE:
        word = f"`{tested.first if tested.difference > 0 else tested.second}` is better"
    return [points(tested.difference), p_text(tested.p), p_text(tested.p_holm), word]


def choice_table(entries: Entries) -> str:
    """What each choice buys, on every task on which both sides have run."""
    tasks = list(dict.fromkeys(task for task, _ in entries))
    rows = [row for choice in CHOICES for task in tasks if (row := _choice_row(choice, task, entries)) is not None]
    if not rows:
        return f"{NOT_RUN.capitalize()}."
    return markdown_table(
        left("choice", "task")
        + right(f"success, without {TO} with", "sight", "blind for so many times the steps without it"),
        rows,
    )


def _choice_row(choice: Choice, task: str, entries: Entries) -> list[str] | None:
    before, after = entries.get((task, choice.without)), entries.get((task, choice.with_it))
    if before is None or after is None:
        return None
    sights = [MISSING if entry.sight is None else slope_text(entry.sight) for entry in (before, after)]
    ratio = ratio_of_steps(before, after)
    steps = MISSING if ratio is None else f"{ratio[0]:.2f}{TIMES} [{ratio[1]:.2f} to {ratio[2]:.2f}]"
    return [
        f"{choice.choice} (`{choice.without}` {TO} `{choice.with_it}`)",
        task,
        f"{percent(before.rate)} {TO} {percent(after.rate)}",
        f" {TO} ".join(sights),
        steps,
    ]


def claim_table(entries: Entries, plan: StudyPlan, results: Results) -> str:
    """Each claim's decision on synthetic data beside the same question in closed loop."""
    tasks = BOARDS[0].tasks
    rows = []
    for name, claim in plan.claims.items():
        worse, better = IN_CLOSED_LOOP[name]
        result = results[claim.contrast]
        loop = "; ".join(_in_loop(task, worse, better, entries) for task in tasks)
        rows.append(
            [
                name,
                escape_markdown(claim.statement),
                state_text(result),
                effect_text(result),
                f"`{worse}` {TO} `{better}`: {loop}",
            ]
        )
    return markdown_table(left("claim", "statement", "second round", "effect", "in closed loop"), rows)


def _in_loop(task: str, worse: str, better: str, entries: Entries) -> str:
    before, after = entries.get((task, worse)), entries.get((task, better))
    if before is None or after is None:
        return f"{task} {NOT_RUN}"
    return f"{task} {percent(before.rate)} {TO} {percent(after.rate)}"


def transfer_table(entries: Entries) -> str:
    """Rank correlation of leaving the mean early on pictures with success on tasks."""
    tasks = list(dict.fromkeys(task for task, _ in entries))
    found = [
        transfer(pictures, task, entries)
        for pictures in tasks
        if pictures in PICTURE_TASKS
        for task in tasks
        if task != pictures
    ]
    rows = [
        [each.pictures, each.task, str(each.num_recipes), f"{each.correlation:.2f}".replace("-", "\u2212")]
        for each in found
        if each.correlation is not None
    ]
    if not rows:
        return f"{NOT_RUN.capitalize()}."
    return markdown_table(left("leaves the mean early on", "success on") + right("recipes", "rank correlation"), rows)


def tables(entries: Entries, plan: StudyPlan, results: Results) -> Mapping[str, str]:
    """Every table of the page by name."""
    return {
        "board": board_table(entries),
        "comparisons": comparison_table(entries),
        "added": comparison_table(entries, ADDED_COMPARISONS, BOARDS[-1].tasks),
        "choices": choice_table(entries),
        "claims": claim_table(entries, plan, results),
        "transfer": transfer_table(entries),
    }


def percent(rate: float) -> str:
    """A share in percent."""
    return f"{100 * rate:.1f} %"


def points(difference: float) -> str:
    """A difference of shares in points."""
    return f"{100 * difference:+.1f}".replace("-", "\u2212")


def p_text(p_value: float) -> str:
    """A p-value with three digits, or what it is below."""
    return "< 0.001" if p_value < 0.001 else f"{p_value:.3f}"
