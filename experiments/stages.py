"""The stages of a trial: demonstrations, training, evaluation; each continues what it finds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from smidgen.data_collection.collect import OpenCollector, collect
from smidgen.data_collection.collector import open_collector
from smidgen.data_collection.config import CollectConfig
from smidgen.data_collection.manifest import MANIFEST_NAME
from smidgen.evaluation.config import EvalConfig
from smidgen.evaluation.env_spec import make_simulator
from smidgen.evaluation.evaluate import evaluate
from smidgen.experiments.job_notes import enter_stage
from smidgen.experiments.trial import Trial
from smidgen.training.config import TrainConfig
from smidgen.training.loop import train

COLLECTING, TRAINING, EVALUATING = "collecting", "training", "evaluating"


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
    """Where a trial's work goes.

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

    def data(self, trial: Trial) -> tuple[Path, Path]:
        """A trial's demonstrations, and the held-out ones."""
        folder = self.scratch / "data" / trial.data_name
        return folder / "demonstrations", folder / "validation"

    def run(self, trial: Trial) -> Path:
        """A trial's training."""
        return self.scratch / "runs" / trial.run_name


def collect_sets(trial: Trial, place: Place, size: Size) -> None:
    """Collects a trial's demonstrations, and held-out ones that hold the same frames of a steady expert."""
    enter_stage(COLLECTING)
    training, held_out = place.data(trial)
    # Every trial is measured on demonstrations of the same kind: what noise and variation change is only trained on.
    seen = {key: value for key, value in trial.demonstrations.items() if key in ("cameras", "image_size", "history")}
    changes = {key: value for key, value in trial.demonstrations.items() if key != "episodes"}
    num_demonstrations = min(size.demonstrations, trial.demonstrations.get("episodes", size.demonstrations))
    sets = (
        (training, "demonstrations", num_demonstrations, changes),
        (held_out, "validation", size.held_out, seen),
    )
    for out, split, episodes, changes in sets:
        keys = {**place.settings, **changes, "task": trial.task, "split": split, "episodes": episodes}
        config = CollectConfig(**keys, out=str(out), workers=place.num_workers)
        collect(config, place.open_collector)


def train_trial(trial: Trial, place: Place, size: Size) -> Path:
    """Trains a trial, or continues; returns the run's directory."""
    enter_stage(TRAINING)
    demos, validation = place.data(trial)
    keys = {**trial.training, "steps": min(trial.training["steps"], size.most_steps)}
    train(TrainConfig.from_flat(**keys, demos=str(demos), validation=str(validation), out=str(place.run(trial))))
    return place.run(trial)


def evaluate_trial(policy: Path | str, trial: Trial, place: Place, size: Size, **settings: Any) -> Path:
    """Evaluates a policy beside a trial's demonstrations, or continues; returns the record's path.

    Args:
        policy: A checkpoint, its run's directory, or the name of an expert or a baseline.
        trial: What the policy was trained by, or is compared with.
        place: Where its demonstrations are.
        size: How many episodes and videos.
        **settings: Keys of ``smidgen-eval`` that say what the evaluation is for: ``name``, ``out``, split or track.
    """
    enter_stage(EVALUATING)
    demos, validation = place.data(trial)
    config = EvalConfig(
        policy=str(policy),
        task=trial.task,
        episodes=size.episodes,
        demos=str(validation),
        train_demos=str(demos),
        videos=size.videos,
        workers=place.num_workers,
        **settings,
    )
    return evaluate(config, place.make)[0]


def is_collected(trial: Trial, place: Place) -> bool:
    """Whether both of a trial's data sets are complete."""
    return all((folder / MANIFEST_NAME).exists() for folder in place.data(trial))
