"""Success over several training seeds: pooled rate with a hierarchical interval, differences, aggregates over tasks.

The training seeds of one recipe are run on the same test seeds, so outcomes form a table: training seeds by test seeds.
Both are samples, and an interval for the recipe must account for both. The hierarchical bootstrap draws training seeds
with replacement, then test seeds. These are the same for all drawn training seeds, because a hard episode is hard for
all of them (A. B. Owen, "The pigeonhole bootstrap", Annals of Applied Statistics 1, 2007: its variance is never too
small on average).

With only three training seeds, percentiles of the draws would be too narrow by the factor sqrt((S - 1) / S) and have
normal tails. So the draws only give the variance, with the part of the training seeds multiplied by S / (S - 1). Its
degrees of freedom are Satterthwaite's. The interval has Wilson's form for the number of independent episodes with the
same variance, with Student's quantile, so that it stays in [0, 1] (N. Dean and M. Pagano, "Evaluating confidence
interval methods for binomial proportions in clustered surveys", J. Survey Statistics and Methodology 3, 2015).
tests/leaderboard/test_training_seeds.py simulates its coverage.

A leaf module (only NumPy and SciPy), so that training and outside code may import it. Like statistics.py, it imports
scipy.stats where that is needed.

Shape suffixes: S training seeds, E test seeds, R bootstrap draws, T tasks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

NUM_DRAWS = 4000
BOOTSTRAP_SEED = 20_240_811
TRIMMED_SHARE = 0.25  # of each end, for the interquartile mean
# A smaller variance is a rounding error of outcomes that never vary.
_NO_VARIANCE = 1e-15


def outcome_table(runs: Sequence[Mapping[int, bool]], test_seeds: Sequence[int] | None = None) -> Array:
    """Outcomes as a table (S, E), NaN if a training seed was not run on a test seed.

    Args:
        runs: For each training seed, success by test seed.
        test_seeds: The columns; by default every test seed of any run, in order.
    """
    columns = sorted(set().union(*runs)) if test_seeds is None else test_seeds
    return np.array([[float(run[seed]) if seed in run else math.nan for seed in columns] for run in runs])


def hierarchical_bootstrap(
    tables: Sequence[Array], num_draws: int = NUM_DRAWS, draw_training: bool = True, draw_test: bool = True
) -> list[Array]:
    """Pooled success rates of resampled tables: training seeds are drawn with replacement, then test seeds.

    Args:
        tables: For each recipe outcomes (S, E): 1 for success, 0 for failure, NaN if not run. Columns are the same test
            seeds in every table and are drawn together; training seeds are drawn separately for each table.
        num_draws: Number of draws.
        draw_training: Whether to draw training seeds or keep them as they are.
        draw_test: Whether to draw test seeds or keep them.

    Returns:
        Rates (R,) for each table; NaN if a draw contains no episode.
    """
    generator = np.random.default_rng(BOOTSTRAP_SEED)
    weights_RE = _counts(generator, num_draws, tables[0].shape[1], draw_test)
    drawn = []
    for outcomes_SE in tables:
        weights_RS = _counts(generator, num_draws, len(outcomes_SE), draw_training)
        was_run_SE = np.isfinite(outcomes_SE)
        successes_R = ((weights_RS @ np.where(was_run_SE, outcomes_SE, 0.0)) * weights_RE).sum(axis=1)
        episodes_R = ((weights_RS @ was_run_SE.astype(np.float64)) * weights_RE).sum(axis=1)
        drawn.append(np.divide(successes_R, episodes_R, out=np.full(num_draws, np.nan), where=episodes_R > 0))
    return drawn


def _counts(generator: np.random.Generator, num_draws: int, size: int, is_drawn: bool) -> Array:
    """How often each of ``size`` seeds is in each draw: (R, size)."""
    if not is_drawn:
        return np.ones((num_draws, size))
    return generator.multinomial(size, [1 / size] * size, size=num_draws).astype(np.float64)


@dataclass(frozen=True)
class Spread:
    """Variance of an estimate over training seeds and test seeds, with Satterthwaite's degrees of freedom."""

    variance: float
    degrees_of_freedom: float

    def quantile(self, confidence: float) -> float:
        """Two-sided quantile of Student's distribution; the normal's if the degrees are infinite."""
        from scipy.stats import norm
        from scipy.stats import t as student_t

        tail = (1 - confidence) / 2
        is_normal = math.isinf(self.degrees_of_freedom)
        return float(norm.isf(tail) if is_normal else student_t.isf(tail, self.degrees_of_freedom))


def _spread(tables: Sequence[Array], signs: Sequence[int], num_draws: int) -> Spread:
    """Variance of the signed sum of the tables' pooled rates."""

    def drawn_sum(draw_test: bool, tables: Sequence[Array], signs: Sequence[int]) -> float:
        drawn = hierarchical_bootstrap(tables, num_draws, draw_test=draw_test)
        return float(np.nanvar(sum(sign * rates_R for sign, rates_R in zip(signs, drawn, strict=True))))

    of_training = [
        drawn_sum(False, [table], [1]) * len(table) / (len(table) - 1) if len(table) > 1 else 0.0 for table in tables
    ]
    missing = sum(part / len(table) for part, table in zip(of_training, tables, strict=True))
    variance = drawn_sum(True, tables, signs) + missing
    if variance < _NO_VARIANCE:
        return Spread(0.0, math.inf)
    of_test = max(variance - sum(of_training), 0.0)
    weighed = sum(part**2 / max(len(table) - 1, 1) for part, table in zip(of_training, tables, strict=True))
    weighed += of_test**2 / max(tables[0].shape[1] - 1, 1)
    return Spread(variance, variance**2 / weighed)


def pooled_interval(
    outcomes_SE: Array, confidence: float = 0.95, num_draws: int = NUM_DRAWS
) -> tuple[float, float, float]:
    """Success rate of a recipe over training seeds and test seeds, with its hierarchical interval.

    Args:
        outcomes_SE: 1 for success, 0 for failure, NaN where not run. With a single training seed, the interval is
            Wilson's and holds for that training seed alone.
        confidence: Two-sided confidence level in (0, 1).
        num_draws: Draws of the bootstrap.

    Returns:
        Rate (all successes over all episodes), and the two ends of its interval.

    Raises:
        ValueError: If no episode was run.
    """
    num_episodes = int(np.isfinite(outcomes_SE).sum())
    if num_episodes == 0:
        raise ValueError(f"expected at least one episode, got a table of {outcomes_SE.shape} without any")
    rate = float(np.nansum(outcomes_SE)) / num_episodes
    spread, effective = Spread(0.0, math.inf), float(num_episodes)
    if len(outcomes_SE) > 1:
        spread = _spread([outcomes_SE], [1], num_draws)
        # Outcomes that never vary say nothing about correlation: assume that every training seed repeats the first.
        alike = float(np.isfinite(outcomes_SE).any(axis=0).sum())
        effective = min(rate * (1 - rate) / spread.variance, num_episodes) if spread.variance else alike
    squared = spread.quantile(confidence) ** 2 / effective
    centre = (rate + squared / 2) / (1 + squared)
    half = math.sqrt(squared * rate * (1 - rate) + squared**2 / 4) / (1 + squared)
    # At 0 or 1, the rate is an end of the interval, except for rounding.
    return rate, min(max(centre - half, 0.0), rate), max(min(centre + half, 1.0), rate)


def p_of_difference(first_SE: Array, second_SE: Array, num_draws: int = NUM_DRAWS) -> float:
    """Two-sided p-value against two recipes having the same success rate, over training seeds and shared test seeds.

    Args:
        first_SE: Outcomes of one recipe, for two or more training seeds.
        second_SE: Outcomes of the other, for two or more training seeds; the same columns.
        num_draws: Draws of the bootstrap.

    Raises:
        ValueError: If a recipe has only one training seed (use statistics.exact_mcnemar), or columns differ.
    """
    from scipy.stats import t as student_t

    if min(len(first_SE), len(second_SE)) < 2 or first_SE.shape[1] != second_SE.shape[1]:
        raise ValueError(
            "expected two or more training seeds of each recipe on the same test seeds, "
            f"got {first_SE.shape} and {second_SE.shape}"
        )
    difference = float(np.nanmean(first_SE) - np.nanmean(second_SE))
    spread = _spread([first_SE, second_SE], [1, -1], num_draws)
    if abs(difference) < _NO_VARIANCE:
        return 1.0
    if spread.variance == 0.0:
        # The same difference on every test seed: a sign test over them.
        return 2.0 ** (1 - first_SE.shape[1])
    return float(2 * student_t.sf(abs(difference) / math.sqrt(spread.variance), spread.degrees_of_freedom))


def interquartile_mean(scores: Array) -> float:
    """Mean of the middle half of all scores, training seeds of every task together.

    Args:
        scores: Any shape; a quarter of the values (rounded down) is left out at each end.

    Source: R. Agarwal et al., "Deep Reinforcement Learning at the Edge of the Statistical Precipice", NeurIPS 2021,
        arXiv:2108.13264.
    """
    from scipy.stats import trim_mean

    return float(trim_mean(scores, TRIMMED_SHARE, axis=None))


def interquartile_interval(
    scores: Sequence[Array], confidence: float = 0.95, num_draws: int = NUM_DRAWS
) -> tuple[float, float]:
    """Stratified bootstrap interval of the interquartile mean: training seeds are drawn within each task.

    Args:
        scores: For each task, the success rate of each training seed (S,).
        confidence: Two-sided confidence level in (0, 1).
        num_draws: Draws of the bootstrap.

    Returns:
        Percentiles of the draws, as in the source of :func:`interquartile_mean`.
    """
    from scipy.stats import trim_mean

    generator = np.random.default_rng(BOOTSTRAP_SEED)
    drawn = [task[generator.integers(len(task), size=(num_draws, len(task)))] for task in scores]
    means_R = trim_mean(np.concatenate(drawn, axis=1), TRIMMED_SHARE, axis=1)
    low, high = np.quantile(means_R, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def probability_of_improvement(first: Sequence[Array], second: Sequence[Array]) -> float:
    """Probability that a training seed of one recipe does better than one of another, averaged over tasks.

    Args:
        first: For each task, the success rate of each training seed (S,).
        second: The same for the other recipe.

    Returns:
        A share in [0, 1], equal scores counted half: the Mann-Whitney statistic over the number of pairs.

    Raises:
        ValueError: If the numbers of tasks differ or are zero.

    Source: as for :func:`interquartile_mean`.
    """
    if len(first) != len(second) or not first:
        raise ValueError(f"expected the same tasks of both, got {len(first)} and {len(second)}")
    pairs = [np.subtract.outer(ours, theirs) for ours, theirs in zip(first, second, strict=True)]
    return float(np.mean([np.mean((gap > 0) + 0.5 * (gap == 0)) for gap in pairs]))
