"""The jobs of the suite: tune an arm's learning rate, then run it on the plan's seeds; each writes atomically, once.

A job is a function of the arm and the plan alone. What was there already is not run again: an arm's record, the choice
of its learning rate, and within a run the trainer's own resume file. Times, dates and hosts appear in no file.
"""

from __future__ import annotations

import dataclasses
import math
import shutil
from dataclasses import dataclass
from pathlib import Path

from smidgen.runtime.files import canonical_json, read_json, remove_leftovers, sha256_bytes, write_json_atomic
from smidgen.runtime.schemas import from_json, to_json
from studies.first_round.arms import Arm
from studies.first_round.choices import choose_arms
from studies.first_round.plan import Plan
from studies.first_round.records import ARMS_FOLDER, ArmRecord, SeedRecord, TuningRun, write_arm_record
from studies.ladder.side_by_side import SeedOutcome, train_side_by_side


@dataclass(frozen=True, kw_only=True)
class ArmJob:
    """One arm to tune and run.

    Attributes:
        name: The arm's name in the plan.
        arm: What it is.
        plan: The plan.
        rival: Name of the other arm that a rule may choose on the same data; empty where no rule chooses.
        rival_arm: That arm.
        out: Folder of the plan and the records.
        scratch: Folder for temporary files until the record is written.
    """

    name: str
    arm: Arm
    plan: Plan
    out: Path
    scratch: Path
    rival: str = ""
    rival_arm: Arm | None = None

    @property
    def record_path(self) -> Path:
        """The path of the arm's record."""
        return self.out / ARMS_FOLDER / f"{self.name}.json"

    @property
    def folder(self) -> Path:
        """The arm's scratch folder, named by all that its runs depend on: what another content left is not taken up."""
        content = [to_json(part) for part in (self.arm, self.plan.tuning, self.plan.seeds)]
        return self.scratch / f"{self.name}-{sha256_bytes(canonical_json(content))[:12]}"


def run_job(job: ArmJob) -> ArmRecord:
    """Tunes and runs one arm, and writes its record; what is there is read instead.

    Raises:
        UserError: If a record contradicts the plan, or the disk is full.
    """
    if job.record_path.exists():
        return ArmRecord.from_json(read_json(job.record_path), str(job.record_path))
    job.folder.mkdir(parents=True, exist_ok=True)
    remove_leftovers(job.folder)
    tuning = tune_arm(job)
    lr = best_lr(tuning, job.plan.tuning.max_steps)
    outcomes = train_side_by_side(
        job.arm.data,
        job.arm.network,
        job.arm.training,
        job.plan.seeds,
        [lr * job.arm.lr_scale] * len(job.plan.seeds),
        threads=1,
        resume=job.folder / "run",
    )
    record = ArmRecord(
        arm=job.name,
        plan_sha256=job.plan.sha256,
        lr=lr,
        tuning=tuning,
        seeds=tuple(seed_record(outcome, lr) for outcome in outcomes),
        choices=choose_arms(job.name, job.arm, job.rival, job.rival_arm, job.plan) if job.rival_arm else {},
    )
    write_arm_record(job.out, record, job.plan)
    shutil.rmtree(job.folder, ignore_errors=True)
    return record


def tune_arm(job: ArmJob) -> tuple[TuningRun, ...]:
    """Runs every learning rate of the plan on every tuning seed, all side by side."""
    path = job.folder / "tuning.json"
    if path.exists():
        return from_json(tuple[TuningRun, ...], read_json(path), str(path))
    tuning = job.plan.tuning
    grid = [(lr, seed) for lr in tuning.lrs for seed in tuning.seeds]
    training = dataclasses.replace(job.arm.training, max_steps=min(tuning.max_steps, job.arm.training.max_steps))
    outcomes = train_side_by_side(
        job.arm.data,
        job.arm.network,
        training,
        [seed for _, seed in grid],
        [lr * job.arm.lr_scale for lr, _ in grid],
        threads=1,
        resume=job.folder / "tuning",
    )
    runs = tuple(
        TuningRun(lr=lr, seed=seed, escape_step=outcome.escape_step, final_loss=_final_loss(outcome))
        for (lr, seed), outcome in zip(grid, outcomes, strict=True)
    )
    write_json_atomic(path, to_json(runs))
    return runs


def best_lr(runs: tuple[TuningRun, ...], max_steps: int) -> float:
    """The learning rate with the smallest mean escape time, a run without escape counting ``max_steps``.

    Of equal ones the lowest mean final loss decides (a run that diverged has an infinite one), then the lowest rate.
    """

    def rank(lr: float) -> tuple[float, float, float]:
        own = [run for run in runs if run.lr == lr]
        steps = [max_steps if run.escape_step is None else run.escape_step for run in own]
        losses = [math.inf if run.final_loss is None else run.final_loss for run in own]
        return sum(steps) / len(own), sum(losses) / len(own), lr

    return min({run.lr for run in runs}, key=rank)


def seed_record(outcome: SeedOutcome, lr: float) -> SeedRecord:
    """A run as its record keeps it, with numbers that are not finite as null.

    Args:
        outcome: What the trainer measured.
        lr: The plan's learning rate, before an arm's ``lr_scale``.
    """
    return SeedRecord(
        seed=outcome.seed,
        lr=lr,
        escape_step=outcome.escape_step,
        steps_run=outcome.steps_run,
        curve=tuple(outcome.curve),
        final=outcome.final,
        initial=outcome.initial,
        oracle_r2=outcome.oracle_r2,
        diverged=outcome.diverged,
    )


def _final_loss(outcome: SeedOutcome) -> float | None:
    return outcome.final_loss if outcome.curve else None
