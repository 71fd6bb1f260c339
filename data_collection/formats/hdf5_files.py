"""HDF5 files of others, read defensively: no link that leaves the file, no plug-in, no object, sizes before memory."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from smidgen.data_collection.array_files import Array
from smidgen.data_collection.formats.clip import MAX_CLIPS, MAX_NAMES, optional_library, require_clip_bytes
from smidgen.data_collection.formats.pictures import decode
from smidgen.runtime.errors import UserError
from smidgen.runtime.files import regular_file_size

SUFFIXES = (".hdf5", ".h5")
MAGIC = b"\x89HDF\r\n\x1a\n"
# Any filter besides these is loaded from a plug-in.
_FILTERS = {"gzip", "lzf", "shuffle", "fletcher32", None}
# Deflate's best ratio; what claims more was not written.
_MAX_RATIO = 1032
_SMALL_BYTES = 1 << 16
_MAX_DEPTH = 8
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
def hdf5_errors(path: Path) -> Iterator[None]:
    """Turns the library's errors into one line."""
    try:
        yield
    except _UNREADABLE as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path} is not a readable HDF5 file ({str(error)[:80]}): truncated or altered?") from error


def members(group: Any, path: Path) -> dict[str, Any]:
    """The groups and data sets directly below a group, by name.

    Raises:
        UserError: If one is a link elsewhere, or there are too many.
    """
    h5py = optional_library("h5py")
    if len(group) > MAX_CLIPS:
        raise UserError(f"{path}: {group.name} has {len(group)} members, at most {MAX_CLIPS}")
    found = {}
    for name in group:
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise UserError(f"{path}: {group.name}/{name!s:.60} is a link, which could point outside the file")
        found[name] = group[name]
    return found


def subgroup(group: Any, name: str, path: Path) -> dict[str, Any]:
    """The members of a group below another; {} if there is no such group."""
    if name not in group:
        return {}
    found = members(group, path)[name]
    if not is_group(found):
        raise UserError(f"{path}: expected {found.name!s:.100} to be a group, got an array")
    if len(found) > MAX_NAMES:
        raise UserError(f"{path}: {found.name!s:.100} has {len(found)} members, at most {MAX_NAMES}")
    return members(found, path)


def is_group(member: Any) -> bool:
    """Whether a member is a group rather than an array."""
    return isinstance(member, optional_library("h5py").Group)


def array_shape(dataset: Any, path: Path) -> tuple[int, ...]:
    """Checks that an array can be read safely, without reading it.

    Raises:
        UserError: If it is not numeric, lies in other files, needs a plug-in, or claims more than the file can hold.
    """
    if is_group(dataset) or dataset.dtype.kind not in _KINDS or dataset.dtype.itemsize > 8 or dataset.shape is None:
        raise UserError(f"{path}: expected {dataset.name!s:.100} to be an array of numbers")
    if dataset.is_virtual or dataset.external:
        raise UserError(f"{path}: {dataset.name!s:.100} lies in other files; expected it in this one")
    creation = dataset.id.get_create_plist()
    if dataset.compression not in _FILTERS or creation.get_nfilters() > sum(
        bool(used) for used in (dataset.compression, dataset.shuffle, dataset.fletcher32)
    ):
        raise UserError(f"{path}: {dataset.name!s:.100} uses a filter that is not part of HDF5; expected gzip or none")
    require_clip_bytes(path, f"{dataset.name!s:.100}", dataset.nbytes)
    stored = dataset.id.get_storage_size() * (_MAX_RATIO if dataset.compression else 1)
    if dataset.nbytes > max(stored, _SMALL_BYTES):
        raise UserError(f"{path}: {dataset.name!s:.100} claims {dataset.nbytes} bytes that the file does not hold")
    return tuple(map(int, dataset.shape))


def read_array(dataset: Any, path: Path) -> Array:
    """An array after the checks of :func:`array_shape`, little-endian or as bytes."""
    array_shape(dataset, path)
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


def leaves(member: Any, path: Path, name: str = "", depth: int = 0) -> dict[str, Any]:
    """Every array below a group by its name in it (``a/b``), or the array itself by its own.

    Raises:
        UserError: If there are too many, or they are nested too deep: hard links can form a circle.
    """
    if not is_group(member):
        return {name: member}
    if depth > _MAX_DEPTH or len(member) > MAX_NAMES:
        raise UserError(f"{path}: {member.name!s:.100} is nested more than {_MAX_DEPTH} deep, or has too many members")
    found: dict[str, Any] = {}
    for own, inner in members(member, path).items():
        found |= leaves(inner, path, f"{name}/{own}" if name else own, depth + 1)
    return found


def read_rows(dataset: Any, num_rows: int, path: Path) -> Array:
    """The first rows of an array that must have as many."""
    shape = array_shape(dataset, path)
    if not shape or shape[0] < num_rows:
        raise UserError(f"{path}: {dataset.name!s:.100}: expected {num_rows} steps, got shape {shape}")
    return read_array(dataset, path)[:num_rows]


def read_pictures(dataset: Any, num_rows: int, size: tuple[int, int], path: Path) -> Array:
    """Pictures stored as the bytes of PNG or JPEG files, one per row: uint8 (rows, H, W, 3)."""
    of_bytes = optional_library("h5py").check_vlen_dtype(dataset.dtype) == np.uint8 and len(dataset.shape) == 1
    if not of_bytes and len(array_shape(dataset, path)) != 2:
        raise UserError(f"{path}: {dataset.name!s:.100}: expected encoded pictures")
    if dataset.external or dataset.is_virtual or len(dataset) < num_rows:
        raise UserError(f"{path}: {dataset.name!s:.100}: expected {num_rows} encoded pictures in this file")
    require_clip_bytes(path, f"{dataset.name!s:.100}", num_rows * size[0] * size[1] * 3)
    return np.stack([decode(path, np.asarray(dataset[row], np.uint8).tobytes(), size) for row in range(num_rows)])
