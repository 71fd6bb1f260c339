"""Rows of text about the second round for the page, the document and the terminal, computed from its records."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from smidgen.runtime.files import read_json
from studies.claims import design, survival
from studies.claims.contrasts import Claim
from studies.claims.decisions import (
    FAILS,
    HOLDS,
    NO_EFFECT,
    NOT_RUN,
    UNDECIDED,
    ContrastResult,
    Results,
    learning,
    tuning_curve,
)
from studies.claims.estimator import Estimate
from studies.claims.forecast import FILE as FORECAST_FILE
from studies.claims.jobs import chosen_rate
from studies.claims.plan import StudyPlan
from studies.claims.records import Records

TIMES, TO, MISSING = "\u00d7", " to ", "\u2013"
_MEANING = {
    HOLDS: "the claim holds in this reading",
    FAILS: "the claim fails in this reading",
    NO_EFFECT: "the effect that the claim speaks of is absent",
    UNDECIDED: "that many seeds do not decide it",
    NOT_RUN: "not run yet",
}


@dataclass(frozen=True)
class ClaimReport:
    """One claim, its contrasts and its result.

    Attributes:
        name: C1 to C7.
        claim: The claim.
        primary: Its primary contrast.
        others: Descriptive contrasts of the same claim.
        found: One sentence: what was measured, by how much.
    """

    name: str
    claim: Claim
    primary: ContrastResult
    others: tuple[ContrastResult, ...]
    found: str


@dataclass(frozen=True)
class ArmReport:
    """One arm: its rate, the search for it, and the outcomes of its runs."""

    name: str
    rate: str
    search: str
    learned: str
    never: str


def claim_reports(plan: StudyPlan, results: Results) -> list[ClaimReport]:
    """Every claim of the plan, in order."""
    return [
        ClaimReport(
            name,
            claim,
            results[claim.contrast],
            tuple(each for key, each in results.items() if key.startswith(f"{name}.") and key != claim.contrast),
            found(results[claim.contrast]),
        )
        for name, claim in plan.claims.items()
    ]


def new_contrasts(results: Results) -> list[ContrastResult]:
    """Descriptive contrasts that belong to no claim."""
    return [each for name, each in results.items() if name.startswith("new.")]


def forecast_contrasts(results: Results) -> list[ContrastResult]:
    """Regrets of the forecast of the escape as a rule."""
    return [each for name, each in results.items() if name.startswith("forecast.")]


def forecast_rows(folder: Path) -> list[tuple[str, str, str, str]]:
    """Groups of arms, their number, and the rank correlations of T0.5 with the forecast and with the contrast alone."""
    path = folder / FORECAST_FILE
    table = read_json(path)["correlations"] if path.exists() else {}
    return [
        (name, str(row["num"]), _correlation(row["steps"]), _correlation(row["contrast"]))
        for name, row in table.items()
    ]


def _correlation(value: float | None) -> str:
    return MISSING if value is None else f"{value:.2f}".replace("-", "\u2212")


def found(result: ContrastResult) -> str:
    """The result of a primary contrast, in a sentence."""
    title = result.contrast.title
    if result.effect is None:
        return f"Not run yet ({title})."
    effect = f"{ratio(result.effect.ratio)} [{interval(result.effect, shown_confidence(result))}]"
    if result.decision == NOT_RUN:
        seeds = f"{result.effect.num_seeds} of {result.num_needed} seeds"
        return f"First look, {seeds}, which decides nothing: {title}, {effect}."
    return f"We found {effect} for {title}, on {result.effect.num_seeds} seeds: {_MEANING[result.decision]}."


def shown_confidence(result: ContrastResult) -> float:
    """The interval that is shown: the deciding look's once it has been taken, else the plain one."""
    return result.look.confidence if result.contrast.claim and result.decision != NOT_RUN else design.CONFIDENCE


def ratio(value: float) -> str:
    """A ratio with three significant digits, as ``12.3 x``."""
    return f"{number(value)}{TIMES}"


def number(value: float) -> str:
    """Three significant digits, never in powers of ten."""
    if not math.isfinite(value):
        return "\u221e"
    if value >= 1000:
        return f"{value:,.0f}"
    # Where two decimals would round up to four digits, one is enough.
    return f"{value:.0f}" if value >= 99.95 else f"{value:.1f}" if value >= 9.995 else f"{value:.2f}"


def interval(effect: Estimate, confidence: float) -> str:
    """Both ends of an interval."""
    return TO.join(map(number, effect.interval(confidence)))


def effect_text(result: ContrastResult) -> str:
    """An effect with its interval; a dash if there is none."""
    if result.effect is None:
        return MISSING
    return f"{ratio(result.effect.ratio)} [{interval(result.effect, shown_confidence(result))}]"


def state_text(result: ContrastResult) -> str:
    """The decision of a primary contrast; of a descriptive one whether it has run, and whether it is large."""
    if result.decision == NOT_RUN:
        told = "not decided yet" if result.num_seeds else NOT_RUN
        return f"{told} ({result.num_seeds} of {result.num_needed} seeds)"
    return result.decision or ("3\u00d7 or more" if result.is_large else "")


def log_rank_text(result: ContrastResult, records: Records) -> str:
    """p-value of the log-rank test between the two arms of a ratio; a dash if there are not two, or none ran."""
    if result.effect is None or len(result.contrast.terms) != 2:
        return MISSING
    slow, fast = result.contrast.terms
    p_value = survival.log_rank_p(records, slow, fast, result.contrast.horizon)
    if math.isnan(p_value):
        return MISSING
    return "< 0.001" if p_value < 0.001 else f"{p_value:.3f}"


def learned_text(result: ContrastResult, records: Records) -> str:
    """How many runs of each arm learned."""
    counts = [learning(records, arm) for arm in result.contrast.terms]
    if not any(each.num_runs for each in counts):
        return MISSING
    return ", ".join(f"{each.num_escaped}/{each.num_runs}" if each.num_runs else MISSING for each in counts)


def arm_reports(plan: StudyPlan, records: Records) -> list[ArmReport]:
    """Every arm of the plan that has a record, by name."""
    return [_arm_report(name, plan, records) for name in sorted(plan.arms) if records.blocks.get(name)]


def _arm_report(name: str, plan: StudyPlan, records: Records) -> ArmReport:
    rate, counts = chosen_rate(name, plan, records), learning(records, name)
    search = "; ".join(
        f"{lr:g}: {', '.join(MISSING if step is None else str(step) for step in steps)}"
        for lr, steps in tuning_curve(records, name).items()
    )
    taken = plan.arms[name].rate_of
    return ArmReport(
        name=name,
        rate="searching" if rate is None else f"{rate:g}",
        search=search or (f"that of {taken}" if taken else MISSING),
        learned=f"{counts.num_escaped}/{counts.num_runs}" if counts.num_runs else NOT_RUN,
        never=f"{counts.num_at_the_mean} at the mean, {counts.num_saturated} saturated" if counts.num_runs else "",
    )
