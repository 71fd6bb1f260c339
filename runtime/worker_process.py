"""The main loop of a worker process: receives an item, sends back the result, until the pipe is closed."""

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

from smidgen.runtime.streams import protect_streams
from smidgen.runtime.worker_pool import ERROR, READY, RESULT

_PR_SET_PDEATHSIG = 1
# Process ids, because a fork copies a module's state but not its threads.
_WATCHED: set[int] = set()


def end_with_parent(parent_id: int) -> None:
    """Makes the kernel kill this process when its parent dies for any reason, even if this one is stopped or hangs.

    Args:
        parent_id: Process id of the parent, which may have died since. For the kernel, the parent is the thread that
            started this process.
    """
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_id:
        os._exit(1)


def end_with_parent_process() -> None:
    """Ends this process when the one that started it through ``multiprocessing`` dies.

    A thread waits for that: the kernel's signal would be sent when the parent's *thread* ends, which may be long
    before the parent does. Idempotent; does nothing in a process started in another way.
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
    """Runs a worker until its pipe is closed.

    Args:
        connection: Receives items and sends results.
        parent_id: Process id of the parent.
        job: Computes the result of an item.
        initializer: Called once before the first item.
        initargs: Its arguments.
    """
    end_with_parent(parent_id)
    protect_streams()
    _WATCHED.add(os.getpid())
    # The parent handles Ctrl-C and a closed terminal; it then tells its workers to exit.
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
    """Unwinds the stack, so that partial files are removed; the exit code is the shell convention for this signal."""
    raise SystemExit(128 + number)


def _send(connection: Connection, kind: str, value: Any) -> None:
    try:
        connection.send((kind, value))
    except OSError:
        # The parent is gone.
        raise SystemExit(1) from None
    except Exception as error:
        # Pickling failed, so nothing was sent.
        connection.send((ERROR, _portable(error)))


def _portable(error: Exception) -> Exception:
    """An error that can be pickled, with its traceback as a note."""
    trace = "".join(traceback.format_exception(error))
    error.add_note(f"In a worker process:\n{trace}")
    try:
        ForkingPickler.loads(ForkingPickler.dumps(error))
    except Exception:
        return RuntimeError(trace)
    return error
