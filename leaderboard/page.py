"""The leaderboard as one self-contained HTML page: no server, no network, only data from the records.

Jinja escapes every string of a record (autoescape), data for the script goes through ``tojson``, and a content security
policy allows only the page's own script to run. The same records always give the same bytes.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from smidgen.evaluation.statistics import SIGNIFICANCE
from smidgen.leaderboard.cells import MISSING, NOT_SEPARABLE, interval, number, percent, verdict_tone
from smidgen.leaderboard.clips import Clip, VideoFolder, clips, looks_of, relative_address
from smidgen.leaderboard.columns import COLUMNS
from smidgen.leaderboard.over_tasks import success_by_transform, task_tables
from smidgen.leaderboard.page_entries import Entry, assign_colours, make_entry
from smidgen.leaderboard.page_origin import Origin, versions
from smidgen.leaderboard.page_panels import (
    MEASURES,
    RATE_AXIS,
    SLOPE_AXIS,
    CollapsePanel,
    DemonstrationPanel,
    Panel,
    SeedGrid,
    bands,
    collapse_panel,
    demonstration_panel,
    seed_grid,
    training_panels,
)
from smidgen.leaderboard.ranking import Group
from smidgen.leaderboard.tables import conditions, legends, setting
from smidgen.runtime.look import page_style

# Holds the templates, style and script of the page.
FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Beside:
    """The optional files beside the page, and the origin of the records.

    Attributes:
        looks: File names of the saliency videos.
        saliency: Their folder.
        left_out: File names of videos that a record names but that are missing or from another evaluation.
        first_videos: The folder of the videos of records of version 1, if different.
        origin: The commit that contains the records.
        claims_page: The page of the claims.
    """

    looks: tuple[str, ...] = ()
    saliency: Path = Path("saliency")
    left_out: frozenset[str] = frozenset()
    first_videos: Path | None = None
    origin: Origin = field(default_factory=Origin)
    claims_page: Path | None = None


@dataclass(frozen=True)
class Section:
    """One task under one set of conditions."""

    id: str
    group: Group
    entries: tuple[Entry, ...]
    num_competing: int
    panels: tuple[Panel, ...]
    clips: tuple[Clip, ...]
    grid: SeedGrid
    collapse: CollapsePanel | None
    demonstrations: DemonstrationPanel | None
    not_shown: tuple[str, ...] = ()
    facts: tuple[tuple[str, str], ...] = field(default=())

    @property
    def notes(self) -> list[str]:
        """What a full entry is, and how small a difference the sample can show."""
        return legends([self.group], str)[1:]

    @property
    def missing(self) -> list[tuple[str, str, str]]:
        """Why values are missing: reason, policies, measures; for readers who cannot hover over a dash."""
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


def render_page(groups: Sequence[Group], page: Path, videos: Path, beside: Beside | None = None) -> str:
    """Renders the page.

    Args:
        groups: The ranked groups.
        page: The path of the page.
        videos: The folder of the videos; the page uses relative addresses.
        beside: The other files beside it.

    Returns:
        The HTML, the same bytes for the same records.
    """
    beside = beside or Beside()
    first = None if beside.first_videos is None else relative_address(beside.first_videos, page)
    folder = VideoFolder(relative_address(videos, page), beside.left_out, first)
    looks = VideoFolder(relative_address(beside.saliency, page), beside.left_out)
    colours = assign_colours(groups)
    sections = []
    for index, group in enumerate(groups):
        entries = tuple(
            make_entry(f"task-{index}-{place}", row, colours, looks_of(row, beside.looks, looks))
            for place, row in enumerate(group.rows)
        )
        sections.append(_section(f"task-{index}", group, entries, folder))
    script = (FOLDER / "page.js").read_text(encoding="utf-8")
    return (
        page_environment(FOLDER)
        .get_template("page.html.jinja")
        .render(
            sections=sections,
            columns=COLUMNS,
            bands=_bands(),
            meanings=_meanings(),
            origin=beside.origin,
            versions=versions(groups),
            num_records=sum(len(row.runs) for group in groups for row in group.rows),
            curve_data={panel.id: panel.data for section in sections for panel in section.panels},
            grid_data={section.id: section.grid.data for section in sections},
            heat_map=success_by_transform(groups, [section.id for section in sections]),
            task_tables=task_tables(groups),
            slope_bands=bands(),
            slope_axis=SLOPE_AXIS,
            rate_axis=RATE_AXIS,
            claims_address=relative_address(beside.claims_page, page) if beside.claims_page is not None else "",
            significance=SIGNIFICANCE,
            missing=MISSING,
            not_separable=NOT_SEPARABLE,
            style=page_style(FOLDER / "page.css"),
            script=script,
            script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
            headline=headline,
            tone=verdict_tone,
            conditions=conditions,
        )
    )


def page_environment(folder: Path) -> Environment:
    """The Jinja environment of every page: all text escaped, unknown names refused.

    Args:
        folder: Holds the page's own templates; shared ones are in this package.
    """
    environment = Environment(
        loader=FileSystemLoader([folder, FOLDER]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"number": number, "percent": percent, "interval": interval}
    return environment


def _section(section_id: str, group: Group, entries: tuple[Entry, ...], folder: VideoFolder) -> Section:
    return Section(
        id=section_id,
        group=group,
        entries=entries,
        num_competing=len(group.competing),
        panels=training_panels(section_id, entries),
        clips=tuple(clip for entry in entries for clip in clips(entry, folder)),
        grid=seed_grid(section_id, entries, folder),
        collapse=collapse_panel(entries),
        demonstrations=demonstration_panel(group),
        not_shown=_not_shown(group, folder.left_out),
        facts=_facts(group),
    )


def _not_shown(group: Group, left_out: frozenset[str]) -> tuple[str, ...]:
    """Videos that records of a group name but that the page does not show."""
    named = {video["file"] for row in group.rows for record in row.records for video in record["videos"]}
    return tuple(sorted(named & left_out))


def _meanings() -> list[tuple[str, str]]:
    """Every measure of the page with its meaning, once."""
    meanings = {column.title: column.meaning for column in COLUMNS if column.band}
    return [*meanings.items(), *((title, meaning) for _, title, meaning in MEASURES if title not in meanings)]


def _facts(group: Group) -> tuple[tuple[str, str], ...]:
    """The conditions under which the rows were measured."""
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
    """Headings of the groups of columns, with the number of columns in each."""
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
        return _blind_names(group) or "No ranked policy yet: only references were evaluated."
    return f"{_ranked_headline(group)} {_blind_names(group)}".rstrip()


def _blind_names(group: Group) -> str:
    names = ", ".join(row.name for row in group.blind)
    return f"Blind, and therefore not ranked: {names}." if names else ""


def _ranked_headline(group: Group) -> str:
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
