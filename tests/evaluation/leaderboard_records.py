"""Result records made to measure, so that tables and pages are tested without a simulator."""

import hashlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from smidgen.evaluation.record_schema import success_rate
from smidgen.evaluation.records import Record, record_path, write_record

TEST_SEEDS_START = 3_000_000
REFERENCES = ("mean_action", "noop", "persistence", "random", "time_mean")


def episode(seed: int, success: bool) -> dict[str, Any]:
    return {
        "seed": seed,
        "success": success,
        "success_once": success,
        "success_at_reset": False,
        "first_success_step": 40 if success else None,
        "num_steps": 50 if success else 200,
        "return": float(success),
        "label": "success" if success else "missed_grasp",
    }


def policy_card(name: str, kind: str) -> dict[str, Any]:
    learned = kind == "checkpoint"
    return {
        "name": name,
        "kind": kind,
        "observes": ["privileged"] if kind == "expert" else ["frames"],
        "transform": "raw" if learned else None,
        "standardise_before": "none" if learned else None,
        "standardise_after": "centre" if learned else None,
        "checkpoint_sha256": "a" * 64 if learned else None,
        "data_set_sha256": "b" * 64 if learned else None,
        "data_set_seeds": [0, 84] if learned else [],
        "training": {"num_demonstrations": 85, "step": 1500} if learned else None,
    }


COLLAPSE: dict[str, Any] = {
    "coordinates": ["x_m", "y_m", "z_m", "gripper"],
    "r2": [0.9, 0.8, 0.7, 0.1],
    "explained_variance": [0.9, 0.8, None, 0.1],
    "skill_time_mean": 0.5,
    "skill_persistence": -0.25,
    "cue_slope": 0.8,
    "spread_ratio": 0.9,
    "num_windows": 512,
    "num_counterfactuals": 100,
    "demos_sha256": "c" * 64,
    "reasons": {},
}
BLIND = {
    "r2": [0.0, 0.0, 0.0, 0.0],
    "skill_time_mean": 0.0,
    "skill_persistence": -3.1,
    "cue_slope": 0.0,
    "spread_ratio": 0.04,
}
ENVIRONMENT = {
    "image_size": [64, 64],
    "env_id": "smidgen/Lift-v0",
    "mujoco": "3.9.0",
    "robosuite": "1.5.2",
    "model_sha256": "d" * 64,
}


def protocol(num_episodes: int, seed_start: int) -> dict[str, Any]:
    return {
        "version": 1,
        "split": "test",
        "seed_start": seed_start,
        "episodes": num_episodes,
        "horizon": 200,
        "hold_steps": 10,
        "control_hz": 20,
        "confidence": 0.95,
        "inference": "batch of one on one thread",
    }


def build_record(
    name: str, successes: Sequence[bool], kind: str = "checkpoint", seed_start: int = TEST_SEEDS_START, **changes: Any
) -> Record:
    """A valid record; ``changes`` replace top-level fields, or entries of those that are objects."""
    record: dict[str, Any] = {
        "schema_version": 1,
        "task": "lift",
        "policy": policy_card(name, kind),
        "success": success_rate(list(successes), 0.95),
        "success_once": success_rate(list(successes), 0.95),
        "errors": {"policy_error": 0, "simulator_error": 0},
        "episodes": [episode(seed_start + index, flag) for index, flag in enumerate(successes)],
        "collapse": COLLAPSE,
        "protocol": protocol(len(successes), seed_start),
        "environment": ENVIRONMENT,
        "config": {},
        "versions": {},
        "training_curve": [],
        "videos": [],
    }
    for key, value in changes.items():
        record[key] = {**record[key], **value} if isinstance(value, dict) else value
    return record  # type: ignore[return-value]


def seed_record(name: str, seed: int, successes: Sequence[bool], **changes: Any) -> Record:
    """The record of one training seed of a recipe: ``<name>-seed<seed>``, with a checkpoint of its own."""
    training = {"num_demonstrations": 85, "step": 1500, "training_config": {"lr": 0.001, "seed": seed, "steps": 1500}}
    checkpoint = hashlib.sha256(f"{name} {seed}".encode()).hexdigest()
    policy = {"training": training, "checkpoint_sha256": checkpoint, **changes.pop("policy", {})}
    return build_record(f"{name}-seed{seed}", successes, policy=policy, **changes)


def write(folder: Path, record: Record) -> Path:
    path = record_path(folder, record["task"], record["policy"]["name"])
    write_record(path, record)
    return path


def training_curve(escape: float, last: int = 1500, ceiling: float = 0.95) -> list[dict[str, Any]]:
    """A plateau at zero that is left around a step, with a row of the training split beside each measured one."""
    rows: list[dict[str, Any]] = []
    for step in range(0, last + 1, 50):
        level = ceiling / (1 + math.exp(-(step - escape) / 60))
        r2 = [level, 0.9 * level, 0.1 + 0.85 * level, 0.8 * level]
        measured = {"step": step, "split": "validation", "loss": 1 - level, "r2": r2, "cue_slope": level - 0.02}
        rows += [{"step": step, "loss": 1 - level, "split": "train"}, measured]
    return rows


def films(name: str) -> list[dict[str, Any]]:
    """Entries for the first four episodes' videos."""
    seeds = range(TEST_SEEDS_START, TEST_SEEDS_START + 4)
    return [{"seed": seed, "file": f"lift-{name}-{seed}.mp4"} for seed in seeds]


def unmeasured(reason: str) -> dict[str, Any]:
    """Collapse fields of a policy that nothing was measured of."""
    names = [*BLIND, "explained_variance"]
    return {**dict.fromkeys(names), "reasons": dict.fromkeys(names, reason)}


def demo_records() -> list[Record]:
    """What the demo leaves: Perceivers with curves and videos, the expert and the baselines."""
    return [
        build_record("expert", [True] * 50, "expert", collapse=unmeasured("the policy observes privileged state")),
        build_record(
            "dft3d",
            [index % 7 != 3 for index in range(50)],
            policy={"transform": "dft3d"},
            training_curve=training_curve(260),
            videos=films("dft3d"),
        ),
        build_record(
            "raw", [index % 4 != 1 for index in range(50)], training_curve=training_curve(620), videos=films("raw")
        ),
        build_record(
            "dft1d",
            [index < 4 for index in range(50)],
            policy={"transform": "dft1d"},
            training_curve=training_curve(2600),
        ),
        *(build_record(name, [False] * 50, "baseline", collapse=BLIND) for name in REFERENCES),
    ]


def write_demo(folder: Path) -> Path:
    """Writes the demo's records to ``folder/results`` and returns that folder."""
    for record in demo_records():
        write(folder / "results", record)
    return folder / "results"
