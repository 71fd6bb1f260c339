"""Ranks result records: which rows are ranked together, in which order, and which are not separable from the best.

Rows of different tasks, environment fingerprints or protocols are never ranked together. Experts and baselines are
references: shown, never ranked. A blind row is not ranked either: it stands below the ranked ones with its success.
Imports neither torch nor a simulator, so that printing a table is fast.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smidgen.evaluation.collapse import escape
from smidgen.evaluation.records import Record, find_records, read_record
from smidgen.evaluation.statistics import exact_mcnemar, holm, minimum_detectable_drop
from smidgen.evaluation.tracks import Track
from smidgen.evaluation.verification_mark import read_verification
from smidgen.leaderboard.rows import Row, Run, gather_rows
from smidgen.leaderboard.training_seeds import outcome_table, p_of_difference
from smidgen.runtime.errors import UserError
from smidgen.runtime.files import sha256_file

_POSITION_SUFFIX = "_m"
# Which seeds were run and how many, and how inference was batched, do not change what an episode is.
_COMPARABLE_PROTOCOL = ("seed_start", "episodes", "confidence", "inference")


@dataclass(frozen=True)
class Group:
    """Rows that were measured under the same conditions, best first."""

    task: str
    environment: dict[str, Any]
    ranked: tuple[Row, ...]
    references: tuple[Row, ...]
    blind: tuple[Row, ...] = ()

    @property
    def rows(self) -> tuple[Row, ...]:
        """Ranked rows, then blind ones, then references."""
        return self.competing + self.references

    @property
    def competing(self) -> tuple[Row, ...]:
        """Ranked rows, then blind ones: all but the references."""
        return self.ranked + self.blind

    @property
    def track(self) -> Track:
        """What a full entry is; the same for all rows."""
        return self.rows[0].track

    @property
    def detectable_rate(self) -> float | None:
        """The highest rate that the best row's number of seeds tells from the best with a power of 80 %."""
        if not self.ranked:
            return None
        best = self.ranked[0].success["rate"]
        drop = minimum_detectable_drop(best, self.ranked[0].record["protocol"]["episodes"])
        return None if drop is None else best - drop


def read_runs(directory: Path | str) -> list[Run]:
    """Reads and validates every record of a directory, and the marks of verified ones.

    Raises:
        UserError: If there is no record, or one is not valid (the message names file and field).
    """
    if not Path(directory).is_dir():
        raise UserError(
            f"{directory} is not a directory; pass results=DIR, the folder that smidgen-eval writes records to"
        )
    paths = find_records(directory)
    if not paths:
        raise UserError(f"no record (*.json) in {directory}; write one with smidgen-eval policy=... out={directory}")
    # Read before hashing: reading refuses anything but a regular file, and hashing a pipe would never end.
    records = [(path, read_record(path)) for path in paths]
    return [Run(path.name, sha256_file(path), record, read_verification(path)) for path, record in records]


def rank_runs(runs: Iterable[Run]) -> list[Group]:
    """Groups records by task and conditions, puts the training seeds of a recipe into one row, and ranks by success.

    Returns:
        Groups sorted by task, then by their number of rows (most first); the order of the input does not matter.

    Raises:
        UserError: If a row would contain a training seed or a checkpoint twice.
    """
    gathered: dict[str, list[Run]] = defaultdict(list)
    for run in sorted(runs, key=lambda run: (run.source, run.sha256)):
        gathered[ranking_conditions(run.record)].append(run)
    groups = [_ranked_group(gather_rows(gathered[key])) for key in sorted(gathered)]
    return sorted(groups, key=lambda group: (group.task, -len(group.rows)))


def ranking_conditions(record: Record) -> str:
    """What must be the same for two rows to be ranked together, as one string."""
    protocol = {key: value for key, value in record["protocol"].items() if key not in _COMPARABLE_PROTOCOL}
    return json.dumps([record["task"], record["environment"], protocol], sort_keys=True)


def _ranked_group(rows: Sequence[Row]) -> Group:
    ordered = sorted(rows, key=lambda row: (-row.success["rate"], row.name, row.runs[0].source))
    entries = [row for row in ordered if row.may_be_ranked]
    competing, blind = ([row for row in entries if row.is_blind is wanted] for wanted in (False, True))
    references = sorted((row for row in ordered if not row.may_be_ranked), key=lambda row: not row.is_privileged)
    record = rows[0].record
    return Group(record["task"], record["environment"], tuple(_with_ranks(competing)), tuple(references), tuple(blind))


def _with_ranks(competing: Sequence[Row]) -> Iterable[Row]:
    """Adds ranks and, to all rows but the first, the comparison with the first."""
    tests = [compare(competing[0], row) for row in competing[1:]]
    adjusted = holm([p_value for p_value, _ in tests])
    for index, row in enumerate(competing):
        rank = 1 + sum(other.success["rate"] > row.success["rate"] for other in competing)
        if index == 0:
            yield dataclasses.replace(row, rank=rank)
        else:
            p_value, test = tests[index - 1]
            yield dataclasses.replace(row, rank=rank, p_best=p_value, p_holm=adjusted[index - 1], test=test)


def compare(best: Row, other: Row) -> tuple[float, str]:
    """Tests whether two rows differ, over training seeds and test seeds if both have two or more training seeds.

    A row with a single training seed says nothing about other training seeds: then the exact McNemar test compares the
    first training seed of each row on the test seeds that they share.

    Returns:
        The p-value, and the test in words.
    """
    ours, theirs = ([outcomes(record) for record in row.records] for row in (best, other))
    if min(len(ours), len(theirs)) > 1:
        shared = sorted(set().union(*ours) & set().union(*theirs))
        if shared:
            p_value = p_of_difference(outcome_table(ours, shared), outcome_table(theirs, shared))
            return p_value, f"{len(ours)} and {len(theirs)} training seeds, {len(shared)} shared seeds"
    p_value, num_shared = exact_mcnemar(ours[0], theirs[0])
    return p_value, f"exact McNemar on {num_shared} shared seeds"


def outcomes(record: Record) -> dict[int, bool]:
    """Headline success of each seed."""
    return {episode["seed"]: episode["success"] for episode in record["episodes"]}


def mean_position_r2(values: Sequence[float | None] | None, coordinates: Sequence[str]) -> float | None:
    """R^2 averaged over the position coordinates, whose names end in their unit ``_m``; the gripper is left out.

    A coordinate whose target is constant has no R^2 and is skipped; None if nothing is left.
    """
    named = zip(values or [], coordinates, strict=False)
    finite = [value for value, name in named if name.endswith(_POSITION_SUFFIX) and _is_number(value)]
    return sum(finite) / len(finite) if finite else None  # type: ignore[arg-type]


def training_points(record: Record, measure: str) -> list[tuple[int, float]]:
    """A measure against the training step, from the record's training curve.

    Args:
        record: A validated record; its curve may contain any JSON.
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
    """Training measures only positions, evaluation every coordinate; the number of values tells which."""
    positions = [name for name in coordinates if name.endswith(_POSITION_SUFFIX)]
    return positions if len(values) == len(positions) else coordinates


def escape_step(record: Record) -> int | None:
    """First training step from which the cue slope stays above one half; None while it has not escaped.

    A step that the run itself recorded takes precedence: it is based on every measurement, and a curve may be thinned.
    """
    marks = [
        (line["step"], line["escape_step"]) for line in record["training_curve"] if {"step", "escape_step"} <= {*line}
    ]
    if marks:
        mark = max(marks, key=lambda entry: entry[0])[1]
        return int(mark) if _is_number(mark) else None
    return escape.escape_step(training_points(record, "cue_slope"))


def _is_number(value: Any) -> bool:
    # Not isfinite(), which converts to float: a forged integer may be too large for that.
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
