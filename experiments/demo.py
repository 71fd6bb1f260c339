"""``make demo``, or ``python -m smidgen.experiments.demo [key=value ...]``: the complete pipeline on Lift.

Demonstrations -> two Perceivers (raw pixels as first posted, and the recommended Perceiver; with ``pair=transforms``,
centred raw pixels, and their 3-D Fourier transform) -> closed-loop evaluation with the baselines -> leaderboard. All
output goes to ``outputs/demo``; a second run reuses it. A small variant: ``demonstrations=4 validation=2 steps=4
episodes=2``, about two minutes on 2 CPU cores.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from smidgen.data_collection.collect import collect
from smidgen.data_collection.config import CollectConfig
from smidgen.evaluation.config import EvalConfig
from smidgen.evaluation.evaluate import evaluate, summary_line
from smidgen.evaluation.records import read_record
from smidgen.evaluation.video_files import video_folder
from smidgen.experiments.demo_pairs import SUCCESS_IS_NOT_SIGHT, closing_words, runs_of
from smidgen.experiments.side_by_side_training import train_side_by_side
from smidgen.leaderboard.command import leaderboard
from smidgen.runtime.command_line import command_help, compose_config, run_command, wants_help
from smidgen.runtime.places import require_outside
from smidgen.runtime.settings import PathText

TASK = "lift"
BASELINES = ("expert", "random", "noop", "mean_action", "time_mean", "persistence")


@dataclass(frozen=True)
class DemoConfig:
    """Size of the demo."""

    out: PathText = field(default="outputs/demo", metadata={"help": "output directory"})
    demonstrations: int = field(default=300, metadata={"help": "training episodes"})
    validation: int = field(default=20, metadata={"help": "held-out episodes for the offline measures"})
    steps: int = field(default=2500, metadata={"help": "optimiser steps of each Perceiver"})
    episodes: int = field(default=50, metadata={"help": "unseen episodes per policy"})
    videos: int = field(default=4, metadata={"help": "episodes per policy to record as videos"})
    workers: int = field(default=2, metadata={"help": "worker processes"})
    seed: int = field(default=0, metadata={"help": "seed of both trainings"})
    pair: str = field(
        default="recommended",
        metadata={"help": "recommended (beside raw pixels as first posted) or transforms (raw pixels, and their DFT)"},
    )

    def __post_init__(self) -> None:
        runs_of(self.pair)

    @property
    def runs(self) -> dict[str, tuple[str, ...]]:
        """Settings of both trainings, by name."""
        return runs_of(self.pair)


def overview(config: DemoConfig) -> str:
    """What the demo will do."""
    return f"""smidgen demo: does a policy notice a smidgen of change in its input, or does it play back the average?

  1. collect    {config.demonstrations} + {config.validation} scripted demonstrations of {TASK}, as 64 x 64 pixels
  2. train      two Perceivers on 12,288 tokens, side by side: {" and ".join(config.runs)}, {config.steps} steps each
  3. evaluate   both and {len(BASELINES)} baselines, in closed loop, on {config.episodes} unseen episodes each
  4. rank       a leaderboard in this terminal, and a page with curves and videos

Training takes most of the time. On 2 CPU cores everything takes about 11 minutes, after the set-up.
All output goes to {config.out}; if interrupted, run the same command again to resume.
"""


@contextmanager
def stage(title: str) -> Iterator[None]:
    """Prints the name of a part of the demo, and how long it took."""
    print(f"\n== {title}", flush=True)
    started = time.monotonic()
    yield
    print(f"   {time.monotonic() - started:.0f} s", flush=True)


def collect_sets(config: DemoConfig) -> tuple[Path, Path]:
    """Collects the training and the held-out demonstrations."""
    require_outside(config.out)
    training, validation = Path(config.out, "demonstrations"), Path(config.out, "validation")
    for path, split, episodes in (
        (training, "demonstrations", config.demonstrations),
        (validation, "validation", config.validation),
    ):
        collect(CollectConfig(task=TASK, out=str(path), episodes=episodes, split=split, workers=config.workers))
    return training, validation


def train_runs(config: DemoConfig, training: Path, validation: Path) -> dict[str, Path]:
    """Trains every Perceiver; see :func:`train_side_by_side`."""
    runs = {name: Path(config.out, "training", name) for name in config.runs}
    threads = max(1, (os.cpu_count() or 1) // len(runs))
    shared = [
        f"demos={training}",
        f"validation={validation}",
        f"steps={config.steps}",
        f"seed={config.seed}",
        f"num_threads={threads}",
    ]
    train_side_by_side(runs, {name: [*own, *shared] for name, own in config.runs.items()}, config.steps)
    return runs


def evaluate_policies(config: DemoConfig, training: Path, validation: Path, runs: dict[str, Path]) -> Path:
    """Evaluates the baselines and the trained policies; returns the directory of the records."""
    results = Path(config.out, "results")
    for policy, name in [
        *((baseline, baseline) for baseline in BASELINES),
        *((str(out), n) for n, out in runs.items()),
    ]:
        path, _ = evaluate(
            EvalConfig(
                policy=policy,
                name=None if policy == name else f"perceiver-{name}",
                task=TASK,
                out=str(results),
                episodes=config.episodes,
                videos=config.videos,
                workers=config.workers,
                demos=str(validation),
                train_demos=str(training),
            )
        )
        print(f"   {summary_line(path, read_record(path))}", flush=True)
    return results


def demo(arguments: list[str]) -> None:
    """Runs the demo."""
    if wants_help(arguments):
        summary = "The complete pipeline on Lift: demonstrations, two Perceivers, evaluation, leaderboard. Resumable."
        print(command_help("python -m smidgen.experiments.demo [key=value ...]", summary, DemoConfig))
        return
    config = compose_config(DemoConfig, arguments)
    print(overview(config))
    started = time.monotonic()
    with stage("1. collect"):
        training, validation = collect_sets(config)
    with stage("2. train"):
        runs = train_runs(config, training, validation)
    with stage("3. evaluate"):
        results = evaluate_policies(config, training, validation, runs)
    with stage("4. rank"):
        leaderboard([f"results={results}"])
    print(f"\n{closing_words(results, TASK, runs)}")
    print(f"\n{SUCCESS_IS_NOT_SIGHT}")
    print(f"\ndone in {(time.monotonic() - started) / 60:.1f} minutes; page: {config.out}/leaderboard.html", flush=True)
    print(f"videos: {video_folder(results)}; curves: tensorboard --logdir {config.out}/training")


def main() -> int:
    """Entry point."""
    return run_command(demo)


if __name__ == "__main__":
    sys.exit(main())
