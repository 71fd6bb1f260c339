"""What a number of workers make of a list of jobs: the order in which they take them, and when the last is done.

The rule is that of :func:`smidgen.experiments.jobs.work`: a free worker takes the first job in the suite's order whose
inputs are there.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class PlannedJob:
    """A job, how long it takes, and what has to be there before.

    Attributes:
        label: Its name.
        wall_s: How long a worker is busy with it.
        needs: Labels of jobs that come before it; those that are not in the list are done.
    """

    label: str
    wall_s: float
    needs: frozenset[str] = field(default=frozenset())


def finish_times_s(
    jobs: Sequence[PlannedJob], num_workers: int, running: Sequence[PlannedJob] = ()
) -> dict[str, float]:
    """When each job is done, in seconds from now.

    Args:
        jobs: What nobody works on yet, in order.
        num_workers: Workers; each has one job at a time.
        running: What is worked on now; ``wall_s`` is what is left of each.

    Raises:
        ValueError: If there is no worker, or jobs wait for one another in a circle.
    """
    if num_workers < 1:
        raise ValueError(f"expected num_workers of at least 1, got {num_workers}")
    missing = {job.label for job in (*jobs, *running)}
    busy = [(job.wall_s, job.label) for job in running]
    heapq.heapify(busy)
    waiting, finished, now_s = list(jobs), dict[str, float](), 0.0
    while waiting or busy:
        ready = [job for job in waiting if not job.needs & missing]
        for job in ready[: max(0, num_workers - len(busy))]:
            waiting.remove(job)
            heapq.heappush(busy, (now_s + job.wall_s, job.label))
        if not busy:
            raise ValueError(f"these jobs wait for one another: {', '.join(job.label for job in waiting[:5])}")
        now_s, label = heapq.heappop(busy)
        finished[label] = now_s
        missing.discard(label)
    return finished
