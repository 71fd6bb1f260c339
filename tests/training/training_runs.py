"""What several tests of training ask of a run: to stop at a step, and which bytes it left."""

from __future__ import annotations

import os
from pathlib import Path

from smidgen.runtime.files import sha256_file
from smidgen.training.loop import Trainer

IMAGE_SIZE = 8
# Settings of a run that takes a fraction of a second.
TINY = {
    "steps": 12,
    "batch_size": 4,
    "transform": "dft3d",
    "standardise_after": "centre",
    "num_latents": 4,
    "latent_dim": 8,
    "num_heads": 2,
    "num_layers": 1,
    "fit_windows": 20,
    "validation_windows": 10,
    "counterfactual_pairs": 4,
    "eval_every": 4,
    "save_every": 3,
    "num_threads": 1,
}


def hashed_files(run: Path) -> dict[str, str]:
    """Everything that must not depend on when, where and in how many pieces a run was trained."""
    names = ("metrics.jsonl", "checkpoints/final/model.safetensors", "checkpoints/final/checkpoint.json")
    return {name: sha256_file(run / name) for name in names}


def stop_at(monkeypatch, step: int, number: int) -> None:
    take_step = Trainer._take_step

    def take_step_and_signal(self, *rest):
        if self.step == step:
            os.kill(os.getpid(), number)
        return take_step(self, *rest)

    monkeypatch.setattr(Trainer, "_take_step", take_step_and_signal)
