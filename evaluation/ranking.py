"""Leaderboard rows from result records: which are ranked together, in which order, which cannot be told from the best.

Rows of different tasks, environment fingerprints or protocols are never ranked together. Experts and baselines are
references: shown, never ranked. Imports neither torch nor a simulator, so that a table takes no time to make.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smidgen.evaluation.protocol import TEST
from smidgen.evaluation.records import Record, find_records, read_record
from smidgen.evaluation.statistics import SIGNIFICANCE, exact_mcnemar
from smidgen.runtime.errors import UserError
from smidgen.runtime.files import sha256_file

ESCAPE_ABOVE = 0.5  # T0.5, the threshold of collapse.CollapseMonitor
_POSITION_SUFFIX = "_m"
_RANKED_KINDS = ("checkpoint", "user")
# Which seeds were run and how many, and how inference was batched, do not change what an episode is.
_COMPARABLE_PROTOCOL = ("seed_start", "episodes", "confidence", "inference")


@dataclass(frozen=True)
class Row:
    """One record on the leaderboard.

    Attributes:
        source: The record file's name.
        sha256: Of the record file.
        record: The validated record.
        rank: 1 for the best of its group, equal rates share a rank; None for a reference.
        p_best: p-value of the exact McNemar test against the group's best row; None for the best and for references.
        num_shared_seeds: Seeds that this row and the best have in common.
    """

    source: str
    sha256: str
    record: Record
    rank: int | None = None
    p_best: float | None = None
    num_shared_seeds: int = 0

    @property
    def name(self) -> str:
        """The policy's name."""
        return self.record["policy"]["name"]

    @property
    def is_privileged(self) -> bool:
        """Whether the policy sees what no camera shows."""
        return self.record["policy"]["kind"] == "expert" or "privileged" in self.record["policy"]["observes"]

    @property
    def may_be_ranked(self) -> bool:
        """Whether the row competes; experts, anything privileged, baselines and other seeds than test's do not."""
        is_test = self.record["protocol"]["split"] == TEST
        return is_test and self.record["policy"]["kind"] in _RANKED_KINDS and not self.is_privileged

    @property
    def not_separable(self) -> bool:
        """Whether the row is not the best, and the shared seeds do not show it to be worse."""
        return self.p_best is not None and self.p_best > SIGNIFICANCE


@dataclass(frozen=True)
class Group:
    """Rows that were measured under the same conditions, best first."""

    task: str
    environment: dict[str, Any]
    ranked: tuple[Row, ...]
    references: tuple[Row, ...]

    @property
    def rows(self) -> tuple[Row, ...]:
        """Ranked rows, then references."""
        return self.ranked + self.references


def read_rows(directory: Path | str) -> list[Row]:
    """Reads and validates every record of a directory.

    Raises:
        UserError: If there is no record, or one is not valid (the message names file and field).
    """
    if not Path(directory).is_dir():
        raise UserError(
            f"{directory} is no directory; pass results=DIR, the folder that smidgen-eval writes records to"
        )
    paths = find_records(directory)
    if not paths:
        raise UserError(f"no record (*.json) in {directory}; write one with smidgen-eval policy=... out={directory}")
    return [Row(path.name, sha256_file(path), read_record(path)) for path in paths]


def rank_rows(rows: Iterable[Row]) -> list[Group]:
    """Groups rows by task and conditions, and ranks each group by success rate.

    Returns:
        Groups sorted by task, then by their number of rows (most first); the order of the input does not matter.
    """
    gathered: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        gathered[_conditions(row.record)].append(row)
    groups = [_ranked_group(gathered[key]) for key in sorted(gathered)]
    return sorted(groups, key=lambda group: (group.task, -len(group.rows)))


def _conditions(record: Record) -> str:
    """What has to be the same for two rows to be ranked together, as one string."""
    protocol = {key: value for key, value in record["protocol"].items() if key not in _COMPARABLE_PROTOCOL}
    return json.dumps([record["task"], record["environment"], protocol], sort_keys=True)


def _ranked_group(rows: Sequence[Row]) -> Group:
    ordered = sorted(rows, key=lambda row: (-row.record["success"]["rate"], row.name, row.source))
    competing = [row for row in ordered if row.may_be_ranked]
    references = sorted((row for row in ordered if not row.may_be_ranked), key=lambda row: not row.is_privileged)
    ranked = tuple(_with_rank(row, competing) for row in competing)
    record = rows[0].record
    return Group(record["task"], record["environment"], ranked, tuple(references))


def _with_rank(row: Row, competing: Sequence[Row]) -> Row:
    rank = 1 + sum(other.record["success"]["rate"] > row.record["success"]["rate"] for other in competing)
    if row is competing[0]:
        return dataclasses.replace(row, rank=rank)
    p_value, num_shared = exact_mcnemar(outcomes(competing[0].record), outcomes(row.record))
    return dataclasses.replace(row, rank=rank, p_best=p_value, num_shared_seeds=num_shared)


def outcomes(record: Record) -> dict[int, bool]:
    """Headline success of each seed."""
    return {episode["seed"]: episode["success"] for episode in record["episodes"]}


def mean_position_r2(values: Sequence[float | None] | None, coordinates: Sequence[str]) -> float | None:
    """R^2 averaged over the position coordinates, whose names end in their unit ``_m``; the gripper is left out.

    A coordinate whose target is constant has no R^2 and is skipped; None when nothing is left.
    """
    named = zip(values or [], coordinates, strict=False)
    finite = [value for value, name in named if name.endswith(_POSITION_SUFFIX) and _is_number(value)]
    return sum(finite) / len(finite) if finite else None  # type: ignore[arg-type]


def training_points(record: Record, measure: str) -> list[tuple[int, float]]:
    """A measure against the training step, from the record's training curve.

    Args:
        record: A validated record; its curve may hold anything JSON can say.
        measure: ``"r2"`` (averaged over position coordinates) or the name of a scalar such as ``"cue_slope"``.

    Returns:
        (step, value) with increasing steps; rows of the training split or without a finite value are left out.
    """
    points: dict[int, float] = {}
    for line in record["training_curve"]:
        step, value = line.get("step"), line.get(measure)
        if line.get("split") == "train":
            continue
        if isinstance(value, list):
            value = mean_position_r2(value, _coordinates_of(value, record["collapse"]["coordinates"]))
        if isinstance(step, int) and _is_number(step) and _is_number(value):
            points[step] = float(value)  # type: ignore[arg-type]
    return sorted(points.items())


def _coordinates_of(values: Sequence[Any], coordinates: Sequence[str]) -> Sequence[str]:
    """Training measures positions alone, evaluation every coordinate; the number of values tells which."""
    positions = [name for name in coordinates if name.endswith(_POSITION_SUFFIX)]
    return positions if len(values) == len(positions) else coordinates


def escape_step(record: Record) -> int | None:
    """First training step from which the cue slope stays above ``ESCAPE_ABOVE``; None while it has not escaped.

    The run's own mark is taken where the curve has one: it saw every measurement, and a curve may be thinned.
    """
    marks = [
        (line["step"], line["escape_step"]) for line in record["training_curve"] if {"step", "escape_step"} <= {*line}
    ]
    if marks:
        mark = max(marks, key=lambda entry: entry[0])[1]
        return int(mark) if _is_number(mark) else None
    escaped: int | None = None
    for step, slope in training_points(record, "cue_slope"):
        escaped = None if slope <= ESCAPE_ABOVE else step if escaped is None else escaped
    return escaped


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
