"""Geometry that the pages of both rounds share: logarithmic axes, and the staircase of a survival curve."""

from __future__ import annotations

import math
from collections.abc import Iterable

from smidgen.leaderboard.charts import Axis, Tick

SHARE_AXIS = Axis(0.0, 1.0, tuple(Tick(f"{share} %", share) for share in (0, 50, 100)))
_MOST_TICKS = 7


def log_axis(low: float, high: float) -> Axis:
    """A logarithmic axis: ``percent`` takes log10; ticks at 1, 2 and 5 times powers of ten, or fewer."""
    axis = Axis(math.log10(low), math.log10(high), ())
    decades = range(math.floor(axis.low), math.ceil(axis.high) + 1)
    for mantissas in ((1, 2, 5), (1,)):
        values = [mantissa * 10.0**decade for decade in decades for mantissa in mantissas]
        shown = [value for value in values if low <= value <= high]
        if len(shown) <= _MOST_TICKS:
            break
    return Axis(axis.low, axis.high, tuple(Tick(f"{value:,.10g}", axis.percent(math.log10(value))) for value in shown))


def survival_points(
    low: float, steps: Iterable[float], shares: Iterable[float], horizon: float
) -> list[tuple[float, float]]:
    """Corners of a survival curve up to a horizon, its steps as logarithms.

    Args:
        low: Where the axis begins, as a logarithm.
        steps: When something escaped, in order.
        shares: What is left on the plateau after each.
        horizon: The last step that is drawn.
    """
    points, share = [(low, 1.0)], 1.0
    for step, after in zip(steps, shares, strict=True):
        if step > horizon:
            break
        place = math.log10(max(float(step), 1.0))
        points += [(place, share), (place, float(after))]
        share = float(after)
    return [*points, (math.log10(horizon), share)]
