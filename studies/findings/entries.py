"""The entries of the track: a recipe or a reference on a task, with the record of each of its training seeds."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.integrate import trapezoid

from smidgen.evaluation.collapse.labels import BLIND
from smidgen.evaluation.record_schema import judged_collapse
from smidgen.evaluation.records import Record
from smidgen.leaderboard.ranking import outcomes, read_runs, training_points
from smidgen.leaderboard.rows import Row, Run, recipe_name


@dataclass(frozen=True)
class Entry:
    """One recipe, or one reference, on one task.

    Attributes:
        row: Its row, with a record for each training seed.
    """

    row: Row

    @property
    def records(self) -> list[Record]:
        """By training seed."""
        return self.row.records

    @property
    def outcomes(self) -> list[dict[int, bool]]:
        """For each training seed, success by test seed."""
        return [outcomes(record) for record in self.records]

    @property
    def rate(self) -> float:
        """Share of all episodes of all training seeds that succeeded."""
        return self.row.success["k"] / self.row.success["n"]

    @property
    def sights(self) -> list[float]:
        """The deciding slope of each training seed that has one."""
        slopes = [judged_collapse(record).get("verdict_slope") for record in self.records]
        return [slope for slope in slopes if slope is not None]

    @property
    def sight(self) -> float | None:
        """Mean over training seeds; None if none has one."""
        return statistics.fmean(self.sights) if self.sights else None

    @property
    def num_blind(self) -> int:
        """Training seeds that are blind."""
        return sum(judged_collapse(record).get("verdict") == BLIND for record in self.records)

    @property
    def blind_steps(self) -> dict[int, float]:
        """By training seed: the area under 1 - R^2 of the held-out targets, in steps.

        R^2 counts as 0 below 0. A run that never leaves the mean has all of its steps, so that none is censored.
        """
        areas = {}
        for run in self.row.runs:
            area = area_above(training_points(run.record, "r2"))
            if area is not None and run.training_seed is not None:
                areas[run.training_seed] = area
        return areas


def area_above(points: list[tuple[int, float]]) -> float | None:
    """The area between a curve, cut to 0..1, and 1; None for fewer than two points."""
    if len(points) < 2:
        return None
    steps, values = np.array(points, dtype=np.float64).T
    return float(trapezoid(1.0 - values.clip(0.0, 1.0), steps))


Entries = Mapping[tuple[str, str], Entry]


def read_entries(folder: Path) -> Entries:
    """Every entry in a folder of records, by task and by recipe or reference; {} where there is none."""
    if not folder.is_dir():
        return {}
    found: dict[tuple[str, str], list[Run]] = {}
    for run in read_runs(folder):
        found.setdefault((run.record["task"], recipe_name(run.record)), []).append(run)
    return {key: Entry(Row(tuple(sorted(runs, key=lambda run: run.training_seed or 0)))) for key, runs in found.items()}
