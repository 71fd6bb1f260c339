"""Files: atomic writes, hashes, canonical JSON, and directory locks that a crash releases."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import math
import os
import re
import shutil
import stat
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from smidgen.runtime.errors import UserError
from smidgen.runtime.owner_lock import is_owned, owner_lock

TEMPORARY_PREFIX = ".partial-"
_TEMPORARY = re.compile(rf"^{re.escape(TEMPORARY_PREFIX)}(.+)-[0-9a-f]{{32}}$")
LOCK_NAME = ".lock"
# Where the file system has no flock.
OWNER_NAME = ".lock-owner"
LOCK_NAMES = (LOCK_NAME, OWNER_NAME)
# Returned for a system call that the file system does not support; NFS and Lustre differ.
_NOT_SUPPORTED = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.EBADF, errno.ENOTTY)
_HASH_BLOCK_BYTES = 1 << 20
_MAX_JSON_BYTES = 1 << 28
# Our files nest less than ten deep; walking, printing or writing a value must stay below Python's recursion limit.
_MAX_JSON_DEPTH = 400
_LONE_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def sha256_bytes(data: bytes) -> str:
    """SHA-256 of bytes, as 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path | str) -> str:
    """SHA-256 of a file's content, as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(_HASH_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def finite_or_none(value: Any) -> Any:
    """A value that JSON can represent: None for each non-finite number, also inside lists and mappings."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: finite_or_none(entry) for name, entry in value.items()}
    if isinstance(value, list):
        return [finite_or_none(entry) for entry in value]
    return value


def canonical_json(value: Any) -> bytes:
    """Serialises a value to the same bytes every time: sorted keys, no NaN, indent 1, trailing newline.

    Raises:
        ValueError: If the value contains NaN or infinity, which JSON cannot represent.
    """
    return (json.dumps(value, sort_keys=True, indent=1, allow_nan=False, ensure_ascii=False) + "\n").encode()


def _fsync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        _fsync(descriptor)
    finally:
        os.close(descriptor)


def _fsync(descriptor: int) -> None:
    """Waits until a file or directory is on the disk, if the file system supports that."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NOT_SUPPORTED:
            raise


@contextlib.contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turns disk errors that the user can fix into one line: a full disk, a directory without write permission."""
    try:
        yield
    except OSError as error:
        path = _published(path)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UserError(f"no space left on disk for {path}; free some and run the command again") from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise UserError(f"cannot write {path}: {error.strerror}; choose another directory") from error
        if error.errno in (*_NOT_SUPPORTED, errno.EXDEV, errno.EBUSY, errno.ESTALE):
            raise UserError(
                f"this file system cannot write {path}: {error.strerror}; choose a directory on another one"
            ) from error
        raise


def _published(path: Path) -> Path:
    """What a path will be called when the temporary directories that it lies in are published."""
    return Path(*(_TEMPORARY.sub(r"\1", part) for part in path.parts))


def _require_same_case(path: Path) -> None:
    """Refuses a name that, on a case-insensitive file system, would overwrite another file.

    Raises:
        UserError: If a file exists whose name differs only in case.
    """
    if not os.path.lexists(path):
        return
    names = os.listdir(path.parent)
    other = next((name for name in names if name.casefold() == path.name.casefold()), None)
    if path.name not in names and other is not None:
        raise UserError(f"{path} would overwrite {other}: this file system is case-insensitive; choose another name")


def write_atomic(path: Path | str, data: bytes, *, durable: bool = True) -> None:
    """Writes a file so that a reader, or a crash, sees either the old content or the new, never a part.

    Args:
        path: The file.
        data: Its new content.
        durable: Whether to wait until it is on the disk; not needed for a cache that is verified on reading.

    Raises:
        UserError: If the disk is full, the directory is not writable, or the file system is case-insensitive and
            holds a file whose name differs only in case.
    """
    path = Path(path)
    with disk_errors(path):
        _require_same_case(path)
        try:
            _write_and_rename(path, data, durable)
        except FileNotFoundError:
            # Another command's remove_leftovers mistook our temporary file for a dead process's.
            _write_and_rename(path, data, durable)


def _write_and_rename(path: Path, data: bytes, durable: bool) -> None:
    temporary = path.with_name(f"{TEMPORARY_PREFIX}{path.name}-{uuid.uuid4().hex}")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            if durable:
                file.flush()
                _fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if durable:
        _fsync_directory(path.parent)


def write_json_atomic(path: Path | str, value: Any) -> None:
    """Writes :func:`canonical_json` of a value by :func:`write_atomic`."""
    write_atomic(path, canonical_json(value))


@contextlib.contextmanager
def atomic_directory(path: Path | str, *, replace: bool = False) -> Iterator[Path]:
    """Yields a temporary directory that becomes ``path`` if the block succeeds and is removed if it fails.

    Args:
        path: The final directory.
        replace: Whether to replace an existing directory (not atomic between the two renames).

    Raises:
        UserError: If the disk is full or the parent is not writable.
        FileExistsError: If ``path`` exists and ``replace`` is false.
    """
    path = Path(path)
    if path.exists() and not replace:
        raise FileExistsError(f"{path} already exists")
    temporary = path.with_name(f"{TEMPORARY_PREFIX}{path.name}-{uuid.uuid4().hex}")
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.mkdir()
        try:
            yield temporary
            _publish_directory(temporary, path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _publish_directory(temporary: Path, path: Path) -> None:
    for file in temporary.rglob("*"):
        if file.is_file():
            with open(file, "rb") as opened:
                _fsync(opened.fileno())
    if path.exists():
        replaced = path.with_name(f"{TEMPORARY_PREFIX}{path.name}-{uuid.uuid4().hex}")
        try:
            os.rename(path, replaced)
        except OSError as error:
            # A directory from a container's image cannot be renamed, only removed.
            if error.errno != errno.EXDEV:
                raise
            shutil.rmtree(path)
        os.rename(temporary, path)
        shutil.rmtree(replaced, ignore_errors=True)
    else:
        os.rename(temporary, path)
    _fsync_directory(path.parent)


def remove_leftovers(directory: Path | str, of: str = "") -> None:
    """Removes partial files that a killed process left directly below a directory.

    Args:
        directory: Where to look; need not exist.
        of: Only leftovers of the file with this name; all by default.
    """
    for leftover in Path(directory).glob(f"{TEMPORARY_PREFIX}{f'{of}-' if of else ''}*"):
        if leftover.is_dir() and not leftover.is_symlink():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)


def regular_file_size(path: Path | str) -> int:
    """Size in bytes of a regular file (links are followed); refuses directories, and pipes, which would block.

    Raises:
        UserError: If there is no such file.
    """
    try:
        status = os.stat(path)
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist") from error
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if stat.S_ISDIR(status.st_mode):
        raise UserError(f"{path}: expected a file, got a directory")
    if not stat.S_ISREG(status.st_mode):
        raise UserError(f"{path} is not a regular file")
    return status.st_size


def read_text(path: Path | str) -> str:
    """Reads a text file, keeping its line endings.

    Raises:
        UserError: If the file is missing or not UTF-8.
    """
    regular_file_size(path)
    try:
        return Path(path).read_bytes().decode()
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error


def read_json(path: Path | str) -> Any:
    """Reads a JSON file.

    Raises:
        UserError: If the file is missing, truncated, too large or not JSON; the message names it.
    """
    path = Path(path)
    if regular_file_size(path) > _MAX_JSON_BYTES:
        raise UserError(f"{path} is larger than {_MAX_JSON_BYTES} bytes; smidgen writes no such file")
    try:
        text = path.read_bytes().decode("utf-8-sig")
        value = json.loads(text)
        _require_shallow(value)
        if _LONE_SURROGATE.search(text):
            # A lone surrogate cannot be written back.
            json.dumps(value, ensure_ascii=False).encode()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not valid JSON ({str(error)[:80]}): truncated or altered?") from error
    return value


def _require_shallow(value: Any) -> None:
    level, depth = [value], 0
    while level:
        depth += 1
        if depth > _MAX_JSON_DEPTH:
            raise ValueError(f"nested more than {_MAX_JSON_DEPTH} deep")
        parts = (
            outer.values() if isinstance(outer, dict) else outer for outer in level if isinstance(outer, dict | list)
        )
        level = [inner for part in parts for inner in part if isinstance(inner, dict | list)]


@contextlib.contextmanager
def directory_lock(directory: Path | str) -> Iterator[None]:
    """Locks a directory for one process; the system releases the lock when the process dies, however it dies.

    On a file system without ``flock``, a lock file names the owner instead (:mod:`smidgen.runtime.owner_lock`).

    Raises:
        UserError: If another process holds it, or the directory is not writable.
    """
    directory = Path(directory)
    path = directory / LOCK_NAME
    with contextlib.ExitStack() as stack:
        with disk_errors(path):
            directory.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        stack.callback(os.close, descriptor)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(f"another command is writing to {directory}; wait for it or choose another out=") from error
        except OSError as error:
            with disk_errors(path):
                if error.errno not in _NOT_SUPPORTED:
                    raise
                stack.enter_context(owner_lock(directory / OWNER_NAME))
        yield


def is_locked(directory: Path | str) -> bool:
    """Whether some process holds a directory's lock, on this machine or another that shares it; changes nothing.

    A process that asks for the lock in the same instant, some microseconds, is told that another command holds it.
    """
    directory = Path(directory)
    try:
        descriptor = os.open(directory / LOCK_NAME, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return is_owned(directory / OWNER_NAME)
    finally:
        os.close(descriptor)
    return is_owned(directory / OWNER_NAME)
