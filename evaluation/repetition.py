"""Runs episodes of a record again in its environment, or says why they cannot be compared."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smidgen.data_collection.manifest import MAX_IMAGE_SIZE
from smidgen.envs.specs import TaskSpec
from smidgen.evaluation.env_spec import EnvSpec, find_env_spec
from smidgen.evaluation.items import EpisodeItem
from smidgen.evaluation.policy_source import PolicySource
from smidgen.evaluation.protocol import HOLD_STEPS, PROTOCOL_VERSION
from smidgen.evaluation.record_schema import Record
from smidgen.evaluation.shards import run_items
from smidgen.runtime.differences import Difference, differences
from smidgen.runtime.errors import UserError


@dataclass(frozen=True)
class Repetition:
    """Episodes run again: answers by seed, or the reason why they cannot be compared."""

    rows: dict[int, Mapping[str, Any]]
    environment: dict[str, Any]
    host: dict[str, Any]
    reason: str = ""


def other_protocol(record: Record, task: TaskSpec) -> str:
    """Why the record's protocol is not that of this version of smidgen; "" if it is."""
    here = {
        "version": PROTOCOL_VERSION,
        "horizon": task.horizon,
        "hold_steps": HOLD_STEPS,
        "control_hz": task.control_hz,
    }
    there = {name: dict(record["protocol"])[name] for name in here}
    return next((in_words(each) for each in differences(there, here, "protocol.")), "")


def in_words(difference: Difference) -> str:
    """A value in a record beside the value here."""
    return f"{difference.path} is {difference.there!r:.40} in the record and {difference.here!r:.40} here"


def env_spec_of(record: Record, record_path: Path, source: PolicySource) -> EnvSpec:
    """The environment that a record was measured in.

    Args:
        record: The record.
        record_path: Its file.
        source: The policy that it names; a checkpoint's own settings take precedence over the record's.

    Raises:
        UserError: If the record names none that can be made.
    """
    if source.kind == "checkpoint":
        return find_env_spec(source)
    cameras, image_size = (record["config"].get(name) for name in ("cameras", "image_size"))
    if not isinstance(cameras, list) or not cameras or not all(isinstance(name, str) for name in cameras):
        raise UserError(f"{record_path}: field config.cameras: expected a list of names, got {cameras!r:.60}")
    if type(image_size) is not int or not 1 <= image_size <= MAX_IMAGE_SIZE:
        raise UserError(
            f"{record_path}: field config.image_size: expected 1..{MAX_IMAGE_SIZE}, got {str(image_size)[:20]}"
        )
    return EnvSpec(source.task, tuple(cameras), image_size)


def repeat(record: Record, source: PolicySource, env_spec: EnvSpec, seeds: list[int], workers: int) -> Repetition:
    """Runs episodes of a record again."""
    with tempfile.TemporaryDirectory() as folder:
        items = {Path(folder, f"{seed}.json"): EpisodeItem(source, env_spec, seed) for seed in seeds}
        answers = run_items(items, workers, f"verify {record['policy']['name']}")
        by_seed = {items[path].seed: answer for path, answer in answers.items()}
    environment = by_seed[seeds[0]]["environment"]
    for other in differences(record["environment"], environment["ranked"]):
        reason = f"another environment: {in_words(other)}"
        return Repetition({}, environment["ranked"], environment["host"], reason)
    rows = {seed: answer["row"] for seed, answer in by_seed.items()}
    return Repetition(rows, environment["ranked"], environment["host"])
