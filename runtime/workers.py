"""Worker processes that pull items; each result comes with its item, so nothing depends on the order of finishing.

Every worker is a fresh interpreter with its numerical libraries pinned to one thread: the same item gives the same bits
in any worker, for any number of workers. A worker that dies or times out is replaced and its item runs again. Each has
its own pipe and shares no lock: one that is killed or stopped at the worst moment blocks no other, whereas a pool with
a shared queue breaks (concurrent.futures) or hangs (pebble). The one exception is a worker that is stopped halfway
through sending a long result.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import math
import os
import signal
import sys
import textwrap
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import wait as connection_wait
from typing import Any, TypeVar

from smidgen.runtime.worker_process import ERROR, READY, RESULT, serve

Item = TypeVar("Item")
Result = TypeVar("Result")

# Long for an episode, yet short enough for a user who waits for a worker that hangs.
EPISODE_LIMIT_S = 600.0
# Lower bound for a worker's start, which is slow on a busy machine whatever the items are.
START_LIMIT_S = 300.0
MAX_ATTEMPTS = 3
# With no result in between: the machine or the job is at fault, and other items would fail too.
MAX_LOST_IN_A_ROW = 10

_SINGLE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "LP_NUM_THREADS"), "1")
# A worker starts with `python -c`, which would search the working directory first: a user's queue.py would shadow
# Python's.
_SAFE_PATH = {"PYTHONSAFEPATH": "1"}
_POLL_EVERY_S = 1.0
_GRACE_S = 5.0
_LOST = "lost"


@contextlib.contextmanager
def single_threaded_environment() -> Iterator[None]:
    """Environment variables for child processes: one thread for BLAS, OpenMP and Mesa's rasteriser."""
    with _environment(_SINGLE_THREAD):
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
    start_worker = functools.partial(_Worker, job, initializer, tuple(initargs))
    yield from _WorkerPool(start_worker, num_workers, time_limit_s).run(items)


@dataclass(frozen=True)
class _Attempt:
    """An item that a worker is running, or that waits for one."""

    item: Any
    number: int = 1


class _Worker:
    """A process, its pipe, and its current item.

    Raises:
        BrokenPipeError: If the process dies while starting.
    """

    def __init__(
        self, job: Callable[[Any], Any], initializer: Callable[..., None] | None, initargs: tuple[Any, ...]
    ) -> None:
        context = get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs, os.getpid(), job, initializer, initargs))
        with _environment(_SINGLE_THREAD | _SAFE_PATH), _sigint_blocked():
            self.process.start()
        # So that the pipe closes when the process ends.
        theirs.close()
        self.is_ready = False
        self.attempt: _Attempt | None = None
        self.waited_s = 0.0

    @property
    def is_idle(self) -> bool:
        return self.is_ready and self.attempt is None

    def send(self, attempt: _Attempt) -> None:
        self.attempt, self.waited_s = attempt, 0.0
        # If it has just died, the next poll finds out.
        with contextlib.suppress(OSError):
            self.connection.send(attempt.item)

    def receive(self) -> tuple[str, Any]:
        """Its next message, or how it ended."""
        try:
            kind, value = self.connection.recv()
        except (EOFError, OSError):
            self.process.join(_GRACE_S)
            return _LOST, _exit_reason(self.process.exitcode)
        return kind, value

    def kill(self) -> None:
        self.process.kill()
        self.process.join(_GRACE_S)
        self.connection.close()


class _WorkerPool:
    """Starts as many workers as there is work for, and tracks which one runs what."""

    def __init__(self, start_worker: Callable[[], _Worker], num_workers: int, time_limit_s: float | None) -> None:
        self._start_worker, self._num_workers, self._time_limit_s = start_worker, num_workers, time_limit_s
        self._workers: list[_Worker] = []
        self._waiting: deque[_Attempt] = deque()
        self._given_up: list[str] = []
        self._num_lost_in_a_row = 0

    def run(self, items: list[Any]) -> Iterator[tuple[Any, Any]]:
        self._waiting.extend(_Attempt(item) for item in items)
        # At exit Python waits for child processes, which an abandoned generator still has.
        atexit.register(self._stop)
        try:
            while self._waiting or self._num_busy():
                self._assign()
                yield from self._results()
        finally:
            self._stop()
            atexit.unregister(self._stop)
        if self._given_up:
            raise RuntimeError(
                f"gave up on these, each after {MAX_ATTEMPTS} workers: {'; '.join(self._given_up)}. "
                "All other results are kept; run the same command again to retry"
            )

    def _num_busy(self) -> int:
        return sum(worker.attempt is not None for worker in self._workers)

    def _assign(self) -> None:
        while len(self._workers) < min(self._num_workers, self._num_busy() + len(self._waiting)):
            try:
                self._workers.append(self._start_worker())
            except BrokenPipeError:
                self._count_loss("a worker", "died while starting")
        for worker in self._workers:
            if worker.is_idle and self._waiting:
                worker.send(self._waiting.popleft())

    def _results(self) -> Iterator[tuple[Any, Any]]:
        """Results since the last poll; workers get their next items before these are yielded."""
        finished: list[tuple[Any, Any]] = []
        errors: list[BaseException] = []
        for worker, kind, value in self._poll():
            if kind == READY:
                worker.is_ready, worker.waited_s = True, 0.0
            elif kind == RESULT:
                assert worker.attempt is not None
                finished.append((worker.attempt.item, value))
                worker.attempt, self._num_lost_in_a_row = None, 0
            elif kind == ERROR:
                errors.append(value)
            else:
                self._replace(worker, value)
        if not errors:
            self._assign()
        yield from finished
        if errors:
            raise errors[0]

    def _poll(self) -> list[tuple[_Worker, str, Any]]:
        """Waits for a message or the end of a worker, at most for a second."""
        busy = [worker for worker in self._workers if not worker.is_idle]
        left_s = [max(0.0, self._limit_s(worker) - worker.waited_s) for worker in busy]
        slice_s, started = min([_POLL_EVERY_S, *left_s]), time.monotonic()
        connection_wait([worker.connection for worker in self._workers], slice_s)
        # At most the intended wait: stopping this process (Ctrl-Z) stops its workers too.
        waited_s = min(time.monotonic() - started, slice_s)
        events: list[tuple[_Worker, str, Any]] = []
        for worker in busy:
            worker.waited_s += waited_s
        for worker in self._workers:
            if worker.connection.poll():
                events.append((worker, *worker.receive()))
            elif worker.process.exitcode is not None:
                # Its own children can keep its end of the pipe open.
                events.append((worker, _LOST, _exit_reason(worker.process.exitcode)))
            elif worker.waited_s >= self._limit_s(worker) and not worker.is_idle:
                events.append((worker, _LOST, f"timed out after {self._limit_s(worker):g} s"))
        return events

    def _limit_s(self, worker: _Worker) -> float:
        if self._time_limit_s is None:
            return math.inf
        return self._time_limit_s if worker.is_ready else max(self._time_limit_s, START_LIMIT_S)

    def _replace(self, worker: _Worker, cause: str) -> None:
        worker.kill()
        self._workers.remove(worker)
        name, attempt = f"worker {worker.process.pid}", worker.attempt
        if attempt is None:
            self._count_loss(name, f"{cause} while idle")
            return
        item = textwrap.shorten(str(attempt.item), 80)
        if attempt.number < MAX_ATTEMPTS:
            self._waiting.append(_Attempt(attempt.item, attempt.number + 1))
            self._count_loss(name, f"{cause} on {item}; retrying (attempt {attempt.number + 1} of {MAX_ATTEMPTS})")
        else:
            self._given_up.append(f"{item} (the last worker {cause})")
            self._count_loss(name, f"{cause} on {item}; giving up on it")

    def _count_loss(self, name: str, what: str) -> None:
        print(f"warning: {name} {what}", file=sys.stderr, flush=True)
        self._num_lost_in_a_row += 1
        if self._num_lost_in_a_row >= MAX_LOST_IN_A_ROW:
            raise RuntimeError(
                f"{MAX_LOST_IN_A_ROW} workers were lost with no result in between; the last one, {name}, {what}. "
                "If this is out of memory, use fewer workers. Finished results are kept"
            )

    def _stop(self) -> None:
        """Idle workers exit when their pipe closes; busy ones get SIGTERM, so that they clean up, then SIGKILL."""
        for worker in self._workers:
            worker.connection.close()
            if not worker.is_idle:
                worker.process.terminate()
        deadline = time.monotonic() + _GRACE_S
        for worker in self._workers:
            worker.process.join(max(0.0, deadline - time.monotonic()))
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join(_GRACE_S)
        self._workers.clear()


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
