"""The decisions of the second round, from its plan and records alone.

A contrast is decided at its deciding look, with 30 seeds for the primary contrast of a claim (10 if it stays at ten),
and never with fewer. Earlier results are shown with the plain 95 % interval and labelled as a first look. Descriptive
contrasts get no decision; tables mark those with a ratio of three or more whose interval excludes 1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from studies.claims import design
from studies.claims.choices import Choices
from studies.claims.contrasts import ABSENT, Contrast
from studies.claims.estimator import Estimate, Look, estimate, paired_values
from studies.claims.plan import StudyPlan
from studies.claims.records import Records, Run

HOLDS, FAILS, NO_EFFECT, UNDECIDED, NOT_RUN = "holds", "fails", "absent", "undecided", "not run yet"
SATURATED, AT_THE_MEAN = "saturated", "at the mean"


@dataclass(frozen=True)
class ContrastResult:
    """A contrast and what was measured.

    Attributes:
        name: In the plan.
        contrast: What it asks.
        look: The look that decides it; descriptive contrasts take the plain interval.
        effect: None until every arm has ten seeds.
        decision: One of the five constants above; empty for descriptive contrasts that have run.
        num_seeds: Seeds that all of its arms have run.
        num_needed: Seeds that decide it.
    """

    name: str
    contrast: Contrast
    look: Look
    effect: Estimate | None
    decision: str
    num_seeds: int
    num_needed: int

    @property
    def is_large(self) -> bool:
        """Whether the effect is three times or more, either way, and its 95 % interval excludes 1."""
        if self.effect is None:
            return False
        low, high = self.effect.interval(design.CONFIDENCE)
        is_apart = low > 1 or high < 1
        return is_apart and abs(self.effect.log_ratio) >= math.log(design.LEAST_RATIO_UNCENTRED)


# By the contrast's name in the plan.
Results = dict[str, ContrastResult]


@dataclass(frozen=True)
class Learning:
    """How many runs of an arm learned, and how the others ended."""

    num_runs: int
    num_escaped: int
    num_saturated: int
    num_at_the_mean: int


def seed_values(contrast: Contrast, plan: StudyPlan, records: Records, choices: Choices) -> dict[int, float]:
    """The contrast's value for every seed that all of its arms have run."""
    if contrast.pairs:
        return regret_values(contrast, plan, records, choices)
    areas = {arm: records.areas(arm, contrast.horizon) for arm in contrast.terms}
    return paired_values(areas, contrast.terms)


def regret_values(contrast: Contrast, plan: StudyPlan, records: Records, choices: Choices) -> dict[int, float]:
    """Mean over the pairs of log(area of what the rule is compared with / area of what it chose), by seed."""
    chosen = choices.get(contrast.rule, {})
    values: dict[int, list[float]] = {}
    for first, second in contrast.pairs:
        horizon = min(contrast.horizon, *(plan.arms[arm].horizon for arm in (first, second)))
        areas = {arm: records.areas(arm, horizon) for arm in (first, second)}
        for seed, arm in chosen.get(first, {}).items():
            both = [areas[each].get(int(seed)) for each in (first, second)]
            if None in both:
                continue
            logs = [math.log(value) for value in both if value is not None]
            rivals = {"first": logs[0], "second": logs[1], "coin": sum(logs) / 2, "best": min(logs)}
            values.setdefault(int(seed), []).append(rivals[contrast.against] - logs[(first, second).index(arm)])
    return {seed: sum(own) / len(own) for seed, own in values.items() if len(own) == len(contrast.pairs)}


def decide(name: str, contrast: Contrast, values: Mapping[int, float]) -> ContrastResult:
    """Decides a contrast from one value per seed."""
    look = deciding_look(contrast)
    needed = set(design.SEEDS[: look.num_seeds])
    present = set(design.SEEDS[: design.FIRST_LOOK]) <= set(values)
    # Whole blocks only: a look sees ten seeds or thirty, and nothing in between.
    used = needed if needed <= set(values) else set(design.SEEDS[: design.FIRST_LOOK])
    effect = estimate([values[seed] for seed in sorted(used)]) if present else None
    if effect is None or not needed <= set(values):
        decision = NOT_RUN
    else:
        decision = decision_of(contrast, effect, look) if contrast.claim else ""
    return ContrastResult(name, contrast, look, effect, decision, len(needed & set(values)), look.num_seeds)


def deciding_look(contrast: Contrast) -> Look:
    """The look at which a contrast is decided."""
    if not contrast.claim:
        return Look(design.FIRST_LOOK, math.nan, design.CONFIDENCE)
    return design.SINGLE_LOOK if contrast.pairs else design.DECIDING_LOOK


def decision_of(contrast: Contrast, effect: Estimate, look: Look) -> str:
    """The plan's rules, applied to an effect at its deciding look."""
    low, high = effect.interval(look.confidence)
    inner_low, inner_high = effect.interval(design.EQUIVALENCE_CONFIDENCE)
    is_equivalent = design.EQUIVALENCE[0] <= inner_low and inner_high <= design.EQUIVALENCE[1]
    is_reached = effect.ratio >= contrast.least_ratio
    if contrast.predicted == ABSENT:
        is_there = (low > 1 and is_reached) or (high < 1 and effect.ratio <= 1 / contrast.least_ratio)
        return HOLDS if is_equivalent else FAILS if is_there else UNDECIDED
    if low > 1 and is_reached:
        return HOLDS
    if high < 1:
        return FAILS
    return NO_EFFECT if is_equivalent else UNDECIDED


def decide_all(plan: StudyPlan, records: Records, choices: Choices) -> Results:
    """Every contrast of the plan."""
    return {
        name: decide(name, contrast, seed_values(contrast, plan, records, choices))
        for name, contrast in plan.contrasts.items()
    }


def end_state(run: Run) -> str:
    """How a run that never learned ended; empty for one that learned."""
    if run.escape_step is not None:
        return ""
    entropy = run.final.get("attention_entropy")
    return SATURATED if entropy is not None and entropy < design.SATURATED_BELOW else AT_THE_MEAN


def learning(records: Records, arm: str) -> Learning:
    """Counts over the runs of an arm that count."""
    states = [end_state(run) for run in records.runs(arm).values()]
    return Learning(len(states), states.count(""), states.count(SATURATED), states.count(AT_THE_MEAN))


def tuning_curve(records: Records, arm: str) -> dict[float, tuple[int | None, ...]]:
    """T0.5 of every tuning run by rate, the curve over rates."""
    searched = records.tuning(arm)
    return {lr: tuple(run.escape_step for run in searched[lr].runs) for lr in sorted(searched)}
