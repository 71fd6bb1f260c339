"""The jobs of the second round: an arm on a block of seeds at one learning rate, run by any process.

A job is a function of its configuration alone and writes one record atomically. Any number of processes may work on one
folder: each takes the first job in the plan's order that no other process holds. Whatever depends on records (the next
rate of a search, the rate that is then frozen) is read from them again before every job.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from smidgen.runtime.errors import UserError
from smidgen.runtime.files import directory_lock, remove_leftovers
from studies.claims.arms import Arm
from studies.claims.costs import append_cost
from studies.claims.design import BLOCKS, TUNING_SEEDS
from studies.claims.measuring import run_block
from studies.claims.plan import StudyPlan
from studies.claims.rates import best_rate, rates_to_search
from studies.claims.records import TUNING, BlockRecord, Records, arm_sha256, read_records, record_path, write_record

SUITE = "claims-round-2"


@dataclass(frozen=True)
class Job:
    """An arm on a block of seeds at one rate."""

    name: str
    arm: Arm
    block: str
    lr: float

    @property
    def label(self) -> str:
        """Its name in costs and messages."""
        return f"{self.name}/{self.block}-{self.lr:g}"

    @property
    def seeds(self) -> tuple[int, ...]:
        """Its seeds."""
        return TUNING_SEEDS if self.block == TUNING else BLOCKS[self.block]


@dataclass(frozen=True)
class Place:
    """Where the records go, and where unfinished runs and costs are kept, under the name of the suite."""

    folder: Path
    scratch: Path
    costs: Path
    suite: str = SUITE


def chosen_rate(name: str, plan: StudyPlan, records: Records) -> float | None:
    """An arm's learning rate; None until its search, or that of the arm whose rate it uses, is complete."""
    arm = plan.arms[name]
    source = arm.rate_of or name
    searching = plan.arms[source]
    searched = records.tuning(source)
    if rates_to_search(searching.lrs, searched, searching.horizon):
        return None
    return best_rate(searched, searching.horizon)


def open_jobs(plan: StudyPlan, records: Records) -> Iterator[Job]:
    """Jobs that could be run now, in the plan's order: what decides the claims comes first."""
    for step in plan.order:
        arm = plan.arms[step.arm]
        if step.block == TUNING:
            for lr in rates_to_search(arm.lrs, records.tuning(step.arm), arm.horizon):
                yield Job(step.arm, arm, TUNING, lr)
            continue
        rate = chosen_rate(step.arm, plan, records)
        done = {record.block for record in records.blocks.get(step.arm, ())}
        if rate is not None and step.block not in done:
            yield Job(step.arm, arm, step.block, rate)


def num_waiting(plan: StudyPlan, records: Records) -> int:
    """Steps of the plan's order that are not done; a search counts once."""
    count = 0
    for step in plan.order:
        arm = plan.arms[step.arm]
        if step.block == TUNING:
            count += bool(rates_to_search(arm.lrs, records.tuning(step.arm), arm.horizon))
        else:
            count += step.block not in {record.block for record in records.blocks.get(step.arm, ())}
    return count


def run_job(job: Job, place: Place) -> BlockRecord:
    """Runs a job and writes its record; the caller holds its lock."""
    scratch = job_scratch(job, place)
    runs, (wall_s, core_s) = run_block(job.arm, job.seeds, job.lr, scratch, stops_at_escape=job.block == TUNING)
    record = BlockRecord(arm=job.name, arm_sha256=arm_sha256(job.arm), block=job.block, lr=job.lr, runs=runs)
    write_record(place.folder, record)
    append_cost(place.costs, place.suite, job.label, len(runs), wall_s, core_s)
    return record


def job_scratch(job: Job, place: Place) -> Path:
    """The folder of a job's unfinished runs, which is also what its lock holds; named by its content."""
    return place.scratch / f"{job.name}-{job.block}-{job.lr:g}-{arm_sha256(job.arm)[:8]}"


def take_job(plan: StudyPlan, place: Place) -> tuple[Job, BlockRecord] | None:
    """Runs the first open job that no process holds; None if every open job is held, or none is open."""
    for job in open_jobs(plan, read_records(place.folder, plan.arms)):
        scratch = job_scratch(job, place)
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(directory_lock(scratch))
            except UserError:
                continue
            path = record_path(place.folder, job.name, job.block, job.lr)
            if path.exists():
                # Another process finished it since the records were read.
                continue
            remove_leftovers(path.parent, path.name)
            record = run_job(job, place)
            shutil.rmtree(scratch, ignore_errors=True)
            return job, record
    return None


def work(plan: StudyPlan, place: Place, wait_s: float = 1.0) -> Iterator[tuple[Job, BlockRecord]]:
    """Takes jobs until the plan is done; while other processes hold all open jobs, it looks again every ``wait_s``."""
    while num_waiting(plan, read_records(place.folder, plan.arms)):
        taken = take_job(plan, place)
        if taken is None:
            time.sleep(wait_s)
        else:
            yield taken
