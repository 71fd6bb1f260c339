"""Geometry of the claims' plots: Kaplan-Meier curves over a logarithmic axis of steps, and intervals of effects."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from smidgen.evaluation.statistics import CONFIDENCE
from smidgen.leaderboard.charts import Axis, Tick, path_data
from studies.charts import SHARE_AXIS, log_axis, survival_points
from studies.first_round.effects import chosen_runs, horizon, regret
from studies.first_round.plan import Comparison, Hypothesis
from studies.first_round.records import Suite
from studies.first_round.survival import EscapeTimes, kaplan_meier, restricted_mean
from studies.first_round.verdicts import FVU_MARGINS, RATIO_MARGINS, JudgedComparison, Judgement, Margins

NUM_COLOURS = 8  # --c0 .. --c7 in page.css
FVU_AXIS = Axis(-1.0, 1.0, (Tick("\u22121", 0), Tick("\u22120.5", 25), Tick("0", 50), Tick("0.5", 75), Tick("1", 100)))


@dataclass(frozen=True)
class KaplanMeierCurve:
    """One arm's share of runs still on the plateau.

    Attributes:
        name: Of the arm.
        paint: Colour class of the page.
        dashed: Whether the colour is used a second time.
        path: SVG path data.
        num_escaped: Runs that escaped.
        num_runs: All runs.
        mean: Restricted mean escape time, in steps.
        tau: Up to which step.
        regret: Of a way to choose between two arms; None for an arm.
    """

    name: str
    paint: str
    dashed: bool
    path: str
    num_escaped: int
    num_runs: int
    mean: float
    tau: int
    regret: float | None = None


@dataclass(frozen=True)
class Panel:
    """One Kaplan-Meier plot and the comparisons that it shows."""

    title: str
    curves: tuple[KaplanMeierCurve, ...]


@dataclass(frozen=True)
class Forest:
    """Positions of an effect, its interval and its margins, in percent of the axis."""

    value: float
    low: float
    high: float
    is_cut_low: bool
    is_cut_high: bool


@dataclass(frozen=True)
class ForestAxis:
    """An axis of effects with its margins, in percent."""

    axis: Axis
    margins: Margins
    is_log: bool

    def percent(self, value: float) -> float:
        """The position of an effect."""
        return self.axis.percent(math.log10(value) if self.is_log else value)

    @property
    def band(self) -> tuple[float, float]:
        """Start and width of the band of no effect."""
        low, high = map(self.percent, self.margins.band)
        return low, round(high - low, 3)

    def needed(self, part: JudgedComparison) -> tuple[float, ...]:
        """Where an effect begins to count; for ``equal``, on both sides."""
        both = (self.margins.effect, self.margins.reverse_effect)
        return tuple(map(self.percent, both if part.comparison.predicted == "equal" else both[:1]))

    def place(self, part: JudgedComparison) -> Forest | None:
        """Geometry of a comparison; None where nothing was measured."""
        if part.effect is None:
            return None
        value, (low, high) = part.effect.value, part.effect.interval(CONFIDENCE)
        first, last = (10**end if self.is_log else end for end in (self.axis.low, self.axis.high))
        # Rounding must not make an arrow out of the value that the axis ends at.
        cut_low, cut_high = low < first * (1 - 1e-9 if self.is_log else 1), high > last * (1 + 1e-9)
        return Forest(self.percent(value), self.percent(low), self.percent(high), cut_low, cut_high)


def ratio_axis(judgement: Judgement) -> ForestAxis:
    """One logarithmic axis for every ratio of the page, so that effects compare; it spans at least 1/4 to 4."""
    parts = [part for judged in judgement.hypotheses.values() for part in judged.comparisons]
    effects = [part.effect for part in parts if part.effect is not None and part.effect.is_log]
    ends = [end for effect in effects for end in (effect.value, *effect.interval(CONFIDENCE))]
    # Two seeds can give intervals of a hundred decades; an arrow marks one that exceeds the axis.
    low = max(min([0.25, *ends]), 1e-3)
    high = min(max([4.0, *ends]), 1e3)
    return ForestAxis(log_axis(low, high), RATIO_MARGINS, is_log=True)


def fvu_axis() -> ForestAxis:
    """The axis of differences of FVU."""
    return ForestAxis(FVU_AXIS, FVU_MARGINS, is_log=False)


def step_axis(suite: Suite) -> Axis:
    """One logarithmic axis of steps for every plot, from the decade of the first escape to the last step."""
    first = min([100.0, *(time for name in suite.arms for time in suite.escape_times(name).times)])
    low = 10.0 ** math.floor(math.log10(max(first, 1.0)))
    return log_axis(low, max(float(suite.plan.max_steps), 10 * low))


def panels(hypothesis: Hypothesis, suite: Suite, axis: Axis) -> tuple[Panel, ...]:
    """The Kaplan-Meier plots of a hypothesis: one per group of comparisons, or per comparison outside groups.

    An arm has the same colour in every plot of the hypothesis. Comparisons of the same arms share a plot. A comparison
    of regrets shows all data sets together: always the first candidate, always the second, and the rule's choice.
    """
    colours = {name: index for index, name in enumerate(hypothesis.arms)}
    plots: dict[tuple[KaplanMeierCurve, ...], list[str]] = {}
    for members in _groups(hypothesis.comparisons):
        arms = tuple(dict.fromkeys(arm for member in members for arm in member.arms))
        if members[0].kind == "regret":
            curves = _regret_curves(members[0], suite, axis)
        else:
            curves = tuple(_arm_curve(name, colours[name], suite, axis) for name in suite.finished(arms))
        if curves:
            plots.setdefault(curves, []).append(members[0].group or members[0].name)
    return tuple(Panel(", ".join(titles), curves) for curves, titles in plots.items())


def _groups(comparisons: Sequence[Comparison]) -> Iterable[list[Comparison]]:
    groups: dict[str, list[Comparison]] = {}
    for comparison in comparisons:
        groups.setdefault(comparison.group or f"/{comparison.name}", []).append(comparison)
    return groups.values()


def _arm_curve(name: str, colour: int, suite: Suite, axis: Axis) -> KaplanMeierCurve:
    return _curve(name, colour, suite.escape_times(name), suite.plan.arms[name].max_steps, axis)


def _regret_curves(comparison: Comparison, suite: Suite, axis: Axis) -> tuple[KaplanMeierCurve, ...]:
    if len(suite.finished(comparison.arms)) < len(comparison.arms):
        return ()
    ways = {
        "always the first": [suite.escape_times(name) for name in comparison.slow],
        "always the second": [suite.escape_times(name) for name in comparison.fast],
        comparison.rule: [chosen_runs(comparison, suite, place) for place in range(len(comparison.slow))],
    }
    tau = horizon(comparison, suite)
    curves = []
    for colour, (name, runs) in enumerate(ways.items()):
        curve = _curve(name, colour, _pooled(runs), tau, axis)
        curves.append(replace(curve, regret=regret(comparison, suite, runs)))
    return tuple(curves)


def _pooled(samples: Sequence[EscapeTimes]) -> EscapeTimes:
    times = tuple(time for runs in samples for time in runs.times)
    escaped = tuple(flag for runs in samples for flag in runs.escaped)
    return EscapeTimes(tuple(range(len(times))), times, escaped)


def _curve(name: str, colour: int, runs: EscapeTimes, tau: int, axis: Axis) -> KaplanMeierCurve:
    turn, colour = divmod(colour, NUM_COLOURS)
    return KaplanMeierCurve(
        name=name,
        paint=f"c{colour}",
        dashed=turn % 2 == 1,
        path=survival_path(runs, tau, axis),
        num_escaped=runs.num_escaped,
        num_runs=len(runs.seeds),
        mean=restricted_mean(runs, tau),
        tau=tau,
    )


def survival_path(runs: EscapeTimes, tau: int, axis: Axis) -> str:
    """The staircase of a Kaplan-Meier curve up to step tau."""
    curve = kaplan_meier(runs)
    return path_data(survival_points(axis.low, curve.times_K, curve.survival_K, tau), axis, SHARE_AXIS)
