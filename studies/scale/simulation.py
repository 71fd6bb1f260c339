"""The official leaderboard's jobs with what each is expected to take, and when so many workers are done with them."""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from smidgen.experiments.boards import RATES, build_trial
from smidgen.experiments.entry_jobs import CollectingJob, EntryJob, ReferenceJob, TrackJob, any_trial, needs
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


def core_s(job: TrackJob, costs: UnitCosts) -> float:
    """What a job is expected to take on one core.

    Args:
        job: Of the official leaderboard.
        costs: Measured and recorded ones.
    """
    size, ratios = job.track.size, costs.ratios
    if isinstance(job, CollectingJob):
        trial = job.trial
    elif isinstance(job, ReferenceJob):
        trial = any_trial(job.task)
    else:
        trial = build_trial(job.name, job.task, 0, RATES[0])

    def stage_s(stage: str, episodes: int, recipe: str) -> float:
        return ratios[stage] * costs.modelled_s(work_of(stage, trial, episodes, trial.training["steps"]), recipe)

    if isinstance(job, CollectingJob):
        num_demonstrations = min(size.demonstrations, trial.demonstrations.get("episodes", size.demonstrations))
        return stage_s(COLLECTING, num_demonstrations + size.held_out, "")
    if isinstance(job, ReferenceJob):
        # An expert or a baseline: the simulator alone.
        return stage_s(EVALUATING, size.episodes, "")
    training_s = stage_s(TRAINING, 0, job.name)
    return training_s + (stage_s(EVALUATING, size.episodes, job.name) if isinstance(job, EntryJob) else 0.0)


def planned(jobs: Iterable[TrackJob], costs: UnitCosts, overhead_s: float) -> list[PlannedJob]:
    """Jobs with their expected times.

    Args:
        jobs: Of the leaderboard, in order.
        costs: Measured and recorded ones.
        overhead_s: Added to each job.
    """
    return [PlannedJob(job.label, core_s(job, costs) + overhead_s, needs(job)) for job in jobs]


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
