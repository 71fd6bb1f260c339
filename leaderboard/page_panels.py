"""The panels of a task on the page: training curves, slopes and other measures of collapse, success by number of
demonstrations, and the grid of seeds, which compares rows episode by episode.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from smidgen.evaluation.collapse.escape import ESCAPE_ABOVE
from smidgen.evaluation.collapse.labels import BLIND_TO, CUE_SLOPE, PATH_SLOPE, SEES_FROM, UNDECIDED, VERDICTS
from smidgen.evaluation.records import EpisodeRow
from smidgen.leaderboard.cells import Cell, collapse_cell, deciding_slope_cell, verdict_cell, verdict_tone
from smidgen.leaderboard.clips import VideoFolder, outcome_words, run_name, shown_videos
from smidgen.leaderboard.demonstrations import demonstration_curves
from smidgen.leaderboard.page_entries import NUM_COLOURS, Entry
from smidgen.leaderboard.ranking import Group, escape_step, training_points
from smidgen.leaderboard.rows import Row, Run
from smidgen.runtime.charts import Axis, Points, Tick, path_data, step_axis, thinned, value_axis

_LOW, _HIGH = -0.25, 1.25
_BARE = Axis(_LOW, _HIGH, ())
SLOPE_AXIS = Axis(_LOW, _HIGH, tuple(Tick(f"{value:g}", _BARE.percent(value)) for value in (0, BLIND_TO, SEES_FROM, 1)))
MEASURES = (
    ("prediction_variance_ratio", "Prediction variance", "Variance of the predictions over that of the targets."),
    ("skill_time_mean", "Skill vs time mean", "0 or less: no better than playing back the average movement."),
    ("spread_ratio", "Spread ratio", "How much paths differ between episodes, relative to the expert's."),
    ("mean_path_distance", "Distance to the mean path", "Relative to the expert's own distance; 0 at the mean."),
    ("goal_r2", "Goal R\u00b2", "How well the expert's goal predicts where the policy ends."),
    ("copycat_weight", "Copycat", "Weight of the expert's previous action; 1 repeats it."),
    ("latching_index", "Latching", "How much more often than the expert the arm stands still; 1: always."),
)
_PANELS = (
    ("cue_slope", "Cue slope", ESCAPE_ABOVE, f"escape: stays above {ESCAPE_ABOVE:g}"),
    ("r2", "R\u00b2, mean over position coordinates", None, ""),
)
RATE_AXIS = Axis(0.0, 1.0, tuple(Tick(f"{share} %", share) for share in (0, 50, 100)))
MOST_SEEDS = 200
WON, LOST, NOT_RUN = "won", "lost", "unrun"


@dataclass(frozen=True)
class Mark:
    """One slope of one run on the axis, in percent.

    Attributes:
        kind: ``cue`` or ``path``.
        value: Position of the slope.
        ends: Both ends of its interval; None if it has none.
        text: The figures.
        lane: The lane of the row in which it is drawn, from 0.
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
        """All figures of the row, the verdict and its basis."""
        verdict = UNDECIDED if self.slope.is_missing else f"{self.verdict.text}, decided by {self.slope.text}"
        return "; ".join([*(mark.text for mark in self.marks), verdict])


@dataclass(frozen=True)
class CollapsePanel:
    """The panel of a section."""

    rows: tuple[CollapseRow, ...]
    titles: tuple[tuple[str, str], ...]

    @property
    def has_paths(self) -> bool:
        """Whether any mark is a path slope."""
        return any(mark.kind == "path" for row in self.rows for mark in row.marks)


def bands() -> list[tuple[str, float, float]]:
    """The detector's bands: class, start and width in percent."""
    edges = (0.0, _BARE.percent(BLIND_TO), _BARE.percent(SEES_FROM), 100.0)
    return [
        (label, start, round(end - start, 3))
        for label, start, end in zip(reversed(VERDICTS), edges[:-1], edges[1:], strict=True)
    ]


def collapse_panel(entries: Sequence[Entry]) -> CollapsePanel | None:
    """The panel; None if no record has a slope."""
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
        """Whether any value lies beyond the vertical axis and is drawn at its end."""
        values = [value for curve in self.curves for _, value in curve.points]
        return min(values) < self.y_axis.low or max(values) > self.y_axis.high

    @property
    def entries(self) -> list[Entry]:
        """The rows that have a line, each once."""
        return list({curve.entry.key: curve.entry for curve in self.curves}.values())

    @property
    def steps(self) -> list[int]:
        """Every step at which any curve has a value."""
        return sorted({step for curve in self.curves for step, _ in curve.points})

    @property
    def values(self) -> list[dict[int, float]]:
        """Each curve's values by step."""
        return [dict(curve.points) for curve in self.curves]

    @property
    def data(self) -> dict[str, Any]:
        """The data that the script shows when a pointer moves over the panel."""
        series = [
            {"key": curve.entry.key, "name": curve.name, "paint": curve.entry.paint, "points": curve.points}
            for curve in self.curves
        ]
        return {"last": self.x_axis.high, "series": series}


def training_panels(section_id: str, entries: Sequence[Entry]) -> tuple[Panel, ...]:
    """The charts of a section for which any record has a training curve."""
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
    """The chart of a group; None if no recipe was trained on two numbers of demonstrations."""
    curves = demonstration_curves([group])
    if not curves:
        return None
    axis = count_axis([count for curve in curves for count, _ in curve.points])
    return DemonstrationPanel(
        axis, tuple(_curve(curve.name, index, curve.points, axis) for index, curve in enumerate(curves))
    )


def count_axis(counts: list[int]) -> Axis:
    """A logarithmic axis with every count labelled; its ``percent`` takes log10."""
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


@dataclass(frozen=True)
class GridRow:
    """One run.

    Attributes:
        entry: The row of the leaderboard that it is part of.
        name: The run's name.
        episodes: One per column; None where the run has no such episode.
        videos: Addresses by seed.
    """

    entry: Entry
    name: str
    episodes: tuple[EpisodeRow | None, ...]
    videos: dict[int, str]

    @property
    def cells(self) -> Iterator[str]:
        """The CSS class of each cell: its outcome, and whether it has a video."""
        for episode in self.episodes:
            if episode is None:
                yield NOT_RUN
            else:
                outcome = WON if episode["success"] else LOST
                yield f"{outcome} video" if episode["seed"] in self.videos else outcome

    @property
    def num_won(self) -> int:
        """Successes among the columns."""
        return sum(episode is not None and episode["success"] for episode in self.episodes)

    @property
    def num_run(self) -> int:
        """Columns for which the run has an episode."""
        return sum(episode is not None for episode in self.episodes)


@dataclass(frozen=True)
class SeedGrid:
    """The grid of a section.

    Attributes:
        id: The section's id.
        seeds: The columns.
        rows: The runs.
        num_left_out: Number of seeds without a column.
    """

    id: str
    seeds: tuple[int, ...]
    rows: tuple[GridRow, ...]
    num_left_out: int

    @property
    def has_videos(self) -> bool:
        """Whether any episode in the grid has a video."""
        return any(row.videos for row in self.rows)

    @property
    def data(self) -> dict[str, Any]:
        """The data that the script shows for a cell: outcome, steps and video, by row and column."""
        labels = sorted({episode["label"] for row in self.rows for episode in row.episodes if episode is not None})
        place = {label: index for index, label in enumerate(labels)}
        rows = [
            {
                "name": row.name,
                "outcomes": [None if episode is None else place[episode["label"]] for episode in row.episodes],
                "steps": [None if episode is None else episode["num_steps"] for episode in row.episodes],
                "videos": row.videos,
            }
            for row in self.rows
        ]
        return {"seeds": self.seeds, "labels": [outcome_words(label) for label in labels], "rows": rows}


def seed_grid(section_id: str, entries: Sequence[Entry], folder: VideoFolder) -> SeedGrid:
    """The grid of a section, limited to the seeds that most runs share."""
    runs = [(entry, run) for entry in entries for run in entry.row.runs]
    counts = Counter(episode["seed"] for _, run in runs for episode in run.record["episodes"])
    most_shared = sorted(counts, key=lambda seed: (-counts[seed], seed))
    seeds = tuple(sorted(most_shared[:MOST_SEEDS]))
    rows = tuple(_grid_row(entry, run, seeds, folder) for entry, run in runs)
    return SeedGrid(section_id, seeds, rows, len(counts) - len(seeds))


def _grid_row(entry: Entry, run: Run, seeds: Sequence[int], folder: VideoFolder) -> GridRow:
    episodes = {episode["seed"]: episode for episode in run.record["episodes"]}
    shown = set(seeds)
    version, files = run.record["schema_version"], shown_videos(run.record, folder.left_out)
    videos = {seed: folder.source(file, version) for file, seed in files if seed in shown}
    return GridRow(entry, run_name(entry.row, run), tuple(episodes.get(seed) for seed in seeds), videos)
