"""``python -m studies.scale.each_policy demos=PATH [device=cuda]``: one training of each policy on a device.

Each trainable policy is trained for some steps, and what it then predicts there is compared with what the CPU predicts
from its checkpoint, so that a device that computes something else is seen. The record names the machine and its device.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from smidgen.policies.checkpoint import load_checkpoint
from smidgen.policies.registry import TRAINED
from smidgen.runtime.command_line import command_help, compose_config, run_command, wants_help
from smidgen.runtime.errors import unknown_name
from smidgen.runtime.files import read_json, write_json_atomic
from smidgen.runtime.markdown import left, markdown_table, right
from smidgen.runtime.schemas import to_json
from smidgen.runtime.settings import PathText
from smidgen.training.config import TrainConfig
from smidgen.training.loop import train
from smidgen.training.preparation import resolve_device
from smidgen.training.run_directory import HOST_NAME
from smidgen.training.windows import WindowDataset
from studies.bench.record import machine
from studies.scale.unit_costs import FOLDER

USAGE = "python -m studies.scale.each_policy demos=PATH [key=value ...]"
SUMMARY = "Trains each policy on a device, and compares its predictions there with those of the CPU."
NUM_COMPARED = 16


@dataclass(frozen=True)
class EachPolicyConfig:
    """What is trained where, and where the record goes."""

    demos: PathText = field(metadata={"help": "data set to train on (made by smidgen-collect)"})
    device: str = field(default="auto", metadata={"help": "cpu, cuda, mps, auto: cuda or mps if it is there"})
    policies: tuple[str, ...] = field(default=TRAINED, metadata={"help": "all that are trained by default"})
    steps: int = field(default=1000, metadata={"help": "optimiser steps of each training"})
    precision: str = field(default="float32", metadata={"help": "float32 or bfloat16"})
    record: PathText = field(
        default=str(FOLDER / "each_policy.json"), metadata={"help": "file of the record; another one for each device"}
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "policies", tuple(self.policies))
        for name in self.policies:
            if name not in TRAINED:
                raise unknown_name("policy to train", name, TRAINED)


@dataclass(frozen=True, kw_only=True)
class PolicyOnDevice:
    """One training.

    Attributes:
        policy: Its kind.
        device: What it was trained on, by PyTorch's name.
        precision: float32 or bfloat16.
        num_steps: Optimiser steps.
        examples_per_s: Of training.
        difference: The largest between predictions there and on the CPU, over the targets' range.
        machine: CPU, device and versions.
    """

    policy: str
    device: str
    precision: str
    num_steps: int
    examples_per_s: float | None
    difference: float
    machine: str


def train_on(policy: str, config: EachPolicyConfig, out: Path) -> PolicyOnDevice:
    """Trains a policy, and compares its predictions with the CPU's.

    Args:
        policy: Its kind.
        config: Data, device and steps.
        out: Directory of the run.
    """
    device = resolve_device(config.device)
    settings = {"device": device, "precision": config.precision, "steps": config.steps, "counterfactual_pairs": 0}
    train(TrainConfig.from_flat(policy=policy, **settings, demos=config.demos, out=str(out)))
    here = load_checkpoint(out)
    shape = here.config
    windows = WindowDataset(config.demos, num_frames=shape.num_frames, horizon=shape.horizon)
    places = np.linspace(0, len(windows) - 1, NUM_COMPARED).astype(int)
    items = windows.__getitems__(places.tolist())
    frames, targets = (torch.stack([item[name] for item in items]).numpy() for name in ("frames", "actions"))
    on_cpu = here.predict_chunk(frames)
    on_device = load_checkpoint(out).compute_on(device).predict_chunk(frames)
    return PolicyOnDevice(
        policy=policy,
        device=device,
        precision=config.precision,
        num_steps=config.steps,
        examples_per_s=read_json(out / HOST_NAME)["examples_per_s"],
        difference=float(np.abs(on_device - on_cpu).max() / np.ptp(targets)),
        machine=_machine(device),
    )


def _machine(device: str) -> str:
    name = f"{torch.cuda.get_device_name()}; " if device == "cuda" else ""
    return name + machine()


def body(arguments: list[str]) -> None:
    """The command.

    Raises:
        UserError: If a setting is not valid, or the device is missing.
    """
    if wants_help(arguments):
        print(command_help(USAGE, SUMMARY, EachPolicyConfig))
        return
    config = compose_config(EachPolicyConfig, arguments)
    found = []
    with tempfile.TemporaryDirectory() as scratch:
        for policy in config.policies:
            found.append(train_on(policy, config, Path(scratch, policy)))
            write_json_atomic(Path(config.record), [to_json(each) for each in found])
    print(table(found))
    print(f"{found[0].machine}; record: {config.record}")


def table(found: Sequence[PolicyOnDevice]) -> str:
    """What was found, in Markdown."""
    rows = [
        (
            each.policy,
            each.device,
            each.precision,
            f"{each.num_steps:,}",
            "-" if each.examples_per_s is None else f"{each.examples_per_s:.0f}",
            f"{each.difference:.1e}",
        )
        for each in found
    ]
    columns = left("policy", "device", "precision") + right("steps", "examples/s", "difference from the CPU")
    return markdown_table(columns, rows)


if __name__ == "__main__":
    sys.exit(run_command(body))
