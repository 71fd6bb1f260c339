"""The jobs of the second round: an arm on a block of seeds at one learning rate, run by any process.

A job is a function of its configuration alone and writes one record atomically. Whatever depends on records (the next
rate of a search, the rate that is then frozen) is read from them again before every job.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from smidgen.experiments.costs import append_cost
from smidgen.experiments.jobs import work
from smidgen.runtime.errors import UserError
from smidgen.runtime.files import remove_leftovers
from studies.claims.arms import Arm
from studies.claims.design import BLOCKS, TUNING_SEEDS
from studies.claims.measuring import run_block
from studies.claims.plan import StudyPlan
from studies.claims.rates import best_rate, rates_to_search
from studies.claims.records import TUNING, BlockRecord, Records, arm_sha256, read_records, record_path, write_record

SUITE = "claims-round-2"


@dataclass(frozen=True)
class Place:
    """Where the records go, and where unfinished runs and costs are kept, under the name of the suite."""

    folder: Path
    scratch: Path
    costs: Path
    suite: str = SUITE


@dataclass(frozen=True)
class BlockJob:
    """An arm on a block of seeds at one rate."""

    name: str
    arm: Arm
    block: str
    lr: float
    place: Place

    @property
    def label(self) -> str:
        """Its name in costs and messages."""
        return f"{self.name}/{self.block}-{self.lr:g}"

    @property
    def seeds(self) -> tuple[int, ...]:
        """Its seeds."""
        return TUNING_SEEDS if self.block == TUNING else BLOCKS[self.block]

    @property
    def record_path(self) -> Path:
        """The path of its record."""
        return record_path(self.place.folder, self.name, self.block, self.lr)

    @property
    def scratch(self) -> Path:
        """The folder of its unfinished runs, which is also what its lock holds; named by its content."""
        return self.place.scratch / f"{self.name}-{self.block}-{self.lr:g}-{arm_sha256(self.arm)[:8]}"

    def is_done(self) -> bool:
        """Whether its record is there."""
        return self.record_path.exists()

    def locks(self) -> list[Path]:
        """The folder that a process holds while it works on the job."""
        return [self.scratch]

    def run(self) -> BlockRecord:
        """Runs it, or continues, and writes its record and a line of costs."""
        remove_leftovers(self.record_path.parent, self.record_path.name)
        is_tuning = self.block == TUNING
        runs, (wall_s, core_s) = run_block(self.arm, self.seeds, self.lr, self.scratch, stops_at_escape=is_tuning)
        record = BlockRecord(arm=self.name, arm_sha256=arm_sha256(self.arm), block=self.block, lr=self.lr, runs=runs)
        write_record(self.place.folder, record)
        append_cost(self.place.costs, self.place.suite, self.label, len(runs), wall_s, core_s)
        shutil.rmtree(self.scratch, ignore_errors=True)
        return record


def chosen_rate(name: str, plan: StudyPlan, records: Records) -> float | None:
    """An arm's learning rate; None until its search, or that of the arm whose rate it uses, is complete."""
    arm = plan.arms[name]
    source = arm.rate_of or name
    searching = plan.arms[source]
    searched = records.tuning(source)
    if rates_to_search(searching.lrs, searched, searching.horizon):
        return None
    return best_rate(searched, searching.horizon)


def open_jobs(plan: StudyPlan, place: Place) -> Iterator[BlockJob]:
    """Jobs that could be run now, in the plan's order: what decides the claims comes first."""
    records = read_records(place.folder, plan.arms)
    for step in plan.order:
        arm = plan.arms[step.arm]
        if step.block == TUNING:
            for lr in rates_to_search(arm.lrs, records.tuning(step.arm), arm.horizon):
                yield BlockJob(step.arm, arm, TUNING, lr, place)
            continue
        rate = chosen_rate(step.arm, plan, records)
        done = {record.block for record in records.blocks.get(step.arm, ())}
        if rate is not None and step.block not in done:
            yield BlockJob(step.arm, arm, step.block, rate, place)


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


def run_plan(plan: StudyPlan, place: Place, wait_s: float = 1.0) -> Iterator[tuple[str, BlockRecord]]:
    """Runs jobs until the plan is done; while other processes hold all open jobs, it looks again every ``wait_s``.

    Yields:
        Each job's label, and its record.

    Raises:
        UserError: If a job cannot be run, such as on a full disk.
    """
    for job, outcome in work(
        lambda: open_jobs(plan, place), lambda: not num_waiting(plan, read_records(place.folder, plan.arms)), wait_s
    ):
        if isinstance(outcome, UserError):
            raise outcome
        yield job.label, outcome
