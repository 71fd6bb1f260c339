"""The records of the search: one small file for each arm."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import smidgen.runtime
from smidgen.evaluation.records import Rate, Record
from smidgen.experiments.costs import Cost
from smidgen.runtime.files import canonical_json, read_json, sha256_bytes, sha256_file, write_json_atomic
from smidgen.runtime.schemas import from_json, refuse, require_version, to_json
from studies.recipe.arms import Arm

SCHEMA_VERSION = 1
RUNS_FOLDER = "runs"
CURVE_ROWS = 10
CURVE_KEYS = ("step", "loss", "r2_mean", "skill_time_mean", "cue_slope", "gripper_accuracy")
# What decides a result, beside its settings and its libraries.
CODE_FOLDERS = ("runtime", "envs", "policies", "data_collection", "training", "evaluation")


@dataclass(frozen=True, kw_only=True)
class ArmRecord:
    """What came of an arm.

    Attributes:
        arm: Its name in the plan.
        arm_sha256: Of its content.
        config: That content: task, and the keys of collecting, training and acting.
        size: Demonstrations, held-out demonstrations, steps at most, and episodes.
        success: Success held for ten steps, with its Wilson interval.
        success_once: Success at any step.
        failures: How many episodes failed for each reason.
        verdict: Whether the policy sees; None where undecided.
        sight: The slope that decided.
        cue_slope: On held-out counterfactual pairs.
        path_slope: In closed loop.
        validation: Rows of the run's metrics, thinned, the last one among them.
        seeds: Split, first seed and number of the evaluation's episodes.
        outcomes: 1 for success and 0 for failure, one for each seed in order.
        costs: Of collecting, training and evaluating; one that other arms share is that of the first.
        versions: Of the libraries.
        hashes: Of code, demonstrations, and checkpoint.
        schema_version: Of this format.
    """

    arm: str
    arm_sha256: str
    config: dict[str, Any]
    size: dict[str, int]
    success: dict[str, float]
    success_once: dict[str, float]
    failures: dict[str, int]
    verdict: str | None
    sight: float | None
    cue_slope: float | None
    path_slope: float | None
    validation: tuple[dict[str, float | None], ...]
    seeds: dict[str, str | int]
    costs: dict[str, Cost]
    versions: dict[str, str]
    hashes: dict[str, str]
    outcomes: str = ""
    schema_version: int = field(default=SCHEMA_VERSION)

    @property
    def success_by_episode(self) -> dict[int, bool]:
        """Success of each episode, by its place among them."""
        return {place: outcome == "1" for place, outcome in enumerate(self.outcomes)}


def code_sha256() -> str:
    """SHA-256 of the code that collects, trains and evaluates."""
    root = Path(smidgen.runtime.__file__).parents[1]
    files = sorted(path for folder in CODE_FOLDERS for path in (root / folder).rglob("*.py"))
    return sha256_bytes(canonical_json({path.relative_to(root).as_posix(): sha256_file(path) for path in files}))


def summarise(
    name: str,
    arm: Arm,
    size: Mapping[str, int],
    evaluated: Record,
    curve: list[dict[str, Any]],
    costs: dict[str, Cost],
) -> ArmRecord:
    """An arm's record.

    Args:
        name: The arm's name.
        arm: The arm.
        size: Numbers of demonstrations, steps and episodes.
        evaluated: The record of its evaluation.
        curve: Validation rows of its training.
        costs: What its parts took.
    """
    collapse, protocol, card = evaluated["collapse"], evaluated["protocol"], evaluated["policy"]
    labels = Counter(row["label"] for row in evaluated["episodes"] if not row["success"])
    hashes = {"data_set": card["data_set_sha256"], "checkpoint": card["checkpoint_sha256"]}
    return ArmRecord(
        arm=name,
        arm_sha256=arm.sha256,
        config=arm.content(),
        size=dict(size),
        success=_rate(evaluated["success"]),
        success_once=_rate(evaluated["success_once"]),
        failures=dict(sorted(labels.items())),
        verdict=collapse.get("verdict"),
        sight=collapse.get("verdict_slope"),
        cue_slope=collapse["cue_slope"],
        path_slope=collapse.get("path_slope"),
        validation=thinned(curve),
        seeds={"split": protocol["split"], "first": protocol["seed_start"], "episodes": protocol["episodes"]},
        costs={stage: Cost(round(cost.wall_s, 1), round(cost.core_s, 1)) for stage, cost in costs.items()},
        versions=evaluated["versions"],
        outcomes="".join(
            str(int(row["success"])) for row in sorted(evaluated["episodes"], key=lambda row: row["seed"])
        ),
        hashes={"code": code_sha256(), **{part: value for part, value in hashes.items() if value is not None}},
    )


def _rate(rate: Rate) -> dict[str, float]:
    return {"k": rate["k"], "n": rate["n"], "rate": rate["rate"], "low": rate["low"], "high": rate["high"]}


def thinned(curve: list[dict[str, Any]]) -> tuple[dict[str, float | None], ...]:
    """About ten rows, evenly spaced, the last one among them, of the measures that every policy has."""
    stride = max(1, len(curve) // CURVE_ROWS)
    rows = curve[::-1][::stride][::-1]
    return tuple({key: row.get(key) for key in CURVE_KEYS} for row in rows)


def record_path(folder: Path, name: str) -> Path:
    """The path of an arm's record."""
    return folder / RUNS_FOLDER / f"{name}.json"


def write_record(folder: Path, record: ArmRecord) -> None:
    """Writes a record to its place, whole or not at all."""
    write_json_atomic(record_path(folder, record.arm), to_json(record))


def read_records(folder: Path, arms: Mapping[str, Arm]) -> dict[str, ArmRecord]:
    """Reads every record, in the order of the arms.

    Raises:
        UserError: If a record is not valid, belongs to no arm of the plan, or was run under another content.
    """
    found = {}
    for path in sorted((folder / RUNS_FOLDER).glob("*.json")):
        value: Any = read_json(path)
        require_version(value, (SCHEMA_VERSION,), str(path))
        record = from_json(ArmRecord, value, str(path))
        if record.arm != path.stem or record.arm not in arms:
            refuse(str(path), "arm", "an arm of the plan, as in the file's name", record.arm)
        if record.arm_sha256 != arms[record.arm].sha256:
            refuse(str(path), "arm_sha256", f"that of the plan's {record.arm}", record.arm_sha256)
        found[record.arm] = record
    return {name: found[name] for name in arms if name in found}
