"""What the parts of a job cost: core times of a training step and a prediction by recipe, and of a control step."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch

from smidgen.envs.tasks import get_task
from smidgen.experiments.boards import RATES, RECIPES, TUNING_SEED, build_trial
from smidgen.experiments.stages import COLLECTING, TRAINING
from smidgen.experiments.trial import Trial
from smidgen.runtime.errors import UserError
from smidgen.runtime.files import read_json, write_json_atomic
from smidgen.runtime.schemas import from_json, require_version, to_json
from smidgen.training.config import TrainConfig
from studies.recipe.step_costs import SIMULATOR, step_cost_s

FOLDER = Path("results/scale")
COSTS_FILE = "unit_costs.json"
SCHEMA_VERSION = 2
# What transform=auto takes is not known before its data are; of its usual choices this one's steps are the dearest.
# What starts with other values takes as long.
COUNTED_AS = {"auto": "dft1d", "raw-centred-gain8": "raw-centred"}


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
class UnitCosts:
    """Measured costs, in seconds of core time.

    Attributes:
        control_s: Of a control step of the simulator.
        step_s: Of a training step, by recipe.
        prediction_s: Of a predicted chunk, by recipe.
        torch: PyTorch's version.
        schema_version: Of this format.
    """

    control_s: float
    step_s: dict[str, float]
    prediction_s: dict[str, float]
    torch: str
    schema_version: int = field(default=SCHEMA_VERSION)

    def modelled_s(self, work: Work, recipe: str = "") -> float:
        """What some work costs by the model.

        Args:
            work: How much.
            recipe: Whose steps and predictions.

        Raises:
            UserError: If it was not measured.
        """
        seconds = work.control_steps * self.control_s
        recipe = COUNTED_AS.get(recipe, recipe)
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
    """Measures every recipe's steps and predictions."""
    torch.set_num_threads(1)
    control_s = 1 / read_json(SIMULATOR)[0]["ours"]
    steps: dict[str, tuple[float, float]] = {}
    measured: dict[str, tuple[float, float]] = {}
    for recipe in RECIPES:
        trial = build_trial(COUNTED_AS.get(recipe, recipe), "lift", TUNING_SEED, RATES[0])
        # Recipes that differ in their number of steps or demonstrations take the same time for one.
        same = dict(trial.training) | {"steps": 0, "image_size": trial.demonstrations.get("image_size")}
        if (key := repr(sorted(same.items()))) not in measured:
            measured[key] = rounded(step_cost_s(trial))
            print(f"{1e3 * measured[key][0]:8.1f} ms, {1e3 * measured[key][1]:6.1f} ms  {recipe}", flush=True)
        steps[recipe] = measured[key]
    return UnitCosts(
        control_s=float(f"{control_s:.3g}"),
        step_s={recipe: step_s for recipe, (step_s, _) in steps.items()},
        prediction_s={recipe: prediction_s for recipe, (_, prediction_s) in steps.items()},
        torch=torch.__version__,
    )


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
