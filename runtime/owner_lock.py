"""A lock for file systems without ``flock`` (Lustre, NFS without a lock service): a file that names its owner.

Exclusive creation of a file is atomic everywhere. The system does not remove the file when its owner dies, so the file
names the owner: on the same machine a dead owner's lock is taken over; on another machine there is no way to tell.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import uuid
from collections.abc import Iterator
from pathlib import Path

from smidgen.runtime.errors import UserError


@contextlib.contextmanager
def owner_lock(path: Path) -> Iterator[None]:
    """Holds a lock file for the duration of the block.

    Args:
        path: The lock file; its directory must exist.

    Raises:
        UserError: If another process holds it, or a process of another machine did not release it.
        OSError: If the file cannot be created.
    """
    ours = _this_process()
    while not _created(path, ours):
        owner = _read(path)
        if owner is not None and _may_live(owner):
            raise UserError(_held(path, owner))
        _take_away(path, owner)
    try:
        yield
    finally:
        # Only if it is still ours: it may have been deleted by hand and created by another process.
        if _read(path) == ours:
            path.unlink(missing_ok=True)


def is_owned(path: Path) -> bool:
    """Whether a lock file has an owner that lives, or may live on another machine."""
    owner = _read(path)
    return owner is not None and _may_live(owner)


def _this_process() -> dict[str, str]:
    return {"machine": _machine(), "process": str(os.getpid()), "started": _start_of(os.getpid())}


def _machine() -> str:
    """Host, boot and container: process ids are comparable only if all three match."""
    parts = [socket.gethostname()]
    with contextlib.suppress(OSError):
        parts += [Path("/proc/sys/kernel/random/boot_id").read_text().strip(), os.readlink("/proc/self/ns/pid")]
    return " ".join(parts)


def _start_of(process_id: int) -> str:
    """Start time of a process in ticks since boot, because process ids are reused; empty if there is none."""
    try:
        return Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def _created(path: Path, owner: dict[str, str]) -> bool:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    except FileExistsError:
        return False
    with os.fdopen(descriptor, "w") as file:
        json.dump(owner, file)
    return True


def _read(path: Path) -> dict[str, str] | None:
    """The owner of a lock; None if it has been released."""
    try:
        owner = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        # Either being written right now or truncated by a crash.
        return {}
    return owner if isinstance(owner, dict) else {}


def _may_live(owner: dict[str, str]) -> bool:
    if owner.get("machine") != _machine():
        return True
    process = str(owner.get("process", ""))
    return process.isdecimal() and bool(started := _start_of(int(process))) and started == owner.get("started")


def _held(path: Path, owner: dict[str, str]) -> str:
    host, process = str(owner.get("machine", "")).partition(" ")[0] or "unknown", owner.get("process", "unknown")
    return (
        f"another command is writing to {path.parent} (host {host!r:.80}, process {process!r:.20}); wait for it or "
        f"choose another out=; if it has died, delete {path} (this file system has no flock to release it)"
    )


def _take_away(path: Path, owner: dict[str, str] | None) -> None:
    """Removes a dead owner's file, unless another command has replaced it in the meantime."""
    aside = path.with_name(f"{path.name}-{uuid.uuid4().hex}")
    try:
        os.rename(path, aside)
    except FileNotFoundError:
        return
    if _read(aside) != owner:
        os.rename(aside, path)
        raise UserError(_held(path, _read(path) or {}))
    aside.unlink()
