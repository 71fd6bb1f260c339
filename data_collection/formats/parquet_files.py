"""Parquet files of others, read in small batches: claimed sizes are checked first, damage becomes one line."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from smidgen.data_collection.array_files import Array
from smidgen.data_collection.formats.clip import MAX_CLIP_BYTES, MAX_NAMES, optional_library
from smidgen.runtime.errors import UserError
from smidgen.runtime.files import regular_file_size

_BATCH_ROWS = 64
_MAX_ROWS = 1 << 31
# Beyond what Snappy, gzip and Zstandard reach on real columns.
_MAX_RATIO = 2000
_SMALL_BYTES = 1 << 20
# Besides the library's own, which are ValueError, OSError, KeyError, TypeError and MemoryError by class.
_UNREADABLE = (OSError, ValueError, KeyError, TypeError, MemoryError, OverflowError, NotImplementedError, RuntimeError)


@contextlib.contextmanager
def parquet_errors(path: Path) -> Iterator[None]:
    """Turns the library's errors into one line that names the file."""
    try:
        yield
    except _UNREADABLE as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path} is not a readable Parquet file ({str(error)[:80]}): truncated or altered?") from error


def read_batches(path: Path, wanted: Sequence[str], optional: Sequence[str] = ()) -> Iterator[dict[str, Any]]:
    """Yields batches of rows as Arrow columns by name.

    Args:
        path: The file.
        wanted: Columns that it must have.
        optional: Columns that it may have.

    Raises:
        UserError: If it is missing, damaged, claims more than it can hold, or has no such column.
    """
    parquet, pa = optional_library("pyarrow.parquet"), optional_library("pyarrow")
    regular_file_size(path)
    with parquet_errors(path), parquet.ParquetFile(path, pre_buffer=False, memory_map=False) as file:
        names = file.schema_arrow.names
        if missing := [name for name in wanted if name not in names]:
            raise UserError(f"{path}: has no column {missing[0]!r:.60}")
        columns = [*wanted, *(name for name in optional if name in names)]
        _require_honest(path, file.metadata)
        for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=columns, use_threads=False):
            table = pa.Table.from_batches([batch])
            table.validate(full=True)
            yield {name: table.column(name).combine_chunks() for name in columns}


def num_rows(path: Path) -> int:
    """How many rows a file says that it has.

    Raises:
        UserError: If it is missing or damaged.
    """
    parquet = optional_library("pyarrow.parquet")
    regular_file_size(path)
    with parquet_errors(path), parquet.ParquetFile(path, pre_buffer=False, memory_map=False) as file:
        return int(file.metadata.num_rows)


def _require_honest(path: Path, metadata: Any) -> None:
    """Refuses claims that no file of this size can keep."""
    limit = max(_SMALL_BYTES, _MAX_RATIO * regular_file_size(path))
    if not 0 <= metadata.num_rows < _MAX_ROWS or metadata.num_columns > 100 * MAX_NAMES:
        raise UserError(f"{path}: claims {metadata.num_rows} rows of {metadata.num_columns} columns")
    for index in range(metadata.num_row_groups):
        claimed = metadata.row_group(index).total_byte_size
        if not 0 <= claimed <= min(limit, MAX_CLIP_BYTES):
            raise UserError(f"{path}: row group {index} claims {claimed} bytes; write smaller row groups")


def numbers(path: Path, name: str, column: Any, width: int) -> Array:
    """A column of numbers, or of lists of them, as (rows,) or (rows, width).

    Raises:
        UserError: If it holds something else, or nothing in places.
    """
    pa, compute = optional_library("pyarrow"), optional_library("pyarrow.compute")
    types = pa.types
    is_list = any(test(column.type) for test in (types.is_fixed_size_list, types.is_list, types.is_large_list))
    flat = column.flatten() if is_list else column
    kind = flat.type
    is_number = types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind)
    # Rows of 6 and 8 numbers have as many together as two of 7.
    is_even = (
        not is_list or not len(column) or compute.all(compute.equal(compute.list_value_length(column), width)).as_py()
    )
    if not is_number or flat.null_count or column.null_count or not is_even or len(flat) != len(column) * width:
        raise UserError(f"{path}: column {name!r:.60}: expected {width} numbers in every row, got {column.type!s:.60}")
    values = np.asarray(flat.to_numpy(zero_copy_only=False))
    return values if width == 1 else values.reshape(-1, width)


def contents(path: Path, name: str, column: Any) -> list[bytes]:
    """A column of pictures as the bytes of their files.

    Raises:
        UserError: If it holds something else, or paths to other files.
    """
    pa = optional_library("pyarrow")
    if pa.types.is_struct(column.type) and column.type.get_field_index("bytes") >= 0:
        column = column.field("bytes")
    if not (pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type)) or column.null_count:
        raise UserError(
            f"{path}: column {name!r:.60}: expected pictures, whole files as bytes, got {column.type!s:.60}"
        )
    return [value.as_py() for value in column]
