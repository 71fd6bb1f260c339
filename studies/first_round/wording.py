"""How comparisons, effects and decisions are put into words, in Markdown and on the terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence

from smidgen.evaluation.statistics import CONFIDENCE
from studies.first_round.decisions import (
    HOLDS,
    NOT_RUN,
    RATIO_MARGINS,
    ClaimPart,
    ClaimResult,
    ComparisonResult,
    HypothesisResult,
)
from studies.first_round.plan import Comparison
from studies.first_round.survival import Effect

MINUS, TIMES = "\u2212", "\u00d7"
_SMALLEST_P = 0.001
_MOST_FIGURES = 3

_RATIO = {"slow_is_slower": "slower than", "not_slower": "not slower than", "equal": "as fast as"}
_GAIN = {"slow_is_slower": "larger than", "not_slower": "not larger than", "equal": "the same as"}
_FVU = {"slow_is_slower": "worse than", "not_slower": "not worse than", "equal": "no different from"}
_REGRET = {"slow_is_slower": "beats", "not_slower": "does not beat", "equal": "does as well as"}


def prediction(comparison: Comparison) -> str:
    """What a comparison predicts, in words."""
    predicted, slow, fast = comparison.predicted, comparison.slow, comparison.fast
    if comparison.kind == "interaction":
        gains = [f"{one} over {other}" for one, other in zip(slow, fast, strict=True)]
        return f"the gain {gains[0]} is {_GAIN[predicted]} the gain {gains[1]}"
    if comparison.kind == "fvu":
        return f"{_side(slow)} ends with held-out FVU {_FVU[predicted]} {_side(fast)}"
    if comparison.kind == "regret":
        baseline = "a coin" if comparison.against == "coin" else f"always {slow[0]} and its like"
        return f"choosing between two arms on {len(slow)} data sets, {comparison.rule} {_REGRET[predicted]} {baseline}"
    return f"{_side(slow)} is {_RATIO[predicted]} {_side(fast)}"


def prediction_sides(comparison: Comparison) -> str:
    """Which arms an effect compares, slow over fast, without what was predicted of it."""
    slow, fast = comparison.slow, comparison.fast
    if comparison.kind == "interaction":
        return f"the gain {slow[0]} over {fast[0]}, over the gain {slow[1]} over {fast[1]},"
    if comparison.kind == "fvu":
        return f"held-out FVU of {_side(slow)} less that of {_side(fast)}"
    return f"{_side(slow)} over {_side(fast)}"


def and_list(parts: Sequence[str]) -> str:
    """Parts joined by commas and a last "and"."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def _side(arms: Sequence[str]) -> str:
    return arms[0] if len(arms) == 1 else f"{and_list(arms)} (geometric mean)"


def effect_value(effect: Effect) -> str:
    """A ratio as ``12.3 x``, a difference with its sign.

    A ratio that misses a margin is not rounded on to it: it gets as many digits as show the difference.
    """
    if effect.is_log:
        return f"{_beside_margins(effect.value)}{TIMES}"
    return f"{effect.value:+.2f}".replace("-", MINUS)


def _beside_margins(ratio: float) -> str:
    shown = significant(ratio)
    for margin in (RATIO_MARGINS.effect, RATIO_MARGINS.reverse_effect):
        for digits in range(3, 7):
            is_on_its_side = (float(shown.replace(",", "")) >= margin) == (ratio >= margin)
            if is_on_its_side or math.isclose(ratio, margin, rel_tol=1e-6):
                break
            shown = f"{ratio:.{digits}f}"
    return shown


def effect_interval(effect: Effect) -> str:
    """The interval's two ends."""
    ends = effect.interval(CONFIDENCE)
    if effect.is_log:
        return " to ".join(map(significant, ends))
    return " to ".join(f"{end:.2f}".replace("-", MINUS) for end in ends)


def significant(value: float) -> str:
    """Three significant digits, never in powers of ten."""
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def p_text(p_value: float) -> str:
    """A p-value with its sign of relation."""
    return (
        f"< {_SMALLEST_P:g}" if p_value < _SMALLEST_P else f"= {p_value:.2f}" if p_value >= 0.1 else f"= {p_value:.3f}"
    )


def decision_note(result: HypothesisResult | ClaimResult) -> str:
    """The note beside a decision; empty if none is needed."""
    if result.was:
        return f"was: {result.was}"
    if result.decision == NOT_RUN:
        return f"{result.num_finished} of {result.num_arms} arms"
    if isinstance(result, HypothesisResult) and result.was_demoted:
        return f"{result.uncorrected.value} on its own, not after Holm's correction"
    return ""


def decision_text(result: ComparisonResult | ClaimPart) -> str:
    """A decision, and what it was if it is withdrawn."""
    return f"{result.decision} (was: {result.was})" if result.was else result.decision


def escape_counts(part: ComparisonResult) -> str:
    """How many runs of each side escaped; empty until all have run."""
    if part.effect is None:
        return ""
    sides = [f"{count.num_escaped}/{count.num_runs}" for count in (part.slow, part.fast)]
    return f"{sides[0]} against {sides[1]}"


def part_figures(part: ClaimPart) -> str:
    """The effects on which an entry of a claim is based; for many, how many hold."""
    effects = [each.effect for each in part.comparisons if each.effect is not None]
    if len(part.comparisons) > _MOST_FIGURES:
        num_holding = sum(each.uncorrected.value == HOLDS for each in part.comparisons)
        return f"{num_holding} of {len(part.comparisons)} comparisons hold"
    return "; ".join(f"{effect_value(effect)} [{effect_interval(effect)}]" for effect in effects)
