"""The leaderboard as one self-contained HTML page: no server, no network, nothing that is not in the records.

Every string of a record is escaped by Jinja (autoescape), data for the script goes through ``tojson``, and a content
security policy lets nothing run but the page's own script. The same records always give the same bytes.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from smidgen.evaluation.cells import MISSING, NOT_SEPARABLE, interval, number, percent
from smidgen.evaluation.charts import Axis, Points, Tick, path_data, step_axis, thinned, value_axis
from smidgen.evaluation.columns import COLUMNS
from smidgen.evaluation.ranking import ESCAPE_ABOVE, Group, escape_step, training_points
from smidgen.evaluation.rows import Row
from smidgen.evaluation.statistics import SIGNIFICANCE
from smidgen.evaluation.tables import conditions, setting

_FOLDER = Path(__file__).parent
_NUM_COLOURS = 8  # --c0 .. --c7 in page.css
_PANELS = (
    ("cue_slope", "Cue slope", ESCAPE_ABOVE, f"escape: stays above {ESCAPE_ABOVE:g}"),
    ("r2", "R\u00b2, mean over position coordinates", None, ""),
)


@dataclass(frozen=True)
class Entry:
    """A row as the page shows it: ``key`` ties its bar, curves, table row and videos; ``paint`` is its colour."""

    key: str
    row: Row
    paint: str
    dashed: bool


@dataclass(frozen=True)
class Curve:
    """One policy's line in a panel."""

    entry: Entry
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
    def steps(self) -> list[int]:
        """Every step at which some curve has a value."""
        return sorted({step for curve in self.curves for step, _ in curve.points})

    @property
    def values(self) -> list[dict[int, float]]:
        """Each curve's values by step."""
        return [dict(curve.points) for curve in self.curves]


@dataclass(frozen=True)
class Clip:
    """One video."""

    entry: Entry
    source: str
    seed: int
    success: bool
    outcome: str


@dataclass(frozen=True)
class Section:
    """One task under one set of conditions."""

    id: str
    group: Group
    entries: tuple[Entry, ...]
    num_ranked: int
    panels: tuple[Panel, ...]
    clips: tuple[Clip, ...]
    facts: tuple[tuple[str, str], ...] = field(default=())

    @property
    def missing(self) -> list[tuple[str, str, str]]:
        """Why values are missing: reason, policies, measures; for readers who cannot point at a dash."""
        measures: dict[tuple[str, str], list[str]] = defaultdict(list)
        for entry in self.entries:
            for column in COLUMNS:
                cell = column.cell(entry.row)
                if cell.is_missing and column.band:
                    measures[cell.note, entry.row.name].append(column.title)
        policies: dict[tuple[str, str], list[str]] = defaultdict(list)
        for (note, name), titles in measures.items():
            policies[note, ", ".join(titles)].append(name)
        return [(note, ", ".join(names), titles) for (note, titles), names in policies.items()]

    @property
    def transforms(self) -> list[str]:
        """Input transforms to filter by."""
        return sorted({row.record["policy"]["transform"] or "" for row in self.group.rows} - {""})


def render_page(groups: Sequence[Group], page: Path, videos: Path) -> str:
    """Renders the page.

    Args:
        groups: The ranked groups.
        page: Where the page will stand.
        videos: The folder of the videos; the page refers to them relatively.

    Returns:
        The HTML, the same bytes for the same records.
    """
    video_folder = Path(os.path.relpath(videos, page.parent)).as_posix()
    colours = assign_colours(groups)
    sections = [_section(index, group, colours, video_folder) for index, group in enumerate(groups)]
    script = (_FOLDER / "page.js").read_text(encoding="utf-8")
    template = page_environment(_FOLDER).get_template("page.html.jinja")
    return template.render(
        sections=sections,
        columns=COLUMNS,
        bands=_bands(),
        num_records=sum(len(row.runs) for group in groups for row in group.rows),
        curve_data={panel.id: _panel_data(panel) for section in sections for panel in section.panels},
        significance=SIGNIFICANCE,
        missing=MISSING,
        not_separable=NOT_SEPARABLE,
        style=(_FOLDER / "page.css").read_text(encoding="utf-8"),
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        headline=headline,
        conditions=conditions,
    )


def page_environment(folder: Path) -> Environment:
    """Jinja as every page wants it: all text escaped, unknown names refused; templates come from a folder."""
    environment = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"number": number, "percent": percent, "interval": interval}
    return environment


def assign_colours(groups: Iterable[Group]) -> dict[str, int]:
    """A number for each ranked policy by name, so that a policy keeps its colour in every chart and every task."""
    names = sorted({row.name for group in groups for row in group.ranked})
    return {name: index for index, name in enumerate(names)}


def _section(index: int, group: Group, colours: dict[str, int], video_folder: str) -> Section:
    section_id = f"task-{index}"
    entries = tuple(_entry(f"{section_id}-{place}", row, colours) for place, row in enumerate(group.rows))
    return Section(
        id=section_id,
        group=group,
        entries=entries,
        num_ranked=len(group.ranked),
        panels=tuple(panel for spec in _PANELS if (panel := _panel(section_id, entries, *spec)) is not None),
        clips=tuple(clip for entry in entries for clip in _clips(entry, video_folder)),
        facts=_facts(group),
    )


def _entry(key: str, row: Row, colours: dict[str, int]) -> Entry:
    if row.rank is None:
        return Entry(key, row, "expert" if row.is_privileged else "baseline", False)
    turn, colour = divmod(colours[row.name], _NUM_COLOURS)
    return Entry(key, row, f"c{colour}", turn % 2 == 1)


def _panel(
    section_id: str, entries: Sequence[Entry], measure: str, title: str, threshold: float | None, label: str
) -> Panel | None:
    series = [(entry, thinned(points)) for entry in entries if (points := training_points(entry.row.record, measure))]
    if not series:
        return None
    x_axis = step_axis(max(points[-1][0] for _, points in series))
    y_axis = value_axis([value for _, points in series for _, value in points], (-1, 0, 0.5, 1), -0.1, 1.1)
    curves = []
    for entry, points in series:
        escaped = escape_step(entry.row.record) if threshold is not None else None
        at_escape = [point for point in points if escaped is not None and point[0] >= escaped][:1]
        dot = path_data(at_escape, x_axis, y_axis) if at_escape else ""
        curves.append(Curve(entry, points, path_data(points, x_axis, y_axis), dot))
    line = None if threshold is None else Tick(label, y_axis.percent(threshold))
    return Panel(f"{section_id}-{measure}", title, x_axis, y_axis, tuple(curves), line)


def _panel_data(panel: Panel) -> dict[str, Any]:
    """What the script reads values from when a pointer moves over the panel."""
    series = [
        {"key": curve.entry.key, "name": curve.entry.row.name, "paint": curve.entry.paint, "points": curve.points}
        for curve in panel.curves
    ]
    return {"last": panel.x_axis.high, "series": series}


def _clips(entry: Entry, video_folder: str) -> Iterable[Clip]:
    for record in entry.row.records:
        episodes = {episode["seed"]: episode for episode in record["episodes"]}
        for video in sorted(record["videos"], key=lambda video: (video["seed"], video["file"])):
            episode = episodes[video["seed"]]
            outcome = str(episode["label"]).replace("_", " ")
            # A folder named like "data:x" must not be read as a scheme: quote() leaves no colon.
            source = quote(f"{video_folder}/{video['file']}")
            yield Clip(entry, source, video["seed"], episode["success"], outcome)


def _facts(group: Group) -> tuple[tuple[str, str], ...]:
    """Under which conditions the rows were measured."""
    protocols = [record["protocol"] for row in group.rows for record in row.records]
    counts = sorted({protocol["episodes"] for protocol in protocols})
    first = min(protocol["seed_start"] for protocol in protocols)
    last = max(protocol["seed_start"] + protocol["episodes"] - 1 for protocol in protocols)
    hold, horizon, control_hz = (protocols[0][key] for key in ("hold_steps", "horizon", "control_hz"))
    facts = [
        ("Episodes per policy", " or ".join(f"{count:,}" for count in counts)),
        ("Test seeds", f"{first:,} to {last:,}"),
        ("Success", f"held for {hold} control steps at {control_hz} Hz, horizon {horizon}"),
    ]
    return tuple(
        facts + [(key.replace("_", " "), _short(setting(value))) for key, value in sorted(group.environment.items())]
    )


def _short(text: str) -> str:
    return f"{text[:12]}\u2026" if re.fullmatch(r"[0-9a-f]{40,}", text) else text


def _bands() -> list[tuple[str, int]]:
    """Headings over columns that belong together, with the number of columns of each."""
    bands: list[tuple[str, int]] = []
    for entry in COLUMNS:
        if bands and bands[-1][0] == entry.band:
            bands[-1] = (entry.band, bands[-1][1] + 1)
        else:
            bands.append((entry.band, 1))
    return bands


def headline(group: Group) -> str:
    """The result in two sentences."""
    if not group.ranked:
        return "No ranked policy yet: only references were evaluated."
    leaders = [row.name for row in group.ranked if row.rank == 1]
    others = [row for row in group.ranked if row.rank != 1]
    rate = group.ranked[0].success
    low, high = 100 * rate["low"], 100 * rate["high"]
    result = f"{rate['k']} of {rate['n']} episodes, {percent(rate)} (95 % interval {low:.0f} to {high:.0f} %)."
    if rate["k"] == 0:
        return f"No ranked policy succeeds: {result}"
    if len(leaders) > 1:
        first = f"{' and '.join(leaders)} share the lead: {result}"
    else:
        first = f"{leaders[0]} {'leads' if others else 'is the only ranked policy'}: {result}"
    close = [row.name for row in others if row.not_separable]
    if close:
        return f"{first} Not separable from the best on shared seeds: {', '.join(close)}."
    return f"{first} Every other ranked policy is separable from the best on shared seeds." if others else first
