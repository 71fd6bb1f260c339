"""Jobs that any number of processes share: each is run once, by whoever gets to it first.

A job writes its output atomically and resumes where it was killed. A process takes the first job in the suite's order
whose folders nobody holds, so a suite can be started several times on one machine, or on several that share a folder.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

from smidgen.experiments.job_notes import noted
from smidgen.runtime.errors import UserError
from smidgen.runtime.files import directory_lock

Result = TypeVar("Result", covariant=True)
WAIT_S = 15.0


class Job(Protocol[Result]):
    """One unit of a suite's work."""

    @property
    def label(self) -> str:
        """Its name in messages and costs."""

    def is_done(self) -> bool:
        """Whether its output is there."""

    def locks(self) -> Sequence[Path]:
        """Folders that a process holds while it works on the job, in the order in which it takes them."""

    def run(self) -> Result:
        """Does the work and writes the output; the caller holds the locks."""


def take_job(jobs: Iterable[Job[Result]]) -> tuple[Job[Result], Result | UserError] | None:
    """Runs the first unfinished job that no other process holds.

    Returns:
        The job with its result, or with the reason why it failed; None if every job is done or held.
    """
    for job in jobs:
        if job.is_done():
            continue
        with contextlib.ExitStack() as stack:
            try:
                for folder in job.locks():
                    stack.enter_context(directory_lock(folder))
            except UserError:
                continue
            # Another process may have finished it between the look and the lock.
            if job.is_done():
                continue
            try:
                with noted(job.locks()[0], job.label):
                    return job, job.run()
            except UserError as error:
                return job, error
    return None


def work(
    open_jobs: Callable[[], Iterable[Job[Result]]], is_over: Callable[[], bool], wait_s: float = WAIT_S
) -> Iterator[tuple[Job[Result], Result | UserError]]:
    """Takes jobs until all is done; while other processes hold all that is open, it looks again every ``wait_s``.

    Args:
        open_jobs: The jobs that could be run now, in order; called again for each, because results may open others.
        is_over: Whether nothing is left, now or later.
        wait_s: How long to wait.

    Yields:
        Each job with its result, or with the reason why it failed; a failed job is not tried again here.
    """
    failed = set[str]()
    while not is_over():
        waiting = [job for job in open_jobs() if job.label not in failed and not job.is_done()]
        if not waiting and failed:
            return
        taken = take_job(waiting)
        if taken is None:
            time.sleep(wait_s)
            continue
        if isinstance(taken[1], UserError):
            # A diverged training must not keep the other jobs from running.
            failed.add(taken[0].label)
        yield taken
