"""LeRobot's data set v3.0 (0.4.4 reads it), written: a directory of JSON and Parquet, frames as PNG.

    meta/info.json, meta/stats.json, meta/tasks.parquet, meta/episodes/chunk-000/file-000.parquet
    data/chunk-000/file-000.parquet    one row per step, one row group per episode
    meta/smidgen.json                  the header and the rows of the store that the set was made from

Policies see ``observation.*`` and ``action``, as float32; every array of the store is there too, exact: ``smidgen.*``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from smidgen.data_collection.array_files import Array
from smidgen.data_collection.formats.clip import STATE, Clip, ClipSet, optional_library
from smidgen.data_collection.formats.lerobot_statistics import (
    Statistics,
    histogram,
    picture_statistics,
    vector_statistics,
)
from smidgen.data_collection.formats.pictures import png
from smidgen.runtime.files import write_json_atomic

VERSION = "v3.0"
INFO, SOURCE, TASKS, STATS = "meta/info.json", "meta/smidgen.json", "meta/tasks.parquet", "meta/stats.json"
IMAGES, OWN, ACTION, OBSERVED_STATE, SUCCESS = (
    "observation.images.",
    "smidgen.",
    "action",
    "observation.state",
    "next.success",
)
FILES_PER_CHUNK, FILE_BYTES = 1000, 100 * 2**20
_BATCH = 64
_DEFAULTS = {
    "timestamp": "float32",
    "frame_index": "int64",
    "episode_index": "int64",
    "index": "int64",
    "task_index": "int64",
}
Features = dict[str, dict[str, Any]]


def write(clips: ClipSet, out: Path) -> Path:
    """Writes a set, one clip in memory at a time.

    Args:
        clips: The set.
        out: The new directory.
    """
    (out / "meta").mkdir(parents=True)
    writer = _Writer(clips, out)
    for clip in clips.clips():
        writer.add(clip)
    writer.close()
    return out


class _Writer:
    """Appends episodes to data files and keeps their rows and statistics."""

    def __init__(self, clips: ClipSet, out: Path) -> None:
        self._pa, self._parquet = optional_library("pyarrow"), optional_library("pyarrow.parquet")
        self._clips, self._out = clips, out
        self._features: Features = {}
        self._episodes: list[dict[str, Any]] = []
        self._histograms: dict[str, Array] = {}
        self._vectors: dict[str, list[Array]] = {}
        self._file: Any = None
        self._num_files = self._num_frames = 0
        # LeRobot knows whole numbers only, and divides by it.
        self._fps = max(1, round(clips.control_hz or 1))

    def add(self, clip: Clip) -> None:
        """Writes one episode."""
        arrays = {**_vectors(clip), **self._indices(clip)}
        self._features = self._features or _features(self._clips, clip, arrays)
        columns = {IMAGES + name: self._pictures(frames) for name, frames in clip.frames.items()}
        columns |= {name: self._column(array) for name, array in arrays.items()}
        table = self._pa.table(columns)
        if self._file is None or self._file[0].tell() > FILE_BYTES:
            self._next_file(table.schema)
        self._file[1].write_table(table, row_group_size=max(1, clip.num_steps))
        self._episodes.append(self._episode_row(clip, self._count(clip, arrays)))
        self._num_frames += clip.num_steps

    def _indices(self, clip: Clip) -> dict[str, Array]:
        steps = np.arange(clip.num_steps)
        return {
            "timestamp": (steps / self._fps).astype(np.float32),
            "frame_index": steps,
            "episode_index": np.full(clip.num_steps, len(self._episodes)),
            "index": self._num_frames + steps,
            "task_index": np.zeros(clip.num_steps, np.int64),
        }

    def _pictures(self, frames: Array) -> Any:
        pa = self._pa
        # A few at a time: a list of all would hold the episode once more.
        batches = [
            pa.array([png(frame) for frame in frames[start : start + _BATCH]], pa.binary())
            for start in range(0, len(frames), _BATCH)
        ]
        return pa.chunked_array(
            [
                pa.StructArray.from_arrays([batch, pa.nulls(len(batch), pa.string())], ["bytes", "path"])
                for batch in batches
            ]
        )

    def _column(self, array: Array) -> Any:
        flat = self._pa.array(np.ascontiguousarray(array).reshape(-1))
        width = array.size // max(1, len(array))
        return flat if width == 1 else self._pa.FixedSizeListArray.from_arrays(flat, width)

    def _next_file(self, schema: Any) -> None:
        self._close_file()
        chunk, index = divmod(self._num_files, FILES_PER_CHUNK)
        path = self._out / f"data/chunk-{chunk:03d}/file-{index:03d}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        sink = self._pa.OSFile(str(path), "wb")
        self._file = (sink, self._parquet.ParquetWriter(sink, schema, compression="snappy"))
        self._num_files += 1

    def _close_file(self) -> None:
        if self._file is not None:
            self._file[1].close()
            self._file[0].close()

    def _count(self, clip: Clip, arrays: dict[str, Array]) -> dict[str, Statistics]:
        """An episode's statistics, which are added to the set's."""
        found = {}
        for name, frames in clip.frames.items():
            counts = histogram(frames)
            self._histograms[name] = self._histograms.get(name, 0) + counts
            found[IMAGES + name] = picture_statistics(counts, clip.num_steps)
        for name, array in arrays.items():
            if not name.startswith(OWN):
                values = array.reshape(clip.num_steps, -1)
                self._vectors.setdefault(name, []).append(values)
                found[name] = vector_statistics([values])
        return found

    def _episode_row(self, clip: Clip, statistics: dict[str, Statistics]) -> dict[str, Any]:
        chunk, index = divmod(self._num_files - 1, FILES_PER_CHUNK)
        return {
            "episode_index": len(self._episodes),
            "tasks": [self._clips.task],
            "length": clip.num_steps,
            "data/chunk_index": chunk,
            "data/file_index": index,
            "dataset_from_index": self._num_frames,
            "dataset_to_index": self._num_frames + clip.num_steps,
            "meta/episodes/chunk_index": 0,
            "meta/episodes/file_index": 0,
            "seed": clip.seed,
            "success": clip.success,
            **{f"stats/{key}/{name}": value for key, found in statistics.items() for name, value in found.items()},
        }

    def close(self) -> None:
        """Writes everything that needs the whole set."""
        self._close_file()
        episodes = self._out / "meta/episodes/chunk-000/file-000.parquet"
        episodes.parent.mkdir(parents=True)
        self._parquet.write_table(self._pa.Table.from_pylist(self._episodes), episodes, compression="snappy")
        self._parquet.write_table(self._tasks(), self._out / TASKS)
        statistics = {
            **{
                IMAGES + name: picture_statistics(counts, self._num_frames) for name, counts in self._histograms.items()
            },
            **{name: vector_statistics(parts) for name, parts in self._vectors.items()},
        }
        write_json_atomic(self._out / STATS, statistics)
        write_json_atomic(self._out / SOURCE, self._clips.source)
        write_json_atomic(self._out / INFO, self._info())

    def _tasks(self) -> Any:
        """Table of sentences; its metadata makes ``task`` the index when pandas reads it."""
        columns = [("task", "unicode", "object"), ("task_index", "int64", "int64")]
        described = [
            {"name": name, "field_name": name, "pandas_type": kind, "numpy_type": numpy_type, "metadata": None}
            for name, kind, numpy_type in columns
        ]
        metadata = {"index_columns": ["task"], "column_indexes": [], "columns": described, "pandas_version": "2.2.0"}
        table = self._pa.table({"task_index": self._pa.array([0], self._pa.int64()), "task": [self._clips.task]})
        return table.replace_schema_metadata({"pandas": json.dumps(metadata)})

    def _info(self) -> dict[str, Any]:
        return {
            "codebase_version": VERSION,
            "robot_type": None,
            "total_episodes": len(self._episodes),
            "total_frames": self._num_frames,
            "total_tasks": 1,
            "chunks_size": FILES_PER_CHUNK,
            "data_files_size_in_mb": FILE_BYTES // 2**20,
            "video_files_size_in_mb": 200,
            "fps": self._fps,
            "splits": {"train": f"0:{len(self._episodes)}"},
            "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
            "video_path": None,
            "features": self._features,
        }


def _vectors(clip: Clip) -> dict[str, Array]:
    """A clip's arrays by the name of their feature."""
    arrays = {ACTION: clip.actions.astype(np.float32), OBSERVED_STATE: clip.columns[STATE].astype(np.float32)}
    if "is_success" in clip.columns:
        arrays[SUCCESS] = clip.columns["is_success"]
    arrays |= {OWN + ACTION: clip.actions, **{OWN + name: _wide(column) for name, column in clip.columns.items()}}
    return {name: array for name, array in arrays.items() if array.size}


def _wide(column: Array) -> Array:
    """Integers as int64, which every reader knows."""
    return column.astype(np.int64) if column.dtype.kind == "i" else column


def _features(clips: ClipSet, clip: Clip, arrays: dict[str, Array]) -> Features:
    axes = ["height", "width", "channels"]
    pictures = {
        IMAGES + name: {"dtype": "image", "shape": [*frames.shape[1:]], "names": axes}
        for name, frames in clip.frames.items()
    }
    names = {ACTION: clips.action_names, OBSERVED_STATE: clips.column_names[STATE], OWN + ACTION: clips.action_names}
    names |= {OWN + name: own for name, own in clips.column_names.items()}
    return pictures | {name: _feature(array, names.get(name)) for name, array in arrays.items()}


def _feature(array: Array, names: tuple[str, ...] | None) -> dict[str, Any]:
    return {"dtype": str(array.dtype), "shape": [*array.shape[1:]] or [1], "names": list(names) if names else None}
