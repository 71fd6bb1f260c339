"""Intervals for success rates (k successes out of n episodes, never a bare percentage), and Holm's correction.

A leaf module (SciPy alone), so that training and outside code may import it.
"""

from collections.abc import Sequence

from scipy.stats import binomtest

CONFIDENCE = 0.95


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
    interval = binomtest(k, n).proportion_ci(confidence_level=confidence, method="wilson")
    return float(interval.low), float(interval.high)


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
