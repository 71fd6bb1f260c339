"""The page's chart of success against the number of demonstrations, over a logarithmic axis."""

from __future__ import annotations

import math
from dataclasses import dataclass

from smidgen.leaderboard.charts import Axis, Tick, path_data
from smidgen.leaderboard.demonstrations import demonstration_curves
from smidgen.leaderboard.page_entries import NUM_COLOURS
from smidgen.leaderboard.ranking import Group
from smidgen.leaderboard.rows import Row

RATE_AXIS = Axis(0.0, 1.0, tuple(Tick(f"{share} %", share) for share in (0, 50, 100)))


@dataclass(frozen=True)
class RecipeCurve:
    """One recipe: its line, and a dot and an interval for each number of demonstrations."""

    name: str
    paint: str
    dashed: bool
    path: str
    dots: str
    whiskers: str
    points: tuple[tuple[int, Row], ...]


@dataclass(frozen=True)
class DemonstrationPanel:
    """The chart of a section."""

    axis: Axis
    curves: tuple[RecipeCurve, ...]


def demonstration_panel(group: Group) -> DemonstrationPanel | None:
    """The chart of a group; None where no recipe was trained on two numbers of demonstrations."""
    curves = demonstration_curves([group])
    if not curves:
        return None
    axis = count_axis([count for curve in curves for count, _ in curve.points])
    return DemonstrationPanel(
        axis, tuple(_curve(curve.name, index, curve.points, axis) for index, curve in enumerate(curves))
    )


def count_axis(counts: list[int]) -> Axis:
    """A logarithmic axis, ``percent`` takes log10, with every count labelled."""
    axis = Axis(math.log10(max(min(counts), 1) / 1.1), math.log10(max(*counts, 1) * 1.1), ())
    ticks = tuple(Tick(f"{count:,}", axis.percent(math.log10(max(count, 1)))) for count in sorted(set(counts)))
    return Axis(axis.low, axis.high, ticks)


def _curve(name: str, index: int, points: tuple[tuple[int, Row], ...], axis: Axis) -> RecipeCurve:
    turn, colour = divmod(index, NUM_COLOURS)
    places = [(math.log10(max(count, 1)), row.success) for count, row in points]
    middle = [(place, rate["rate"]) for place, rate in places]
    return RecipeCurve(
        name=name,
        paint=f"c{colour}",
        dashed=turn % 2 == 1,
        path=path_data(middle, axis, RATE_AXIS),
        dots=" ".join(path_data([point], axis, RATE_AXIS) for point in middle),
        whiskers=" ".join(
            path_data([(place, rate["low"]), (place, rate["high"])], axis, RATE_AXIS) for place, rate in places
        ),
        points=points,
    )
