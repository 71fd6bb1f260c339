"""Wins and losses seed by seed: a row for each run, a column for each test seed, so that two rows compare episode by
episode.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from smidgen.evaluation.records import EpisodeRow
from smidgen.leaderboard.clips import VideoFolder, outcome_words, run_name, shown_videos
from smidgen.leaderboard.page_entries import Entry
from smidgen.leaderboard.rows import Run

MOST_SEEDS = 200
WON, LOST, NOT_RUN = "won", "lost", "unrun"


@dataclass(frozen=True)
class GridRow:
    """One run.

    Attributes:
        entry: The row of the leaderboard that it is part of.
        name: What the run is called.
        episodes: One per column; None where the run has no such episode.
        videos: Addresses by seed.
    """

    entry: Entry
    name: str
    episodes: tuple[EpisodeRow | None, ...]
    videos: dict[int, str]

    @property
    def cells(self) -> Iterator[str]:
        """The class of each cell: its outcome, and whether it was filmed."""
        for episode in self.episodes:
            if episode is None:
                yield NOT_RUN
            else:
                outcome = WON if episode["success"] else LOST
                yield f"{outcome} film" if episode["seed"] in self.videos else outcome

    @property
    def num_won(self) -> int:
        """Successes among the columns."""
        return sum(episode is not None and episode["success"] for episode in self.episodes)

    @property
    def num_run(self) -> int:
        """Columns that the run has an episode for."""
        return sum(episode is not None for episode in self.episodes)


@dataclass(frozen=True)
class SeedGrid:
    """The grid of a section.

    Attributes:
        id: Of the section.
        seeds: The columns.
        rows: The runs.
        num_left_out: Seeds that have no column.
    """

    id: str
    seeds: tuple[int, ...]
    rows: tuple[GridRow, ...]
    num_left_out: int

    @property
    def has_films(self) -> bool:
        """Whether some episode of the grid was filmed and its film is there."""
        return any(row.videos for row in self.rows)

    @property
    def data(self) -> dict[str, Any]:
        """What the script says of a cell: outcome, steps and video; by row and column."""
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
    """The grid of a section; of very many seeds, those that most runs share."""
    runs = [(entry, run) for entry in entries for run in entry.row.runs]
    counts = Counter(episode["seed"] for _, run in runs for episode in run.record["episodes"])
    most_shared = sorted(counts, key=lambda seed: (-counts[seed], seed))
    seeds = tuple(sorted(most_shared[:MOST_SEEDS]))
    rows = tuple(_grid_row(entry, run, seeds, folder) for entry, run in runs)
    return SeedGrid(section_id, seeds, rows, len(counts) - len(seeds))


def _grid_row(entry: Entry, run: Run, seeds: Sequence[int], folder: VideoFolder) -> GridRow:
    episodes = {episode["seed"]: episode for episode in run.record["episodes"]}
    shown = set(seeds)
    version, filmed = run.record["schema_version"], shown_videos(run.record, folder.left_out)
    videos = {seed: folder.source(file, version) for file, seed in filmed if seed in shown}
    return GridRow(entry, run_name(entry.row, run), tuple(episodes.get(seed) for seed in seeds), videos)
