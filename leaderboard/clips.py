"""The videos that a page shows: episodes of the records and saliency videos, beside the page or copied into a site.

To keep a site small enough to publish, videos above ``MOST_BYTES_EACH`` are left out, and the rest is limited to
``MOST_BYTES_TOGETHER``. A success and a failure of every row come first, then the saliency videos, then the others;
better ranks come first within each.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from smidgen.evaluation.records import SCHEMA_VERSION, Record
from smidgen.evaluation.video_files import VIDEOS, is_own_look, is_own_video
from smidgen.leaderboard.page_entries import Entry
from smidgen.leaderboard.ranking import Group
from smidgen.leaderboard.rows import Row, Run
from smidgen.runtime.errors import UserError

# Per row, to keep a page with many policies short; the grid of seeds plays the others.
NUM_SHOWN = 4
MOST_BYTES_EACH = 300_000
MOST_BYTES_TOGETHER = 50_000_000
SALIENCY = "saliency"
_MOST_NAMED = 3


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
    """A folder of videos, as the page refers to it.

    Attributes:
        address: Relative to the page.
        left_out: Names of files that a record names but that are missing or from another evaluation.
        first_address: The folder for records of version 1, if different.
    """

    address: str
    left_out: frozenset[str] = frozenset()
    first_address: str | None = None

    def source(self, file: str, schema_version: int = SCHEMA_VERSION) -> str:
        """Address of a file; quote() escapes colons, so that a folder named like "data:x" is not read as a scheme."""
        is_first = schema_version == 1 and self.first_address is not None
        return quote(f"{self.first_address if is_first else self.address}/{file}")


def relative_address(folder: Path, page: Path) -> str:
    """A folder's path relative to a page."""
    return Path(os.path.relpath(folder, page.parent)).as_posix()


def run_name(row: Row, run: Run) -> str:
    """The name that tells a run from the others of its row."""
    return row.name if len(row.runs) == 1 else run.record["policy"]["name"]


def outcome_words(label: str) -> str:
    """An episode's label in words."""
    return str(label).replace("_", " ")


def clips(entry: Entry, folder: VideoFolder) -> Iterator[Clip]:
    """The first videos of a row: the first seed of every run, then the second of every run."""
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


def foreign_videos(groups: Sequence[Group], videos: Path, first_videos: Path) -> frozenset[str]:
    """Names of existing videos that do not belong to the records that name them.

    Args:
        groups: The ranked groups.
        videos: The folder of the videos.
        first_videos: The folder of the videos of records of version 1.
    """
    return frozenset(
        path.name
        for video, path in _places(groups, videos, first_videos)
        if path.is_file() and not is_own_video(video, path)
    )


def missing_videos(groups: Sequence[Group], videos: Path, first_videos: Path) -> frozenset[str]:
    """Names of videos that records name but that are missing; arguments as in `foreign_videos`."""
    return frozenset(path.name for _, path in _places(groups, videos, first_videos) if not path.is_file())


def _places(groups: Sequence[Group], videos: Path, first_videos: Path) -> Iterator[tuple[Any, Path]]:
    """Every video that a record names, and its expected path."""
    for record in (record for group in groups for row in group.rows for record in row.records):
        folder = first_videos if record["schema_version"] == 1 else videos
        yield from ((video, folder / video["file"]) for video in record["videos"])


def find_looks(groups: Sequence[Group], folder: Path) -> list[Path]:
    """Saliency videos of entries in a folder: ``<task>-<policy>-<seed>-<method>.mp4``, of their checkpoints."""
    files = sorted(folder.glob("*.mp4")) if folder.is_dir() else []
    records = [record for group in groups for row in group.competing for record in row.records]
    of_file = {path: [record for record in records if _look_of(record, path.name)] for path in files}
    return [path for path, named in of_file.items() if named and all(is_own_look(record, path) for record in named)]


def looks_of(row: Row, files: Iterable[str], folder: VideoFolder) -> tuple[tuple[str, str], ...]:
    """A row's saliency videos: address and link text."""
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


@dataclass(frozen=True)
class SiteVideos:
    """Which videos are copied and which are not.

    Attributes:
        copies: Source of each video, by its path in the site.
        missing: Names of videos that records name but that are not in the folder.
        foreign: Names of videos from another evaluation.
        too_large: Names of videos above ``MOST_BYTES_EACH``.
        too_many: Names of videos that would have exceeded ``MOST_BYTES_TOGETHER``.
        unused: Names of videos that an earlier call left in the site.
    """

    copies: dict[Path, Path]
    missing: tuple[str, ...]
    foreign: tuple[str, ...]
    too_large: tuple[str, ...]
    too_many: tuple[str, ...]
    unused: tuple[str, ...]

    @property
    def left_out(self) -> frozenset[str]:
        """Names of all videos that the page must not show."""
        return frozenset(self.missing + self.foreign + self.too_large + self.too_many)

    @property
    def messages(self) -> list[str]:
        """One line for each reason why videos were left out."""
        reasons = (
            (self.missing, "not there"),
            (self.foreign, "of another evaluation"),
            (self.too_large, f"above {MOST_BYTES_EACH // 1000} kB"),
            (self.too_many, f"beyond {MOST_BYTES_TOGETHER // 1_000_000} MB together"),
        )
        lines = [f"left out, {reason}: {_named(names)}" for names, reason in reasons if names]
        return lines + [f"in the site, not on its page, remove them: {_named(self.unused)}"] * bool(self.unused)


def _named(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_MOST_NAMED])
    plural = "video" if len(names) == 1 else "videos"
    return f"{len(names)} {plural} ({shown}{', ...' if len(names) > _MOST_NAMED else ''})"


def choose_videos(
    groups: Sequence[Group], videos: Path, looks: Sequence[Path], site: Path, first_videos: Path | None = None
) -> SiteVideos:
    """Chooses the videos of a site.

    Args:
        groups: The ranked groups.
        videos: The folder of the records' videos.
        looks: The saliency videos.
        site: The folder of the site.
        first_videos: The folder of the videos of records of version 1, if different.

    Raises:
        UserError: If the site would overwrite its source videos.
    """
    folders = {1: videos if first_videos is None else first_videos}
    foreign = foreign_videos(groups, videos, folders[1])
    sources = {videos.resolve(), folders[1].resolve(), *(path.parent.resolve() for path in looks)}
    if {(site / name).resolve() for name in (VIDEOS, SALIENCY)} & sources:
        raise UserError(f"site={site} contains the source videos of the site; choose another folder")
    copies: dict[Path, Path] = {}
    missing, too_large, too_many, num_bytes = [], [], [], 0
    for place, source in _by_priority(groups, lambda record: folders.get(record["schema_version"], videos), looks):
        if not source.is_file():
            missing.append(source.name)
        elif source.name in foreign and place.parent == Path(VIDEOS):
            continue
        elif source.stat().st_size > MOST_BYTES_EACH:
            too_large.append(source.name)
        elif num_bytes + source.stat().st_size > MOST_BYTES_TOGETHER:
            too_many.append(source.name)
        else:
            copies[place] = source
            num_bytes += source.stat().st_size
    old = (path.relative_to(site) for name in (VIDEOS, SALIENCY) for path in sorted((site / name).glob("*.mp4")))
    unused = tuple(path.name for path in old if path not in copies)
    return SiteVideos(copies, tuple(missing), tuple(sorted(foreign)), tuple(too_large), tuple(too_many), unused)


def _by_priority(
    groups: Sequence[Group], folder_of: Callable[[Record], Path], looks: Sequence[Path]
) -> Iterator[tuple[Path, Path]]:
    """Path in the site and source of every video, by priority."""
    runs = [(place, run) for group in groups for place, row in enumerate(group.rows) for run in row.runs]
    ordered = [([folder_of(run.record) / file for file in _in_order(run.record)], place) for place, run in runs]
    first = [(place, path) for paths, place in ordered for path in paths[:2]]
    rest = [(place, path) for paths, place in ordered for path in paths[2:]]
    for _, path in sorted(first, key=lambda each: each[0]):
        yield Path(VIDEOS, path.name), path
    for path in looks:
        yield Path(SALIENCY, path.name), path
    for _, path in sorted(rest, key=lambda each: each[0]):
        yield Path(VIDEOS, path.name), path


def _in_order(record: Record) -> list[str]:
    """A record's videos: its first success and its first failure, then the others."""
    success = {episode["seed"]: episode["success"] for episode in record["episodes"]}
    files = shown_videos(record, frozenset())
    firsts = [next((file for file, seed in files if success[seed] is wanted), None) for wanted in (True, False)]
    chosen = [file for file in firsts if file is not None]
    return chosen + [file for file, _ in files if file not in chosen]
