"""The verdicts as Markdown tables and on the terminal."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from smidgen.runtime.markdown import escape_markdown, left, markdown_table
from smidgen.runtime.terminal_table import TerminalColumn, TerminalRow, print_table
from studies.first_round.matched import withdrawal_text
from studies.first_round.records import Suite
from studies.first_round.verdicts import (
    FAILS,
    HOLDS,
    INCONCLUSIVE,
    NOT_RUN,
    WITHDRAWN,
    JudgedClaim,
    JudgedComparison,
    JudgedHypothesis,
    Judgement,
)
from studies.first_round.wording import (
    and_list,
    effect_interval,
    effect_value,
    escape_counts,
    p_text,
    part_figures,
    prediction,
    verdict_note,
    verdict_text,
)

NOTHING_YET = "No record yet: run `smidgen-suite suite=studies.first_round:ROUND_ONE`."
SMOKE_WARNING = "This is the smoke form: a test of the machinery, whose verdicts mean nothing."
_STYLES = {HOLDS: "green", FAILS: "red", INCONCLUSIVE: "yellow", NOT_RUN: "dim", WITHDRAWN: "magenta"}


def markdown(judgement: Judgement) -> str:
    """Claims, hypotheses and comparisons as three tables."""
    plan, suite = judgement.suite.plan, judgement.suite
    num_runs = sum(len(record.seeds) for record in suite.arms.values())
    lines = [f"{len(suite.arms)} of {len(plan.arms)} arms have run: {num_runs:,} runs on {len(plan.seeds)} seeds each."]
    if plan.form != "full":
        lines += ["", f"**{SMOKE_WARNING}**"]
    lines += [
        "",
        markdown_table(
            left("claim", "statement", "verdict", "rests on"),
            (_claim_row(entry, suite) for entry in judgement.claims.values()),
        ),
    ]
    header = left("hypothesis", "statement", "refuted if", "verdict", "p (Holm)")
    lines += ["", markdown_table(header, (_hypothesis_row(entry, suite) for entry in judgement.hypotheses.values()))]
    header = left("comparison", "predicted", "measured [95 % interval]", "escaped, slow against fast", "on its own")
    rows = [_comparison_row(entry, part) for entry in judgement.hypotheses.values() for part in entry.comparisons]
    return "\n".join([*lines, "", markdown_table(header, rows)])


def _claim_row(judged: JudgedClaim, suite: Suite) -> list[str]:
    parts = [
        f"{escape_markdown(part.entry)} {verdict_text(part)}"
        + (f" ({part_figures(part)})" if part_figures(part) else "")
        for part in judged.parts
    ]
    rule = f"{judged.claim.rule} of: " if len(parts) > 1 else ""
    statement = escape_markdown(judged.claim.statement)
    return [judged.name, statement, _verdict(judged, suite), rule + "; ".join(parts)]


def _hypothesis_row(judged: JudgedHypothesis, suite: Suite) -> list[str]:
    texts = [escape_markdown(text) for text in (judged.hypothesis.statement, judged.hypothesis.refuted_if)]
    p_value = p_text(judged.p_holm).removeprefix("= ") if judged.outcome.verdict in (HOLDS, FAILS) else ""
    return [judged.name, *texts, _verdict(judged, suite), p_value.replace("<", "&lt;")]


def _verdict(judged: JudgedHypothesis | JudgedClaim, suite: Suite) -> str:
    note = verdict_note(judged)
    shown = f"**{judged.verdict}**" + (f" ({note})" if note else "")
    return f"{shown}. {escape_markdown(withdrawal_text(judged.withdrawal, suite))}" if judged.withdrawal else shown


def _comparison_row(judged: JudgedHypothesis, part: JudgedComparison) -> list[str]:
    effect = part.effect
    measured = f"{effect_value(effect)} [{effect_interval(effect)}]" if effect else ""
    predicted = escape_markdown(prediction(part.comparison))
    return [f"{judged.name}/{part.comparison.name}", predicted, measured, escape_counts(part), verdict_text(part)]


def print_terminal(judgement: Judgement, console: Console) -> None:
    """Prints claims and hypotheses with their verdicts; text from records is never read as markup."""
    for title, entries in (("claims", judgement.claims), ("hypotheses", judgement.hypotheses)):
        rows = []
        for name, judged in entries.items():
            statement = judged.claim.statement if isinstance(judged, JudgedClaim) else judged.hypothesis.statement
            note = verdict_note(judged)
            verdict = Text(judged.verdict, style=_STYLES[judged.verdict]) + Text(f" ({note})" if note else "", "dim")
            rows.append(TerminalRow([Text(name), verdict, Text(statement)]))
        columns = [TerminalColumn("", is_name=True), TerminalColumn("verdict"), TerminalColumn("statement")]
        print_table(console, title, columns, rows)
    for withdrawal in judgement.suite.withdrawals:
        names = and_list([name for name in withdrawal.verdicts if "/" not in name])
        text = withdrawal_text(withdrawal, judgement.suite)
        console.print(Text(f"{names} withdrawn: ", style="bold") + Text(text), "")
    if judgement.suite.plan.form != "full":
        console.print(Text(SMOKE_WARNING, style="bold"))
