"""How far a suite is: what is done, what runs where, what failed, what is left, and how long that will take.

It is read from what is on disk (records, locks, notes beside them, the table of costs), so any machine that shares the
folders can ask, whoever runs the jobs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smidgen.experiments.costs import Cost
from smidgen.experiments.job_notes import JobNote, read_note
from smidgen.experiments.jobs import Job
from smidgen.experiments.schedule import PlannedJob, finish_times_s


@dataclass(frozen=True)
class UnfinishedJob:
    """A job without its output.

    Attributes:
        label: Its name.
        folder: The first that its process locks; None if it cannot be begun yet.
        expected_s: Its wall time; None if nothing like it has been timed.
        needs: Labels of the jobs that come before it.
    """

    label: str
    folder: Path | None
    expected_s: float | None
    needs: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Snapshot:
    """A suite at one moment.

    Attributes:
        name: The suite's.
        num_done: Jobs whose output is there.
        running: Those that some process works on.
        failed: Those that failed and that nobody has tried again.
        num_left: The others.
        num_workers: Workers that the time left is for.
        left_s: Until the last is done, those of unknown cost left out.
        num_unknown: Jobs of unknown cost, running ones included.
    """

    name: str
    num_done: int
    running: tuple[JobNote, ...]
    failed: tuple[JobNote, ...]
    num_left: int
    num_workers: int
    left_s: float
    num_unknown: int

    @property
    def is_over(self) -> bool:
        """Whether nothing runs and nothing is left."""
        return not self.running and not self.num_left

    def summary(self) -> str:
        """The counts, and the time left."""
        counts = f"{self.num_done} done, {len(self.running)} running, {len(self.failed)} failed, {self.num_left} left"
        return f"{self.name}: {counts}{self._time_left()}"

    def _time_left(self) -> str:
        if self.is_over:
            return ""
        unknown = f"{self.num_unknown} of unknown cost" if self.num_unknown else ""
        if self.num_unknown == self.num_left + len(self.running):
            return "; time left unknown: nothing alike has been timed"
        workers = f"{self.num_workers} worker{'s' * (self.num_workers > 1)}"
        about = "about " if self.left_s >= 30 else ""
        return f"; {about}{duration(self.left_s)} on {workers}" + (f", and {unknown}" if unknown else "")


def take_snapshot(name: str, num_done: int, unfinished: Sequence[UnfinishedJob], num_workers: int) -> Snapshot:
    """Reads who works on what.

    Args:
        name: The suite's.
        num_done: Jobs whose output is there.
        unfinished: All others, in the order in which they are taken.
        num_workers: Of the command that asks; if more jobs run, that many count.
    """
    found = [(job, read_note(job.folder, job.label) if job.folder else None) for job in unfinished]
    running = [(job, note) for job, note in found if note and not note.error]
    left = [job for job, note in found if note is None]
    num_workers = max(1, num_workers, len(running))
    now_s = time.time()
    busy = [
        PlannedJob(job.label, max(0.0, job.expected_s - (now_s - note.since_s)))
        for job, note in running
        if job.expected_s is not None
    ]
    planned = [PlannedJob(job.label, job.expected_s, job.needs) for job in left if job.expected_s is not None]
    ends_s = finish_times_s(planned, num_workers, busy)
    return Snapshot(
        name=name,
        num_done=num_done,
        running=tuple(note for _, note in running),
        failed=tuple(note for _, note in found if note and note.error),
        num_left=len(left),
        num_workers=num_workers,
        left_s=max(ends_s.values(), default=0.0),
        num_unknown=len(running) + len(left) - len(busy) - len(planned),
    )


def unfinished_jobs(jobs: Iterable[Job[Any]], expect: Callable[[str], Cost | None]) -> list[UnfinishedJob]:
    """Those of some jobs that are not done.

    Args:
        jobs: Jobs that can be begun now.
        expect: What a job of this label will cost.
    """
    return [UnfinishedJob(job.label, job.locks()[0], wall_s(expect(job.label))) for job in jobs if not job.is_done()]


def wall_s(cost: Cost | None) -> float | None:
    """Its wall time, if it is known."""
    return None if cost is None else cost.wall_s


def duration(seconds: float) -> str:
    """A time in the largest units that tell it, as ``3 h 05 min``."""
    minutes = round(seconds / 60)
    hours, days = minutes // 60, minutes // 1440
    if days:
        return f"{days} d {hours % 24} h"
    if hours:
        return f"{hours} h {minutes % 60:02} min"
    return f"{minutes} min" if minutes else "less than 1 min"
