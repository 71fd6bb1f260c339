"""The second round's effects and their uncertainty: paired log areas, the Hodges-Lehmann estimate, two looks.

Each seed gives one value of a contrast, a weighted sum of logarithms of areas under 1 - R^2 (weights 1 and -1 for the
ratio of two arms), because a seed fixes the data of all its arms. The estimate is the median of all pairwise means of
these values (J. L. Hodges and E. L. Lehmann, "Estimates of location based on rank tests", Ann. Math. Stat. 34, 1963);
the interval holds every centre that the exact signed-rank test does not reject (M. Hollander, D. A. Wolfe and E.
Chicken, "Nonparametric Statistical Methods", 2014, section 3.3). ``studies.claims.coverage`` simulates its coverage.

Shape suffixes: S seeds, W pairwise means, R samples.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A contrast's estimate on the log scale, and the values that its intervals are computed from.

    Attributes:
        walsh_W: Pairwise means of the seeds' values, sorted.
        num_seeds: Number of seeds.
    """

    walsh_W: Array
    num_seeds: int

    @property
    def log_ratio(self) -> float:
        """Median of the pairwise means."""
        return float(np.median(self.walsh_W))

    @property
    def ratio(self) -> float:
        """The effect as a ratio."""
        return math.exp(self.log_ratio)

    def interval(self, confidence: float) -> tuple[float, float]:
        """The ratio's two-sided interval; 0 to infinity where so few seeds cannot give this confidence."""
        skipped = skipped_means(self.num_seeds, confidence)
        if skipped is None:
            return 0.0, math.inf
        return math.exp(self.walsh_W[skipped]), math.exp(self.walsh_W[len(self.walsh_W) - 1 - skipped])


def estimate(values_S: Sequence[float] | Array) -> Estimate:
    """Hodges and Lehmann's estimate of the centre of one value per seed.

    Raises:
        ValueError: If there are fewer than two values.
    """
    values_S = np.asarray(values_S, dtype=np.float64)
    if values_S.ndim != 1 or len(values_S) < 2:
        raise ValueError(f"expected one value for each of two or more seeds, got shape {values_S.shape}")
    return Estimate(walsh_means(values_S[None])[0], len(values_S))


def walsh_means(values_RS: Array) -> Array:
    """All means of two values, each with itself as well, sorted: (R, S (S + 1) / 2)."""
    first, second = np.triu_indices(values_RS.shape[1])
    return np.sort((values_RS[:, first] + values_RS[:, second]) / 2, axis=1)


@functools.cache
def skipped_means(num_seeds: int, confidence: float) -> int | None:
    """How many pairwise means lie outside the interval on each side; None where no interval has this confidence."""
    survival = _signed_rank_cdf(num_seeds)
    allowed = (1 - confidence) / 2 + 1e-12
    if survival[0] > allowed:
        return None
    return int(np.searchsorted(survival, allowed, side="right")) - 1


@functools.cache
def _signed_rank_cdf(num_seeds: int) -> Array:
    """P(T <= t) of Wilcoxon's signed-rank statistic without effect, t from 0 to S (S + 1) / 2."""
    counts = np.ones(1)
    for rank in range(1, num_seeds + 1):
        longer = np.zeros(len(counts) + rank)
        longer[: len(counts)] += counts
        longer[rank:] += counts
        counts = longer / 2
    return np.cumsum(counts)


def paired_values(areas: Mapping[str, Mapping[int, float]], terms: Mapping[str, float]) -> dict[int, float]:
    """A contrast's value for every seed that all of its arms have run.

    Args:
        areas: Of each arm, by seed.
        terms: The contrast's arms with their weights.

    Returns:
        By seed: the weighted sum of the areas' logarithms.
    """
    shared = set.intersection(*(set(areas[arm]) for arm in terms))
    return {seed: sum(weight * math.log(areas[arm][seed]) for arm, weight in terms.items()) for seed in sorted(shared)}


@dataclass(frozen=True)
class Look:
    """One look at the data.

    Attributes:
        num_seeds: Seeds that it sees.
        boundary: |Z| above which a two-sided test rejects at this look.
        confidence: Of the two-sided interval that goes with it, 1 - 2 (1 - Phi(boundary)).
    """

    num_seeds: int
    boundary: float
    confidence: float


def o_brien_fleming(num_seeds: Sequence[int], alpha: float) -> tuple[Look, ...]:
    """Two looks at the data with boundaries C / sqrt(share of the seeds), which together reject with probability alpha.

    Args:
        num_seeds: Seeds at each of the looks; one or two looks.
        alpha: Two-sided level of all looks together.

    Source: P. C. O'Brien and T. R. Fleming, "A multiple testing procedure for clinical trials", Biometrics 35, 1979.

    Raises:
        ValueError: For more than two looks.
    """
    shares = [count / num_seeds[-1] for count in num_seeds]
    if len(shares) == 1:
        constant = float(stats.norm.isf(alpha / 2))
    elif len(shares) == 2:
        correlation = math.sqrt(shares[0])
        joint = stats.multivariate_normal(cov=[[1, correlation], [correlation, 1]])

        def excess(c: float) -> float:
            first, last = c / correlation, c
            kept = joint.cdf([first, last], lower_limit=[-first, -last])
            return float(1 - kept - alpha)

        constant = float(optimize.brentq(excess, 0.1, 10.0, xtol=1e-6))
    else:
        raise ValueError(f"expected one or two looks, got {len(shares)}")
    boundaries = [round(constant / math.sqrt(share), 4) for share in shares]
    return tuple(
        Look(count, boundary, round(1 - 2 * float(stats.norm.sf(boundary)), 9))
        for count, boundary in zip(num_seeds, boundaries, strict=True)
    )
