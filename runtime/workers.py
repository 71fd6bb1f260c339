"""Worker processes that pull items; each result comes with its item, so nothing depends on the order of finishing.

Every worker is a fresh interpreter with its numerical libraries pinned to one thread: the same item gives the same bits
in any worker, for any number of workers. A worker that dies or times out is replaced and its item runs again. Each has
its own pipe and shares no lock: one that is killed or stopped at the worst moment blocks no other, whereas a pool with
a shared queue breaks (concurrent.futures) or hangs (pebble). The one exception is a worker that is stopped halfway
through sending a long result.
"""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from multiprocessing import get_context
from multiprocessing.connection import wait as connection_wait
from typing import Any, TypeVar

from smidgen.runtime.worker_pool import LOST, Attempt, Staff, WorkerPool, is_idle
from smidgen.runtime.worker_process import serve

Item = TypeVar("Item")
Result = TypeVar("Result")

# Long for an episode, yet short enough for a user who waits for a worker that hangs.
EPISODE_LIMIT_S = 600.0
# Lower bound for a worker's start, which is slow on a busy machine whatever the items are.
START_LIMIT_S = 300.0

SINGLE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "LP_NUM_THREADS"), "1")
# A worker starts with `python -c`, which would search the working directory first: a user's queue.py would shadow
# Python's.
_SAFE_PATH = {"PYTHONSAFEPATH": "1"}
_GRACE_S = 5.0


@contextlib.contextmanager
def single_threaded_environment() -> Iterator[None]:
    """Environment variables for child processes: one thread for BLAS, OpenMP and Mesa's rasteriser."""
    with _environment(SINGLE_THREAD):
        yield


@contextlib.contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def map_unordered(
    job: Callable[[Item], Result],
    items: Iterable[Item],
    num_workers: int,
    initializer: Callable[..., None] | None = None,
    initargs: Sequence[Any] = (),
    time_limit_s: float | None = None,
) -> Iterator[tuple[Item, Result]]:
    """Applies a job to every item in spawned processes.

    Args:
        job: A module-level function of one item; it may run more than once on an item, so it writes atomically.
        items: Each is pulled by the next free worker.
        num_workers: Processes; 0 runs everything in this one, where nothing can be replaced.
        initializer: Called once in each worker before its first item.
        initargs: Its arguments.
        time_limit_s: A worker that takes longer than this for an item is killed; None for no limit. Time during
            which this process was stopped, or busy with a result, does not count; a start may always take 300 s.

    Yields:
        ``(item, result)`` in order of completion.

    Raises:
        RuntimeError: After all other results, if three workers were lost on one item; at once, if ten were lost with no
            result in between. Exceptions from a job or the initializer are raised unchanged.
    """
    items = list(items)
    if num_workers == 0:
        if initializer is not None:
            initializer(*initargs)
        yield from ((item, job(item)) for item in items)
        return
    start_worker = functools.partial(_ProcessWorker, job, initializer, tuple(initargs))
    yield from WorkerPool(Staff(start_worker, _wait, _stop), num_workers, time_limit_s).run(items)


class _ProcessWorker:
    """A process, its pipe, and its current item.

    Raises:
        BrokenPipeError: If the process dies while starting.
    """

    start_limit_s = START_LIMIT_S

    def __init__(
        self, job: Callable[[Any], Any], initializer: Callable[..., None] | None, initargs: tuple[Any, ...]
    ) -> None:
        context = get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs, os.getpid(), job, initializer, initargs))
        with _environment(SINGLE_THREAD | _SAFE_PATH), _sigint_blocked():
            self.process.start()
        # So that the pipe closes when the process ends.
        theirs.close()
        self.name = f"worker {self.process.pid}"
        self.is_ready = False
        self.attempt: Attempt | None = None
        self.waited_s = 0.0

    def send(self, attempt: Attempt) -> None:
        self.attempt, self.waited_s = attempt, 0.0
        # If it has just died, the next poll finds out.
        with contextlib.suppress(OSError):
            self.connection.send(attempt.item)

    def receive(self) -> tuple[str, Any] | None:
        if not self.connection.poll():
            # Its own children can keep its end of the pipe open.
            return None if self.process.exitcode is None else (LOST, _exit_reason(self.process.exitcode))
        try:
            kind, value = self.connection.recv()
        except (EOFError, OSError):
            self.process.join(_GRACE_S)
            return LOST, _exit_reason(self.process.exitcode)
        return kind, value

    def kill(self) -> None:
        self.process.kill()
        self.process.join(_GRACE_S)
        self.connection.close()


def _wait(workers: Sequence[_ProcessWorker], limit_s: float) -> None:
    connection_wait([worker.connection for worker in workers], limit_s)


def _stop(workers: Sequence[_ProcessWorker]) -> None:
    """Idle workers exit when their pipe closes; busy ones get SIGTERM, so that they clean up, then SIGKILL."""
    for worker in workers:
        worker.connection.close()
        if not is_idle(worker):
            worker.process.terminate()
    deadline = time.monotonic() + _GRACE_S
    for worker in workers:
        worker.process.join(max(0.0, deadline - time.monotonic()))
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join(_GRACE_S)


def _exit_reason(exit_code: int | None) -> str:
    """How a process ended, in words."""
    if exit_code is None:
        return "closed its pipe"
    # A worker that gets SIGTERM cleans up and exits with the shell's code for it.
    number = -exit_code if exit_code < 0 else exit_code - 128
    names = {each.value: each.name for each in signal.Signals}
    if number not in names:
        return f"ended with exit code {exit_code}"
    return f"was killed by {names[number]}{' (out of memory?)' if number == signal.SIGKILL else ''}"


@contextlib.contextmanager
def _sigint_blocked() -> Iterator[None]:
    """Blocks SIGINT: Ctrl-C reaches the whole process group, and a worker that is starting would print a traceback."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
