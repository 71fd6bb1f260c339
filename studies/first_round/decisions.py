"""Decides claims and hypotheses: ``holds``, ``fails`` or ``inconclusive``, from effects and their intervals alone.

One comparison. Predicted ``slow_is_slower``: it *holds* if the 95 % interval excludes 1 in the predicted direction and
the ratio is at least 1.5; it *fails* if the interval lies inside [0.8, 1.25] or excludes 1 the other way; else it is
*inconclusive*. ``not_slower`` is the mirror image (it holds where the other fails, and fails where it holds). ``equal``
holds if the interval lies inside [0.8, 1.25] and fails if it excludes 1 with a ratio of at least 1.5, or at most 1/1.5.
The same rule applies to a difference of FVUs, with 0 for 1, 0.1 for 1.5 and [-0.05, 0.05] for [0.8, 1.25]. If no run of
any arm escaped, the ratio is exactly 1: ``slow_is_slower`` fails (no gain within the horizon), but that does not show
that an effect is absent, so the other two are inconclusive.

Several. A hypothesis with rule ``all`` holds if all its comparisons hold and fails if one fails; with ``any`` it holds
if one holds and fails if all fail. The p-value of a decision is the smallest level at which its interval (1 - level)
still gives it. If the decision needs every part, the largest p-value counts; if one part of k is enough, the smallest
times k.

Holm. These p-values, one per hypothesis of the plan (1 if it is inconclusive or not run), are adjusted by Holm's
method; a decision whose adjusted p-value exceeds 0.05 becomes inconclusive. Claims follow from the hypotheses after
that; a single comparison that a claim rests on is tested at 0.05 over the number of hypotheses.

Withdrawn. A decision that the suite's list of withdrawals names is shown as *withdrawn*, with what it was beside it.
What follows from it by the rules above is computed as before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from smidgen.evaluation.statistics import CONFIDENCE, holm
from studies.first_round.effects import measure
from studies.first_round.plan import NEGATION, Claim, Comparison, Hypothesis
from studies.first_round.records import Suite
from studies.first_round.survival import Effect
from studies.first_round.withdrawals import Withdrawal

HOLDS, FAILS, INCONCLUSIVE, NOT_RUN = "holds", "fails", "inconclusive", "not run yet"
WITHDRAWN = "withdrawn"
LEVEL = 1 - CONFIDENCE
_OPPOSITE = {HOLDS: FAILS, FAILS: HOLDS}


@dataclass(frozen=True)
class Margins:
    """What counts as no effect, as an effect in either direction, and as none within a band."""

    null: float
    effect: float
    reverse_effect: float
    band: tuple[float, float]


RATIO_MARGINS = Margins(null=1.0, effect=1.5, reverse_effect=1 / 1.5, band=(0.8, 1.25))
FVU_MARGINS = Margins(null=0.0, effect=0.1, reverse_effect=-0.1, band=(-0.05, 0.05))

# For each prediction: the findings that make it hold, and those that make it fail.
_GROUNDS = {
    "slow_is_slower": (("slower",), ("band", "faster")),
    "not_slower": (("band", "faster"), ("slower",)),
    "equal": (("band",), ("slower", "much_faster")),
}


@dataclass(frozen=True)
class Decision:
    """What was decided, and the smallest level at which it is still valid (1 if there is none)."""

    value: str
    p_value: float = 1.0


@dataclass(frozen=True)
class Count:
    """How many runs escaped, of those that there are."""

    num_escaped: int
    num_runs: int


@dataclass(frozen=True)
class ComparisonResult:
    """A comparison with its effect (None until every arm has finished) and the decision at 95 % confidence."""

    comparison: Comparison
    effect: Effect | None
    uncorrected: Decision
    slow: Count
    fast: Count
    withdrawal: Withdrawal | None = None

    @property
    def decision(self) -> str:
        """The decision on its own, or that it is withdrawn."""
        return WITHDRAWN if self.withdrawal else self.uncorrected.value

    @property
    def was(self) -> str:
        """The decision before it was withdrawn; empty if it was not."""
        return self.uncorrected.value if self.withdrawal else ""


@dataclass(frozen=True)
class HypothesisResult:
    """A hypothesis with its decision.

    Attributes:
        name: In the plan.
        hypothesis: The hypothesis from the plan.
        comparisons: In the order of the plan.
        uncorrected: The decision before Holm's correction.
        p_holm: Adjusted p-value.
        decision: After the correction, or that it is withdrawn.
        num_finished: Arms with a record.
        num_arms: Arms that it needs.
        withdrawal: Why the decision was withdrawn; None if it was not.
        was: The decision before it was withdrawn; empty if it was not.
    """

    name: str
    hypothesis: Hypothesis
    comparisons: tuple[ComparisonResult, ...]
    uncorrected: Decision
    p_holm: float
    decision: str
    num_finished: int
    num_arms: int
    withdrawal: Withdrawal | None = None
    was: str = ""

    @property
    def was_demoted(self) -> bool:
        """Whether Holm's correction made a decision inconclusive."""
        return (self.was or self.decision) != self.uncorrected.value


@dataclass(frozen=True)
class ClaimPart:
    """One entry that a claim rests on, its decision (the opposite after "not"), and the comparisons behind it.

    ``was`` is the decision before it was withdrawn, and empty if it was not.
    """

    entry: str
    decision: str
    comparisons: tuple[ComparisonResult, ...]
    was: str = ""


@dataclass(frozen=True)
class ClaimResult:
    """A claim and its decision; ``withdrawal`` and ``was`` as of a hypothesis."""

    name: str
    claim: Claim
    decision: str
    parts: tuple[ClaimPart, ...]
    num_finished: int
    num_arms: int
    withdrawal: Withdrawal | None = None
    was: str = ""


Result = TypeVar("Result", HypothesisResult, ClaimResult)


@dataclass(frozen=True)
class Decisions:
    """Every decision of a suite."""

    suite: Suite
    hypotheses: dict[str, HypothesisResult]
    claims: dict[str, ClaimResult]


def grounds(value: float, low: float, high: float, margins: Margins = RATIO_MARGINS) -> set[str]:
    """Which findings an effect and its interval allow, of ``slower``, ``faster``, ``much_faster`` and ``band``."""
    found = {
        "slower": low > margins.null and value >= margins.effect,
        "faster": high < margins.null,
        "much_faster": high < margins.null and value <= margins.reverse_effect,
        "band": margins.band[0] <= low and high <= margins.band[1],
    }
    return {name for name, is_found in found.items() if is_found}


def decide_interval(
    value: float, low: float, high: float, predicted: str = "slow_is_slower", margins: Margins = RATIO_MARGINS
) -> str:
    """The decision on one comparison.

    Args:
        value: Ratio (or difference).
        low: Lower end of its interval.
        high: Upper end.
        predicted: One of `studies.first_round.plan.PREDICTIONS`.
        margins: Of a ratio by default.
    """
    found = grounds(value, low, high, margins)
    for_it, against_it = _GROUNDS[predicted]
    return HOLDS if found & set(for_it) else FAILS if found & set(against_it) else INCONCLUSIVE


def decide_effect(effect: Effect, predicted: str, margins: Margins = RATIO_MARGINS) -> Decision:
    """The decision at 95 % confidence, with its p-value."""
    low, high = effect.interval(CONFIDENCE)
    reached = decide_interval(effect.value, low, high, predicted, margins)
    if reached == INCONCLUSIVE:
        return Decision(INCONCLUSIVE)
    against_null = effect.p_value(margins.null)
    levels = dict.fromkeys(("slower", "faster", "much_faster"), against_null)
    # The interval leaves the band at the nearer margin.
    levels["band"] = max(effect.p_value(margin) for margin in margins.band)
    bearing = _GROUNDS[predicted][0 if reached == HOLDS else 1]
    found = grounds(effect.value, low, high, margins)
    return Decision(reached, min(levels[name] for name in bearing if name in found))


def join(decisions: Sequence[Decision], rule: str) -> Decision:
    """Joins decisions by ``all`` or ``any``; not run if one is not run."""
    if any(each.value == NOT_RUN for each in decisions):
        return Decision(NOT_RUN)
    needs_every, needs_one = (HOLDS, FAILS) if rule == "all" else (FAILS, HOLDS)
    decisive = [each.p_value for each in decisions if each.value == needs_one]
    if decisive:
        return Decision(needs_one, min(1.0, len(decisions) * min(decisive)))
    if all(each.value == needs_every for each in decisions):
        return Decision(needs_every, max(each.p_value for each in decisions))
    return Decision(INCONCLUSIVE)


def decide(suite: Suite) -> Decisions:
    """Computes every decision of a suite."""
    planned = suite.plan.hypotheses
    compared = {
        name: tuple(_decide_comparison(each, suite) for each in hypothesis.comparisons)
        for name, hypothesis in planned.items()
    }
    uncorrected = {name: _join_groups(planned[name], parts) for name, parts in compared.items()}
    adjusted = dict(zip(uncorrected, holm([each.p_value for each in uncorrected.values()]), strict=True))
    hypotheses = {
        name: HypothesisResult(
            name=name,
            hypothesis=hypothesis,
            comparisons=compared[name],
            uncorrected=uncorrected[name],
            p_holm=adjusted[name],
            decision=_demoted(uncorrected[name].value, adjusted[name]),
            num_finished=len(suite.finished(hypothesis.arms)),
            num_arms=len(hypothesis.arms),
        )
        for name, hypothesis in planned.items()
    }
    claims = {name: _decide_claim(name, claim, hypotheses, suite) for name, claim in suite.plan.claims.items()}
    return _withdraw(Decisions(suite, hypotheses, claims))


def _decide_comparison(comparison: Comparison, suite: Suite) -> ComparisonResult:
    slow, fast = _count(comparison.slow, suite), _count(comparison.fast, suite)
    if len(suite.finished(comparison.arms)) < len(comparison.arms):
        return ComparisonResult(comparison, None, Decision(NOT_RUN), slow, fast)
    effect = measure(comparison, suite)
    decision = decide_effect(effect, comparison.predicted, FVU_MARGINS if comparison.kind == "fvu" else RATIO_MARGINS)
    if slow.num_escaped + fast.num_escaped == 0 and comparison.predicted != "slow_is_slower":
        decision = Decision(INCONCLUSIVE)
    return ComparisonResult(comparison, effect, decision, slow, fast)


def _count(arms: Sequence[str], suite: Suite) -> Count:
    runs = [suite.escape_times(name) for name in suite.finished(arms)]
    return Count(sum(each.num_escaped for each in runs), sum(len(each.seeds) for each in runs))


def _join_groups(hypothesis: Hypothesis, parts: Sequence[ComparisonResult]) -> Decision:
    groups: dict[str, list[Decision]] = {}
    for part in parts:
        # Names contain no slash: a comparison on its own cannot fall into a group.
        groups.setdefault(part.comparison.group or f"/{part.comparison.name}", []).append(part.uncorrected)
    return join([join(decisions, "any") for decisions in groups.values()], hypothesis.rule)


def _demoted(reached: str, p_value: float) -> str:
    return INCONCLUSIVE if reached in _OPPOSITE and p_value > LEVEL else reached


def _decide_claim(name: str, claim: Claim, hypotheses: dict[str, HypothesisResult], suite: Suite) -> ClaimResult:
    parts = tuple(_decide_part(entry, hypotheses) for entry in claim.hypotheses)
    joined = join([Decision(part.decision) for part in parts], claim.rule).value
    arms = {arm for part in parts for each in part.comparisons for arm in each.comparison.arms}
    return ClaimResult(name, claim, joined, parts, len(suite.finished(arms)), len(arms))


def _decide_part(entry: str, hypotheses: dict[str, HypothesisResult]) -> ClaimPart:
    hypothesis, _, comparison = entry.removeprefix(NEGATION).partition("/")
    result = hypotheses[hypothesis]
    reached, comparisons = result.decision, result.comparisons
    if comparison:
        comparisons = tuple(each for each in comparisons if each.comparison.name == comparison)
        decision = comparisons[0].uncorrected
        reached = _demoted(decision.value, decision.p_value * len(hypotheses))
    return ClaimPart(entry, _OPPOSITE.get(reached, reached) if entry.startswith(NEGATION) else reached, comparisons)


def _withdraw(decisions: Decisions) -> Decisions:
    """Replaces every decision that the suite withdraws by *withdrawn*, once all have been computed."""
    withdrawn = {name: withdrawal for withdrawal in decisions.suite.withdrawals for name in withdrawal.verdicts}

    def compared(name: str, parts: tuple[ComparisonResult, ...]) -> tuple[ComparisonResult, ...]:
        return tuple(replace(part, withdrawal=withdrawn.get(f"{name}/{part.comparison.name}")) for part in parts)

    def part_of(part: ClaimPart) -> ClaimPart:
        entry = part.entry.removeprefix(NEGATION)
        part = replace(part, comparisons=compared(entry.partition("/")[0], part.comparisons))
        return replace(part, decision=WITHDRAWN, was=part.decision) if entry in withdrawn else part

    hypotheses = {
        name: _withdrawn(replace(result, comparisons=compared(name, result.comparisons)), withdrawn.get(name))
        for name, result in decisions.hypotheses.items()
    }
    claims = {
        name: _withdrawn(replace(result, parts=tuple(map(part_of, result.parts))), withdrawn.get(name))
        for name, result in decisions.claims.items()
    }
    return Decisions(decisions.suite, hypotheses, claims)


def _withdrawn(result: Result, withdrawal: Withdrawal | None) -> Result:
    if withdrawal is None:
        return result
    return replace(result, decision=WITHDRAWN, was=result.decision, withdrawal=withdrawal)
