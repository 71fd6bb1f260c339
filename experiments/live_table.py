"""The table of a suite that runs: refreshed in place on a terminal, a line now and then elsewhere.

While it is shown on a terminal, whatever this process and its workers print goes to a log file.
"""

from __future__ import annotations

import contextlib
import os
import platform
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from smidgen.experiments.job_notes import JobNote
from smidgen.experiments.snapshot import Snapshot, duration
from smidgen.runtime.command_line import one_line
from smidgen.runtime.errors import UserError
from smidgen.runtime.terminal_table import TerminalColumn, TerminalRow, TerminalTable

REFRESH_S, PLAIN_REFRESH_S = 2.0, 30.0
# So that the table stays on the screen; the oldest jobs are shown.
MAX_ROWS = 14
COLUMNS = (
    TerminalColumn("Job", is_name=True),
    TerminalColumn("Where", joined=""),
    TerminalColumn("Since", joined=""),
    TerminalColumn("At"),
)

Look = Callable[[], Snapshot]
Show = Callable[[Snapshot, str], None]


def suite_table(snapshot: Snapshot, note: str = "") -> RenderableType:
    """The table: the counts, the jobs that run, and those that failed.

    Args:
        snapshot: The suite.
        note: A line below.
    """
    rows, title = list(_rows(snapshot.running)), snapshot.summary()
    parts: list[RenderableType] = [TerminalTable(title, COLUMNS, rows) if rows else Text(title)]
    for failed in snapshot.failed[:MAX_ROWS]:
        parts.append(Text(failure(failed), style="red"))
    hidden = {"running": len(snapshot.running) - MAX_ROWS, "failed": len(snapshot.failed) - MAX_ROWS}
    below = [f"{number} more {state}" for state, number in hidden.items() if number > 0]
    return Group(*parts, *(Text(line, style="dim") for line in [*below, *filter(None, [note])]))


def failure(note: JobNote) -> str:
    """A failed job in a line."""
    return one_line(f"failed: {note.label} on {note.host}: {note.error}")


def _rows(running: Sequence[JobNote]) -> Iterator[TerminalRow]:
    now_s = time.time()
    for note in sorted(running, key=lambda each: each.since_s)[:MAX_ROWS]:
        since = f"{_since(note)} ({duration(max(0.0, now_s - note.since_s))})"
        cells = (note.label, note.host, since, note.stage)
        yield TerminalRow([Text(one_line(cell)) for cell in cells])


def _since(note: JobNote) -> str:
    is_today = time.time() - note.since_s < 86_400
    return time.strftime("%H:%M" if is_today else "%m-%d %H:%M", time.localtime(note.since_s))


def watch(look: Look, refresh_s: float = REFRESH_S) -> str:
    """Shows a suite on standard output until nothing is left of it, whoever runs it.

    Args:
        look: Reads its state.
        refresh_s: How long to wait between two looks, at least.

    Returns:
        The closing message.
    """
    with _shown_on(Console()) as show:
        while True:
            began = time.monotonic()
            show(snapshot := look(), "")
            if snapshot.is_over:
                return "nothing is left to run"
            time.sleep(_pause_s(refresh_s, began))


@contextlib.contextmanager
def shown_while_running(look: Look, log: Path) -> Iterator[None]:
    """Shows a suite on standard error while the block runs it.

    Args:
        look: Reads its state.
        log: File for what is printed in the meantime, where standard error is a terminal.
    """
    if not sys.stderr.isatty():
        with _looking(look, Console(stderr=True), PLAIN_REFRESH_S, ""):
            yield
        return
    with output_to(log) as terminal, _looking(look, Console(file=terminal), REFRESH_S, f"output: {log}"):
        yield


@contextlib.contextmanager
def output_to(log: Path) -> Iterator[TextIO]:
    """Appends what this process and its children print to a file; yields the terminal that they would have printed to.

    Args:
        log: The file.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    kept = {number: os.dup(number) for number in (1, 2)}
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        for number in kept:
            os.dup2(file, number)
        os.close(file)
        with open(kept[2], "w", encoding=sys.stderr.encoding, errors="replace", closefd=False) as terminal:
            yield terminal
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for number, before in kept.items():
            os.dup2(before, number)
            os.close(before)


def log_path(scratch: Path) -> Path:
    """The log of the commands of this machine."""
    return scratch / f"log-{platform.node()}.txt"


@contextlib.contextmanager
def _looking(look: Look, console: Console, refresh_s: float, note: str) -> Iterator[None]:
    """Looks again and again on a thread of its own, and once more at the end."""
    is_over = threading.Event()

    def show_once(show: Show) -> None:
        # What cannot be read is told by the suite that runs.
        with contextlib.suppress(UserError):
            show(look(), note)

    def keep_looking() -> None:
        # A terminal that was closed ends the table, not the suite.
        with contextlib.suppress(OSError), _shown_on(console) as show:
            while True:
                began = time.monotonic()
                show_once(show)
                if is_over.wait(_pause_s(refresh_s, began)):
                    break
            show_once(show)

    thread = threading.Thread(target=keep_looking, daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


def _pause_s(refresh_s: float, began: float) -> float:
    """How long to wait, so that looking takes a twentieth of the time at most."""
    return max(refresh_s, 20 * (time.monotonic() - began))


@contextlib.contextmanager
def _shown_on(console: Console) -> Iterator[Show]:
    """Yields what shows a snapshot, and a line below it: in place on a terminal, elsewhere a line for what is new."""
    if console.is_terminal:
        with Live(console=console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False) as live:
            yield lambda snapshot, note: live.update(suite_table(snapshot, note), refresh=True)
        return
    told = set[str]()

    def tell(snapshot: Snapshot, _: str) -> None:
        lines = [snapshot.summary(), *map(failure, snapshot.failed)]
        lines += [f"running: {one_line(note.label)} on {note.host}, {_since(note)}" for note in snapshot.running]
        for line in lines:
            if line not in told:
                print(line, file=console.file, flush=True)
        told.clear()
        told.update(lines)

    yield tell
