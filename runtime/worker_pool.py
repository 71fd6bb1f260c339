"""A pool of workers that pull items: which worker runs what, what is lost with a worker, and what is tried again.

A worker may be a process of this machine (workers.py) or an actor of a cluster (ray_engine.py); to the pool it is
whatever can be sent an item and asked for a message.
"""

from __future__ import annotations

import atexit
import math
import sys
import textwrap
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

MAX_ATTEMPTS = 3
# With no result in between: the machine or the job is at fault, and other items would fail too.
MAX_LOST_IN_A_ROW = 10
READY, RESULT, ERROR, LOST = "ready", "result", "error", "lost"
POLL_EVERY_S = 1.0


@dataclass(frozen=True)
class Attempt:
    """An item that a worker is running, or that waits for one.

    Attributes:
        item: The item.
        number: 1 for the first attempt.
        not_before_s: On the monotonic clock.
    """

    item: Any
    number: int = 1
    not_before_s: float = 0.0


class Worker(Protocol):
    """What runs one item after another.

    Attributes:
        name: For messages.
        start_limit_s: How long its start may take where items have a limit.
        is_ready: Whether it has started.
        attempt: What it runs; None if it is idle.
        waited_s: How long the pool has waited for its message.
    """

    name: str
    start_limit_s: float
    is_ready: bool
    attempt: Attempt | None
    waited_s: float

    def send(self, attempt: Attempt) -> None:
        """Starts an attempt."""

    def receive(self) -> tuple[str, Any] | None:
        """Its next message, a kind and a value; None while there is none. ``LOST`` comes with how it ended."""

    def kill(self) -> None:
        """Ends it at once."""


def is_idle(worker: Worker) -> bool:
    """Whether a worker waits for an item."""
    return worker.is_ready and worker.attempt is None


@dataclass(frozen=True)
class Staff:
    """How workers of a kind are started, waited for, and sent home.

    Attributes:
        start: Starts one; ``BrokenPipeError`` if it dies while starting.
        wait: Waits for a message of any worker, at most so many seconds.
        stop: Ends all workers, in good order.
        backoff_s: Wait before the second attempt on an item; doubled for each further one.
    """

    start: Callable[[], Any]
    wait: Callable[[Sequence[Any], float], None]
    stop: Callable[[Sequence[Any]], None]
    backoff_s: float = 0.0


class WorkerPool:
    """Starts as many workers as there is work for, and tracks which one runs what.

    Args:
        staff: Of which kind its workers are.
        num_workers: At most so many at once.
        time_limit_s: A worker that takes longer for an item is killed; None for no limit.
    """

    def __init__(self, staff: Staff, num_workers: int, time_limit_s: float | None) -> None:
        self._staff, self._num_workers, self._time_limit_s = staff, num_workers, time_limit_s
        self._workers: list[Worker] = []
        self._waiting: deque[Attempt] = deque()
        self._given_up: list[str] = []
        self._num_lost_in_a_row = 0

    def run(self, items: Sequence[Any]) -> Iterator[tuple[Any, Any]]:
        """Yields ``(item, result)`` in order of completion.

        Raises:
            RuntimeError: After all other results, if three workers were lost on one item; at once, if ten were lost
                with no result in between. Exceptions from a job or the initializer are raised unchanged.
        """
        self._waiting.extend(Attempt(item) for item in items)
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
                self._workers.append(self._staff.start())
            except BrokenPipeError:
                self._count_loss("a worker", "died while starting")
        for worker in self._workers:
            if is_idle(worker) and (attempt := self._next_attempt()):
                worker.send(attempt)

    def _next_attempt(self) -> Attempt | None:
        now_s = time.monotonic()
        due = next((attempt for attempt in self._waiting if attempt.not_before_s <= now_s), None)
        if due is not None:
            self._waiting.remove(due)
        return due

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

    def _poll(self) -> list[tuple[Worker, str, Any]]:
        """Waits for a message or the end of a worker, at most for a second."""
        busy = [worker for worker in self._workers if not is_idle(worker)]
        left_s = [max(0.0, self._limit_s(worker) - worker.waited_s) for worker in busy]
        slice_s, started = min([POLL_EVERY_S, *left_s]), time.monotonic()
        self._staff.wait(self._workers, slice_s)
        # At most the intended wait: stopping this process (Ctrl-Z) stops its workers too.
        waited_s = min(time.monotonic() - started, slice_s)
        for worker in busy:
            worker.waited_s += waited_s
        events: list[tuple[Worker, str, Any]] = []
        for worker in self._workers:
            if message := worker.receive():
                events.append((worker, *message))
            elif worker.waited_s >= self._limit_s(worker) and not is_idle(worker):
                events.append((worker, LOST, f"timed out after {self._limit_s(worker):g} s"))
        return events

    def _limit_s(self, worker: Worker) -> float:
        if self._time_limit_s is None:
            return math.inf
        return self._time_limit_s if worker.is_ready else max(self._time_limit_s, worker.start_limit_s)

    def _replace(self, worker: Worker, cause: str) -> None:
        worker.kill()
        self._workers.remove(worker)
        attempt = worker.attempt
        if attempt is None:
            self._count_loss(worker.name, f"{cause} while idle")
            return
        item = textwrap.shorten(str(attempt.item), 80)
        if attempt.number < MAX_ATTEMPTS:
            wait_s = self._staff.backoff_s * 2 ** (attempt.number - 1)
            self._waiting.append(Attempt(attempt.item, attempt.number + 1, time.monotonic() + wait_s))
            again = f"retrying (attempt {attempt.number + 1} of {MAX_ATTEMPTS})"
            self._count_loss(worker.name, f"{cause} on {item}; {again}")
        else:
            self._given_up.append(f"{item} (the last worker {cause})")
            self._count_loss(worker.name, f"{cause} on {item}; giving up on it")

    def _count_loss(self, name: str, what: str) -> None:
        print(f"warning: {name} {what}", file=sys.stderr, flush=True)
        self._num_lost_in_a_row += 1
        if self._num_lost_in_a_row >= MAX_LOST_IN_A_ROW:
            raise RuntimeError(
                f"{MAX_LOST_IN_A_ROW} workers were lost with no result in between; the last one, {name}, {what}. "
                "If this is out of memory, use fewer workers. Finished results are kept"
            )

    def _stop(self) -> None:
        self._staff.stop(self._workers)
        self._workers.clear()
