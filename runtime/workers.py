"""Worker processes that pull items: results come as they finish, each with its item, so that nothing depends on order.

Every worker is a fresh interpreter with its numerical libraries pinned to one thread: the same item gives the same bits
whichever worker takes it and however many there are. A worker that dies, or gives no answer in time, is replaced and
its item runs again. Each has a pipe of its own and shares no lock with another: one that is killed or stopped at the
worst moment holds nobody up, where a pool with a common queue breaks (concurrent.futures) or waits for ever (pebble).
Only one that is stopped halfway through sending a long answer would.
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

# A long time for an episode, and a short one for somebody who waits for a worker that hangs.
EPISODE_LIMIT_S = 600.0
# At least so long for a worker's start, which is slow on a busy machine whatever the items are like.
START_LIMIT_S = 300.0
MAX_ATTEMPTS = 3
# Without a result in between: then the machine or the job is at fault, and no other item will fare better.
MAX_LOST_IN_A_ROW = 10

_SINGLE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "LP_NUM_THREADS"), "1")
# A worker starts with `python -c`, which would look for modules in the working directory first: a user's queue.py is
# not Python's.
_SAFE_PATH = {"PYTHONSAFEPATH": "1"}
_LOOK_EVERY_S = 1.0
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
        items: What to do; pulled by whichever worker is free.
        num_workers: Processes; 0 runs everything in this one, the plain form, where nothing can be replaced.
        initializer: Called once in each worker before its first item.
        initargs: Its arguments.
        time_limit_s: A worker that gives no answer to an item for so long is killed; None for no limit. Time in which
            this process was stopped, or busy with a result, does not count; a start may take 300 s in any case.

    Yields:
        ``(item, result)`` in the order of finishing.

    Raises:
        RuntimeError: After all other results, if an item cost three workers; at once, if ten were lost with no result
            in between. Whatever a job or the initializer raises is raised here as it is.
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
    """An item in the hands of a worker, or waiting for one."""

    item: Any
    number: int = 1


class _Worker:
    """A process, the pipe to it, and what it is at.

    Raises:
        BrokenPipeError: If the process dies while it is being started.
    """

    def __init__(
        self, job: Callable[[Any], Any], initializer: Callable[..., None] | None, initargs: tuple[Any, ...]
    ) -> None:
        context = get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs, os.getpid(), job, initializer, initargs))
        with _environment(_SINGLE_THREAD | _SAFE_PATH), _interrupt_held():
            self.process.start()
        # So that the end of the process is the end of the pipe.
        theirs.close()
        self.is_ready = False
        self.attempt: _Attempt | None = None
        self.waited_s = 0.0

    @property
    def is_idle(self) -> bool:
        return self.is_ready and self.attempt is None

    def give(self, attempt: _Attempt) -> None:
        self.attempt, self.waited_s = attempt, 0.0
        # One that has just died is found by the next look at it.
        with contextlib.suppress(OSError):
            self.connection.send(attempt.item)

    def hear(self) -> tuple[str, Any]:
        """What it has to say, or how it ended."""
        try:
            kind, value = self.connection.recv()
        except (EOFError, OSError):
            self.process.join(_GRACE_S)
            return _LOST, _ending(self.process.exitcode)
        return kind, value

    def kill(self) -> None:
        self.process.kill()
        self.process.join(_GRACE_S)
        self.connection.close()


class _WorkerPool:
    """As many workers as there is work for, and which item each of them has."""

    def __init__(self, start_worker: Callable[[], _Worker], num_workers: int, time_limit_s: float | None) -> None:
        self._start_worker, self._num_workers, self._time_limit_s = start_worker, num_workers, time_limit_s
        self._workers: list[_Worker] = []
        self._waiting: deque[_Attempt] = deque()
        self._given_up: list[str] = []
        self._num_lost_in_a_row = 0

    def run(self, items: list[Any]) -> Iterator[tuple[Any, Any]]:
        self._waiting.extend(_Attempt(item) for item in items)
        # At exit Python waits for child processes; a generator that somebody left half-way has some.
        atexit.register(self._end)
        try:
            while self._waiting or self._num_busy():
                self._employ()
                yield from self._results()
        finally:
            self._end()
            atexit.unregister(self._end)
        if self._given_up:
            raise RuntimeError(
                f"given up, each after {MAX_ATTEMPTS} workers: {'; '.join(self._given_up)}. "
                "Every other result is kept; run the same command again to try these once more"
            )

    def _num_busy(self) -> int:
        return sum(worker.attempt is not None for worker in self._workers)

    def _employ(self) -> None:
        while len(self._workers) < min(self._num_workers, self._num_busy() + len(self._waiting)):
            try:
                self._workers.append(self._start_worker())
            except BrokenPipeError:
                self._count_loss("a worker", "died while it was being started")
        for worker in self._workers:
            if worker.is_idle and self._waiting:
                worker.give(self._waiting.popleft())

    def _results(self) -> Iterator[tuple[Any, Any]]:
        """What the workers have finished since the last look; before it is handed on, they have something new to do."""
        finished: list[tuple[Any, Any]] = []
        errors: list[BaseException] = []
        for worker, kind, value in self._look():
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
            self._employ()
        yield from finished
        if errors:
            raise errors[0]

    def _look(self) -> list[tuple[_Worker, str, Any]]:
        """Waits until there is something to know of a worker, or for a second."""
        at_work = [worker for worker in self._workers if not worker.is_idle]
        left_s = [max(0.0, self._limit_s(worker) - worker.waited_s) for worker in at_work]
        slice_s, started = min([_LOOK_EVERY_S, *left_s]), time.monotonic()
        connection_wait([worker.connection for worker in self._workers], slice_s)
        # Not more than was meant to be waited: whoever stops this process (Ctrl-Z) stops its workers too.
        waited_s = min(time.monotonic() - started, slice_s)
        events: list[tuple[_Worker, str, Any]] = []
        for worker in at_work:
            worker.waited_s += waited_s
        for worker in self._workers:
            if worker.connection.poll():
                events.append((worker, *worker.hear()))
            elif worker.process.exitcode is not None:
                # Its own children can hold its end of the pipe open.
                events.append((worker, _LOST, _ending(worker.process.exitcode)))
            elif worker.waited_s >= self._limit_s(worker) and not worker.is_idle:
                events.append((worker, _LOST, f"gave no answer within {self._limit_s(worker):g} s"))
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
            self._count_loss(name, f"{cause}, with nothing in its hands")
            return
        item = textwrap.shorten(str(attempt.item), 80)
        if attempt.number < MAX_ATTEMPTS:
            self._waiting.append(_Attempt(attempt.item, attempt.number + 1))
            self._count_loss(name, f"{cause} at {item}, which runs again ({attempt.number + 1} of {MAX_ATTEMPTS})")
        else:
            self._given_up.append(f"{item} (the last one {cause})")
            self._count_loss(name, f"{cause} at {item}, which is given up")

    def _count_loss(self, name: str, what: str) -> None:
        print(f"warning: {name} {what}", file=sys.stderr, flush=True)
        self._num_lost_in_a_row += 1
        if self._num_lost_in_a_row >= MAX_LOST_IN_A_ROW:
            raise RuntimeError(
                f"{MAX_LOST_IN_A_ROW} workers were lost with no result in between; {name}, the last one, {what}. "
                "Out of memory? Then fewer workers help. What was finished is kept"
            )

    def _end(self) -> None:
        """Idle workers leave at the end of their pipe; the others are asked to, so that they clear up, then made to."""
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


def _ending(exit_code: int | None) -> str:
    """How a process ended, in words."""
    if exit_code is None:
        return "closed its pipe"
    # A worker that is asked to leave clears up first and says so as shells do.
    number = -exit_code if exit_code < 0 else exit_code - 128
    names = {each.value: each.name for each in signal.Signals}
    if number not in names:
        return f"ended with exit code {exit_code}"
    return f"was killed by {names[number]}{' (out of memory?)' if number == signal.SIGKILL else ''}"


@contextlib.contextmanager
def _interrupt_held() -> Iterator[None]:
    """Ctrl-C reaches the whole group of processes; a worker that is just starting would answer with a traceback."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
