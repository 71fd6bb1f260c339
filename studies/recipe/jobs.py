"""The jobs of the search: one arm from its demonstrations to its record, each run once, whoever gets to it first.

A job resumes where it was killed, and arms that share a data set or a training share its files. Any number of processes
may work on one folder: each takes the first arm of the plan whose files nobody holds.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from smidgen.data_collection.manifest import MANIFEST_NAME
from smidgen.evaluation.fixed_part import read_curve
from smidgen.evaluation.records import read_record
from smidgen.policies.checkpoint import RUN_CHECKPOINT
from smidgen.runtime.errors import UserError
from smidgen.runtime.files import directory_lock
from smidgen.runtime.schemas import to_json
from studies.claims.costs import append_cost
from studies.recipe.acting import acting_checkpoint
from studies.recipe.arms import Arm
from studies.recipe.records import ArmRecord, Cost, record_path, summarise, write_record
from studies.recipe.stages import (
    COLLECTING,
    EVALUATING,
    TRAINING,
    Place,
    Size,
    collect_sets,
    cost_of,
    counted,
    evaluate_arm,
    train_arm,
)

SUITE = "recipe"
WAIT_S = 15.0


def run_job(name: str, arm: Arm, place: Place, size: Size) -> ArmRecord:
    """Runs one arm and writes its record and a line of costs; the caller holds its locks."""
    before = costs_of(name, arm, place)
    if not is_collected(arm, place):
        with counted(COLLECTING, place.data(arm)[0].parent):
            collect_sets(arm, place, size)
    if not (place.run(arm) / RUN_CHECKPOINT).exists():
        with counted(TRAINING, place.run(arm)):
            train_arm(arm, place, size)
    with counted(EVALUATING, evaluation_file(name, place)):
        policy = acting_checkpoint(place.run(arm), arm.acting)
        evaluated = read_record(evaluate_arm(policy, arm, name.partition(".")[2], place, size))
    costs = costs_of(name, arm, place)
    record = summarise(name, arm, to_json(size), evaluated, read_curve(str(place.run(arm))), costs)
    write_record(place.folder, record)
    spent = [after.wall_s - before[stage].wall_s for stage, after in costs.items()]
    cores = [after.core_s - before[stage].core_s for stage, after in costs.items()]
    append_cost(place.costs, SUITE, name, 1, sum(spent), sum(cores))
    return record


def is_collected(arm: Arm, place: Place) -> bool:
    """Whether both of an arm's data sets are complete."""
    return all((folder / MANIFEST_NAME).exists() for folder in place.data(arm))


def evaluation_file(name: str, place: Place) -> Path:
    """What an arm's cost of evaluating is named after."""
    return place.scratch / "evaluations" / name


def costs_of(name: str, arm: Arm, place: Place) -> dict[str, Cost]:
    """What an arm's stages have cost so far; arms that share one show the same."""
    beside = {
        COLLECTING: place.data(arm)[0].parent,
        TRAINING: place.run(arm),
        EVALUATING: evaluation_file(name, place),
    }
    return {stage: cost_of(stage, path) for stage, path in beside.items()}


def locks(arm: Arm, place: Place) -> list[Path]:
    """Folders that a process holds while it works on an arm: its training's, and its data set's until it is there."""
    shared = [] if is_collected(arm, place) else [place.scratch / "locks" / arm.data_name]
    return [place.scratch / "locks" / arm.run_name, *shared]


def take_job(arms: Mapping[str, Arm], place: Place, size: Size) -> tuple[str, ArmRecord | UserError] | None:
    """Runs the first open arm that no process holds; None if all are held or none is open.

    Returns:
        The arm's name, with its record or with the reason why it has none.
    """
    for name, arm in arms.items():
        with contextlib.ExitStack() as stack:
            if record_path(place.folder, name).exists():
                continue
            try:
                for folder in locks(arm, place):
                    stack.enter_context(directory_lock(folder))
            except UserError:
                continue
            # Another process may have finished it between the look and the lock.
            if record_path(place.folder, name).exists():
                continue
            try:
                return name, run_job(name, arm, place, size)
            except UserError as error:
                return name, error
    return None


def work(arms: Mapping[str, Arm], place: Place, size: Size) -> Iterator[tuple[str, ArmRecord | UserError]]:
    """Takes jobs until every arm has a record or has failed here; waits where others hold all that is open."""
    failed = set[str]()
    while waiting := {
        name: arm for name, arm in arms.items() if name not in failed and not record_path(place.folder, name).exists()
    }:
        taken = take_job(waiting, place, size)
        if taken is None:
            time.sleep(WAIT_S)
            continue
        if isinstance(taken[1], UserError):
            # A diverged training must not keep the other arms from running.
            failed.add(taken[0])
        yield taken
