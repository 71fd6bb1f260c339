"""Signals that stop a process: polled between two steps, or raised as an exception that unwinds the stack.

SIGTERM comes from ``kill`` and schedulers, SIGINT from Ctrl-C, SIGHUP from a closing terminal or connection. Signals
ignored when a command starts stay ignored: ``nohup`` ignores SIGHUP, and a shell ignores SIGINT for ``command &``.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import stat
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class StopRequested(KeyboardInterrupt):
    """Raised for SIGTERM or SIGHUP when nothing else handles it; unwinds the stack as Ctrl-C does.

    Args:
        signal_number: The signal.
    """

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal_number)
        self.signal_number = signal_number


class WorkStopped(Exception):
    """Work that a signal stopped and that was saved before it ended; the same command resumes it.

    Args:
        signal_number: The signal.
    """

    def __init__(self, signal_number: int) -> None:
        super().__init__(f"stopped by signal {signal_number}")
        self.signal_number = signal_number


class StopSignal:
    """Whether the process was asked to stop, and by which signal.

    A second SIGTERM or SIGINT has its usual effect. A second SIGHUP has none: a shell and the kernel send one each.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self._before: dict[int, Any] = {}

    def install(self) -> None:
        """Installs handlers for the signals that are not ignored."""
        self._before = _handle(SIGNALS, self._receive)

    def remove(self) -> None:
        """Restores the previous handlers."""
        _put_back(self._before)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.number = number
        leave_lost_terminal()
        if number != signal.SIGHUP:
            signal.signal(number, self._before[number])


@contextlib.contextmanager
def stop_signal() -> Iterator[StopSignal]:
    """Catches signals inside the block; does nothing outside the main thread, where Python cannot catch them."""
    stop = StopSignal()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    stop.install()
    try:
        yield stop
    finally:
        stop.remove()


@contextlib.contextmanager
def unwinding_signals() -> Iterator[None]:
    """SIGTERM and SIGHUP raise :class:`StopRequested` inside the block, so that files and workers are cleaned up.

    Only the first signal counts: a later one must not interrupt the clean-up.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before: dict[int, Any] = {}

    def unwind(number: int, frame: FrameType | None) -> None:
        for each in before:
            signal.signal(each, lambda number, frame: None)
        leave_lost_terminal()
        raise StopRequested(number)

    before.update(_handle((signal.SIGTERM, signal.SIGHUP), unwind))
    try:
        yield
    finally:
        _put_back(before)


def leave_lost_terminal() -> None:
    """Discards output once its terminal has been closed: printing would fail before the work is saved."""
    for descriptor in (1, 2):
        poll = select.poll()
        poll.register(descriptor, 0)
        is_lost = any(event & select.POLLHUP for _, event in poll.poll(0))
        # A pipe without a reader is handled where it is written to.
        if is_lost and stat.S_ISCHR(os.fstat(descriptor).st_mode):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, descriptor)
            os.close(nowhere)


def _handle(numbers: tuple[int, ...], handler: Callable[[int, FrameType | None], None]) -> dict[int, Any]:
    """Installs a handler for signals that are not ignored; returns the previous ones (None: installed from C)."""
    caught = [number for number in numbers if signal.getsignal(number) not in (signal.SIG_IGN, None)]
    return {number: signal.signal(number, handler) for number in caught}


def _put_back(before: dict[int, Any]) -> None:
    for number, handler in before.items():
        signal.signal(number, handler)
