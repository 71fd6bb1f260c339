"""T0.5: one rule for curves and for measurements as they come."""

import math

import pytest

from smidgen.evaluation.collapse.escape import escape_step, held_since

CURVES = [
    ([], None, None),
    ([0.4, 0.5, 0.4], None, None),  # exactly one half is not above it
    ([0.4, 0.6, 0.7, 0.8], 10, 10),
    ([0.4, 0.6, 0.7, 0.3, 0.6], 40, 10),  # a dip takes it back, unless it was confirmed before
    ([0.6, math.nan, 0.6], 20, None),
    ([0.4, 0.4, 0.6], 20, None),  # not confirmed by the end
]


@pytest.mark.parametrize(("signals", "to_the_end", "confirmed"), CURVES)
def test_the_step_of_a_curve(signals: list[float], to_the_end: int | None, confirmed: int | None) -> None:
    points = [(10 * place, signal) for place, signal in enumerate(signals)]
    assert escape_step(points) == to_the_end
    assert escape_step(points, confirm_steps=10) == confirmed


def test_the_beginning_of_an_unbroken_run() -> None:
    since = None
    found = [since := held_since(since, step, holds) for step, holds in enumerate([False, True, True, False, True])]
    assert found == [None, 1, 1, None, 4]
