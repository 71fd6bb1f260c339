"""A tiny checkpoint on Lift, and a record of its evaluation that is made to measure."""

from pathlib import Path
from typing import Any

import torch
from leaderboard_records import build_record, judged, write

from smidgen.envs.tasks import get_task
from smidgen.policies.checkpoint import RUN_CHECKPOINT, checkpoint_sha256, save_checkpoint
from smidgen.policies.learned_policy import Interface, LearnedPolicy
from smidgen.policies.perceiver_policy import PerceiverPolicyConfig

TRAINING = {"training_config": {"lr": 0.001, "seed": 3, "steps": 10}, "step": 10}


def save_tiny_run(run: Path, **options: Any) -> Path:
    """A run directory that ends with an untrained Perceiver of 16 x 16 pixels."""
    torch.manual_seed(1)
    task = get_task("lift")
    small = {"num_latents": 2, "latent_dim": 8, "num_heads": 1, "num_layers": 1}
    config = PerceiverPolicyConfig.from_flat(**{**small, **options})
    policy = LearnedPolicy(config, Interface("lift", task.action, ("agentview",), 16, task.eef_state_names))
    frames = torch.randint(0, 256, (4, 3, 16, 16, 3), dtype=torch.uint8)
    policy.fit([frames], torch.rand(20, task.action.size), torch.rand(20, len(task.eef_state_names)))
    save_checkpoint(
        run / RUN_CHECKPOINT, policy, {"data_set_sha256": "b" * 64, "data_set_seeds": [0, 1, 2], **TRAINING}
    )
    return run


def write_evaluation(
    folder: Path,
    checkpoint: Path,
    name: str,
    slope: float = 0.9,
    verdict: str = "sees",
    wins: int = 150,
    **changes: Any,
) -> Path:
    """The record of a full evaluation of a checkpoint; ``changes`` are of the record's fields."""
    policy = {
        "checkpoint_sha256": checkpoint_sha256(checkpoint),
        "data_set_seeds": [0, 2],
        "training": {"num_demonstrations": 3, **TRAINING},
    }
    policy |= changes.pop("policy", {})
    successes = [index < wins for index in range(changes.pop("num_episodes", 200))]
    collapse = changes.pop("collapse", judged(slope, verdict))
    return write(folder, build_record(name, successes, policy=policy, collapse=collapse, **changes))
