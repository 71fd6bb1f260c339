"""Intervals and tests over training seeds: against closed forms, every possible draw, and their coverage simulated."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit
from scipy.stats import mannwhitneyu, norm

from smidgen.evaluation.statistics import wilson_interval
from smidgen.leaderboard.training_seeds import (
    hierarchical_bootstrap,
    interquartile_interval,
    interquartile_mean,
    outcome_table,
    p_of_difference,
    pooled_interval,
    probability_of_improvement,
)


def table(seed: int, num_training: int, num_test: int, rate: float = 0.7) -> np.ndarray:
    return (np.random.default_rng(seed).random((num_training, num_test)) < rate).astype(float)


def ideal_variance(outcomes_SE: np.ndarray) -> float:
    """Variance over infinitely many draws of both, from E[w_s w_t] = 1 - 1/S + [s = t] of multinomial counts."""
    num_training, num_test = outcomes_SE.shape
    mean, by_training, by_test = outcomes_SE.mean(), outcomes_SE.mean(axis=1), outcomes_SE.mean(axis=0)
    kept_training, kept_test = 1 - 1 / num_training, 1 - 1 / num_test
    second_moment = kept_training * kept_test * mean**2 + (outcomes_SE**2).mean() / outcomes_SE.size
    second_moment += kept_training * (by_test**2).mean() / num_test + kept_test * (by_training**2).mean() / num_training
    return second_moment - mean**2


@pytest.mark.parametrize("shape", [(2, 5), (3, 40), (5, 20)])
def test_the_draws_have_the_closed_form_s_variance(shape: tuple[int, int]) -> None:
    outcomes = table(0, *shape)
    (drawn,) = hierarchical_bootstrap([outcomes], num_draws=40_000)
    assert drawn.mean() == pytest.approx(outcomes.mean(), abs=0.01)
    assert drawn.var() == pytest.approx(ideal_variance(outcomes), rel=0.04)


def test_the_draws_have_the_distribution_of_every_possible_draw() -> None:
    outcomes = np.array([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]])
    exact = [
        outcomes[np.ix_(training, test)].mean()
        for training in itertools.product(range(2), repeat=2)
        for test in itertools.product(range(3), repeat=3)
    ]
    (drawn,) = hierarchical_bootstrap([outcomes], num_draws=40_000)
    for value in set(np.round(exact, 9)):
        expected = np.mean(np.isclose(exact, value))
        assert np.isclose(drawn, value).mean() == pytest.approx(expected, abs=0.01)


def test_training_seeds_alone_have_the_variance_of_a_mean_of_rates() -> None:
    outcomes = table(1, 4, 30)
    (drawn,) = hierarchical_bootstrap([outcomes], num_draws=40_000, draw_test=False)
    assert drawn.var() == pytest.approx(outcomes.mean(axis=1).var() / 4, rel=0.04)


def test_recipes_share_the_test_seeds_that_are_drawn() -> None:
    outcomes = np.tile([[1.0, 0.0, 0.0, 1.0]], (2, 1))
    first, second = hierarchical_bootstrap([outcomes, outcomes.copy()])
    assert np.array_equal(first, second)
    assert first.std() > 0


@given(st.integers(1, 300).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_with_one_training_seed_the_interval_is_wilson_s(counts: tuple[int, int]) -> None:
    k, n = counts
    rate, low, high = pooled_interval(np.array([[1.0] * k + [0.0] * (n - k)]))
    assert (rate, low, high) == pytest.approx((k / n, *wilson_interval(k, n)), abs=1e-9)


@given(st.integers(0, 10_000), st.integers(2, 4), st.integers(2, 30), st.floats(0, 1))
@settings(deadline=None, max_examples=60)
def test_the_interval_holds_the_rate_and_is_never_narrower_than_independent_episodes_give(
    seed: int, num_training: int, num_test: int, rate: float
) -> None:
    outcomes = table(seed, num_training, num_test, rate)
    pooled, low, high = pooled_interval(outcomes, num_draws=300)
    assert 0 <= low <= pooled <= high <= 1
    alone = wilson_interval(int(outcomes.sum()), outcomes.size)
    assert low <= alone[0] + 1e-9
    assert high >= alone[1] - 1e-9


def test_outcomes_that_never_vary_are_as_good_as_one_training_seed() -> None:
    assert pooled_interval(np.ones((3, 200))) == pytest.approx((1.0, *wilson_interval(200, 200)))


def simulated(
    generator: np.random.Generator, shift: float, over_training: float, over_test: float, shape: tuple[int, int]
) -> np.ndarray:
    """Outcomes whose log odds vary with the training seed and with the test seed."""
    log_odds = shift + over_training * generator.normal(size=(shape[0], 1))
    return (generator.random(shape) < expit(log_odds + over_test * generator.normal(size=(1, shape[1])))).astype(float)


def true_rate(shift: float, over_training: float, over_test: float) -> float:
    grid = norm.ppf((np.arange(2000) + 0.5) / 2000)
    return float(expit(shift + math.hypot(over_training, over_test) * grid).mean())


@pytest.mark.parametrize(
    ("shift", "over_training", "over_test"),
    [(1.0, 0.0, 0.0), (1.0, 0.0, 1.5), (2.5, 0.3, 1.0), (0.0, 1.0, 0.0), (2.0, 1.0, 1.5)],
)
def test_95_of_100_intervals_hold_the_recipe_s_rate(shift: float, over_training: float, over_test: float) -> None:
    generator = np.random.default_rng(7)
    truth = true_rate(shift, over_training, over_test)
    num_runs = 100
    intervals = [
        pooled_interval(simulated(generator, shift, over_training, over_test, (3, 60)), num_draws=250)
        for _ in range(num_runs)
    ]
    held = sum(low <= truth <= high for _, low, high in intervals)
    # Two standard errors of 100 simulations below 95 %.
    assert held / num_runs >= 0.95 - 2 * math.sqrt(0.95 * 0.05 / num_runs)


@pytest.mark.parametrize(("over_training", "over_test"), [(0.0, 1.0), (0.7, 1.0)])
def test_equal_recipes_are_told_apart_in_at_most_5_of_100_cases(over_training: float, over_test: float) -> None:
    generator = np.random.default_rng(8)
    num_runs, found = 100, 0
    for _ in range(num_runs):
        both = simulated(generator, 1.0, over_training, over_test, (6, 60))
        test_part = generator.permutation(6)
        found += p_of_difference(both[test_part[:3]], both[test_part[3:]], num_draws=250) <= 0.05
    assert found / num_runs <= 0.05 + 2 * math.sqrt(0.95 * 0.05 / num_runs)


def test_a_large_difference_is_found_and_none_is_not() -> None:
    good, bad = table(3, 3, 200, 0.9), table(4, 3, 200, 0.7)
    assert p_of_difference(good, bad) < 0.01
    assert p_of_difference(good, good) == 1.0
    assert p_of_difference(np.ones((3, 8)), np.zeros((3, 8))) == 2 * 0.5**8
    assert p_of_difference(good, bad) == pytest.approx(p_of_difference(bad, good), rel=0.3)


def test_one_training_seed_tells_nothing_of_others() -> None:
    with pytest.raises(ValueError, match="two or more training seeds"):
        p_of_difference(table(0, 1, 9), table(1, 3, 9))
    with pytest.raises(ValueError, match="at least one episode"):
        pooled_interval(np.full((2, 3), np.nan))


def test_seeds_that_were_not_run_are_left_out() -> None:
    outcomes = outcome_table([{5: True, 7: False}, {7: True}])
    assert np.array_equal(outcomes, [[1.0, 0.0], [np.nan, 1.0]], equal_nan=True)
    assert pooled_interval(outcomes)[0] == pytest.approx(2 / 3)
    assert outcome_table([{5: True}], [5, 6]).shape == (1, 2)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_the_interquartile_mean_is_that_of_the_sorted_middle(scores: list[float]) -> None:
    cut = len(scores) // 4
    middle = sorted(scores)[cut : len(scores) - cut]
    assert interquartile_mean(np.array(scores)) == pytest.approx(sum(middle) / len(middle))


def test_its_interval_draws_within_each_task() -> None:
    constant = [np.full(3, 0.2), np.full(3, 0.9)]
    assert interquartile_interval(constant) == (pytest.approx(0.55), pytest.approx(0.55))
    # One task, two seeds: four equally likely draws, of which one in four is each extreme.
    assert interquartile_interval([np.array([0.0, 1.0])], confidence=0.6) == (0.0, 1.0)
    low, high = interquartile_interval([np.array([0.0, 1.0])], confidence=0.4)
    assert low == high == 0.5


@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=6),
    st.lists(st.integers(0, 5), min_size=1, max_size=6),
)
def test_probability_of_improvement_is_mann_whitney_s(first: list[int], second: list[int]) -> None:
    ours, theirs = np.array(first) / 5, np.array(second) / 5
    expected = mannwhitneyu(ours, theirs).statistic / (len(ours) * len(theirs))
    assert probability_of_improvement([ours], [theirs]) == pytest.approx(expected)
    assert probability_of_improvement([ours, theirs], [theirs, ours]) == pytest.approx(0.5)


def test_improvement_is_asked_task_by_task() -> None:
    with pytest.raises(ValueError, match="the same tasks"):
        probability_of_improvement([np.ones(3)], [])
