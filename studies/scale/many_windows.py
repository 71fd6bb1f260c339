"""``python -m studies.scale.many_windows``: what training on 1,000,000 windows takes: memory, and waiting for its data.

Writes two synthetic data sets of 64 x 64 frames, one with a thousandth of the other's episodes, and trains on each in a
process of its own, with nothing of it in the page cache at first. Memory is what the process has to itself (anonymous
pages, sampled); the difference between the two is what the many windows take. The large set needs 14 GB of disk and a
quarter of an hour.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from smidgen.data_collection.episode import Episode, empty_counterfactuals, manifest_row, write_episode
from smidgen.data_collection.manifest import build_manifest
from smidgen.runtime.command_line import command_help, compose_config, run_command, wants_help
from smidgen.runtime.files import read_json, write_json_atomic
from smidgen.runtime.interrupt import StopSignal
from smidgen.runtime.schemas import from_json, to_json
from smidgen.runtime.settings import PathText
from smidgen.training.config import TrainConfig
from smidgen.training.preparation import prepare, reproducible_torch
from smidgen.training.processes import Processes
from smidgen.training.stepping import Stepper
from studies.bench.loading import forget
from studies.bench.record import machine
from studies.scale.unit_costs import FOLDER

WINDOWS_FILE = "many_windows.json"
USAGE = "python -m studies.scale.many_windows [key=value ...]"
SUMMARY = "Measures memory and waiting of a training on 1,000,000 windows, on synthetic frames; needs 14 GB of disk."
SMALLER_BY = 1000
IMAGE_SIZE, STATE_DIM = 64, 4
TRAINING: dict[str, Any] = {"num_threads": 1, "counterfactual_pairs": 0, "validation_fraction": 0.001}
SAMPLE_EVERY_S = 0.02
CHILD = "child"


@dataclass(frozen=True)
class ManyWindowsConfig:
    """How large, and where the record goes."""

    episodes: int = field(default=20_000, metadata={"help": "of the large set"})
    episode_steps: int = field(default=50, metadata={"help": "control steps, and windows, of an episode"})
    steps: int = field(default=200, metadata={"help": "optimiser steps of each training"})
    folder: PathText = field(default="", metadata={"help": "where the sets are written; empty: a temporary folder"})
    record: PathText = field(default=str(FOLDER / WINDOWS_FILE), metadata={"help": "file of the record"})


@dataclass(frozen=True, kw_only=True)
class Taken:
    """What a training took.

    Attributes:
        num_windows: To draw from.
        preparing_s: Time before the first step: every file verified, windows indexed, statistics fitted.
        memory_mb: Most memory of the process's own, at any time.
        step_ms: Median time of a step.
        waiting_percent: Share of the steps' time in which the step's data were read.
    """

    num_windows: int
    preparing_s: float
    memory_mb: float
    step_ms: float
    waiting_percent: float


@dataclass(frozen=True, kw_only=True)
class ManyWindows:
    """The record: a small set and a large one.

    Attributes:
        small: Training on the small one.
        large: On the large one.
        machine: Where it was measured.
    """

    small: Taken
    large: Taken
    machine: str

    @property
    def extra_mb(self) -> float:
        """Memory that the many windows take."""
        return self.large.memory_mb - self.small.memory_mb


def write_set(directory: Path, num_episodes: int, num_steps: int) -> Path:
    """Writes a data set of random frames in the store's layout.

    Args:
        directory: Where to.
        num_episodes: Episodes.
        num_steps: Of each.
    """
    kinds = ["position", "position", "position", "gripper"]
    names = ["x_m", "y_m", "z_m", "gripper"]
    header: dict[str, Any] = {
        "schema_version": 1,
        "task": "synthetic",
        "environment": {"id": "synthetic/Noise-v0"},
        "expert": {"name": "noise"},
        "versions": {},
        "phases": ["go"],
        "action_spec": {"names": names, "low": [-1.0] * 4, "high": [1.0] * 4, "kinds": kinds},
        "eef_state_names": names,
        "cameras": ["front"],
        "image_size": IMAGE_SIZE,
        "control_hz": 20,
        "history": 3,
        "config": {},
    }
    rows, pairs = [], empty_counterfactuals(header)
    for seed in range(num_episodes):
        rng = np.random.default_rng(seed)
        frames = np.frombuffer(rng.bytes(num_steps * IMAGE_SIZE * IMAGE_SIZE * 3), np.uint8)
        is_success = np.zeros(num_steps, bool)
        is_success[-1] = True
        episode = Episode(
            seed=seed,
            success=True,
            success_at_reset=False,
            error=None,
            frames=frames.reshape(num_steps, 1, IMAGE_SIZE, IMAGE_SIZE, 3),
            actions=rng.uniform(-1, 1, (num_steps, 4)),
            eef_state=rng.uniform(-1, 1, (num_steps, 4)),
            states=np.zeros((num_steps, STATE_DIM)),
            phase=np.zeros(num_steps, np.int16),
            is_success=is_success,
        )
        row = write_episode(directory / "episodes", header, episode, pairs)
        rows.append(manifest_row(directory / "episodes", row))
    write_json_atomic(directory / "manifest.json", build_manifest(header, rows))
    return directory


class MemoryWatch:
    """The most anonymous memory that the process has had, in MB; sampled by a thread."""

    def __init__(self) -> None:
        self.most_mb = 0.0
        self._is_over = threading.Event()

    @classmethod
    @contextlib.contextmanager
    def watching(cls) -> Iterator[MemoryWatch]:
        """Samples inside the block."""
        watch = cls()
        thread = threading.Thread(target=watch._sample, daemon=True)
        thread.start()
        try:
            yield watch
        finally:
            watch._is_over.set()
            thread.join()

    def _sample(self) -> None:
        while not self._is_over.wait(SAMPLE_EVERY_S):
            lines = Path("/proc/self/status").read_text().splitlines()
            (kilobytes,) = (int(line.split()[1]) for line in lines if line.startswith("RssAnon:"))
            self.most_mb = max(self.most_mb, kilobytes / 1e3)


def train_watched(demos: Path, num_steps: int) -> Taken:
    """Trains for some steps in this process.

    Args:
        demos: The data set; it is dropped from the page cache before the first step.
        num_steps: Optimiser steps.
    """
    config = TrainConfig.from_flat(**TRAINING, demos=str(demos), out=str(demos.with_suffix(".run")), steps=num_steps)
    with MemoryWatch.watching() as watch, reproducible_torch(config.num_threads):
        started = time.monotonic()
        prepared = prepare(config)
        stepper = Stepper(prepared, Processes())
        prepared.fit()
        preparing_s = time.monotonic() - started
        forget(sorted(demos.rglob("frames.npy")))
        reading_s, step_times_s = 0.0, []

        def timed(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
            def read_timed(indices_B: Any) -> Any:
                nonlocal reading_s
                begun = time.monotonic()
                try:
                    return read(indices_B)
                finally:
                    reading_s += time.monotonic() - begun

            return read_timed

        windows = prepared.windows
        for name in ("gather", "prefetch"):
            setattr(windows, name, timed(getattr(windows, name)))
        stop = StopSignal()
        for _ in range(num_steps):
            begun = time.monotonic()
            stepper.take(stop)
            step_times_s.append(time.monotonic() - begun)
    return Taken(
        num_windows=len(prepared.windows),
        preparing_s=round(preparing_s, 1),
        memory_mb=round(watch.most_mb, 1),
        step_ms=round(1e3 * float(np.median(step_times_s)), 1),
        waiting_percent=round(100 * reading_s / sum(step_times_s), 2),
    )


def body(arguments: list[str]) -> None:
    """The command.

    Raises:
        UserError: If a setting is not valid.
    """
    if wants_help(arguments):
        print(command_help(USAGE, SUMMARY, ManyWindowsConfig))
        return
    if arguments and arguments[0] == CHILD:
        print(json.dumps(to_json(train_watched(Path(arguments[1]), int(arguments[2])))))
        return
    config = compose_config(ManyWindowsConfig, arguments)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(config.folder or temporary)
        taken = []
        for name, count in {"small": max(3, config.episodes // SMALLER_BY), "large": config.episodes}.items():
            demos = folder / f"{name}-{count}-{config.episode_steps}"
            if not (demos / "manifest.json").exists():
                write_set(demos, count, config.episode_steps)
            command = [sys.executable, "-m", "studies.scale.many_windows", CHILD, str(demos), str(config.steps)]
            output = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout
            taken.append(from_json(Taken, json.loads(output), "the training's process"))
    found = ManyWindows(small=taken[0], large=taken[1], machine=machine())
    print(json.dumps(to_json(found), indent=1))
    print(f"the windows take {found.extra_mb:.0f} MB")
    write_json_atomic(Path(config.record), to_json(found))


def read_many_windows(path: Path) -> ManyWindows | None:
    """The record; None if nothing has been measured."""
    return from_json(ManyWindows, read_json(path), str(path)) if path.exists() else None


if __name__ == "__main__":
    sys.exit(run_command(body))
