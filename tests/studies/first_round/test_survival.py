"""Escape-time statistics against SciPy's product-limit estimate, a plain bootstrap and simulated suites."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import CensoredData, ecdf

from studies.first_round import survival
from studies.first_round.survival import (
    Effect,
    EscapeTimes,
    log_ratio,
    mean_difference,
    restricted_mean,
)


def runs(times: list[float], escaped: list[bool] | None = None, first_seed: int = 0) -> EscapeTimes:
    seeds = range(first_seed, first_seed + len(times))
    return EscapeTimes(tuple(seeds), tuple(times), tuple(escaped or [True] * len(times)))


# Whole numbers, so that ties occur.
some_runs = st.lists(st.tuples(st.integers(1, 30), st.booleans()), min_size=2, max_size=12).map(
    lambda rows: runs([float(time) for time, _ in rows], [flag for _, flag in rows])
)


def ratio_interval(slow: EscapeTimes, fast: EscapeTimes, tau: float) -> tuple[float, float, float]:
    effect = log_ratio((slow, fast), (1.0, -1.0), tau)
    return effect.value, *effect.interval(0.95)


def scipy_survival(sample: EscapeTimes) -> Callable[[float], float]:
    times, escaped = np.array(sample.times), np.array(sample.escaped)
    return ecdf(CensoredData(uncensored=times[escaped], right=times[~escaped])).sf.evaluate


@given(some_runs, st.integers(2, 40))
def test_the_restricted_mean_is_the_area_under_scipy_s_curve(sample: EscapeTimes, tau: int) -> None:
    reference = scipy_survival(sample)
    area = sum(float(reference(start)) for start in range(tau))
    assert restricted_mean(sample, tau) == pytest.approx(max(area, 1.0))


@given(some_runs, st.integers(0, 2**32), st.integers(2, 40))
def test_weights_are_repeated_runs(sample: EscapeTimes, draw: int, tau: int) -> None:
    weights_S = np.random.default_rng(draw).multinomial(len(sample.seeds), [1 / len(sample.seeds)] * len(sample.seeds))
    repeated = runs(
        list(np.repeat(sample.times, weights_S)), [bool(flag) for flag in np.repeat(sample.escaped, weights_S)]
    )
    (weighted,) = survival._restricted_means(sample, weights_S[None].astype(float), tau)
    assert weighted == pytest.approx(restricted_mean(repeated, tau))


def test_with_every_run_censored_at_tau_it_is_the_mean_of_the_cut_times() -> None:
    sample = runs([100.0, 400.0, 1000.0, 1000.0], [True, True, False, False])
    assert restricted_mean(sample, 1000) == pytest.approx(625)
    assert restricted_mean(sample, 200) == pytest.approx(175)


def test_an_escape_at_step_0_keeps_ratios_finite() -> None:
    assert ratio_interval(runs([0.0, 0.0]), runs([50.0, 50.0]), 100)[0] == pytest.approx(1 / 50)


def test_arms_that_never_escape_have_ratio_1_and_no_width() -> None:
    stuck = runs([1000.0] * 10, [False] * 10)
    assert ratio_interval(stuck, stuck, 1000) == (1.0, 1.0, 1.0)


def test_seeds_that_go_up_and_down_together_leave_no_width() -> None:
    times = [100.0, 230.0, 310.0, 470.0, 90.0]
    slow, fast = runs([3 * time for time in times]), runs(times)
    assert ratio_interval(slow, fast, 10_000) == pytest.approx((3, 3, 3))
    shuffled = EscapeTimes(fast.seeds[::-1], fast.times[::-1], fast.escaped)
    assert ratio_interval(slow, shuffled, 10_000) == pytest.approx((3, 3, 3))


def test_other_seeds_are_drawn_on_their_own() -> None:
    times = [100.0, 230.0, 310.0, 470.0, 90.0]
    one = log_ratio([runs(times)], [1.0], 10_000)
    both = log_ratio([runs(times), runs(times, first_seed=50)], [1.0, -1.0], 10_000)
    assert both.standard_error == pytest.approx(math.sqrt(2) * one.standard_error, rel=0.03)


def test_the_standard_error_is_a_plain_bootstrap_s() -> None:
    generator = np.random.default_rng(3)
    slow, fast = generator.lognormal(7, 0.6, 10), generator.lognormal(6.5, 0.4, 10)
    effect = log_ratio([runs(list(slow)), runs(list(fast))], [1.0, -1.0], 1500)
    indices = generator.integers(0, 10, (4000, 10))
    ratios = [np.minimum(slow[index], 1500).mean() / np.minimum(fast[index], 1500).mean() for index in indices]
    assert effect.standard_error == pytest.approx(np.std(np.log(ratios)) * math.sqrt(10 / 9), rel=0.05)
    assert effect.value == pytest.approx(np.minimum(slow, 1500).mean() / np.minimum(fast, 1500).mean())


def test_the_difference_of_means_has_the_paired_t_interval() -> None:
    generator = np.random.default_rng(4)
    first, second = generator.normal(0.6, 0.1, 10), generator.normal(0.4, 0.1, 10)
    effect = mean_difference(list(first), list(second), range(10), range(10))
    from scipy.stats import ttest_rel

    interval = ttest_rel(first, second).confidence_interval(0.95)
    assert effect.interval(0.95) == pytest.approx((interval.low, interval.high), abs=0.004)
    assert effect.p_value(0.5) == pytest.approx(ttest_rel(first - 0.5, second).pvalue, rel=0.1)


@given(st.floats(-2, 2), st.floats(0.01, 2), st.integers(2, 30), st.floats(0.2, 5), st.booleans())
def test_the_p_value_is_where_the_interval_just_reaches(
    estimate: float, error: float, num_seeds: int, value: float, is_log: bool
) -> None:
    effect = Effect(estimate, error, num_seeds, is_log)
    p_value = effect.p_value(value)
    low, high = effect.interval(1 - p_value)
    assert min(abs(low - value), abs(high - value)) == pytest.approx(0, abs=1e-6 * value) or p_value < 1e-9


def test_the_same_runs_give_the_same_interval() -> None:
    slow, fast = runs([900.0, 400.0, 800.0]), runs([90.0, 110.0, 70.0])
    assert ratio_interval(slow, fast, 1000) == ratio_interval(slow, fast, 1000)


@pytest.mark.parametrize(
    ("seeds", "times", "escaped"),
    [((1,), (5.0,), (True,)), ((1, 1), (5.0, 6.0), (True, True)), ((1, 2), (5.0,), (True, True))],
)
def test_impossible_runs_are_refused(
    seeds: tuple[int, ...], times: tuple[float, ...], escaped: tuple[bool, ...]
) -> None:
    with pytest.raises(ValueError, match="expected"):
        EscapeTimes(seeds, times, escaped)


HORIZON = 10_000
# Logarithms of the median escape steps, their spread, the correlation within a seed.
SCENARIOS = [((8.0, 7.0), 0.5, 0.0), ((9.0, 7.5), 0.5, 0.7), ((9.2, 9.2), 0.6, 0.5), ((10.0, 8.0), 0.8, 0.3)]


def simulated(
    generator: np.random.Generator, medians: tuple[float, float], spread: float, correlation: float, num_seeds: int
) -> np.ndarray:
    shared_S1, own_S2 = generator.normal(size=(num_seeds, 1)), generator.normal(size=(num_seeds, 2))
    noise_S2 = math.sqrt(correlation) * shared_S1 + math.sqrt(1 - correlation) * own_S2
    return np.minimum(np.exp(np.array(medians) + spread * noise_S2), HORIZON)


def percentile_interval(times_S2: np.ndarray, generator: np.random.Generator) -> tuple[float, float]:
    means = times_S2[generator.integers(0, len(times_S2), (400, len(times_S2)))].mean(1)
    low, high = np.quantile(means[:, 0] / means[:, 1], (0.025, 0.975))
    return float(low), float(high)


@pytest.mark.parametrize(("medians", "spread", "correlation"), SCENARIOS)
def test_ten_seeds_cover_the_true_ratio(
    medians: tuple[float, float], spread: float, correlation: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """About 95 of 100 suites, whatever is censored or correlated; the bootstrap's percentiles do not."""
    monkeypatch.setattr(survival, "NUM_DRAWS", 400)
    generator = np.random.default_rng(11)
    slow_mean, fast_mean = simulated(generator, medians, spread, correlation, 200_000).mean(0)
    truth, num_suites, covered, percentile_covered = slow_mean / fast_mean, 500, 0, 0
    for _ in range(num_suites):
        times_S2 = simulated(generator, medians, spread, correlation, 10)
        slow, fast = (runs(list(times), list(times < HORIZON)) for times in times_S2.T)
        _, low, high = ratio_interval(slow, fast, HORIZON)
        covered += low <= truth <= high
        low, high = percentile_interval(times_S2, generator)
        percentile_covered += low <= truth <= high
    assert covered / num_suites >= 0.92
    assert percentile_covered / num_suites <= 0.92
    assert percentile_covered < covered


def test_drawing_seeds_together_is_narrower_where_they_correlate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(survival, "NUM_DRAWS", 2000)
    generator = np.random.default_rng(5)
    times_S2 = simulated(generator, (8.0, 7.0), 0.5, 0.8, 10)
    slow, fast = (runs(list(times)) for times in times_S2.T)
    elsewhere = runs(list(times_S2[:, 1]), first_seed=50)
    together = log_ratio([slow, fast], [1.0, -1.0], HORIZON)
    apart = log_ratio([slow, elsewhere], [1.0, -1.0], HORIZON)
    assert together.standard_error < 0.75 * apart.standard_error
