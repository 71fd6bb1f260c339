"""The jobs of the search: one arm from its demonstrations to its record.

A job resumes where it was killed, and arms that share a data set or a training share its files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from smidgen.evaluation.records import read_record
from smidgen.evaluation.training_curve import read_curve
from smidgen.experiments.costs import Cost, append_cost, cost_of, counted
from smidgen.experiments.stages import (
    COLLECTING,
    EVALUATING,
    TRAINING,
    Place,
    Size,
    collect_sets,
    evaluate_trial,
    is_collected,
    train_trial,
)
from smidgen.policies.checkpoint import RUN_CHECKPOINT
from smidgen.runtime.schemas import to_json
from studies.recipe.acting import acting_checkpoint
from studies.recipe.arms import Arm
from studies.recipe.records import ArmRecord, record_path, summarise, write_record

SUITE = "recipe"
# The first seeds of this split choose between recipes; the bars are measured on later ones.
SPLIT = "checkpoint"


@dataclass(frozen=True)
class ArmJob:
    """One arm, from its demonstrations to its record and a line of costs.

    Attributes:
        label: The arm's name.
        arm: The arm.
        place: Where everything goes.
        size: How much of everything.
        suite: The suite's name in the table of costs.
        seed_start: First episode, as an offset inside the split.
    """

    label: str
    arm: Arm
    place: Place
    size: Size
    suite: str = SUITE
    seed_start: int = 0

    def is_done(self) -> bool:
        """Whether its record is there."""
        return record_path(self.place.folder, self.label).exists()

    def locks(self) -> list[Path]:
        """Folders to hold: its training's, and its data set's until it is there."""
        locks = self.place.scratch / "locks"
        return [
            locks / self.arm.run_name,
            *([] if is_collected(self.arm, self.place) else [locks / self.arm.data_name]),
        ]

    def run(self) -> ArmRecord:
        """Runs what is missing."""
        arm, place, size = self.arm, self.place, self.size
        before = self.costs()
        if not is_collected(arm, place):
            with counted(COLLECTING, place.data(arm)[0].parent):
                collect_sets(arm, place, size)
        if not (place.run(arm) / RUN_CHECKPOINT).exists():
            with counted(TRAINING, place.run(arm)):
                train_trial(arm, place, size)
        with counted(EVALUATING, self._evaluation()):
            policy = acting_checkpoint(place.run(arm), arm.acting)
            name, out = self.label.partition(".")[2], str(place.scratch / "evaluations" / arm.data_name)
            chosen = {"split": SPLIT, "seed_start": self.seed_start}
            evaluated = read_record(evaluate_trial(policy, arm, place, size, name=name, out=out, **chosen))
        costs = self.costs()
        record = summarise(self.label, arm, to_json(size), evaluated, read_curve(str(place.run(arm))), costs)
        write_record(place.folder, record)
        spent = [after.minus(before[stage]) for stage, after in costs.items()]
        wall_s, core_s = sum(cost.wall_s for cost in spent), sum(cost.core_s for cost in spent)
        append_cost(place.costs, self.suite, self.label, 1, wall_s, core_s)
        return record

    def costs(self) -> dict[str, Cost]:
        """What its stages have cost so far; arms that share one show the same."""
        beside = {
            COLLECTING: self.place.data(self.arm)[0].parent,
            TRAINING: self.place.run(self.arm),
            EVALUATING: self._evaluation(),
        }
        return {stage: cost_of(stage, path) for stage, path in beside.items()}

    def _evaluation(self) -> Path:
        return self.place.scratch / "evaluations" / self.label


def arm_jobs(
    arms: Mapping[str, Arm], place: Place, size: Size, suite: str = SUITE, seed_start: int = 0
) -> list[ArmJob]:
    """A job for each arm, in the order of the plan."""
    return [ArmJob(name, arm, place, size, suite, seed_start) for name, arm in arms.items()]
