"""Escape times: restricted means, and effects between arms with an interval over seeds.

A run that never escapes is right-censored at its last step. The restricted mean escape time up to tau is the area under
the Kaplan-Meier curve from 0 to tau; if no run is censored before tau, it is the mean of min(T, tau).

An effect is a weighted sum of log restricted means (a log ratio has weights 1 and -1). Its standard error is
bootstrapped over seeds: whole seeds are drawn, together for all arms that ran them, because arms that share a seed
share its data and their times are correlated. SciPy's bootstrap draws each sample on its own, or all of them paired;
here some arms of an effect share seeds and others do not, and all draws of an arm are computed at once. With ten seeds
the bootstrap's percentiles are too narrow, so the interval is the estimate +- Student's quantile with n - 1 degrees of
freedom times the standard error, which is multiplied by sqrt(n / (n - 1)) (Efron and Tibshirani, "An Introduction to
the Bootstrap", 1993, sections 6.2 and 12.4; Hesterberg, "What Teachers Should Know About the Bootstrap", 2015).
tests/studies/first_round/test_survival.py simulates the coverage of both.

Shape suffixes: S seeds, R bootstrap draws.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student_t

Array = NDArray[np.float64]

NUM_DRAWS = 10_000
BOOTSTRAP_SEED = 20_230_517
# An escape before the first step would make a ratio infinite.
SHORTEST_TIME = 1.0


@dataclass(frozen=True)
class EscapeTimes:
    """The runs of one arm.

    Attributes:
        seeds: One per run, each once.
        times: Step of the escape, or the last step of a run that did not escape.
        escaped: Whether the run escaped.
    """

    seeds: tuple[int, ...]
    times: tuple[float, ...]
    escaped: tuple[bool, ...]

    def __post_init__(self) -> None:
        if not len(self.seeds) == len(self.times) == len(self.escaped) or len(self.seeds) < 2:
            raise ValueError(f"expected one time and one flag for each of two or more seeds, got {self}")
        if len(set(self.seeds)) != len(self.seeds) or min(self.times) < 0:
            raise ValueError(f"expected different seeds and times of at least 0, got {self}")

    @property
    def num_escaped(self) -> int:
        """Number of runs that escaped."""
        return sum(self.escaped)


def restricted_mean(runs: EscapeTimes, tau: float) -> float:
    """Restricted mean escape time: area under the Kaplan-Meier curve from 0 to tau, at least 1 step.

    Where the last run is censored before tau, the curve stays where it is until tau.

    Args:
        runs: The runs of one arm.
        tau: Horizon in steps.

    Source: P. Royston and M. Parmar, "Restricted mean survival time", BMC Medical Research Methodology 13, 2013.
    """
    return float(_restricted_means(runs, np.ones((1, len(runs.seeds))), tau)[0])


def _restricted_means(runs: EscapeTimes, weights_RS: Array, tau: float) -> Array:
    """Restricted means of many weighted samples of the same runs at once: (R,)."""
    times_S, escaped_S = np.asarray(runs.times, dtype=np.float64), np.asarray(runs.escaped)
    # Escapes before censorings at the same time: a censored run is at risk until then.
    order = np.lexsort((~escaped_S, times_S))
    times_S, escaped_S, weights_RS = times_S[order], escaped_S[order], weights_RS[:, order]
    num_at_risk_RS = np.cumsum(weights_RS[:, ::-1], axis=1)[:, ::-1]
    hazard_RS = np.where(escaped_S, weights_RS, 0.0) / np.maximum(num_at_risk_RS, np.finfo(float).tiny)
    survival_RS = np.cumprod(1 - hazard_RS, axis=1)
    before_RS = np.hstack([np.ones((len(weights_RS), 1)), survival_RS])
    edges = np.minimum(np.concatenate([[0.0], times_S, [np.inf]]), tau)
    return np.maximum(before_RS @ np.diff(edges), SHORTEST_TIME)


@dataclass(frozen=True)
class Effect:
    """An estimated effect with its uncertainty over seeds; of a ratio, the logarithm.

    Attributes:
        estimate: The effect.
        standard_error: Of the estimate, over seeds.
        num_seeds: Number of seeds (of the arm with the fewest).
        is_log: Whether the effect is the logarithm of a ratio.
    """

    estimate: float
    standard_error: float
    num_seeds: int
    is_log: bool

    @property
    def value(self) -> float:
        """The ratio, or the difference."""
        return self._shown(self.estimate)

    def interval(self, confidence: float) -> tuple[float, float]:
        """Two-sided interval of `value`; zero wide where no seed differs from another."""
        half = float(student_t.isf((1 - confidence) / 2, self.num_seeds - 1)) * self.standard_error
        return self._shown(self.estimate - half), self._shown(self.estimate + half)

    def p_value(self, value: float) -> float:
        """Two-sided p-value against a true effect of ``value``: 1 - the confidence whose interval just reaches it."""
        distance = abs(self.estimate - (math.log(value) if self.is_log else value))
        if distance == 0.0:
            return 1.0
        if self.standard_error == 0.0:
            return 0.0
        return float(2 * student_t.sf(distance / self.standard_error, self.num_seeds - 1))

    def _shown(self, effect: float) -> float:
        return math.exp(effect) if self.is_log else effect


def log_ratio(arms: Sequence[EscapeTimes], weights: Sequence[float], tau: float) -> Effect:
    """A weighted sum of the arms' log restricted means, e.g. weights (1, -1) for the log ratio of two arms.

    Args:
        arms: Runs of each arm.
        weights: One for each arm.
        tau: Horizon in steps.

    Returns:
        The effect, on the log scale.
    """
    seeds = [runs.seeds for runs in arms]
    estimate, effects_R = 0.0, np.zeros(NUM_DRAWS)
    for runs, weight, draw_RS in zip(arms, weights, _seed_weights(seeds), strict=True):
        estimate += weight * math.log(restricted_mean(runs, tau))
        effects_R += weight * np.log(_restricted_means(runs, draw_RS, tau))
    return _effect(estimate, effects_R, seeds, is_log=True)


def mean_difference(
    first: Sequence[float], second: Sequence[float], first_seeds: Sequence[int], second_seeds: Sequence[int]
) -> Effect:
    """Mean of the first values minus mean of the second, one value per seed, with the same bootstrap over seeds."""
    seeds = [tuple(first_seeds), tuple(second_seeds)]
    draws = zip(_seed_weights(seeds), (first, second), strict=True)
    means = [draw_RS @ np.asarray(values) / len(values) for draw_RS, values in draws]
    return _effect(float(np.mean(first) - np.mean(second)), means[0] - means[1], seeds, is_log=False)


def _seed_weights(seeds: Sequence[tuple[int, ...]]) -> list[Array]:
    """How often each run is drawn, for each arm (R, S): together for arms with the same seeds, else on their own."""
    generator = np.random.default_rng(BOOTSTRAP_SEED)
    drawn: dict[frozenset[int], dict[int, Array]] = {}
    for arm_seeds in seeds:
        key = frozenset(arm_seeds)
        if key not in drawn:
            counts_RS = generator.multinomial(len(key), [1 / len(key)] * len(key), size=NUM_DRAWS).astype(np.float64)
            drawn[key] = dict(zip(sorted(key), counts_RS.T, strict=True))
    return [np.stack([drawn[frozenset(arm)][seed] for seed in arm], axis=1) for arm in seeds]


def _effect(estimate: float, effects_R: Array, seeds: Sequence[tuple[int, ...]], *, is_log: bool) -> Effect:
    num_seeds = min(map(len, seeds))
    spread = float(effects_R.std())
    # Rounding errors of arms that never vary are not uncertainty.
    error = 0.0 if spread < 1e-9 else spread * math.sqrt(num_seeds / (num_seeds - 1))
    return Effect(0.0 if abs(estimate) < 1e-12 else estimate, error, num_seeds, is_log)
