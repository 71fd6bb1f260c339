"""The videos that the page shows: episodes out of the records, and the saliency videos that lie beside the page."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from smidgen.evaluation.records import SCHEMA_VERSION, Record
from smidgen.evaluation.video_files import is_own_film, is_own_look
from smidgen.leaderboard.page_entries import Entry
from smidgen.leaderboard.ranking import Group
from smidgen.leaderboard.rows import Row, Run

# Of each row, so that a page of many policies stays one; the grid of seeds plays the others.
NUM_SHOWN = 4


@dataclass(frozen=True)
class Clip:
    """One episode's video."""

    entry: Entry
    name: str
    source: str
    seed: int
    success: bool
    outcome: str


@dataclass(frozen=True)
class VideoFolder:
    """Where videos stand, as the page says it.

    Attributes:
        address: Relative to the page.
        left_out: File names that are not there, or another evaluation's, although a record names them.
        first_address: Where those of records of version 1 stand, if somewhere else.
    """

    address: str
    left_out: frozenset[str] = frozenset()
    first_address: str | None = None

    def source(self, file: str, schema_version: int = SCHEMA_VERSION) -> str:
        """Address of a file; a folder named like "data:x" must not be read as a scheme: quote() leaves no colon."""
        is_first = schema_version == 1 and self.first_address is not None
        return quote(f"{self.first_address if is_first else self.address}/{file}")


def relative_address(folder: Path, page: Path) -> str:
    """A folder as seen from a page."""
    return Path(os.path.relpath(folder, page.parent)).as_posix()


def run_name(row: Row, run: Run) -> str:
    """What a run is called among the others of its row."""
    return row.name if len(row.runs) == 1 else run.record["policy"]["name"]


def outcome_words(label: str) -> str:
    """An episode's label for people."""
    return str(label).replace("_", " ")


def clips(entry: Entry, folder: VideoFolder) -> Iterator[Clip]:
    """The first videos of a row: of every run the first seed, then of every run the second."""
    videos = [
        (seed, index, file, run)
        for index, run in enumerate(entry.row.runs)
        for file, seed in shown_videos(run.record, folder.left_out)
    ]
    for seed, _, file, run in sorted(videos, key=lambda video: video[:2])[:NUM_SHOWN]:
        episode = next(episode for episode in run.record["episodes"] if episode["seed"] == seed)
        yield Clip(
            entry=entry,
            name=run_name(entry.row, run),
            source=folder.source(file, run.record["schema_version"]),
            seed=seed,
            success=episode["success"],
            outcome=outcome_words(episode["label"]),
        )


def shown_videos(record: Record, left_out: frozenset[str]) -> list[tuple[str, int]]:
    """File and seed of a record's videos, by seed."""
    videos = sorted(record["videos"], key=lambda video: (video["seed"], video["file"]))
    return [(video["file"], video["seed"]) for video in videos if video["file"] not in left_out]


def foreign_films(groups: Sequence[Group], videos: Path, first_videos: Path) -> frozenset[str]:
    """Names of films that are there and are not those of the records that name them.

    Args:
        groups: The ranked groups.
        videos: The folder of the films.
        first_videos: The folder of the films of records of version 1.
    """
    return frozenset(
        path.name
        for video, path in _places(groups, videos, first_videos)
        if path.is_file() and not is_own_film(video, path)
    )


def missing_films(groups: Sequence[Group], videos: Path, first_videos: Path) -> frozenset[str]:
    """Names of films that records name and that are not there; arguments as in `foreign_films`."""
    return frozenset(path.name for _, path in _places(groups, videos, first_videos) if not path.is_file())


def _places(groups: Sequence[Group], videos: Path, first_videos: Path) -> Iterator[tuple[Any, Path]]:
    """Every film that a record names, and where it should lie."""
    for record in (record for group in groups for row in group.rows for record in row.records):
        folder = first_videos if record["schema_version"] == 1 else videos
        yield from ((video, folder / video["file"]) for video in record["videos"])


def find_looks(groups: Sequence[Group], folder: Path) -> list[Path]:
    """Saliency videos of ranked policies in a folder: ``<task>-<policy>-<seed>-<method>.mp4``, of their checkpoints."""
    files = sorted(folder.glob("*.mp4")) if folder.is_dir() else []
    records = [record for group in groups for row in group.ranked for record in row.records]
    of_file = {path: [record for record in records if _look_of(record, path.name)] for path in files}
    return [path for path, named in of_file.items() if named and all(is_own_look(record, path) for record in named)]


def looks_of(row: Row, files: Iterable[str], folder: VideoFolder) -> tuple[tuple[str, str], ...]:
    """A row's saliency videos: address, and what the link says."""
    found = [
        (folder.source(file), f"what it looks at, seed {look['seed']} ({look['method']})")
        for record in row.records
        for file in files
        if file not in folder.left_out and (look := _look_of(record, file))
    ]
    return tuple(found)


def _look_of(record: Record, file: str) -> re.Match[str] | None:
    prefix = re.escape(f"{record['task']}-{record['policy']['name']}-")
    return re.fullmatch(rf"{prefix}(?P<seed>\d+)-(?P<method>[a-z_]+)\.mp4", file)
