"""The part of a record that is known before the first episode: policy, protocol, settings, versions, training curve."""

from __future__ import annotations

import platform
from importlib.metadata import version
from typing import Any

from smidgen.data_collection.store import EpisodeStore
from smidgen.envs.specs import TaskSpec
from smidgen.envs.user_tasks import task_code
from smidgen.evaluation.config import EvalConfig
from smidgen.evaluation.env_spec import EnvSpec
from smidgen.evaluation.policy_source import PolicySource
from smidgen.evaluation.protocol import HOLD_STEPS, PROTOCOL_VERSION
from smidgen.evaluation.record_schema import SCHEMA_VERSION, PolicyCard
from smidgen.evaluation.statistics import CONFIDENCE
from smidgen.evaluation.training_curve import read_curve
from smidgen.evaluation.video_files import video_name
from smidgen.policies.checkpoint import checkpoint_sha256

PACKAGES = ("smidgen", "torch", "numpy", "mujoco", "robosuite")


def fixed_part(
    config: EvalConfig,
    card: PolicyCard,
    task: TaskSpec,
    seeds: range,
    env_spec: EnvSpec,
    demos: EpisodeStore | None,
    train_demos: EpisodeStore | None,
    twin: PolicySource | None,
) -> dict[str, Any]:
    """The part of an evaluation's record that the command line and the files that it names decide."""
    recorded = list(seeds)[: config.videos]
    return {
        "schema_version": SCHEMA_VERSION,
        "task": task.name,
        "policy": card,
        "protocol": {
            "version": PROTOCOL_VERSION,
            "split": config.split,
            "seed_start": seeds[0],
            "episodes": len(seeds),
            "horizon": task.horizon,
            "hold_steps": HOLD_STEPS,
            "control_hz": task.control_hz,
            "confidence": CONFIDENCE,
            "inference": "batch of one on one thread",
            **({"track": config.track} if config.track else {}),
        },
        "config": {
            # A checkpoint is identified by its hash; its path means nothing on another machine.
            "policy": "checkpoint" if card["kind"] == "checkpoint" else config.policy,
            "cameras": list(env_spec.cameras),
            "image_size": env_spec.image_size,
            "windows": config.windows,
            "demos_sha256": demos.sha256 if demos else None,
            "train_demos_sha256": train_demos.sha256 if train_demos else None,
            **({"task": config.task, "task_code": code} if (code := task_code(config.task)) else {}),
            **({} if twin is None else {"twin_sha256": checkpoint_sha256(twin.spec)}),
        },
        "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
        "training_curve": read_curve(config.policy) if card["kind"] == "checkpoint" else [],
        "videos": [{"seed": seed, "file": video_name(task.name, card["name"], seed)} for seed in recorded],
    }
