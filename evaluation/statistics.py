"""Intervals of success rates, tests of two policies on shared seeds, Holm's correction, and the power of a sample size.

A rate is k successes out of n episodes, never a bare percentage. training_seeds.py handles several training seeds.
A leaf module (only NumPy and SciPy), so that training and outside code may import it. Importing scipy.stats takes as
long as NumPy and the simulator together, so what needs it does so itself: every process of an evaluation reads rates.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from scipy.special import ndtri

CONFIDENCE = 0.95
SIGNIFICANCE = 0.05
POWER = 0.8


def wilson_interval(k: int, n: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Wilson score interval of a success rate.

    Args:
        k: Number of successes.
        n: Number of trials, at least 1.
        confidence: Two-sided confidence level in (0, 1).

    Returns:
        Lower and upper end, both in [0, 1].

    Raises:
        ValueError: If n < 1, k is outside 0..n, or the level is outside (0, 1).

    Source: E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22, 1927.
    """
    if n < 1 or not 0 <= k <= n:
        raise ValueError(f"expected 0 <= k <= n and n >= 1, got k={k}, n={n}; pass counts of episodes")
    if not 0 < confidence < 1:
        raise ValueError(f"expected a confidence level in (0, 1), got {confidence}")
    rate, quantile = k / n, float(ndtri(0.5 + 0.5 * confidence))
    denominator = 2 * (n + quantile**2)
    centre = (2 * n * rate + quantile**2) / denominator
    half_width = quantile / denominator * math.sqrt(4 * n * rate * (1 - rate) + quantile**2)
    return 0.0 if k == 0 else centre - half_width, 1.0 if k == n else centre + half_width


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment: rejecting where the result is <= alpha keeps the family-wise error at alpha.

    Args:
        p_values: One for each hypothesis, in [0, 1].

    Returns:
        Adjusted p-values in the same order, each at least its original and at most 1.

    Raises:
        ValueError: If a value is outside [0, 1].

    Source: S. Holm, "A simple sequentially rejective multiple test procedure", Scand. J. Statistics 6, 1979.
    """
    if any(not 0 <= p_value <= 1 for p_value in p_values):
        raise ValueError(f"expected p-values in [0, 1], got {list(p_values)}")
    adjusted, largest = [0.0] * len(p_values), 0.0
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def exact_mcnemar(first: Mapping[int, bool], second: Mapping[int, bool]) -> tuple[float, int]:
    """Exact two-sided McNemar test of two policies on the seeds that both were run on.

    Args:
        first: Success by seed.
        second: Success by seed.

    Returns:
        The p-value (1 if no shared seed tells the two apart) and the number of shared seeds.

    Source: Q. McNemar, "Note on the sampling error of the difference between correlated proportions",
        Psychometrika 12, 1947; exact form: binomial test on the discordant pairs.
    """
    from scipy.stats import binomtest

    shared = first.keys() & second.keys()
    first_only = sum(first[seed] and not second[seed] for seed in shared)
    discordant = sum(first[seed] != second[seed] for seed in shared)
    if discordant == 0:
        return 1.0, len(shared)
    return float(binomtest(first_only, discordant, 0.5).pvalue), len(shared)


def paired_difference(only_first: int, only_second: int, n: int, confidence: float = CONFIDENCE) -> tuple[float, ...]:
    """Difference of two success rates on the same seeds, with its interval.

    Args:
        only_first: Seeds on which only the first policy succeeds.
        only_second: Seeds on which only the second does.
        n: All shared seeds, at least 1.
        confidence: Two-sided confidence level in (0, 1).

    Returns:
        The first rate less the second, and the ends of Wald's interval after half a seed was added to each of the four
        cells; both in [-1, 1].

    Raises:
        ValueError: If the counts are negative or exceed n, or the level is outside (0, 1).

    Source: A. Agresti, Y. Min, "Simple improved confidence intervals for comparing matched proportions", Statistics in
        Medicine 24, 2005.
    """
    if min(only_first, only_second) < 0 or only_first + only_second > n or n < 1 or not 0 < confidence < 1:
        raise ValueError(
            f"expected counts of at most n >= 1 seeds, got {only_first}, {only_second}, n={n}, {confidence}"
        )
    total, first, second = n + 2, only_first + 0.5, only_second + 0.5
    centre = (first - second) / total
    half_width = (
        float(ndtri(0.5 + 0.5 * confidence)) * math.sqrt(first + second - (first - second) ** 2 / total) / total
    )
    return (only_first - only_second) / n, max(centre - half_width, -1.0), min(centre + half_width, 1.0)


def mcnemar_power(first: float, second: float, num_seeds: int, significance: float = SIGNIFICANCE) -> float:
    """Probability that the exact McNemar test tells two policies apart.

    Outcomes on the same seed are assumed to be independent. If the same seeds are hard for both policies, fewer pairs
    are discordant at the same difference, and the power is higher.

    Args:
        first: Success rate of one policy.
        second: Success rate of the other.
        num_seeds: Shared seeds.
        significance: Two-sided level of the test.

    Returns:
        The power, summed over every number of discordant pairs.
    """
    from scipy.stats import binom

    first_only, second_only = first * (1 - second), second * (1 - first)
    share = first_only + second_only
    if share == 0.0:
        return 0.0
    discordant = np.arange(num_seeds + 1)
    # Rejected if the smaller count is at most this; -1 if even 0 is not rare enough.
    most = binom.ppf(significance / 2, discordant, 0.5)
    most = np.where(binom.cdf(most, discordant, 0.5) <= significance / 2, most, most - 1)
    odds = first_only / share
    rejected = binom.cdf(most, discordant, odds) + binom.sf(discordant - most - 1, discordant, odds)
    return float(binom.pmf(discordant, num_seeds, share) @ np.where(most < 0, 0.0, rejected))


def minimum_detectable_drop(
    rate: float, num_seeds: int, power: float = POWER, significance: float = SIGNIFICANCE
) -> float | None:
    """How far below a rate another policy must be for the exact McNemar test to detect it with a given power.

    Args:
        rate: Success rate of the better policy.
        num_seeds: Shared seeds.
        power: Required probability of detecting the difference.
        significance: Two-sided level of the test.

    Returns:
        The smallest such difference of rates (for the assumption see :func:`mcnemar_power`); None if not even a policy
        that never succeeds would be detected.

    Raises:
        ValueError: If the rate is outside [0, 1], power or level is outside (0, 1), or there is no seed.
    """
    from scipy.optimize import brentq

    if not (0 <= rate <= 1 and num_seeds >= 1 and 0 < power < 1 and 0 < significance < 1):
        raise ValueError(
            f"expected rate in [0, 1], num_seeds >= 1, power and significance in (0, 1), "
            f"got {rate}, {num_seeds}, {power}, {significance}"
        )
    if mcnemar_power(rate, 0.0, num_seeds, significance) < power:
        return None
    return float(brentq(lambda drop: mcnemar_power(rate, rate - drop, num_seeds, significance) - power, 0.0, rate))
