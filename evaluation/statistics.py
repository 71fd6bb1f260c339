"""Intervals for success rates: k successes out of n episodes, never a bare percentage.

A leaf module (SciPy alone), so that training and outside code may import it.
"""

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
