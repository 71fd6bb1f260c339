import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, multinomial

from smidgen.evaluation.statistics import (
    exact_mcnemar,
    holm,
    mcnemar_power,
    minimum_detectable_drop,
    wilson_interval,
)


@given(st.integers(1, 2000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_agrees_with_the_closed_form(counts: tuple[int, int]) -> None:
    k, n = counts
    z = 1.959963984540054
    centre = (k + z**2 / 2) / (n + z**2)
    half_width = z / (n + z**2) * math.sqrt(k * (n - k) / n + z**2 / 4)
    low, high = wilson_interval(k, n)
    assert low == pytest.approx(centre - half_width, abs=1e-9)
    assert high == pytest.approx(centre + half_width, abs=1e-9)
    assert 0 <= low <= k / n <= high <= 1


@given(
    st.integers(1, 2000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))),
    st.floats(0.01, 0.999),
)
def test_wilson_is_scipys_to_the_bit(counts: tuple[int, int], confidence: float) -> None:
    interval = binomtest(*counts).proportion_ci(confidence_level=confidence, method="wilson")
    assert wilson_interval(*counts, confidence) == (interval.low, interval.high)


@pytest.mark.parametrize("confidence", [0.0, 1.0, 95.0, math.nan])
def test_impossible_levels_are_refused(confidence: float) -> None:
    with pytest.raises(ValueError, match=r"expected a confidence level in \(0, 1\)"):
        wilson_interval(1, 2, confidence)


def test_impossible_counts_are_refused() -> None:
    for k, n in ((0, 0), (-1, 5), (6, 5)):
        with pytest.raises(ValueError, match="expected 0 <= k <= n"):
            wilson_interval(k, n)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=7))
def test_holm_is_the_closed_test_over_bonferroni(p_values: list[float]) -> None:
    """Adjusted p: the largest Bonferroni p-value over every subset of hypotheses that holds this one."""
    subsets = [
        subset for size in range(1, len(p_values) + 1) for subset in itertools.combinations(range(len(p_values)), size)
    ]
    combined = {subset: min(1.0, len(subset) * min(p_values[index] for index in subset)) for subset in subsets}
    expected = [
        max(p_value for subset, p_value in combined.items() if index in subset) for index in range(len(p_values))
    ]
    assert holm(p_values) == pytest.approx(expected)


@pytest.mark.parametrize("p_value", [-0.1, 1.1, math.nan])
def test_holm_refuses_what_is_no_p_value(p_value: float) -> None:
    with pytest.raises(ValueError, match="expected p-values"):
        holm([0.5, p_value])


@given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=40), st.integers(0, 5))
def test_exact_mcnemar_is_the_two_sided_sign_test(pairs: list[tuple[bool, bool]], num_alone: int) -> None:
    first = dict(enumerate([pair[0] for pair in pairs])) | {100 + index: True for index in range(num_alone)}
    second = dict(enumerate([pair[1] for pair in pairs]))
    wins, losses = sum(a and not b for a, b in pairs), sum(b and not a for a, b in pairs)
    tail = sum(math.comb(wins + losses, count) for count in range(min(wins, losses) + 1))
    expected = min(1.0, 2 * tail / 2 ** (wins + losses))
    assert exact_mcnemar(first, second) == (pytest.approx(expected), len(pairs))
    assert exact_mcnemar(second, first) == exact_mcnemar(first, second)


def power_by_enumeration(first: float, second: float, num_seeds: int, significance: float) -> float:
    """Every table of outcomes, its probability, and the test's own p-value."""
    shares = [first * (1 - second), second * (1 - first)]
    shares.append(1 - sum(shares))
    power = 0.0
    for wins in range(num_seeds + 1):
        for losses in range(num_seeds + 1 - wins):
            p_value = binomtest(wins, wins + losses).pvalue if wins + losses else 1.0
            counts = [wins, losses, num_seeds - wins - losses]
            power += multinomial.pmf(counts, num_seeds, shares) * (p_value <= significance)
    return power


@pytest.mark.parametrize(
    ("first", "second", "num_seeds", "significance"),
    [(0.9, 0.5, 20, 0.05), (0.3, 0.8, 15, 0.01), (1.0, 0.0, 12, 0.05), (0.5, 0.5, 18, 0.05), (0.9, 0.1, 5, 0.05)],
)
def test_power_is_that_of_every_table_summed(first: float, second: float, num_seeds: int, significance: float) -> None:
    expected = power_by_enumeration(first, second, num_seeds, significance)
    assert mcnemar_power(first, second, num_seeds, significance) == pytest.approx(expected, abs=1e-9)


@given(st.floats(0.05, 1.0), st.integers(20, 300))
@settings(deadline=None, max_examples=30)
def test_the_detectable_drop_is_found_with_the_power_asked_for(rate: float, num_seeds: int) -> None:
    drop = minimum_detectable_drop(rate, num_seeds)
    if drop is None:
        assert mcnemar_power(rate, 0.0, num_seeds) < 0.8
    else:
        assert 0 < drop <= rate
        assert mcnemar_power(rate, rate - drop, num_seeds) == pytest.approx(0.8, abs=1e-6)


def test_the_detectable_drop_is_near_the_normal_approximation() -> None:
    """Unpaired: (z_0.975 + z_0.8)^2 (p q + p' q') / d^2 seeds; the exact test needs a few more."""
    drop = minimum_detectable_drop(0.9, 200)
    assert drop is not None
    needed = (1.959964 + 0.841621) ** 2 * (0.9 * 0.1 + (0.9 - drop) * (0.1 + drop)) / drop**2
    assert 0.8 * 200 < needed < 200


def test_a_question_that_no_sample_answers_is_refused() -> None:
    assert minimum_detectable_drop(0.9, 3) is None
    with pytest.raises(ValueError, match="expected rate in"):
        minimum_detectable_drop(1.1, 10)
