"""The stages of an arm: demonstrations, training, evaluation; each continues what it finds, and its cost is counted."""

from __future__ import annotations

import contextlib
import resource
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from smidgen.data_collection.collect import OpenCollector, collect
from smidgen.data_collection.collector import open_collector
from smidgen.data_collection.config import CollectConfig
from smidgen.evaluation.config import EvalConfig
from smidgen.evaluation.env_spec import make_simulator
from smidgen.evaluation.evaluate import evaluate
from smidgen.runtime.files import read_json, write_json_atomic
from smidgen.runtime.schemas import from_json, to_json
from smidgen.training.config import TrainConfig
from smidgen.training.loop import train
from studies.recipe.arms import Arm
from studies.recipe.records import Cost

# The first seeds of this split choose between recipes; the bars are measured on later ones.
SPLIT = "checkpoint"
COLLECTING, TRAINING, EVALUATING = "collecting", "training", "evaluating"
NO_COST = Cost(0.0, 0.0)


@dataclass(frozen=True)
class Size:
    """How much of everything."""

    demonstrations: int = 300
    held_out: int = 20
    most_steps: int = 1_000_000
    episodes: int = 50
    videos: int = 4


@dataclass(frozen=True)
class Place:
    """Where an arm's work goes.

    Attributes:
        folder: Of plan and records.
        scratch: Of data sets, runs and evaluations.
        costs: The table of costs.
        num_workers: Worker processes of collecting and evaluating; 0: none.
        open_collector: Opens a process's collector.
        make: Makes an evaluation's environment.
        settings: Further keys of collecting, such as a smaller frame.
    """

    folder: Path
    scratch: Path
    costs: Path
    num_workers: int = 1
    open_collector: OpenCollector = open_collector
    make: Callable[..., Any] = make_simulator
    settings: dict[str, Any] = field(default_factory=dict)

    def data(self, arm: Arm) -> tuple[Path, Path]:
        """An arm's demonstrations, and the held-out ones."""
        folder = self.scratch / "data" / arm.data_name
        return folder / "demonstrations", folder / "validation"

    def run(self, arm: Arm) -> Path:
        """An arm's training."""
        return self.scratch / "runs" / arm.run_name


def collect_sets(arm: Arm, place: Place, size: Size) -> None:
    """Collects an arm's demonstrations, and held-out ones that hold the same frames of a steady expert."""
    training, held_out = place.data(arm)
    # Every arm is measured on demonstrations of the same kind: what noise and variation change is only trained on.
    seen = {key: value for key, value in arm.demonstrations.items() if key in ("cameras", "image_size", "history")}
    sets = (
        (training, "demonstrations", size.demonstrations, arm.demonstrations),
        (held_out, "validation", size.held_out, seen),
    )
    for out, split, episodes, changes in sets:
        keys = {**place.settings, **changes, "task": arm.task, "split": split, "episodes": episodes}
        config = CollectConfig(**keys, out=str(out), workers=place.num_workers)
        collect(config, place.open_collector)


def train_arm(arm: Arm, place: Place, size: Size) -> Path:
    """Trains an arm, or continues; returns the run's directory."""
    demos, validation = place.data(arm)
    keys = {**arm.training, "steps": min(arm.training["steps"], size.most_steps)}
    train(TrainConfig.from_flat(**keys, demos=str(demos), validation=str(validation), out=str(place.run(arm))))
    return place.run(arm)


def evaluate_arm(policy: Path, arm: Arm, label: str, place: Place, size: Size) -> Path:
    """Evaluates a checkpoint, or continues; returns the record's path."""
    demos, validation = place.data(arm)
    config = EvalConfig(
        policy=str(policy),
        name=label,
        task=arm.task,
        out=str(place.scratch / "evaluations" / arm.data_name),
        split=SPLIT,
        episodes=size.episodes,
        demos=str(validation),
        train_demos=str(demos),
        videos=size.videos,
        workers=place.num_workers,
    )
    return evaluate(config, place.make)[0]


@contextlib.contextmanager
def counted(stage: str, beside: Path) -> Iterator[None]:
    """Adds what the block costs to a stage's cost so far, in a file beside its output."""
    started = time.monotonic(), _core_s()
    try:
        yield
    finally:
        before = cost_of(stage, beside)
        spent = Cost(before.wall_s + time.monotonic() - started[0], before.core_s + _core_s() - started[1])
        write_json_atomic(_cost_path(stage, beside), to_json(spent))


def cost_of(stage: str, beside: Path) -> Cost:
    """What a stage has cost so far, over all of its interruptions."""
    path = _cost_path(stage, beside)
    return from_json(Cost, read_json(path), str(path)) if path.exists() else NO_COST


def _cost_path(stage: str, beside: Path) -> Path:
    return beside.parent / f"{beside.name}.{stage}.json"


def _core_s() -> float:
    """Core time of this process and of the children that have ended, in seconds."""
    parts = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(part.ru_utime + part.ru_stime for part in parts)
