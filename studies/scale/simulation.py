"""The official leaderboard's jobs with what each is expected to take, and when so many workers are done with them.

A job is first modelled: attempts or episodes that run to the horizon, and training steps, at measured core times. Jobs
of the leaderboard that are done took more or less than that; the median ratio of each kind of job corrects the model.
"""

from __future__ import annotations

import bisect
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from smidgen.experiments.boards import RATES, build_trial
from smidgen.experiments.costs import Cost
from smidgen.experiments.entry_jobs import (
    CollectingJob,
    EntryJob,
    ReferenceJob,
    TrackJob,
    VerificationJob,
    any_trial,
    needs,
)
from smidgen.experiments.leaderboard import CPU_STANDARD
from smidgen.experiments.schedule import PlannedJob, finish_times_s
from smidgen.experiments.stages import COLLECTING, EVALUATING, TRAINING
from smidgen.experiments.suite import SuiteConfig
from studies.scale.unit_costs import UnitCosts, work_of

SUITE = "smidgen.experiments.leaderboard:CPU_STANDARD"
NUM_CORES = (1, 2, 16, 256, 4096)


@dataclass(frozen=True)
class Outcome:
    """What a number of cores make of the leaderboard.

    Attributes:
        num_cores: One job at a time on each.
        wall_s: Until the last job is done.
        efficiency: The work over all that the cores could have done in that time.
    """

    num_cores: int
    wall_s: float
    efficiency: float


def leaderboard_jobs(nowhere: Path) -> dict[str, list[TrackJob]]:
    """The jobs of each board as they are before any is done.

    Args:
        nowhere: A folder that does not exist.
    """
    return CPU_STANDARD.jobs(SuiteConfig(SUITE, out=str(nowhere), scratch=str(nowhere)))


def modelled_s(job: TrackJob, costs: UnitCosts) -> float:
    """What a job takes on one core by the model.

    Args:
        job: Of the official leaderboard.
        costs: Measured ones.
    """
    size = job.track.size
    if isinstance(job, CollectingJob):
        trial = job.trial
        num_demonstrations = min(size.demonstrations, trial.demonstrations.get("episodes", size.demonstrations))
        return costs.modelled_s(work_of(COLLECTING, trial, num_demonstrations + size.held_out, 0))
    if isinstance(job, ReferenceJob):
        # An expert or a baseline: the simulator alone.
        return costs.modelled_s(work_of(EVALUATING, any_trial(job.task), size.episodes, 0))
    trial = build_trial(job.name, job.task, 0, RATES[0])
    # What is run again has its training already.
    work = [] if isinstance(job, VerificationJob) else [work_of(TRAINING, trial, 0, trial.training["steps"])]
    if isinstance(job, EntryJob | VerificationJob):
        work.append(work_of(EVALUATING, trial, size.episodes, 0))
    return sum(costs.modelled_s(each, job.name) for each in work)


def ratios_of(jobs: Iterable[TrackJob], costs: UnitCosts, known: Iterable[tuple[str, Cost]]) -> dict[str, list[float]]:
    """What finished jobs took over what the model says, by kind of job.

    Args:
        jobs: Of the leaderboard.
        costs: Measured ones.
        known: Labels of finished jobs, and what each took.
    """
    job_of = {job.label: job for job in jobs}
    found: dict[str, list[float]] = {}
    for label, cost in known:
        if job := job_of.get(label):
            found.setdefault(job.kind, []).append(cost.core_s / modelled_s(job, costs))
    return found


def planned(
    jobs: Iterable[TrackJob], costs: UnitCosts, ratios: Mapping[str, Sequence[float]], overhead_s: float
) -> list[PlannedJob]:
    """Jobs with their expected times.

    Args:
        jobs: Of the leaderboard, in order.
        costs: Measured ones.
        ratios: As :func:`ratios_of`; of a kind without one the model counts as it is.
        overhead_s: Added to each job.
    """
    factors = {kind: statistics.median(those) for kind, those in ratios.items()}
    return [
        PlannedJob(job.label, factors.get(job.kind, 1.0) * modelled_s(job, costs) + overhead_s, needs(job))
        for job in jobs
    ]


def simulate(jobs: Sequence[PlannedJob], num_cores: int) -> Outcome:
    """Runs jobs by the suite's rule.

    Args:
        jobs: In order.
        num_cores: One job at a time on each.
    """
    wall_s = max(finish_times_s(jobs, num_cores).values())
    return Outcome(num_cores, wall_s, sum(job.wall_s for job in jobs) / (num_cores * wall_s))


def longest_chain_s(jobs: Sequence[PlannedJob]) -> float:
    """How long jobs take that wait for one another; no number of cores is faster."""
    return max(finish_times_s(jobs, len(jobs)).values())


def fewest_cores(jobs: Sequence[PlannedJob]) -> int:
    """How many cores are enough for a time within a hundredth of the longest chain's."""
    limit_s = 1.01 * longest_chain_s(jobs)
    numbers = range(1, len(jobs) + 1)
    return numbers[bisect.bisect_left(numbers, True, key=lambda cores: simulate(jobs, cores).wall_s <= limit_s)]
