"""What the parts of a job cost: core times of a training step by recipe, and what whole stages took beside them.

A stage is first modelled: attempts or episodes that run to the horizon, and training steps, at core times measured on
this machine. Stages that were recorded took more or less than that; the median ratio of each kind of stage corrects the
model.
"""

from __future__ import annotations

import dataclasses
import functools
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch

from smidgen.envs.tasks import get_task
from smidgen.experiments.boards import RATES, RECIPES, TUNING_SEED, build_trial
from smidgen.experiments.stages import COLLECTING, EVALUATING, TRAINING
from smidgen.experiments.trial import Trial
from smidgen.runtime.errors import UserError
from smidgen.runtime.files import read_json, write_json_atomic
from smidgen.runtime.schemas import from_json, require_version, to_json
from smidgen.training.config import TrainConfig
from studies.recipe.arms import build_arms
from studies.recipe.records import read_records
from studies.recipe.step_costs import FOLDER as RECORDED
from studies.recipe.step_costs import SIMULATOR, step_cost_s

FOLDER = Path("results/scale")
COSTS_FILE = "unit_costs.json"
SCHEMA_VERSION = 1
STAGES = (COLLECTING, TRAINING, EVALUATING)
# What transform=auto takes is not known before its data are; of its usual choices this one's steps are the dearest.
AUTO, COUNTED_AS = "auto", "dft1d"


@dataclass(frozen=True, kw_only=True)
class Work:
    """How much of everything a stage does.

    Attributes:
        control_steps: Of the simulator, every episode to its horizon.
        predictions: Of a policy.
        training_steps: Of the optimiser.
    """

    control_steps: float = 0.0
    predictions: float = 0.0
    training_steps: float = 0.0


@dataclass(frozen=True, kw_only=True)
class RecordedStage:
    """A stage that has been run.

    Attributes:
        record: The record that tells its cost.
        stage: What it was.
        core_s: Core time in seconds.
        modelled_s: What the model says.
    """

    record: str
    stage: str
    core_s: float
    modelled_s: float


@dataclass(frozen=True, kw_only=True)
class UnitCosts:
    """Measured and recorded costs, in seconds of core time.

    Attributes:
        control_s: Of a control step of the simulator.
        step_s: Of a training step, by recipe.
        prediction_s: Of a predicted chunk, by recipe.
        recorded: Stages that have been run.
        torch: PyTorch's version.
        schema_version: Of this format.
    """

    control_s: float
    step_s: dict[str, float]
    prediction_s: dict[str, float]
    recorded: tuple[RecordedStage, ...]
    torch: str
    schema_version: int = field(default=SCHEMA_VERSION)

    @functools.cached_property
    def ratios(self) -> dict[str, float]:
        """For each kind of stage, the median of what it took over what the model says."""
        return {
            stage: statistics.median(each.core_s / each.modelled_s for each in self.recorded if each.stage == stage)
            for stage in STAGES
        }

    def modelled_s(self, work: Work, recipe: str = "") -> float:
        """What some work costs by the model.

        Args:
            work: How much.
            recipe: Whose steps and predictions.

        Raises:
            UserError: If it was not measured.
        """
        seconds = work.control_steps * self.control_s
        if recipe and recipe not in self.step_s:
            raise UserError(f"no step of recipe {recipe!r} was measured; run python -m studies.scale measure=true")
        if recipe:
            seconds += work.predictions * self.prediction_s[recipe] + work.training_steps * self.step_s[recipe]
        return seconds


def work_of(stage: str, trial: Trial, episodes: int, steps: int) -> Work:
    """How much of everything a stage does.

    Args:
        stage: One of :data:`STAGES`.
        trial: Whose.
        episodes: Attempts of collecting, episodes of an evaluation.
        steps: Of training.
    """
    if stage == TRAINING:
        return Work(training_steps=steps)
    control_steps = episodes * get_task(trial.task).horizon
    if stage == COLLECTING:
        return Work(control_steps=control_steps)
    policy = TrainConfig.from_flat(**trial.training, demos="", out="").policy
    executed = trial.acting.get("num_executed", policy.num_executed)
    return Work(control_steps=control_steps, predictions=control_steps / executed)


def measure() -> UnitCosts:
    """Measures every recipe's steps, and those of the recorded trainings in the same run, so that they compare."""
    torch.set_num_threads(1)
    control_s = 1 / read_json(SIMULATOR)[0]["ours"]
    steps: dict[str, tuple[float, float]] = {}
    measured: dict[str, tuple[float, float]] = {}
    for recipe in RECIPES:
        trial = build_trial(COUNTED_AS if recipe == AUTO else recipe, "lift", TUNING_SEED, RATES[0])
        # Recipes that differ in their number of steps or demonstrations take the same time for one.
        same = dict(trial.training) | {"steps": 0, "image_size": trial.demonstrations.get("image_size")}
        if (key := repr(sorted(same.items()))) not in measured:
            measured[key] = rounded(step_cost_s(trial))
            print(f"{1e3 * measured[key][0]:8.1f} ms, {1e3 * measured[key][1]:6.1f} ms  {recipe}", flush=True)
        steps[recipe] = measured[key]
    costs = UnitCosts(
        control_s=float(f"{control_s:.3g}"),
        step_s={recipe: step_s for recipe, (step_s, _) in steps.items()},
        prediction_s={recipe: prediction_s for recipe, (_, prediction_s) in steps.items()},
        recorded=(),
        torch=torch.__version__,
    )
    return dataclasses.replace(costs, recorded=recorded_stages(costs))


def recorded_stages(costs: UnitCosts, folder: Path = RECORDED) -> tuple[RecordedStage, ...]:
    """The stages of the search for a recipe; those that arms share count once.

    Args:
        costs: Measured ones, for the model of the simulator.
        folder: Of the records.
    """
    found: dict[tuple[str, str], RecordedStage] = {}
    measured: dict[str, tuple[float, float]] = {}
    arms = build_arms()
    for name, record in read_records(folder, arms).items():
        arm, size = arms[name], record.size
        if arm.run_name not in measured:
            measured[arm.run_name] = rounded(step_cost_s(arm))
        step_s, prediction_s = measured[arm.run_name]
        own = dataclasses.replace(costs, step_s={name: step_s}, prediction_s={name: prediction_s})
        shared: Mapping[str, tuple[str, int]] = {
            COLLECTING: (arm.data_name, size["demonstrations"] + size["held_out"]),
            TRAINING: (arm.run_name, 0),
            EVALUATING: (name, size["episodes"]),
        }
        for stage, (key, episodes) in shared.items():
            steps = min(arm.training["steps"], size["most_steps"])
            modelled_s = own.modelled_s(work_of(stage, arm, episodes, steps), name)
            core_s = record.costs[stage].core_s
            stage_record = RecordedStage(record=name, stage=stage, core_s=core_s, modelled_s=round(modelled_s, 1))
            found.setdefault((stage, key), stage_record)
    return tuple(found.values())


def rounded(costs: tuple[float, float]) -> tuple[float, float]:
    """Two times, to three digits."""
    step_s, prediction_s = (float(f"{seconds:.3g}") for seconds in costs)
    return step_s, prediction_s


def read_unit_costs(folder: Path = FOLDER) -> UnitCosts:
    """Reads the record.

    Raises:
        UserError: If it is missing or not valid.
    """
    path = folder / COSTS_FILE
    value = read_json(path)
    require_version(value, (SCHEMA_VERSION,), str(path))
    return from_json(UnitCosts, value, str(path))


def write_unit_costs(costs: UnitCosts, folder: Path = FOLDER) -> Path:
    """Writes the record; returns its path."""
    write_json_atomic(folder / COSTS_FILE, to_json(costs))
    return folder / COSTS_FILE
