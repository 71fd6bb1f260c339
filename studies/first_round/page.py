"""The claims as one self-contained HTML page: every verdict with its figure, interval, number of runs and plot.

Nothing on it is typed by hand, it needs no network and no script, and the same records always give the same bytes.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from smidgen.evaluation.statistics import CONFIDENCE
from smidgen.leaderboard import page as leaderboard_page
from studies.first_round import wording
from studies.first_round.effects import FVU, held_out_fvu
from studies.first_round.matched import withdrawal_text
from studies.first_round.plan import NEGATION
from studies.first_round.plots import (
    SHARE_AXIS,
    Forest,
    ForestAxis,
    Panel,
    fvu_axis,
    panels,
    ratio_axis,
    step_axis,
)
from studies.first_round.records import ArmRecord, Suite
from studies.first_round.survival import restricted_mean
from studies.first_round.tables import SMOKE_WARNING
from studies.first_round.verdicts import (
    FAILS,
    FVU_MARGINS,
    HOLDS,
    INCONCLUSIVE,
    LEVEL,
    NOT_RUN,
    RATIO_MARGINS,
    WITHDRAWN,
    JudgedComparison,
    JudgedHypothesis,
    Judgement,
)

_FOLDER = Path(__file__).parent
_MARKS = {HOLDS: "\u2713", FAILS: "\u2717", INCONCLUSIVE: "~", NOT_RUN: "\u2026", WITHDRAWN: "\u2298"}
_CLASSES = {HOLDS: "holds", FAILS: "fails", INCONCLUSIVE: "inconclusive", NOT_RUN: "waiting", WITHDRAWN: "withdrawn"}
_MEASURES = {
    FVU: "Held-out FVU",
    "separation_ratio": "Separation ratio",
    "attention_entropy": "Attention entropy / log N",
    "gradient_snr": "Gradient signal to noise",
    "preconditioned_sharpness": "Preconditioned sharpness",
}


@dataclass(frozen=True)
class ComparisonRow:
    """One comparison with the place of its interval."""

    part: JudgedComparison
    forest: Forest | None


@dataclass(frozen=True)
class Section:
    """One hypothesis; ``explained_at`` is the anchor under which its withdrawal is already explained, or ""."""

    judged: JudgedHypothesis
    num_runs: int
    rows: tuple[tuple[ForestAxis, tuple[ComparisonRow, ...]], ...]
    panels: tuple[Panel, ...]
    explained_at: str


@dataclass(frozen=True)
class ArmRow:
    """One arm of the table at the end; None where it has not run."""

    name: str
    title: str
    num_tokens: int | None
    record: ArmRecord | None
    lr: float
    num_escaped: int
    mean: float
    tau: int
    escapes: str
    measures: tuple[float | None, ...]
    oracle_r2: float | None


def render_claims_page(judgement: Judgement) -> str:
    """Renders the page.

    Args:
        judgement: Every verdict.

    Returns:
        The HTML, the same bytes for the same records.
    """
    suite = judgement.suite
    styles = [path.read_text(encoding="utf-8") for path in (leaderboard_page.FOLDER / "page.css", _FOLDER / "page.css")]
    measures = _measured(suite)
    environment = leaderboard_page.page_environment(_FOLDER)
    environment.filters |= {"mark": _MARKS.__getitem__, "kind": _CLASSES.__getitem__}
    return environment.get_template("page.html.jinja").render(
        judgement=judgement,
        plan=suite.plan,
        num_runs=sum(len(record.seeds) for record in suite.arms.values()),
        tally=_tally(judgement),
        sections=_sections(judgement),
        arms=[_arm_row(name, suite, measures) for name in suite.plan.arms],
        measures=[_MEASURES.get(name, name.replace("_", " ").capitalize()) for name in measures],
        step_axis=step_axis(suite),
        share_axis=SHARE_AXIS,
        wording=wording,
        withdrawal_text=withdrawal_text,
        anchor=_anchor,
        smoke_warning="" if suite.plan.form == "full" else SMOKE_WARNING,
        ratio=RATIO_MARGINS,
        fvu=FVU_MARGINS,
        level=LEVEL,
        confidence=CONFIDENCE,
        not_run=NOT_RUN,
        decided=(HOLDS, FAILS),
        style="\n".join(styles),
    )


def _tally(judgement: Judgement) -> list[tuple[str, int, str]]:
    """For each verdict that some claim has: the verdict, how many claims, and the words after that number."""
    counts = Counter(judged.verdict for judged in judgement.claims.values())
    plurals = {HOLDS: "hold", FAILS: "fail"}
    return [
        (verdict, counts[verdict], verdict if counts[verdict] == 1 else plurals.get(verdict, verdict))
        for verdict in _MARKS
        if counts[verdict]
    ]


def _anchor(entry: str) -> str:
    """The section that a claim's entry points at."""
    return entry.removeprefix(NEGATION).partition("/")[0]


def _sections(judgement: Judgement) -> list[Section]:
    suite, axis = judgement.suite, step_axis(judgement.suite)
    axes = {False: ratio_axis(judgement), True: fvu_axis()}
    explained = _explained_at(judgement)
    return [
        Section(
            judged=judged,
            num_runs=judged.num_finished * len(suite.plan.seeds),
            rows=tuple(
                (axes[is_fvu], rows) for is_fvu in axes if (rows := _rows(judged.comparisons, axes[is_fvu], is_fvu))
            ),
            panels=panels(judged.hypothesis, suite, axis),
            explained_at=explained.get(judged.name, ""),
        )
        for judged in judgement.hypotheses.values()
    ]


def _explained_at(judgement: Judgement) -> dict[str, str]:
    """By hypothesis, where its withdrawal is explained when that is not in its own section: each is told once."""
    explained = {judged.withdrawal: f"claim-{name}" for name, judged in judgement.claims.items() if judged.withdrawal}
    elsewhere = {}
    for name, judged in judgement.hypotheses.items():
        if judged.withdrawal and explained.setdefault(judged.withdrawal, name) != name:
            elsewhere[name] = explained[judged.withdrawal]
    return elsewhere


def _rows(parts: Iterable[JudgedComparison], axis: ForestAxis, is_fvu: bool) -> tuple[ComparisonRow, ...]:
    return tuple(ComparisonRow(part, axis.place(part)) for part in parts if (part.comparison.kind == "fvu") == is_fvu)


def _measured(suite: Suite) -> list[str]:
    """Measures that some run has: those with a title in their order, then the others by name."""
    runs = [run for record in suite.arms.values() for run in record.seeds]
    names = {name for run in runs for name, value in run.final.items() if value is not None}
    return [name for name in _MEASURES if name in names] + sorted(names - set(_MEASURES))


def _arm_row(name: str, suite: Suite, measures: Sequence[str]) -> ArmRow:
    plan, record = suite.plan.arms[name], suite.arms.get(name)
    grid = plan.data.get("grid")
    num_tokens = math.prod(grid) if isinstance(grid, list | tuple) else None
    if record is None:
        return ArmRow(name, plan.title, num_tokens, None, 0.0, 0, 0.0, plan.max_steps, "", (), None)
    runs = suite.escape_times(name)
    oracles = [run.oracle_r2 for run in record.seeds if run.oracle_r2 is not None]
    return ArmRow(
        name=name,
        title=plan.title,
        num_tokens=num_tokens,
        record=record,
        lr=record.lr * float(plan.training.get("lr_scale", 1.0)),
        num_escaped=runs.num_escaped,
        mean=restricted_mean(runs, plan.max_steps),
        tau=plan.max_steps,
        escapes=_escape_list(runs.times, runs.escaped, plan.max_steps),
        measures=tuple(_mean_measure(record, measure) for measure in measures),
        oracle_r2=min(oracles) if oracles else None,
    )


def _escape_list(times: Sequence[float], escaped: Sequence[bool], max_steps: int) -> str:
    """Escape steps in rising order, those without escape counted at the end."""
    steps = [f"{time:,.0f}" for time, flag in sorted(zip(times, escaped, strict=True)) if flag]
    num_stuck = len(times) - len(steps)
    return " ".join([*steps, f"({num_stuck} beyond {max_steps:,})"] if num_stuck else steps)


def _mean_measure(record: ArmRecord, name: str) -> float | None:
    """Mean over the seeds that have the measure; the FVU as the verdicts take it."""
    if name == FVU:
        return fmean(map(held_out_fvu, record.seeds))
    values = [value for run in record.seeds if (value := run.final.get(name)) is not None]
    return fmean(values) if values else None
