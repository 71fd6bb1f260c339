"""Reproducible NumPy files, read defensively: a forged header causes an error message, never memory use or code.

Nothing is compressed: the bytes of a deflate stream depend on the zlib version, frames must be memory-mapped, and an
uncompressed array can never be larger than its file.
"""

from __future__ import annotations

import contextlib
import io
import math
import os
import re
import stat
import struct
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.lib import format as npy_format

from smidgen.runtime.errors import UserError

Array = np.ndarray[Any, np.dtype[Any]]
# An array's dtype and shape; the length of a named axis comes from the data set, or from the first array that has it.
ArrayLayout = tuple[str, tuple[str | int, ...]]
# An array's dtype as NumPy's ``dtype.str``, and its shape.
ArrayShape = tuple[str, tuple[int, ...]]

# The earliest time that zip can store: an archive must not depend on when it was written.
_ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)
_MAX_HEADER_BYTES = 4096
_MAGIC = b"\x93NUMPY\x01\x00"
_HEADER = re.compile(
    rb"\{'descr': '(?P<dtype>\|u1|\|b1|<i2|<i4|<i8|<f4|<f8)', 'fortran_order': False, "
    rb"'shape': \((?P<shape>|[0-9]{1,18},|[0-9]{1,18}(?:, [0-9]{1,18}){1,7})\), \} *\n"
)
# What zipfile is known to raise on damaged bytes.
_UNREADABLE = (
    zipfile.BadZipFile,
    ValueError,
    OSError,
    EOFError,
    NotImplementedError,
    RuntimeError,
    OverflowError,
    struct.error,
)


def require_regular_file(path: Path) -> int:
    """Size in bytes of a regular file; refuses links, and pipes, which would block a reader.

    Raises:
        UserError: If the path is missing or not a regular file.
    """
    try:
        status = os.lstat(path)
    except OSError as error:
        raise UserError(f"{path} is missing ({error.strerror}); collect or copy the data set again") from error
    if not stat.S_ISREG(status.st_mode):
        raise UserError(f"{path} is not a regular file (a link or a special file?); data sets contain only those")
    return status.st_size


def check_layout(
    source: Path | str, shapes: Mapping[str, ArrayShape], layout: Mapping[str, ArrayLayout], sizes: dict[str, int]
) -> None:
    """Checks arrays' dtypes and shapes against a layout.

    Args:
        source: What holds them, for the message.
        shapes: Dtype and shape of each array.
        layout: The expected dtype and shape of each array.
        sizes: Lengths of named axes; new ones are added.

    Raises:
        UserError: If an array is missing, unexpected or different.
    """
    if set(shapes) != set(layout):
        raise UserError(f"{source}: expected the arrays {', '.join(sorted(layout))}; got {', '.join(sorted(shapes))}")
    for name, (dtype, axes) in layout.items():
        got_dtype, got_shape = shapes[name]
        if len(got_shape) == len(axes):
            for axis, length in zip(axes, got_shape, strict=True):
                if isinstance(axis, str):
                    sizes.setdefault(axis, length)
        expected = tuple(sizes.get(axis, -1) if isinstance(axis, str) else axis for axis in axes)
        if (got_dtype, got_shape) != (dtype, expected):
            raise UserError(f"{source}: array {name!r}: expected {dtype} {expected}, got {got_dtype} {got_shape}")


def write_npy(path: Path, array: Array) -> None:
    """Writes one array as an ``.npy`` file (format 1.0, C order) that can be memory-mapped."""
    array = np.ascontiguousarray(array)
    with open(path, "wb") as file:
        npy_format.write_array_header_1_0(file, npy_format.header_data_from_array_1_0(array))
        # Not by NumPy's own writer, whose error on a full disk has no code by which it could be told.
        file.write(array.reshape(-1).view(np.uint8).data)


class NpyFile(NamedTuple):
    """An ``.npy`` file whose header has been checked, not open.

    Attributes:
        path: The file.
        offset: Where the array's bytes begin.
        shape: Of the array.
        dtype: Of the array, as NumPy's ``dtype.str``.
    """

    path: str
    offset: int
    shape: tuple[int, ...]
    dtype: str

    def memory_mapped(self) -> Array:
        """The array as a read-only memory map."""
        if 0 in self.shape:
            return np.empty(self.shape, self.dtype)  # an empty file cannot be mapped
        return np.memmap(self.path, dtype=self.dtype, mode="r", offset=self.offset, shape=self.shape)

    def read(self, first: int, end: int) -> Array:
        """Rows from one index to before another, into memory; the file is open for that long only.

        Raises:
            UserError: If the file has become shorter since its header was checked.
        """
        place, num_bytes = self._bytes_of(first, end)
        with self._opened() as descriptor:
            content = os.pread(descriptor, num_bytes, place)
        if len(content) < num_bytes:
            raise UserError(f"{self.path} was truncated while it was in use; copy or collect the data set again")
        return np.frombuffer(content, self.dtype).reshape(-1, *self.shape[1:])

    def read_ahead(self, first: int, end: int) -> None:
        """Lets the kernel read rows from disk meanwhile, where it can."""
        if hasattr(os, "posix_fadvise"):
            place, num_bytes = self._bytes_of(first, end)
            with self._opened() as descriptor:
                os.posix_fadvise(descriptor, place, num_bytes, os.POSIX_FADV_WILLNEED)

    def _bytes_of(self, first: int, end: int) -> tuple[int, int]:
        row = math.prod(self.shape[1:]) * np.dtype(self.dtype).itemsize
        return self.offset + first * row, (end - first) * row

    @contextlib.contextmanager
    def _opened(self) -> Iterator[int]:
        descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            yield descriptor
        finally:
            os.close(descriptor)


def check_npy(path: Path, name: str, layout: ArrayLayout, sizes: dict[str, int]) -> NpyFile:
    """Checks an ``.npy`` file's header and size against a layout.

    Raises:
        UserError: If the file is missing, truncated, too long, or has another dtype or shape.
    """
    num_bytes = require_regular_file(path)
    with open(path, "rb") as file:
        shape, dtype = _read_npy_header(path, file)
        offset = file.tell()
    check_layout(path, {name: (dtype.str, shape)}, {name: layout}, sizes)
    _require_payload(path, name, num_bytes - offset, shape, dtype)
    return NpyFile(str(path), offset, shape, dtype.str)


def write_npz(path: Path, arrays: Mapping[str, Array]) -> None:
    """Writes arrays as an uncompressed ``.npz`` whose bytes depend only on names and values."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(arrays):
            content = io.BytesIO()
            npy_format.write_array(content, np.ascontiguousarray(arrays[name]), version=(1, 0), allow_pickle=False)
            member = zipfile.ZipInfo(f"{name}.npy", _ZIP_EPOCH)
            member.create_system = 3  # the value for Unix, so that the bytes do not depend on the platform
            archive.writestr(member, content.getbuffer())


def read_npz(path: Path, layout: Mapping[str, ArrayLayout], sizes: dict[str, int]) -> dict[str, Array]:
    """Reads an ``.npz`` written by :func:`write_npz`.

    Args:
        path: The file.
        layout: The arrays that it must hold, exactly.
        sizes: Lengths of named axes; new ones are added.

    Returns:
        Read-only arrays by name.

    Raises:
        UserError: If the file is missing, truncated, altered, compressed, or does not match the layout.
    """
    arrays = read_npz_arrays(path, tuple(layout))
    check_layout(path, {name: (array.dtype.str, array.shape) for name, array in arrays.items()}, layout, sizes)
    return arrays


def read_npz_arrays(path: Path, names: Sequence[str]) -> dict[str, Array]:
    """Reads an ``.npz`` of plain arrays, as ``numpy.savez`` writes it too.

    Args:
        path: The file.
        names: The arrays that it must hold, exactly.

    Raises:
        UserError: If the file is missing, truncated, altered or compressed, or holds other arrays.
    """
    num_bytes = require_regular_file(path)
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            if sorted(member.filename for member in members) != sorted(f"{name}.npy" for name in names):
                raise UserError(f"{path}: expected the arrays {', '.join(sorted(names))}, each once and no others")
            stored = all(member.compress_type == zipfile.ZIP_STORED for member in members)
            if not stored or sum(member.file_size for member in members) > num_bytes:
                raise UserError(f"{path}: expected uncompressed arrays, got compressed ones or wrong sizes")
            contents = {member.filename.removesuffix(".npy"): archive.read(member) for member in members}
        return {name: parse_npy(path, name, content) for name, content in contents.items()}
    except _UNREADABLE as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path} is not a readable .npz file ({str(error)[:80]}): truncated or altered?") from error


def parse_npy(path: Path, name: str, content: bytes) -> Array:
    """An ``.npy`` file's content as a read-only array, without copying.

    Args:
        path: The source, for the message.
        name: The array's name.
        content: The file's bytes.

    Raises:
        UserError: If the header is not one of ours, or does not match the number of bytes that follow.
    """
    file = io.BytesIO(content)
    shape, dtype = _read_npy_header(path, file)
    offset = file.tell()
    _require_payload(path, name, len(content) - offset, shape, dtype)
    return np.frombuffer(content, dtype=dtype, offset=offset).reshape(shape)


def _read_npy_header(path: Path, file: BinaryIO | io.BytesIO) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and dtype, by a pattern of what NumPy writes.

    NumPy's own reader evaluates the header as a Python literal. Over 60,000 damaged headers it raised seven kinds of
    exception, ``MemoryError`` and ``RecursionError`` among them, and let Python's compiler print warnings, which cannot
    be silenced for one thread alone.
    """
    magic = file.read(len(_MAGIC) + 2)
    length = int.from_bytes(magic[len(_MAGIC) :], "little")
    match = _HEADER.fullmatch(file.read(length)) if magic.startswith(_MAGIC) and length <= _MAX_HEADER_BYTES else None
    if match is None:
        raise UserError(f"{path}: expected the .npy header of a plain array in C order: truncated or altered?")
    shape = tuple(int(number) for number in match["shape"].split(b",") if number.strip())
    return shape, np.dtype(match["dtype"].decode())


def _require_payload(path: Path, name: str, num_bytes: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    expected = dtype.itemsize
    for length in shape:  # Python integers: a forged shape must not overflow
        expected *= length
    if num_bytes != expected:
        raise UserError(f"{path}: array {name!r} {shape} needs {expected} bytes, the file has {num_bytes}: truncated?")
