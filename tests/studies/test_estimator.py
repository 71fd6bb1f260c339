"""Hodges and Lehmann's estimate, the signed-rank interval and the boundaries of two looks, against SciPy's own."""

import math

import numpy as np
import pytest
from scipy import stats

from studies.claims.coverage import coverage_table
from studies.claims.estimator import estimate, o_brien_fleming, paired_values, skipped_means


@pytest.mark.parametrize("num_seeds", [5, 10, 17, 30])
@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
def test_interval_is_what_the_signed_rank_test_does_not_reject(num_seeds: int, confidence: float) -> None:
    values = np.random.default_rng(num_seeds).normal(0.3, 1.0, num_seeds)
    found = estimate(values)
    skipped = skipped_means(num_seeds, confidence)
    if skipped is None:
        assert found.interval(confidence) == (0.0, math.inf)
        return
    low, high = np.log(found.interval(confidence))

    def p_value(centre: float) -> float:
        return float(stats.wilcoxon(values - centre, mode="exact").pvalue)

    step = 1e-9
    assert p_value(low + step) > 1 - confidence >= p_value(low - step)
    assert p_value(high - step) > 1 - confidence >= p_value(high + step)


def test_estimate_is_the_median_of_pairwise_means() -> None:
    values = [0.0, 1.0, 5.0]
    means = [(a + b) / 2 for i, a in enumerate(values) for b in values[i:]]
    assert estimate(values).log_ratio == pytest.approx(np.median(means))


def test_one_value_is_refused() -> None:
    with pytest.raises(ValueError, match="two or more seeds"):
        estimate([1.0])


def test_values_are_paired_by_seed() -> None:
    areas = {"slow": {1: 20.0, 2: 10.0, 3: 7.0}, "fast": {2: 5.0, 1: 10.0, 4: 1.0}}
    values = paired_values(areas, {"slow": 1.0, "fast": -1.0})
    assert values == {1: pytest.approx(math.log(2)), 2: pytest.approx(math.log(2))}


def test_both_looks_together_reject_as_often_as_alpha_says() -> None:
    alpha = 0.05
    first, last = o_brien_fleming((10, 30), alpha)
    z = np.random.default_rng(0).standard_normal((400_000, 3))
    totals = np.cumsum(z, axis=1) / np.sqrt([1, 2, 3])
    rejected = (np.abs(totals[:, 0]) > first.boundary) | (np.abs(totals[:, 2]) > last.boundary)
    assert rejected.mean() == pytest.approx(alpha, abs=0.001)
    assert first.boundary / last.boundary == pytest.approx(math.sqrt(3), rel=1e-4)


def test_one_look_is_the_plain_two_sided_test() -> None:
    (only,) = o_brien_fleming((10,), 0.05)
    assert only.boundary == pytest.approx(1.96, abs=0.001)
    assert only.confidence == pytest.approx(0.95, abs=1e-5)


def test_three_looks_are_refused() -> None:
    with pytest.raises(ValueError, match="one or two looks"):
        o_brien_fleming((10, 20, 30), 0.05)


def test_simulated_coverage_is_the_nominal_one_and_the_bootstrap_falls_short() -> None:
    rows = coverage_table((0.95,), num_samples=1_500, num_truth=200_000)
    assert min(row["signed_rank"] for row in rows) > 0.92
    assert min(row["bootstrap"] for row in rows) < 0.92
