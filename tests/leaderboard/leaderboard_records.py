"""Result records made to measure, so that tables and pages are tested without a simulator."""

import hashlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from smidgen.evaluation.record_schema import COLLAPSE_MEASURES, success_rate
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


def video_entries(name: str) -> list[dict[str, Any]]:
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
            videos=video_entries("dft3d"),
        ),
        build_record(
            "raw",
            [index % 4 != 1 for index in range(50)],
            training_curve=training_curve(620),
            videos=video_entries("raw"),
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


def judged(slope: float, verdict: str, source: str = "cue_slope", **changes: Any) -> dict[str, Any]:
    """Collapse fields of a record with a verdict, for a policy whose slope is known."""
    interval = [slope - 0.08, slope + 0.06]
    fields: dict[str, Any] = {
        "detector_version": 1,
        "verdict": verdict,
        "verdict_slope": slope,
        "verdict_interval": interval,
        "verdict_source": source,
        "mean_collapsed": verdict == "blind",
        "r2": [slope, 0.9 * slope, 0.1 + 0.85 * slope, 0.0],
        "prediction_variance_ratio": [slope**2, slope, 0.9 * slope, 0.0],
        "skill_time_mean": slope - 0.1,
        "skill_global_mean": slope,
        "cue_slope": slope,
        "cue_slope_interval": interval,
        "copycat_weight": 0.1,
        "path_slope": slope - 0.05,
        "path_slope_interval": [slope - 0.15, slope + 0.04],
        "spread_ratio": max(slope, 0.02),
        "mean_path_distance": max(slope, 0.01),
        "goal_r2": slope,
        "latching_index": 0.05,
    }
    filled: dict[str, Any] = {**dict.fromkeys(COLLAPSE_MEASURES), **COLLAPSE, **fields, **changes}
    return {**filled, "reasons": {name: "not measured here" for name, value in filled.items() if value is None}}


def rich_records() -> list[Record]:
    """What a page with all its parts is made of: two tasks, verdicts, training seeds, numbers of demonstrations."""
    records = []
    for task, hard in (("lift", 1), ("door", 3)):
        for seed in range(3):
            wins = [(7 * index + 5 * seed) % 11 >= hard for index in range(60)]
            records.append(
                seed_record(
                    "dft3d",
                    seed,
                    wins,
                    task=task,
                    policy={"transform": "dft3d"},
                    collapse=judged(0.93 - 0.04 * seed, "sees"),
                    training_curve=training_curve(200 + 90 * seed),
                    videos=[]
                    if seed
                    else [{**entry, "file": f"{task}-{entry['file'][5:]}"} for entry in video_entries("dft3d")],
                )
            )
    for count, wins, slope, verdict in (
        (25, 9, 0.11, "blind"),
        (100, 31, 0.55, "partly_blind"),
        (400, 50, 0.88, "sees"),
    ):
        policy = {"training": {"num_demonstrations": count, "step": 1500}, "data_set_sha256": f"{count:064d}"}
        records.append(
            build_record(
                f"raw-{count}",
                [(7 * index) % 60 < wins for index in range(60)],
                policy=policy,
                collapse=judged(slope, verdict),
                training_curve=training_curve(90_000 / count),
                videos=video_entries(f"raw-{count}") if count == 400 else [],
            )
        )
    dct = {"policy": {"transform": "dct"}, "collapse": judged(0.31, "partly_blind", mean_collapsed=False)}
    records.append(build_record("dct", [index % 5 == 0 for index in range(60)], task="door", **dct))
    for task in ("lift", "door"):
        privileged = unmeasured("the policy observes privileged state")
        records.append(build_record("expert", [True] * 60, "expert", task=task, collapse=privileged))
        blind = judged(0.0, "blind")
        records.append(
            build_record("time_mean", [index % 9 == 0 for index in range(60)], "baseline", task=task, collapse=blind)
        )
    return records
