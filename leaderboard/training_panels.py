"""The page's training curves: one chart per measure, one line per training run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from smidgen.evaluation.collapse.escape import ESCAPE_ABOVE
from smidgen.leaderboard.charts import Axis, Points, Tick, path_data, step_axis, thinned, value_axis
from smidgen.leaderboard.clips import run_name
from smidgen.leaderboard.page_entries import Entry
from smidgen.leaderboard.ranking import escape_step, training_points

_PANELS = (
    ("cue_slope", "Cue slope", ESCAPE_ABOVE, f"escape: stays above {ESCAPE_ABOVE:g}"),
    ("r2", "R\u00b2, mean over position coordinates", None, ""),
)


@dataclass(frozen=True)
class Curve:
    """One run's line in a panel."""

    entry: Entry
    name: str
    points: Points
    path: str
    escape: str


@dataclass(frozen=True)
class Panel:
    """One chart of training curves."""

    id: str
    title: str
    x_axis: Axis
    y_axis: Axis
    curves: tuple[Curve, ...]
    threshold: Tick | None

    @property
    def is_cut(self) -> bool:
        """Whether some value lies beyond the vertical axis, at whose end it is drawn."""
        values = [value for curve in self.curves for _, value in curve.points]
        return min(values) < self.y_axis.low or max(values) > self.y_axis.high

    @property
    def entries(self) -> list[Entry]:
        """The rows that have a line, each once."""
        return list({curve.entry.key: curve.entry for curve in self.curves}.values())

    @property
    def steps(self) -> list[int]:
        """Every step at which some curve has a value."""
        return sorted({step for curve in self.curves for step, _ in curve.points})

    @property
    def values(self) -> list[dict[int, float]]:
        """Each curve's values by step."""
        return [dict(curve.points) for curve in self.curves]

    @property
    def data(self) -> dict[str, Any]:
        """What the script reads values from when a pointer moves over the panel."""
        series = [
            {"key": curve.entry.key, "name": curve.name, "paint": curve.entry.paint, "points": curve.points}
            for curve in self.curves
        ]
        return {"last": self.x_axis.high, "series": series}


def training_panels(section_id: str, entries: Sequence[Entry]) -> tuple[Panel, ...]:
    """The charts of a section, as far as some record holds a training curve."""
    panels = (_panel(section_id, entries, *spec) for spec in _PANELS)
    return tuple(panel for panel in panels if panel is not None)


def _panel(
    section_id: str, entries: Sequence[Entry], measure: str, title: str, threshold: float | None, label: str
) -> Panel | None:
    series = [
        (entry, run, thinned(points))
        for entry in entries
        for run in entry.row.runs
        if (points := training_points(run.record, measure))
    ]
    if not series:
        return None
    x_axis = step_axis(max(points[-1][0] for *_, points in series))
    y_axis = value_axis([value for *_, points in series for _, value in points], (-1, 0, 0.5, 1), -0.1, 1.1)
    curves = []
    for entry, run, points in series:
        escaped = escape_step(run.record) if threshold is not None else None
        at_escape = [point for point in points if escaped is not None and point[0] >= escaped][:1]
        dot = path_data(at_escape, x_axis, y_axis) if at_escape else ""
        curves.append(Curve(entry, run_name(entry.row, run), points, path_data(points, x_axis, y_axis), dot))
    line = None if threshold is None else Tick(label, y_axis.percent(threshold))
    return Panel(f"{section_id}-{measure}", title, x_axis, y_axis, tuple(curves), line)
