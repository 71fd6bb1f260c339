"""The page's collapse panel: each policy's slope and interval over the detector's bands, and the other measures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from smidgen.evaluation.collapse.labels import BLIND_TO, CUE_SLOPE, PATH_SLOPE, SEES_FROM, UNDECIDED, VERDICTS
from smidgen.leaderboard.cells import Cell, collapse_cell
from smidgen.leaderboard.charts import Axis, Tick
from smidgen.leaderboard.page_entries import Entry
from smidgen.leaderboard.verdict_cells import deciding_slope_cell, verdict_cell, verdict_tone

_LOW, _HIGH = -0.25, 1.25
_BARE = Axis(_LOW, _HIGH, ())
SLOPE_AXIS = Axis(_LOW, _HIGH, tuple(Tick(f"{value:g}", _BARE.percent(value)) for value in (0, BLIND_TO, SEES_FROM, 1)))
MEASURES = (
    ("prediction_variance_ratio", "Prediction variance", "Variance of the predictions over that of the targets."),
    ("skill_time_mean", "Skill vs time mean", "0 or less: no better than playing back the average movement."),
    ("spread_ratio", "Spread ratio", "How much paths differ between episodes, over how much the expert's do."),
    ("mean_path_distance", "Distance to the mean path", "Over the expert's own distance; 0 at the mean."),
    ("goal_r2", "Goal R\u00b2", "How well the expert's goal tells where the policy ends."),
    ("copycat_weight", "Copycat", "Weight of the expert's previous action; 1 repeats it."),
    ("latching_index", "Latching", "How much more often than the expert the arm stands still; 1: always."),
)


@dataclass(frozen=True)
class Mark:
    """One slope of one run on the axis, in percent.

    Attributes:
        kind: ``cue`` or ``path``.
        value: Where the slope stands.
        ends: Where its interval begins and ends; None if it has none.
        text: The figures.
        lane: Which of the row's lanes it is drawn in, 0 for the first.
    """

    kind: str
    value: float
    ends: tuple[float, float] | None
    text: str
    lane: int


@dataclass(frozen=True)
class CollapseRow:
    """One policy of the panel."""

    entry: Entry
    verdict: Cell
    slope: Cell
    tone: str
    marks: tuple[Mark, ...]
    measures: tuple[Cell, ...]

    @property
    def num_lanes(self) -> int:
        """Lanes that the marks need: one each."""
        return max(len(self.marks), 1)

    @property
    def text(self) -> str:
        """All figures of the row, the verdict, and what it rests on."""
        verdict = UNDECIDED if self.slope.is_missing else f"{self.verdict.text}, decided by {self.slope.text}"
        return "; ".join([*(mark.text for mark in self.marks), verdict])


@dataclass(frozen=True)
class CollapsePanel:
    """The panel of a section."""

    rows: tuple[CollapseRow, ...]
    titles: tuple[tuple[str, str], ...]

    @property
    def has_paths(self) -> bool:
        """Whether some mark is a path slope."""
        return any(mark.kind == "path" for row in self.rows for mark in row.marks)


def bands() -> list[tuple[str, float, float]]:
    """The detector's bands: class, start and width in percent."""
    edges = (0.0, _BARE.percent(BLIND_TO), _BARE.percent(SEES_FROM), 100.0)
    return [
        (label, start, round(end - start, 3))
        for label, start, end in zip(reversed(VERDICTS), edges[:-1], edges[1:], strict=True)
    ]


def collapse_panel(entries: Sequence[Entry]) -> CollapsePanel | None:
    """The panel; None where no record holds a slope."""
    rows = [_row(entry) for entry in entries]
    rows = [row for row in rows if row.marks]
    if not rows:
        return None
    kept = [place for place in range(len(MEASURES)) if any(not row.measures[place].is_missing for row in rows)]
    shown = tuple(replace(row, measures=tuple(row.measures[place] for place in kept)) for row in rows)
    return CollapsePanel(shown, tuple(MEASURES[place][1:] for place in kept))


def _row(entry: Entry) -> CollapseRow:
    marks: list[Mark] = []
    for record in entry.row.records:
        for name in (CUE_SLOPE, PATH_SLOPE):
            mark = _mark(dict(record["collapse"]), name, len(marks))
            marks += [] if mark is None else [mark]
    measures = tuple(collapse_cell(field)(entry.row) for field, _, _ in MEASURES)
    verdict, slope = verdict_cell(entry.row), deciding_slope_cell(entry.row)
    return CollapseRow(entry, verdict, slope, verdict_tone(entry.row), tuple(marks), measures)


def _mark(collapse: dict[str, Any], name: str, lane: int) -> Mark | None:
    slope, interval = collapse.get(name), collapse.get(f"{name}_interval")
    if slope is None:
        return None
    text = f"{name.replace('_', ' ')} {slope:.2f}"
    if interval is None:
        return Mark(name.partition("_")[0], _BARE.percent(slope), None, text, lane)
    low, high = interval
    ends = (_BARE.percent(low), _BARE.percent(high))
    return Mark(name.partition("_")[0], _BARE.percent(slope), ends, f"{text} [{low:.2f} to {high:.2f}]", lane)
