"""Who works on a job, where, since when and at what: a note beside the job's lock.

The lock says whether a job is held, the note by whom; a note without its lock was left by a process that died. A job
that failed keeps its note, with the reason, until it is tried again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import platform
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

from smidgen.runtime.command_line import one_line
from smidgen.runtime.errors import UserError
from smidgen.runtime.files import canonical_json, is_locked, read_json, write_atomic
from smidgen.runtime.interrupt import WorkStopped
from smidgen.runtime.schemas import from_json, to_json

NOTE_NAME = "job.json"


@dataclass(frozen=True, kw_only=True)
class JobNote:
    """What is known of a job that somebody works on, or that failed.

    Attributes:
        label: The job's; jobs may share a lock.
        host: The machine.
        process: Its process.
        since_s: When the job was begun, in seconds since 1970.
        stage: What it is at; empty if its jobs have no stages.
        error: Why it failed; empty while it runs.
    """

    label: str
    host: str
    process: int
    since_s: float
    stage: str = ""
    error: str = ""


_current: ContextVar[tuple[Path, JobNote] | None] = ContextVar("current", default=None)


@contextlib.contextmanager
def noted(folder: Path, label: str) -> Iterator[None]:
    """Keeps a job's note while the block runs; if it fails, the note stays and gives the reason.

    Args:
        folder: The first that the job locks; held by the caller.
        label: The job's.
    """
    note = JobNote(label=label, host=platform.node(), process=os.getpid(), since_s=round(time.time(), 1))
    outer = _current.set((folder, note))
    try:
        _write(folder, note)
        yield
    except Exception as error:
        if isinstance(error, WorkStopped):
            _path(folder).unlink(missing_ok=True)
        else:
            kind = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
            reason = one_line(f"{kind}{error}")
            _amend(lambda note: dataclasses.replace(note, error=reason))
        raise
    except BaseException:
        _path(folder).unlink(missing_ok=True)
        raise
    else:
        _path(folder).unlink(missing_ok=True)
    finally:
        _current.reset(outer)


def enter_stage(stage: str) -> None:
    """Adds to the note of this process's job what it is at now; does nothing outside a job."""
    _amend(lambda note: dataclasses.replace(note, stage=stage))


def read_note(folder: Path, label: str) -> JobNote | None:
    """A job's note, if somebody works on it or it failed; None if nobody does.

    Args:
        folder: The first that the job locks.
        label: The job's.
    """
    try:
        note = from_json(JobNote, read_json(_path(folder)), str(_path(folder)))
    except UserError:
        # None yet, or no longer; it is not worth more than its absence.
        return None
    if note.label != label or not (note.error or is_locked(folder)):
        return None
    return note


def _amend(change: Callable[[JobNote], JobNote]) -> None:
    """Changes the note of this process's job, if it has one."""
    if current := _current.get():
        folder, note = current
        _current.set((folder, change(note)))
        _write(folder, change(note))


def _path(folder: Path) -> Path:
    return folder / NOTE_NAME


def _write(folder: Path, note: JobNote) -> None:
    write_atomic(_path(folder), canonical_json(to_json(note)), durable=False)
