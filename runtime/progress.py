"""Progress display: a bar on a terminal, occasional plain lines elsewhere."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

PLAIN_INTERVAL_S = 10.0


@contextlib.contextmanager
def progress(total: int, label: str, done: int = 0) -> Iterator[Callable[[int, str], None]]:
    """Shows the progress of a long piece of work.

    Args:
        total: Number of items in all.
        label: What is being done, in a few words.
        done: Items that were done before.

    Yields:
        ``advance(num_items, note)``: call it as items finish; ``note`` is shown beside the count.
    """
    if sys.stderr.isatty():
        with _bar(total, label, done) as advance:
            yield advance
    else:
        yield _plain_lines(total, label, done)


@contextlib.contextmanager
def _bar(total: int, label: str, done: int) -> Iterator[Callable[[int, str], None]]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=28),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(label, total=total, completed=done, note="")

        def advance(num_items: int, note: str = "") -> None:
            bar.update(task, advance=num_items, note=note)

        yield advance


def _plain_lines(total: int, label: str, done: int) -> Callable[[int, str], None]:
    started = last = time.monotonic()
    count = done

    def advance(num_items: int, note: str = "") -> None:
        nonlocal last, count
        count += num_items
        now = time.monotonic()
        if now - last >= PLAIN_INTERVAL_S or (num_items and count >= total):
            last = now
            print(f"{label}: {count}/{total} after {now - started:.0f} s {note}".rstrip(), file=sys.stderr, flush=True)

    return advance
