"""Geometry of the page's charts: numbers in, percentages and SVG path data out.

Paths are drawn in a square of 1000 x 1000 that the page stretches to any width (strokes keep their width). Labels are
HTML placed by percentages, so text keeps its size on a phone and no script has to draw anything.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

SIDE = 1000
_MAX_POINTS = 300
_STEP_MANTISSAS = (1.0, 2.0, 2.5, 5.0, 10.0)

Points = Sequence[tuple[int, float]]


@dataclass(frozen=True)
class Tick:
    """A labelled position on an axis; ``percent`` from the left or from the bottom."""

    label: str
    percent: float


@dataclass(frozen=True)
class Axis:
    """A linear axis from ``low`` to ``high``."""

    low: float
    high: float
    ticks: tuple[Tick, ...]

    def percent(self, value: float) -> float:
        """Position of a value in percent, clipped to the axis."""
        share = (value - self.low) / (self.high - self.low)
        return round(100 * min(max(share, 0.0), 1.0), 3)


def value_axis(values: Sequence[float], labelled: Sequence[float], low: float, high: float) -> Axis:
    """A vertical axis that spans at least low..high, and at most one unit more on each side.

    Measures such as R^2 have no lower bound; a diverged run must not flatten the other curves.
    """
    bottom = max(min([low, *values]), low - 1)
    top = min(max([high, *values]), high + 1)
    axis = Axis(bottom, top, ())
    shown = [value for value in labelled if bottom <= value <= top]
    ticks = tuple(Tick(f"{value:g}".replace("-", "\u2212"), axis.percent(value)) for value in shown)
    return Axis(bottom, top, ticks)


def step_axis(last_step: int) -> Axis:
    """A horizontal axis from 0 to the last step, with round steps labelled."""
    last = max(last_step, 1)
    interval = nice_interval(last / 4)
    axis = Axis(0, last, ())
    steps = range(0, last + 1, interval)
    return Axis(0, last, tuple(Tick(f"{step:,}", axis.percent(step)) for step in steps))


def nice_interval(smallest: float) -> int:
    """The smallest of 1, 2, 2.5, 5, 10 times a power of ten that is whole and not below ``smallest``."""
    scale = 10.0 ** math.floor(math.log10(max(smallest, 1)))
    candidates = (mantissa * scale for mantissa in _STEP_MANTISSAS)
    return next(int(value) for value in candidates if value >= smallest and value == int(value))


def thinned(points: Points) -> list[tuple[int, float]]:
    """At most a few hundred points, including the last one, with values rounded to screen resolution."""
    stride = math.ceil(len(points) / _MAX_POINTS) or 1
    kept = [*points[:-1:stride], *points[-1:]]
    return [(step, round(value, 4)) for step, value in kept]


def path_data(points: Sequence[tuple[float, float]], x_axis: Axis, y_axis: Axis) -> str:
    """SVG path through points; a single point becomes a dot under a round line cap."""
    places = [f"{_place(x_axis, step):g} {SIDE - _place(y_axis, value):g}" for step, value in points]
    return f"M{' L'.join(places)}" if len(places) > 1 else f"M{places[0]} h0"


def _place(axis: Axis, value: float) -> float:
    return round(axis.percent(value) * SIDE / 100, 1)
