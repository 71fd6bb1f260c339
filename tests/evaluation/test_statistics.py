import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smidgen.evaluation.statistics import wilson_interval


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
