"""Worker processes that pull items: results come as they finish, each with its item, so that nothing depends on order.

Every worker is a fresh interpreter with its numerical libraries pinned to one thread: the same item gives the same bits
whichever worker takes it and however many there are.
"""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from multiprocessing.connection import wait as connection_wait
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

_SINGLE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "LP_NUM_THREADS"), "1")

_ITEMS_AHEAD = 2
# What the initializer of this worker process raised.
_failure: Exception | None = None


@contextlib.contextmanager
def single_threaded_environment() -> Iterator[None]:
    """Environment variables for child processes: one thread for BLAS, OpenMP and Mesa's rasteriser."""
    before = {name: os.environ.get(name) for name in _SINGLE_THREAD}
    os.environ.update(_SINGLE_THREAD)
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
) -> Iterator[tuple[Item, Result]]:
    """Applies a job to every item in spawned processes.

    Args:
        job: A module-level function of one item.
        items: What to do; pulled by whichever worker is free.
        num_workers: Processes; 0 runs everything in this one, the plain form.
        initializer: Called once in each worker before its first item.
        initargs: Its arguments.

    Yields:
        ``(item, result)`` in the order of finishing.

    Raises:
        RuntimeError: If a worker dies; whatever a job raises is raised here as it is.
    """
    items = list(items)
    if num_workers == 0:
        if initializer is not None:
            initializer(*initargs)
        yield from ((item, job(item)) for item in items)
        return
    with single_threaded_environment():
        yield from _map_in_processes(job, items, min(num_workers, max(len(items), 1)), initializer, initargs)


def _map_in_processes(
    job: Callable[[Item], Result],
    items: list[Item],
    num_workers: int,
    initializer: Callable[..., None] | None,
    initargs: Sequence[Any],
) -> Iterator[tuple[Item, Result]]:
    executor = ProcessPoolExecutor(num_workers, get_context("spawn"), _start_worker, (initializer, tuple(initargs)))
    waiting = iter(items)
    pending: dict[Future[Result], Item] = {}
    try:
        while True:
            # A few items ahead keep every worker busy; all at once would make each wait look through all of them.
            for item in itertools.islice(waiting, _ITEMS_AHEAD * num_workers - len(pending)):
                pending[executor.submit(_run_item, job, item)] = item
            if not pending:
                return
            finished, _ = wait(pending, return_when=FIRST_COMPLETED)
            for future in finished:
                item = pending.pop(future)
                yield item, _result(future, item)
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


def _result(future: Future[Result], item: Any) -> Result:
    try:
        return future.result()
    except BrokenProcessPool as error:
        raise RuntimeError(
            f"a worker process died while {item!r} or a neighbour ran (killed, or out of memory?); "
            "run the same command again: finished items are kept"
        ) from error


def _start_worker(initializer: Callable[..., None] | None, initargs: tuple[Any, ...]) -> None:
    """Runs in a worker before its first item."""
    global _failure
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        if initializer is not None:
            initializer(*initargs)
    except Exception as error:  # an executor would only say that the pool is broken; the first item raises it instead
        _failure = error


def _end_with_parent() -> None:
    """A parent that is killed cannot shut its workers down; without this they would hold its files for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    connection_wait([parent.sentinel])
    os._exit(1)


def _run_item(job: Callable[[Item], Result], item: Item) -> Result:
    if _failure is not None:
        raise _failure
    return job(item)
