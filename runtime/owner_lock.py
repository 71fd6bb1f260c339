"""A lock for file systems without ``flock`` (Lustre, NFS without a lock service): a file that names its owner.

Creating a file that must not exist is atomic everywhere. What the system does not do is take it away when its owner
dies, so the file says who that is: on the same machine a dead owner's file is taken over, elsewhere nobody can know.
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
    """Holds a lock file inside the block.

    Args:
        path: The file; its directory exists.

    Raises:
        UserError: If another process holds it, or one of another machine did not give it back.
        OSError: If the file cannot be made.
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
        # Not one that somebody else made after deleting ours by hand.
        if _read(path) == ours:
            path.unlink(missing_ok=True)


def _this_process() -> dict[str, str]:
    return {"machine": _machine(), "process": str(os.getpid()), "started": _start_of(os.getpid())}


def _machine() -> str:
    """Host, boot and container: process ids mean the same where all three are the same."""
    parts = [socket.gethostname()]
    with contextlib.suppress(OSError):
        parts += [Path("/proc/sys/kernel/random/boot_id").read_text().strip(), os.readlink("/proc/self/ns/pid")]
    return " ".join(parts)


def _start_of(process_id: int) -> str:
    """When a process started, in ticks since boot; empty if there is none. Process ids are given out again."""
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
    """Who holds a lock; None if nobody does any more."""
    try:
        owner = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        # Just being written, or cut short by a crash: nobody can know which.
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
        f"choose another out=; if it has died, delete {path} (this file system has no flock that would notice)"
    )


def _take_away(path: Path, owner: dict[str, str] | None) -> None:
    """Removes a dead owner's file, and not one that another command has put in its place meanwhile."""
    aside = path.with_name(f"{path.name}-{uuid.uuid4().hex}")
    try:
        os.rename(path, aside)
    except FileNotFoundError:
        return
    if _read(aside) != owner:
        os.rename(aside, path)
        raise UserError(_held(path, _read(path) or {}))
    aside.unlink()
