"""The records of the second round: one file for each job."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from smidgen.runtime.files import canonical_json, read_json, sha256_bytes, write_json_atomic
from smidgen.runtime.schemas import from_json, refuse, require_version, to_json
from studies.claims.arms import Arm

SCHEMA_VERSION = 1
RUNS_FOLDER = "runs"
TUNING = "tuning"
ARM_PARTS = ("data", "network", "training", "look")
# A part that arms gained later; arms that leave it at its default keep their content.
LATER_PARTS = ("look",)


@dataclass(frozen=True, kw_only=True)
class Run:
    """One seed's run.

    Attributes:
        seed: Of data and initial weights.
        areas: Area under 1 - R^2, cut to [0, 1], from step 0 to each horizon (its key), in steps.
        fvu: 1 - R^2 at some steps (its keys).
        escape_step: T0.5; None where the run never stayed above one half for 200 steps.
        steps_run: Steps taken; fewer than the horizon where R^2 settled above 0.99 (or, while rates are searched,
            where it escaped), and where the run diverged.
        diverged: Whether the loss stopped being finite; from there on 1 - R^2 counts as 1.
        curve: (step, 1 - R^2) along the run, thinned; null for what is not finite.
        initial: Measures before the first step.
        final: Measures after the last one.
        oracle_r2: Held-out R^2 of a probe in closed form on the same data.
    """

    seed: int
    areas: dict[str, float]
    fvu: dict[str, float]
    escape_step: int | None
    steps_run: int
    diverged: bool
    curve: tuple[tuple[int, float | None], ...]
    initial: dict[str, float | None]
    final: dict[str, float | None]
    oracle_r2: float | None = None


@dataclass(frozen=True, kw_only=True)
class BlockRecord:
    """An arm's runs on one block of seeds at one learning rate.

    Attributes:
        arm: Name in the plan.
        arm_sha256: Of the arm's content in the plan.
        block: ``tuning`` or one of the plan's blocks.
        lr: Learning rate after warm-up.
        runs: One for each seed of the block.
        schema_version: Of this format.
    """

    arm: str
    arm_sha256: str
    block: str
    lr: float
    runs: tuple[Run, ...]
    schema_version: int = field(default=SCHEMA_VERSION)

    @property
    def is_tuning(self) -> bool:
        """Whether its runs serve only to choose a rate."""
        return self.block == TUNING


def arm_content(arm: Arm) -> dict[str, Any]:
    """All settings of an arm as JSON, without those at their class's default.

    Configuration classes gain fields while a suite runs for hours; at its default a new one changes no arm.
    """
    content = {name: value for name, value in to_json(arm).items() if name not in ARM_PARTS}
    parts = {part: _set_fields(getattr(arm, part)) for part in ARM_PARTS}
    return content | {part: fields for part, fields in parts.items() if fields or part not in LATER_PARTS}


def arm_sha256(arm: Arm) -> str:
    """SHA-256 of an arm's content."""
    return sha256_bytes(canonical_json(arm_content(arm)))


def _set_fields(config: Any) -> dict[str, Any]:
    values = {each.name: (getattr(config, each.name), each.default) for each in dataclasses.fields(config)}
    return {name: to_json(value) for name, (value, default) in values.items() if value != default}


def record_path(folder: Path, arm: str, block: str, lr: float) -> Path:
    """The path of a job's record."""
    return folder / RUNS_FOLDER / arm / f"{block}-{lr:g}.json"


def write_record(folder: Path, record: BlockRecord) -> Path:
    """Writes a record to its place, whole or not at all."""
    path = record_path(folder, record.arm, record.block, record.lr)
    write_json_atomic(path, to_json(record))
    return path


def read_record(path: Path) -> BlockRecord:
    """Reads one record.

    Raises:
        UserError: If it does not match the schema or its path; the message names file and field.
    """
    value: Any = read_json(path)
    require_version(value, (SCHEMA_VERSION,), str(path))
    record = from_json(BlockRecord, value, str(path))
    if path.parent.name != record.arm or path.stem != f"{record.block}-{record.lr:g}":
        refuse(str(path), "arm, block, lr", "those of the file's name", f"{record.arm}/{record.block}-{record.lr:g}")
    return record


@dataclass(frozen=True)
class Records:
    """All records of a folder.

    Attributes:
        blocks: By arm.
    """

    blocks: dict[str, tuple[BlockRecord, ...]]

    def tuning(self, arm: str) -> dict[float, BlockRecord]:
        """The searches for an arm's rate, by rate."""
        return {each.lr: each for each in self.blocks.get(arm, ()) if each.is_tuning}

    def runs(self, arm: str) -> dict[int, Run]:
        """The runs of an arm that count, by seed."""
        counted = [each for each in self.blocks.get(arm, ()) if not each.is_tuning]
        return {run.seed: run for each in counted for run in each.runs}

    def areas(self, arm: str, horizon: int) -> dict[int, float]:
        """An arm's areas up to a horizon, by seed."""
        return {seed: run.areas[str(horizon)] for seed, run in self.runs(arm).items()}


def read_records(folder: Path, arms: dict[str, Arm]) -> Records:
    """Reads every record of the arms, and checks that it matches the planned arm.

    Raises:
        UserError: If a record is not valid, belongs to no arm of the plan, or was run under another content.
    """
    blocks: dict[str, list[BlockRecord]] = {}
    for path in sorted((folder / RUNS_FOLDER).glob("*/*.json")):
        record = read_record(path)
        if record.arm not in arms:
            refuse(str(path), "arm", "an arm of the plan", record.arm)
        if record.arm_sha256 != arm_sha256(arms[record.arm]):
            refuse(str(path), "arm_sha256", f"that of the plan's {record.arm}", record.arm_sha256)
        blocks.setdefault(record.arm, []).append(record)
    for name, own in blocks.items():
        _check_one_rate(folder, name, own)
    return Records({name: tuple(own) for name, own in blocks.items()})


def _check_one_rate(folder: Path, name: str, blocks: Iterable[BlockRecord]) -> None:
    rates = {each.lr for each in blocks if not each.is_tuning}
    if len(rates) > 1:
        refuse(str(folder / RUNS_FOLDER / name), "lr", "one rate, frozen for all looks", sorted(rates))
