"""What runs inside a worker process: takes an item from its pipe, answers, takes the next, until the pipe ends."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.connection import wait as connection_wait
from multiprocessing.reduction import ForkingPickler
from types import FrameType
from typing import Any

from smidgen.runtime.streams import hold_streams

# What an answer can be: no item asked for yet, a job's result, or what a job or the initializer raised.
READY, RESULT, ERROR = "ready", "result", "error"

_PR_SET_PDEATHSIG = 1
# Process ids, since a fork copies what a module holds but not its threads.
_WATCHED: set[int] = set()


def end_with_parent(parent_id: int) -> None:
    """Has the kernel kill this process when its parent dies, however it dies; even if this one is stopped or hangs.

    Args:
        parent_id: Process id of the parent, which may have died since. The thread of it that started this process is
            what counts to the kernel.
    """
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_id:
        os._exit(1)


def end_with_parent_process() -> None:
    """Has this process end when the one that started it through ``multiprocessing`` has died, whoever that was.

    A thread waits for it: the kernel's own signal comes at the end of the parent's *thread*, and in a process that
    others start nobody knows how long that lives. Calling it again, or in a process of another kind, does nothing.
    """
    parent = multiprocessing.parent_process()
    if parent is None or os.getpid() in _WATCHED:
        return
    _WATCHED.add(os.getpid())
    threading.Thread(target=_end_after, args=(parent.sentinel,), name="end-with-parent", daemon=True).start()


def _end_after(sentinel: int) -> None:
    connection_wait([sentinel])
    os._exit(1)


def serve(
    connection: Connection,
    parent_id: int,
    job: Callable[[Any], Any],
    initializer: Callable[..., None] | None,
    initargs: tuple[Any, ...],
) -> None:
    """The life of a worker.

    Args:
        connection: Items come in here, answers go out.
        parent_id: Process id of whoever started this one.
        job: Answers an item.
        initializer: Called once before the first.
        initargs: Its arguments.
    """
    end_with_parent(parent_id)
    hold_streams()
    _WATCHED.add(os.getpid())
    # Ctrl-C and a closed terminal are the parent's to answer; it then asks its workers to leave.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _leave)
    try:
        if initializer is not None:
            initializer(*initargs)
    except Exception as error:
        _send(connection, ERROR, _portable(error))
        return
    _send(connection, READY, None)
    while True:
        try:
            item = connection.recv()
        except (EOFError, OSError):
            return
        try:
            kind, value = RESULT, job(item)
        except Exception as error:
            kind, value = ERROR, _portable(error)
        _send(connection, kind, value)


def _leave(number: int, frame: FrameType | None) -> None:
    """Unwinds the stack, so that half-written files go; the exit code is the shells' for this signal."""
    raise SystemExit(128 + number)


def _send(connection: Connection, kind: str, value: Any) -> None:
    try:
        connection.send((kind, value))
    except OSError:
        # Nobody is there to listen.
        raise SystemExit(1) from None
    except Exception as error:
        # Nothing was sent: pickling comes first.
        connection.send((ERROR, _portable(error)))


def _portable(error: Exception) -> Exception:
    """An error that survives the pipe, with its traceback as a note."""
    trace = "".join(traceback.format_exception(error))
    error.add_note(f"In a worker process:\n{trace}")
    try:
        ForkingPickler.loads(ForkingPickler.dumps(error))
    except Exception:
        return RuntimeError(trace)
    return error
