"""HDF5 files of others, read defensively: no link that leaves the file, no plug-in, no object, sizes before memory."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from smidgen.data_collection.array_files import Array
from smidgen.data_collection.formats.clip import MAX_CLIPS, MAX_NAMES, optional_library, require_clip_bytes
from smidgen.data_collection.formats.pictures import decode, squares
from smidgen.runtime.errors import UserError
from smidgen.runtime.files import regular_file_size

SUFFIXES = (".hdf5", ".h5")
MAGIC = b"\x89HDF\r\n\x1a\n"
# HDF5's own filters but szip, which few builds have, and h5py's LZF; any other is loaded from a plug-in.
_FILTERS = {1: "gzip", 2: "shuffle", 3: "fletcher32", 5: "nbit", 6: "scaleoffset", 32000: "lzf"}
# Deflate's best ratio; what claims more was not written.
_MAX_RATIO = 1032
_SMALL_BYTES = 1 << 16
_MAX_DEPTH = 8
# Frames that are read at a time where each is scaled.
_BATCH_ROWS = 64
_KINDS = "biuf"
_MAX_TEXT_BYTES = 1 << 26
# What h5py is known to raise on damaged bytes.
_UNREADABLE = (OSError, RuntimeError, ValueError, KeyError, TypeError, AttributeError, OverflowError, MemoryError)


@contextlib.contextmanager
def open_hdf5(path: Path) -> Iterator[Any]:
    """Opens a file read-only as an ``h5py.File``; whatever the library raises becomes one line that names it.

    Raises:
        UserError: If it is missing, not HDF5, truncated or damaged.
    """
    h5py = optional_library("h5py")
    if regular_file_size(path) < len(MAGIC):
        raise UserError(f"{path} is not an HDF5 file: it is too short")
    with hdf5_errors(path), h5py.File(path, "r", locking=False) as file:
        yield file


@contextlib.contextmanager
def create_hdf5(path: Path) -> Iterator[Any]:
    """Creates a file as an ``h5py.File``.

    Raises:
        OSError: If the disk is full, or the file cannot be written otherwise.
    """
    h5py = optional_library("h5py")
    with open(path, "xb+", buffering=0) as opened:
        sink = _Sink(opened)
        try:
            with h5py.File(sink, "w") as file:
                yield file
        finally:
            if sink.error is not None:
                raise sink.error


class _Sink:
    """A file that keeps its first failure to itself, since HDF5 crashes when a write fails; see :attr:`error`.

    Args:
        file: Where the bytes go.
    """

    def __init__(self, file: io.FileIO) -> None:
        self._file = file
        self.error: OSError | None = None
        self.read, self.readinto, self.seek, self.tell = file.read, file.readinto, file.seek, file.tell
        self.flush = file.flush

    def write(self, data: Any) -> int:
        """Writes all of it; nothing after a failure."""
        left = memoryview(data)
        try:
            while len(left) and self.error is None:
                left = left[self._file.write(left) :]
        except OSError as error:
            self.error = error
        return memoryview(data).nbytes

    def truncate(self, size: int) -> int:
        """Sets the file's length."""
        try:
            return self._file.truncate(size)
        except OSError as error:
            self.error = self.error or error
            return size


@contextlib.contextmanager
def hdf5_errors(path: Path) -> Iterator[None]:
    """Turns the library's errors into one line."""
    try:
        yield
    except _UNREADABLE as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path} is not a readable HDF5 file ({str(error)[:80]}): truncated or altered?") from error


def members(group: Any, path: Path, wanted: Sequence[str] = ()) -> dict[str, Any]:
    """The groups and data sets directly below a group, by name.

    Args:
        group: The group.
        path: The file, for messages.
        wanted: Names that matter: links under others are skipped; empty: all matter.

    Raises:
        UserError: If one is a link elsewhere, or there are too many.
    """
    h5py = optional_library("h5py")
    if len(group) > MAX_CLIPS:
        raise UserError(f"{path}: {group.name} has {len(group)} members, at most {MAX_CLIPS}")
    found = {}
    for name in group:
        is_link = not isinstance(group.get(name, getlink=True), h5py.HardLink)
        if is_link and wanted and name not in wanted:
            continue
        if is_link:
            raise UserError(f"{path}: {group.name}/{name!s:.60} is a link, which could point outside the file")
        found[name] = group[name]
    return found


def subgroup(group: Any, name: str, path: Path) -> dict[str, Any]:
    """The members of a group below another; {} if there is no such group."""
    if name not in group:
        return {}
    found = members(group, path, (name,))[name]
    if not is_group(found):
        raise UserError(f"{path}: expected {found.name!s:.100} to be a group, got an array")
    if len(found) > MAX_NAMES:
        raise UserError(f"{path}: {found.name!s:.100} has {len(found)} members, at most {MAX_NAMES}")
    return members(found, path)


def is_group(member: Any) -> bool:
    """Whether a member is a group rather than an array."""
    return isinstance(member, optional_library("h5py").Group)


def is_numbers(member: Any) -> bool:
    """Whether a member is an array of numbers."""
    return (
        not is_group(member)
        and member.dtype.kind in _KINDS
        and member.dtype.itemsize <= 8
        and member.shape is not None
        and not member.dtype.subdtype
    )


def is_encoded(member: Any) -> bool:
    """Whether a member is a list of files as bytes, as Minari stores pictures as JPEG."""
    return (
        not is_group(member)
        and optional_library("h5py").check_vlen_dtype(member.dtype) == np.uint8
        and len(member.shape or ()) == 1
    )


def array_shape(dataset: Any, path: Path) -> tuple[int, ...]:
    """Checks that an array can be read safely, without reading it.

    Raises:
        UserError: If it is not numeric, lies in other files, needs a plug-in, or claims more than the file can hold.
    """
    if not is_numbers(dataset):
        raise UserError(f"{path}: expected {dataset.name!s:.100} to be an array of numbers")
    _require_readable(dataset, path)
    is_packed = dataset.id.get_create_plist().get_nfilters() > 0
    stored = dataset.id.get_storage_size() * (_MAX_RATIO if is_packed else 1)
    if dataset.nbytes > max(stored, _SMALL_BYTES):
        raise UserError(f"{path}: {dataset.name!s:.100} claims {dataset.nbytes} bytes that the file does not hold")
    return tuple(map(int, dataset.shape))


def _require_readable(dataset: Any, path: Path) -> None:
    if dataset.is_virtual or dataset.external:
        raise UserError(f"{path}: {dataset.name!s:.100} lies in other files; expected it in this one")
    creation = dataset.id.get_create_plist()
    filters = [creation.get_filter(place)[0] for place in range(creation.get_nfilters())]
    if unknown := [code for code in filters if code not in _FILTERS]:
        known = ", ".join(_FILTERS.values())
        raise UserError(f"{path}: {dataset.name!s:.100} uses filter {unknown[0]}; expected {known} or none")


def read_array(dataset: Any, path: Path) -> Array:
    """An array after the checks of :func:`array_shape`, in this machine's byte order.

    Raises:
        UserError: As there, and if it is larger than any clip may be.
    """
    array_shape(dataset, path)
    require_clip_bytes(path, f"{dataset.name!s:.100}", dataset.nbytes)
    array = np.asarray(dataset[()])
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def read_text(value: Any, what: str, path: Path) -> str:
    """A text attribute."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if not isinstance(value, str) or len(value) > _MAX_TEXT_BYTES:
        raise UserError(f"{path}: expected {what} to be text")
    return value


def read_json_text(value: Any, what: str, path: Path) -> dict[str, Any]:
    """A text attribute that holds a JSON object."""
    try:
        parsed = json.loads(read_text(value, what, path))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: {what} is not valid JSON ({str(error)[:80]})") from error
    if not isinstance(parsed, dict):
        raise UserError(f"{path}: expected {what} to be a JSON object")
    return parsed


def attribute(group: Any, name: str) -> Any:
    """An attribute's value, or None; objects and references count as None."""
    if name not in group.attrs:
        return None
    kind = group.attrs.get_id(name)
    if int(np.prod(kind.shape, dtype=np.float64)) * kind.dtype.itemsize > _MAX_TEXT_BYTES:
        return None
    value = group.attrs[name]
    return value.item() if isinstance(value, np.generic) else value


def leaves(member: Any, path: Path) -> dict[str, Any]:
    """Every array below a group by its name in it (``a/b``), or the array itself by its own.

    Raises:
        UserError: If there are too many in all, or they are nested too deep: hard links can form a circle, or a tree.
    """
    found: dict[str, Any] = {}
    ahead: list[tuple[str, Any, int]] = [("", member, 0)]
    num_seen = 0
    while ahead:
        name, here, depth = ahead.pop()
        num_seen += 1
        if depth > _MAX_DEPTH or num_seen > MAX_NAMES or (is_group(here) and len(here) > MAX_NAMES):
            raise UserError(
                f"{path}: {member.name!s:.100} is nested more than {_MAX_DEPTH} deep, or has too many members"
            )
        if is_group(here):
            below = members(here, path).items()
            ahead += [(f"{name}/{own}" if name else own, inner, depth + 1) for own, inner in below]
        else:
            found[name] = here
    return found


def read_rows(dataset: Any, num_rows: int, path: Path) -> Array:
    """The first rows of an array that must have as many."""
    shape = array_shape(dataset, path)
    if not shape or shape[0] < num_rows:
        raise UserError(f"{path}: {dataset.name!s:.100}: expected {num_rows} steps, got shape {shape}")
    return read_array(dataset, path)[:num_rows]


def read_frames(dataset: Any, num_rows: int, image_size: int, path: Path) -> Array:
    """The first rows of an array of frames uint8 (rows, H, W, 3), scaled in small batches if a size is given."""
    if not image_size:
        return read_rows(dataset, num_rows, path)
    shape = array_shape(dataset, path)
    if len(shape) != 4 or shape[0] < num_rows:
        raise UserError(f"{path}: {dataset.name!s:.100}: expected {num_rows} frames, got shape {shape}")
    # A chunk is decompressed whole, however few of its rows are read.
    step = max(_BATCH_ROWS, (dataset.chunks or (1,))[0])
    require_clip_bytes(path, f"{dataset.name!s:.100}", min(step, num_rows) * (dataset.nbytes // shape[0]))
    batches = [squares(dataset[start : start + step], image_size) for start in range(0, num_rows, step)]
    return np.concatenate(batches)[:num_rows]


def picture_size(dataset: Any, path: Path) -> tuple[int, int]:
    """(rows, columns) of pictures that are stored as files, by the first one."""
    _require_readable(dataset, path)
    rows, columns = decode(path, _picture(dataset, 0), None).shape[:2]
    return int(rows), int(columns)


def read_pictures(dataset: Any, num_rows: int, size: tuple[int, int], image_size: int, path: Path) -> Array:
    """Pictures stored as PNG or JPEG, one per row: uint8 (rows, H, W, 3), scaled if a side is given."""
    _require_readable(dataset, path)
    if len(dataset) < num_rows:
        raise UserError(f"{path}: {dataset.name!s:.100}: expected {num_rows} encoded pictures, got {len(dataset)}")
    rows, columns = (image_size, image_size) if image_size else size
    frames = np.empty((num_rows, rows, columns, 3), np.uint8)
    for row in range(num_rows):
        frames[row] = squares(decode(path, _picture(dataset, row), size)[None], image_size)[0]
    return frames


def _picture(dataset: Any, row: int) -> bytes:
    return np.asarray(dataset[row], np.uint8).tobytes()
