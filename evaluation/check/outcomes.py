"""Outcomes of episodes, whoever evaluated: our records, LeRobot's ``eval_info.json``, a CSV of seed and success."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smidgen.evaluation.records import read_record
from smidgen.evaluation.statistics import wilson_interval
from smidgen.runtime.errors import UserError
from smidgen.runtime.files import read_json

MAX_EPISODES = 1_000_000
_MAX_BYTES = 1 << 28
_TRUTHS = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}
_EXPECTED = "a record of smidgen-eval, LeRobot's eval_info.json, or a CSV with the columns seed and success"


@dataclass(frozen=True)
class Outcomes:
    """What came of a policy's episodes.

    Attributes:
        path: The file.
        name: The policy's name, or the file's.
        success: By the episode's key: its seed, or where it stands in its task.
        is_by_seed: Whether the keys are seeds; else episodes are paired by their order.
    """

    path: Path
    name: str
    success: Mapping[str, bool]
    is_by_seed: bool

    @property
    def num_successes(self) -> int:
        """How many succeeded."""
        return sum(self.success.values())

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's interval of the success rate."""
        return wilson_interval(self.num_successes, len(self.success))

    def in_words(self) -> str:
        """``37/50 = 74.0 % [60.5, 84.1]``."""
        low, high = (100 * end for end in self.interval)
        rate = 100 * self.num_successes / len(self.success)
        return f"{self.num_successes}/{len(self.success)} = {rate:.1f} % [{low:.1f}, {high:.1f}]"


def read_outcomes(path: Path) -> Outcomes:
    """Reads outcomes of any known format.

    Raises:
        UserError: If the file is missing, damaged, of another format, or names an episode twice.
    """
    if not path.is_file():
        raise UserError(f"{path} is not a file; expected {_EXPECTED}")
    if path.stat().st_size > _MAX_BYTES:
        raise UserError(f"{path} has {path.stat().st_size} bytes; expected {_EXPECTED}")
    if path.suffix.lower() == ".csv":
        return _collected(path, path.stem, True, _read_csv(path))
    value = read_json(path)
    if isinstance(value, dict) and "schema_version" in value:
        record = read_record(path)
        rows = ((str(row["seed"]), row["success"]) for row in record["episodes"])
        return _collected(path, record["policy"]["name"], True, rows)
    if isinstance(value, dict) and isinstance(value.get("per_episode"), list):
        return _read_per_episode(path, value["per_episode"])
    if isinstance(value, dict) and isinstance(value.get("per_task"), list):
        return _collected(path, path.parent.name or path.stem, False, _per_task(path, value["per_task"]))
    raise UserError(f"{path}: expected {_EXPECTED}")


def _collected(path: Path, name: str, is_by_seed: bool, rows: Iterator[tuple[str, Any]]) -> Outcomes:
    found: dict[str, bool] = {}
    for key, success in rows:
        if key in found:
            raise UserError(f"{path}: episode {key:.60} is there twice")
        if type(success) is not bool:
            raise UserError(f"{path}: episode {key:.60}: expected success as true or false, got {success!r:.60}")
        if len(found) >= MAX_EPISODES:
            raise UserError(f"{path}: more than {MAX_EPISODES} episodes")
        found[key] = success
    if not found:
        raise UserError(f"{path} has no episodes")
    return Outcomes(path, name, found, is_by_seed)


def _read_csv(path: Path) -> Iterator[tuple[str, Any]]:
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            names = {str(name).strip().lower(): name for name in reader.fieldnames or ()}
            if not {"seed", "success"} <= names.keys():
                raise UserError(
                    f"{path}: expected the columns seed and success, got {', '.join(names)[:100] or 'none'}"
                )
            for row in reader:
                seed, success = (str(row[names[name]] or "").strip() for name in ("seed", "success"))
                if not seed.lstrip("-").isdecimal():
                    raise UserError(f"{path}: line {reader.line_num}: expected a seed, got {seed!r:.60}")
                yield str(int(seed[:40])), _TRUTHS.get(success.lower(), success)
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} is not a CSV ({str(error)[:80]})") from error


def _read_per_episode(path: Path, rows: list[Any]) -> Outcomes:
    """LeRobot up to 0.3: one task, with a seed for each episode where it was given one."""
    seeds = [row.get("seed") if isinstance(row, dict) else None for row in rows]
    is_by_seed = all(type(seed) is int for seed in seeds) and len(set(seeds)) == len(seeds)
    keyed = (
        (str(seed if is_by_seed else place), row.get("success") if isinstance(row, dict) else None)
        for place, (seed, row) in enumerate(zip(seeds, rows, strict=True))
    )
    return _collected(path, path.parent.name or path.stem, is_by_seed, keyed)


def _per_task(path: Path, tasks: list[Any]) -> Iterator[tuple[str, Any]]:
    """LeRobot from 0.4: a list of successes for each task, whose seeds follow one another."""
    for task in tasks:
        metrics = task.get("metrics") if isinstance(task, dict) else None
        successes = metrics.get("successes") if isinstance(metrics, dict) else None
        if not isinstance(successes, list):
            raise UserError(f"{path}: per_task: expected metrics.successes as a list in every task")
        name = json.dumps([task.get("task_group"), task.get("task_id")])[:200]
        yield from ((f"{name} {place}", success) for place, success in enumerate(successes))
