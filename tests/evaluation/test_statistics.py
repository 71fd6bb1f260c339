import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smidgen.evaluation.statistics import holm, wilson_interval


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
