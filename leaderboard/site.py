"""The videos of a site: which of them stand beside its page, so that they stay small enough to publish.

A video above ``MOST_BYTES_EACH`` is left out, and so is, from the least telling one up, what exceeds
``MOST_BYTES_TOGETHER``. Most telling are a success and a failure of every row, then the saliency videos, then the rest;
among equals the better rank.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from smidgen.evaluation.records import Record
from smidgen.evaluation.video_files import VIDEOS
from smidgen.leaderboard.clips import foreign_films, shown_videos
from smidgen.leaderboard.ranking import Group
from smidgen.runtime.errors import UserError

MOST_BYTES_EACH = 300_000
MOST_BYTES_TOGETHER = 50_000_000
SALIENCY = "saliency"
_MOST_NAMED = 3


@dataclass(frozen=True)
class SiteVideos:
    """What is copied and what is not.

    Attributes:
        copies: Where each video comes from, by its place inside the site.
        missing: Names that records hold and that the folder does not.
        foreign: Names of videos that are another evaluation's.
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
        """Every name that the page shall not show."""
        return frozenset(self.missing + self.foreign + self.too_large + self.too_many)

    @property
    def messages(self) -> list[str]:
        """One line for each reason to leave videos out."""
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
        site: Where the site will stand.
        first_videos: The folder of the videos of records of version 1, if another.

    Raises:
        UserError: If the site would overwrite the videos that it is made of.
    """
    folders = {1: videos if first_videos is None else first_videos}
    foreign = foreign_films(groups, videos, folders[1])
    sources = {videos.resolve(), folders[1].resolve(), *(path.parent.resolve() for path in looks)}
    if {(site / name).resolve() for name in (VIDEOS, SALIENCY)} & sources:
        raise UserError(f"site={site} holds the videos that the site is made of; choose another folder")
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
    """Place inside the site and source of every video, the most telling first."""
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
