"""What several tests of training ask of a run: to stop at a step, and which bytes it left."""

from __future__ import annotations

import os
from pathlib import Path

from smidgen.runtime.files import sha256_file
from smidgen.training.loop import Trainer


def hashed_files(run: Path) -> dict[str, str]:
    """Everything that must not depend on when, where and in how many pieces a run was trained."""
    names = ("metrics.jsonl", "checkpoints/final/model.safetensors", "checkpoints/final/checkpoint.json")
    return {name: sha256_file(run / name) for name in names}


def stop_at(monkeypatch, step: int, number: int) -> None:
    take_step = Trainer._take_step

    def take_step_and_signal(self, log):
        if self.step == step:
            os.kill(os.getpid(), number)
        return take_step(self, log)

    monkeypatch.setattr(Trainer, "_take_step", take_step_and_signal)
