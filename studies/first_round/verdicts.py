"""Verdicts: ``holds``, ``fails`` or ``inconclusive``, computed from effects and their intervals and from nothing else.

One comparison. Predicted ``slow_is_slower``: it *holds* if the 95 % interval excludes 1 in the predicted direction and
the ratio is at least 1.5; it *fails* if the interval lies inside [0.8, 1.25] or excludes 1 the other way; else it is
*inconclusive*. ``not_slower`` is the mirror image (holds where the other fails, fails where it holds). ``equal``
holds if the interval lies inside [0.8, 1.25] and fails if it excludes 1 with a ratio of at least 1.5, or at most 1/1.5.
A difference of FVUs obeys the same rule with 0 for 1, 0.1 for 1.5 and [-0.05, 0.05] for [0.8, 1.25]. Where no run of
any arm escaped, the ratio is 1 without width: ``slow_is_slower`` fails (no gain within the horizon), but nothing was
shown to be absent, so that the other two are inconclusive.

Several. A hypothesis with rule ``all`` holds if all its comparisons hold and fails if one fails; with ``any`` it holds
if one holds and fails if all fail. The p-value of a verdict is the smallest level at which its interval (1 - level)
still gives it. Where every part has to bear the verdict, the largest p-value counts; where one part of k is enough,
the smallest of those times k.

Holm. These p-values, one per hypothesis of the plan (1 for one that is inconclusive or not run), are adjusted by Holm's
method: a verdict whose adjusted p-value exceeds 0.05 is demoted to inconclusive. Claims follow from the hypotheses
after that; a single comparison that a claim rests on is tested at 0.05 over the number of hypotheses.

Withdrawn. A verdict that the suite's list of withdrawals names reads *withdrawn*, wherever it is shown, and keeps what
it was beside it; what follows from it by the rules above is computed as before.
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

# For each prediction: what makes it hold, what makes it fail.
_GROUNDS = {
    "slow_is_slower": (("slower",), ("band", "faster")),
    "not_slower": (("band", "faster"), ("slower",)),
    "equal": (("band",), ("slower", "much_faster")),
}


def grounds(value: float, low: float, high: float, margins: Margins = RATIO_MARGINS) -> set[str]:
    """Which findings an effect and its interval allow, of ``slower``, ``faster``, ``much_faster`` and ``band``."""
    found = {
        "slower": low > margins.null and value >= margins.effect,
        "faster": high < margins.null,
        "much_faster": high < margins.null and value <= margins.reverse_effect,
        "band": margins.band[0] <= low and high <= margins.band[1],
    }
    return {name for name, is_found in found.items() if is_found}


def verdict(
    value: float, low: float, high: float, predicted: str = "slow_is_slower", margins: Margins = RATIO_MARGINS
) -> str:
    """The verdict on one comparison.

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


@dataclass(frozen=True)
class Outcome:
    """A verdict and the smallest level at which it is still valid (1 if there is none)."""

    verdict: str
    p_value: float = 1.0


def judge_effect(effect: Effect, predicted: str, margins: Margins = RATIO_MARGINS) -> Outcome:
    """Verdict at 95 % confidence, with its p-value."""
    low, high = effect.interval(CONFIDENCE)
    reached = verdict(effect.value, low, high, predicted, margins)
    if reached == INCONCLUSIVE:
        return Outcome(INCONCLUSIVE)
    against_null = effect.p_value(margins.null)
    levels = dict.fromkeys(("slower", "faster", "much_faster"), against_null)
    # The interval leaves the band at the margin that is nearer.
    levels["band"] = max(effect.p_value(margin) for margin in margins.band)
    bearing = _GROUNDS[predicted][0 if reached == HOLDS else 1]
    found = grounds(effect.value, low, high, margins)
    return Outcome(reached, min(levels[name] for name in bearing if name in found))


def join(outcomes: Sequence[Outcome], rule: str) -> Outcome:
    """Joins outcomes by ``all`` or ``any``; not run if one is not run."""
    if any(outcome.verdict == NOT_RUN for outcome in outcomes):
        return Outcome(NOT_RUN)
    needs_every, needs_one = (HOLDS, FAILS) if rule == "all" else (FAILS, HOLDS)
    decisive = [outcome.p_value for outcome in outcomes if outcome.verdict == needs_one]
    if decisive:
        return Outcome(needs_one, min(1.0, len(outcomes) * min(decisive)))
    if all(outcome.verdict == needs_every for outcome in outcomes):
        return Outcome(needs_every, max(outcome.p_value for outcome in outcomes))
    return Outcome(INCONCLUSIVE)


@dataclass(frozen=True)
class Count:
    """How many runs escaped, of those that there are."""

    num_escaped: int
    num_runs: int


@dataclass(frozen=True)
class JudgedComparison:
    """A comparison with its effect (None until every arm has finished) and its outcome at 95 % confidence."""

    comparison: Comparison
    effect: Effect | None
    outcome: Outcome
    slow: Count
    fast: Count
    withdrawal: Withdrawal | None = None

    @property
    def verdict(self) -> str:
        """On its own, or that it is withdrawn."""
        return WITHDRAWN if self.withdrawal else self.outcome.verdict

    @property
    def was(self) -> str:
        """The verdict before it was withdrawn; empty where it was not."""
        return self.outcome.verdict if self.withdrawal else ""


@dataclass(frozen=True)
class JudgedHypothesis:
    """A hypothesis with its verdict.

    Attributes:
        name: In the plan.
        hypothesis: The hypothesis from the plan.
        comparisons: In the order of the plan.
        outcome: Before Holm's correction.
        p_holm: Adjusted p-value.
        verdict: After the correction, or that it is withdrawn.
        num_finished: Arms with a record.
        num_arms: Arms that it needs.
        withdrawal: Why the verdict was withdrawn; None if it was not.
        was: The verdict before it was withdrawn; empty where it was not.
    """

    name: str
    hypothesis: Hypothesis
    comparisons: tuple[JudgedComparison, ...]
    outcome: Outcome
    p_holm: float
    verdict: str
    num_finished: int
    num_arms: int
    withdrawal: Withdrawal | None = None
    was: str = ""

    @property
    def was_demoted(self) -> bool:
        """Whether Holm's correction took a verdict away."""
        return (self.was or self.verdict) != self.outcome.verdict


@dataclass(frozen=True)
class ClaimPart:
    """One entry that a claim rests on, its verdict (turned round after "not"), and the comparisons behind it.

    ``was`` is the verdict before it was withdrawn, and empty where it was not.
    """

    entry: str
    verdict: str
    comparisons: tuple[JudgedComparison, ...]
    was: str = ""


@dataclass(frozen=True)
class JudgedClaim:
    """A claim and its verdict; ``withdrawal`` and ``was`` as of a hypothesis."""

    name: str
    claim: Claim
    verdict: str
    parts: tuple[ClaimPart, ...]
    num_finished: int
    num_arms: int
    withdrawal: Withdrawal | None = None
    was: str = ""


Judged = TypeVar("Judged", JudgedHypothesis, JudgedClaim)


@dataclass(frozen=True)
class Judgement:
    """Every verdict of a suite."""

    suite: Suite
    hypotheses: dict[str, JudgedHypothesis]
    claims: dict[str, JudgedClaim]


def judge(suite: Suite) -> Judgement:
    """Computes every verdict of a suite."""
    compared = {
        name: tuple(_judge_comparison(comparison, suite) for comparison in hypothesis.comparisons)
        for name, hypothesis in suite.plan.hypotheses.items()
    }
    outcomes = {name: _join_groups(suite.plan.hypotheses[name], parts) for name, parts in compared.items()}
    adjusted = dict(zip(outcomes, holm([outcome.p_value for outcome in outcomes.values()]), strict=True))
    hypotheses = {
        name: JudgedHypothesis(
            name=name,
            hypothesis=hypothesis,
            comparisons=compared[name],
            outcome=outcomes[name],
            p_holm=adjusted[name],
            verdict=_demoted(outcomes[name].verdict, adjusted[name]),
            num_finished=len(suite.finished(hypothesis.arms)),
            num_arms=len(hypothesis.arms),
        )
        for name, hypothesis in suite.plan.hypotheses.items()
    }
    claims = {name: _judge_claim(name, claim, hypotheses, suite) for name, claim in suite.plan.claims.items()}
    return _withdraw(Judgement(suite, hypotheses, claims))


def _withdraw(judgement: Judgement) -> Judgement:
    """Puts *withdrawn* in the place of every verdict that the suite withdraws, once all have been reached."""
    fallen = {name: withdrawal for withdrawal in judgement.suite.withdrawals for name in withdrawal.verdicts}

    def compared(name: str, parts: tuple[JudgedComparison, ...]) -> tuple[JudgedComparison, ...]:
        return tuple(replace(part, withdrawal=fallen.get(f"{name}/{part.comparison.name}")) for part in parts)

    def part_of(part: ClaimPart) -> ClaimPart:
        entry = part.entry.removeprefix(NEGATION)
        part = replace(part, comparisons=compared(entry.partition("/")[0], part.comparisons))
        return replace(part, verdict=WITHDRAWN, was=part.verdict) if entry in fallen else part

    hypotheses = {
        name: replace(judged, comparisons=compared(name, judged.comparisons))
        for name, judged in judgement.hypotheses.items()
    }
    claims = {
        name: replace(judged, parts=tuple(map(part_of, judged.parts))) for name, judged in judgement.claims.items()
    }
    return Judgement(
        judgement.suite,
        {name: _withdrawn(judged, fallen.get(name)) for name, judged in hypotheses.items()},
        {name: _withdrawn(judged, fallen.get(name)) for name, judged in claims.items()},
    )


def _withdrawn(judged: Judged, withdrawal: Withdrawal | None) -> Judged:
    if withdrawal is None:
        return judged
    return replace(judged, verdict=WITHDRAWN, was=judged.verdict, withdrawal=withdrawal)


def _demoted(reached: str, p_value: float) -> str:
    return INCONCLUSIVE if reached in _OPPOSITE and p_value > LEVEL else reached


def _judge_comparison(comparison: Comparison, suite: Suite) -> JudgedComparison:
    slow, fast = _count(comparison.slow, suite), _count(comparison.fast, suite)
    if len(suite.finished(comparison.arms)) < len(comparison.arms):
        return JudgedComparison(comparison, None, Outcome(NOT_RUN), slow, fast)
    effect = measure(comparison, suite)
    outcome = judge_effect(effect, comparison.predicted, FVU_MARGINS if comparison.kind == "fvu" else RATIO_MARGINS)
    if slow.num_escaped + fast.num_escaped == 0 and comparison.predicted != "slow_is_slower":
        outcome = Outcome(INCONCLUSIVE)
    return JudgedComparison(comparison, effect, outcome, slow, fast)


def _count(arms: Sequence[str], suite: Suite) -> Count:
    runs = [suite.escape_times(name) for name in suite.finished(arms)]
    return Count(sum(each.num_escaped for each in runs), sum(len(each.seeds) for each in runs))


def _join_groups(hypothesis: Hypothesis, parts: Sequence[JudgedComparison]) -> Outcome:
    groups: dict[str, list[Outcome]] = {}
    for part in parts:
        # Names hold no slash: a comparison on its own cannot fall into a group.
        groups.setdefault(part.comparison.group or f"/{part.comparison.name}", []).append(part.outcome)
    return join([join(outcomes, "any") for outcomes in groups.values()], hypothesis.rule)


def _judge_claim(name: str, claim: Claim, hypotheses: dict[str, JudgedHypothesis], suite: Suite) -> JudgedClaim:
    parts = tuple(_judge_part(entry, hypotheses) for entry in claim.hypotheses)
    joined = join([Outcome(part.verdict) for part in parts], claim.rule).verdict
    arms = {arm for part in parts for each in part.comparisons for arm in each.comparison.arms}
    return JudgedClaim(name, claim, joined, parts, len(suite.finished(arms)), len(arms))


def _judge_part(entry: str, hypotheses: dict[str, JudgedHypothesis]) -> ClaimPart:
    hypothesis, _, comparison = entry.removeprefix(NEGATION).partition("/")
    judged = hypotheses[hypothesis]
    reached, comparisons = judged.verdict, judged.comparisons
    if comparison:
        comparisons = tuple(each for each in comparisons if each.comparison.name == comparison)
        outcome = comparisons[0].outcome
        reached = _demoted(outcome.verdict, outcome.p_value * len(hypotheses))
    return ClaimPart(entry, _OPPOSITE.get(reached, reached) if entry.startswith(NEGATION) else reached, comparisons)
