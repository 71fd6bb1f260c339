"""The second round as Markdown, for docs/claims-round-2.md."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from smidgen.runtime.files import read_json
from smidgen.runtime.markdown import escape_markdown, left, markdown_table
from studies.claims.decisions import ContrastResult, Results
from studies.claims.plan import StudyPlan
from studies.claims.records import Records
from studies.claims.report import (
    arm_reports,
    claim_reports,
    effect_text,
    forecast_contrasts,
    forecast_rows,
    learned_text,
    log_rank_text,
    new_contrasts,
    state_text,
)

FORECAST_HEAD = left(
    "first round's runs, on which it was made",
    "number",
    "rank correlation of T0.5 with it",
    "with contrast",
)
FORECAST_TEXT = (
    "T = log(1 + rho / (lr G)) / rho, with the class-aligned gradient G of the untrained network and its growth rho in "
    "one step of Adam: nothing is fitted. Contrast: that of the untrained network's latents, alone. Below, its choice "
    "between raw tokens and their DFT on this round's data, fixed before the runs."
)
CONTRAST_HEAD = left("contrast", "effect [95 %]", "learned, slow then fast", "log-rank p", "")


def markdown(plan: StudyPlan, results: Results, records: Records, folder: Path) -> str:
    """Decisions, one section for each claim, the new hypotheses, the arms, and the coverage of the intervals."""
    reports = claim_reports(plan, results)
    num_runs = sum(len(records.runs(arm)) for arm in plan.arms)
    lines = [
        f"{num_runs:,} runs so far on {sum(bool(records.runs(arm)) for arm in plan.arms)} of {len(plan.arms)} arms."
    ]
    head = left("claim", "statement", "decision", "effect [interval of the deciding look]")
    rows = [
        (each.name, escape_markdown(each.claim.statement), f"**{state_text(each.primary)}**", effect_text(each.primary))
        for each in reports
    ]
    lines += ["", markdown_table(head, rows)]
    for each in reports:
        lines += ["", f"### {each.name}", "", f"*He said:* {escape_markdown(each.claim.statement)}"]
        lines += [f"*We asked:* {escape_markdown(each.claim.reading)}", f"*Result:* {escape_markdown(each.found)}"]
        lines += ["", _contrasts((each.primary, *each.others), records)]
    lines += ["", "### A forecast of the escape", "", FORECAST_TEXT, ""]
    lines += [
        markdown_table(FORECAST_HEAD, forecast_rows(folder)),
        "",
        _contrasts(forecast_contrasts(results), records),
    ]
    lines += ["", "### New hypotheses", "", _contrasts(new_contrasts(results), records)]
    lines += ["", "### Arms", "", _arms(plan, records)]
    return "\n".join([*lines, "", "### Coverage of the intervals", "", _coverage(folder)])


def start_markdown(plan: StudyPlan, results: Results, records: Records) -> str:
    """Plan 2b, where a Perceiver starts looking: its contrasts and its arms, without decisions."""
    arms = {step.arm for step in plan.order}
    done = f"{sum(bool(records.runs(arm)) for arm in arms)} of {len(arms)} arms so far."
    return "\n".join([done, "", _contrasts(results.values(), records), "", _arms(plan, records)])


def _arms(plan: StudyPlan, records: Records) -> str:
    head = left("arm", "rate", "T0.5 of the four tuning runs, by rate", "learned", "never learned")
    arms = [(each.name, each.rate, each.search, each.learned, each.never) for each in arm_reports(plan, records)]
    return markdown_table(head, [[escape_markdown(part) for part in row] for row in arms])


def _contrasts(results: Iterable[ContrastResult], records: Records) -> str:
    rows = [
        (
            escape_markdown(f"{each.contrast.title}{' (primary)' if each.contrast.claim else ''}"),
            effect_text(each),
            learned_text(each, records),
            escape_markdown(log_rank_text(each, records)),
            state_text(each),
        )
        for each in results
    ]
    return markdown_table(CONTRAST_HEAD, rows)


def _coverage(folder: Path) -> str:
    rows = read_json(folder / "coverage.json")["rows"]
    head = left("deviation", "outliers", "seeds", "nominal", "signed rank (used)", "Student", "bootstrap")
    return markdown_table(
        head,
        [
            (
                f"{row['deviation']:g}",
                row["outliers"],
                str(row["num_seeds"]),
                f"{row['confidence']:.2%}",
                *(_share(row[name]) for name in ("signed_rank", "student", "bootstrap")),
            )
            for row in rows
        ],
    )


def _share(value: float | None) -> str:
    return "none" if value is None else f"{value:.1%}"
