"""Worker processes that pull items: results come as they finish, each with its item, so that nothing depends on order.

Every worker is a fresh interpreter with its numerical libraries pinned to one thread: the same item gives the same bits
whichever worker takes it and however many there are.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

_SINGLE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "LP_NUM_THREADS"), "1")


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
    executor = ProcessPoolExecutor(num_workers, get_context("spawn"), initializer, tuple(initargs))
    try:
        pending: dict[Future[Result], Item] = {executor.submit(job, item): item for item in items}
        while pending:
            finished, _ = wait(pending, return_when=FIRST_COMPLETED)
            for future in finished:
                item = pending.pop(future)
                try:
                    result = future.result()
                except BrokenProcessPool as error:
                    raise RuntimeError(
                        f"a worker process died while {item!r} or a neighbour ran (killed, or out of memory?); "
                        "run the same command again: finished items are kept"
                    ) from error
                yield item, result
    finally:
        executor.shutdown(wait=True, cancel_futures=True)
