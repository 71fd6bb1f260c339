"""LeRobot's data set v3.0, read: frames as PNG in Parquet or as MP4, one episode in memory at a time.

Paths are built from the layout, never from what a file says. A camera's episodes follow one another in its videos.
"""

from __future__ import annotations

import functools
import itertools
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from smidgen.data_collection.array_files import Array
from smidgen.data_collection.formats.clip import (
    MAX_NAMES,
    MAX_STEPS,
    STATE,
    Clip,
    ClipSet,
    joined_state,
    numbered,
    require_clip_bytes,
)
from smidgen.data_collection.formats.lerobot import ACTION, IMAGES, INFO, OWN, SOURCE, SUCCESS, TASKS
from smidgen.data_collection.formats.parquet_files import contents, numbers, read_batches
from smidgen.data_collection.formats.pictures import decode
from smidgen.data_collection.formats.video import read_frames
from smidgen.runtime.errors import UserError
from smidgen.runtime.files import read_json

_KEY = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,199}")
_NUMBERS = ("float32", "float64", "int64", "int32", "int16", "int8", "uint8", "bool")
_INDICES = ("timestamp", "frame_index", "episode_index", "index", "task_index")


@dataclass(frozen=True)
class _Layout:
    """What ``info.json`` says about the columns.

    Attributes:
        root: The data set's directory.
        fps: Frames per second; 0 if unknown.
        images: (rows, columns) of each feature that is a picture in Parquet.
        videos: The same for each that is a video.
        vectors: Width of each feature of numbers.
        names: Names of their coordinates.
    """

    root: Path
    fps: float
    images: dict[str, tuple[int, int]] = field(default_factory=dict)
    videos: dict[str, tuple[int, int]] = field(default_factory=dict)
    vectors: dict[str, int] = field(default_factory=dict)
    names: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def data_files(self) -> list[Path]:
        """The Parquet files of the steps, in order."""
        return sorted(self.root.glob("data/chunk-*/file-*.parquet"))

    @property
    def is_ours(self) -> bool:
        """Whether the exact arrays of a store are there."""
        return OWN + ACTION in self.vectors

    def actions(self) -> list[str]:
        """Features that make up the action."""
        if self.is_ours:
            return [OWN + ACTION]
        return (
            [ACTION] if ACTION in self.vectors else sorted(key for key in self.vectors if key.startswith(f"{ACTION}."))
        )

    def states(self) -> list[str]:
        """Features that make up the state of a foreign set."""
        return sorted(key for key in self.vectors if key.startswith("observation."))


def matches(path: Path) -> bool:
    """Whether a path is a directory that could be LeRobot's."""
    return (path / INFO).is_file()


def read(path: Path) -> ClipSet:
    """Opens a set; clips are read one at a time.

    Raises:
        UserError: If it is damaged, or of another version.
    """
    info = read_json(path / INFO)
    if not isinstance(info, dict) or not str(info.get("codebase_version")).startswith("v3."):
        raise UserError(f"{path / INFO}: expected a LeRobot data set of version v3.0; convert it with LeRobot first")
    fps = info.get("fps")
    layout = _layout(path, info.get("features"), float(fps) if isinstance(fps, int | float) and 0 < fps < 1e6 else 0.0)
    if not layout.actions():
        raise UserError(f"{path / INFO}: has no feature 'action'")
    lengths = _episodes(path, layout)
    tasks = _tasks(path)
    source = read_json(path / SOURCE) if layout.is_ours and (path / SOURCE).exists() else {}
    lacks = ["seeds: episodes are numbered from 0"]
    lacks += [] if SUCCESS in layout.vectors else ["success: every episode counts as successful"]
    lacks += [f"tasks: {len(tasks)} sentences, of which the first names the set"] if len(tasks) > 1 else []
    return ClipSet(
        task=tasks[0][:100],
        control_hz=layout.fps or None,
        image_sizes={_camera(key): size for key, size in (layout.images | layout.videos).items()},
        action_names=tuple(name for key in layout.actions() for name in layout.names[key]),
        column_names={STATE: tuple(name for key in layout.states() for name in layout.names[key])},
        num_clips=len(lengths),
        clips=functools.partial(_clips, layout, lengths),
        actions=functools.partial(_actions, layout, lengths),
        source=source if isinstance(source, dict) else {},
        origin={"format": "lerobot", "robot_type": str(info.get("robot_type"))[:100]},
        lacks=tuple(lacks),
    )


def _camera(key: str) -> str:
    return key.removeprefix(IMAGES).removeprefix("observation.")


def _layout(path: Path, features: Any, fps: float) -> _Layout:
    layout = _Layout(path, fps)
    if not isinstance(features, dict) or len(features) > MAX_NAMES:
        raise UserError(f"{path / INFO}: expected an object of features")
    for key, feature in features.items():
        shape: Any = feature.get("shape") if isinstance(feature, dict) else None
        fits = isinstance(shape, list) and all(type(size) is int and 0 < size <= MAX_STEPS for size in shape)
        if not fits or not _KEY.fullmatch(key) or ".." in key:
            raise UserError(f"{path / INFO}: feature {key!r:.60}: expected a plain name, a dtype and a shape")
        if feature.get("dtype") in ("image", "video"):
            pictures = layout.images if feature["dtype"] == "image" else layout.videos
            pictures[key] = _picture_size(path, key, feature)
        elif feature.get("dtype") in _NUMBERS and key not in _INDICES and len(shape) <= 1:
            width = shape[0] if shape else 1
            layout.vectors[key] = width
            layout.names[key] = _names(key, feature.get("names"), width)
    return layout


def _picture_size(path: Path, key: str, feature: dict[str, Any]) -> tuple[int, int]:
    shape, names = feature["shape"], feature.get("names")
    if isinstance(names, list) and names and str(names[0]).startswith("channel"):
        shape = [*shape[1:], shape[0]]
    if len(shape) != 3 or shape[2] != 3 or not 0 < min(shape[:2]) <= max(shape[:2]) <= 4096:
        raise UserError(f"{path / INFO}: feature {key!r:.60}: expected pictures (height, width, 3), got {shape!s:.60}")
    return shape[0], shape[1]


def _names(key: str, names: Any, width: int) -> tuple[str, ...]:
    """Names of a feature's coordinates, which LeRobot gives as a list, or as an object of lists."""
    while isinstance(names, dict) and len(names) == 1:
        names = next(iter(names.values()))
    if isinstance(names, dict):
        names = list(names)
    if isinstance(names, list) and len(names) == width and all(isinstance(name, str) for name in names):
        return tuple(name[:100] for name in names)
    return numbered(key.removeprefix("observation."), min(width, MAX_NAMES + 1))


def _tasks(path: Path) -> list[str]:
    """The sentences, at most a few hundred of them."""
    sentences: list[str] = []
    if (path / TASKS).exists():
        for batch in read_batches(path / TASKS, (), ("task", "__index_level_0__")):
            sentences += [str(value.as_py()) for column in batch.values() for value in column]
            if len(sentences) > MAX_NAMES:
                break
    return sentences or [path.resolve().name]


@dataclass(frozen=True)
class _Episode:
    """Where an episode is: its length, its seed, and each video's file and first second."""

    length: int
    seed: int | None
    videos: dict[str, tuple[int, int, float]]


def _episodes(path: Path, layout: _Layout) -> list[_Episode]:
    files = sorted(path.glob("meta/episodes/chunk-*/file-*.parquet"))
    wanted = ["episode_index", "length"]
    places = {
        key: [f"videos/{key}/{name}" for name in ("chunk_index", "file_index", "from_timestamp")]
        for key in layout.videos
    }
    wanted += [name for each in places.values() for name in each]
    found: list[_Episode] = []
    for file in files:
        for batch in read_batches(file, wanted, ("seed",)):
            columns = {name: numbers(file, name, batch[name], 1).tolist() for name in wanted}
            whole = [name for name in wanted if not name.endswith("from_timestamp")]
            if not all(type(value) is int for name in whole for value in columns[name]):
                raise UserError(f"{file}: expected {', '.join(whole):.200} as integers")
            seeds = batch["seed"].to_pylist() if "seed" in batch else [None] * len(columns["length"])
            for row, seed in enumerate(seeds):
                videos = {key: tuple(columns[name][row] for name in names) for key, names in places.items()}
                _require_row(file, columns["episode_index"][row], columns["length"][row], len(found))
                found.append(_Episode(columns["length"][row], seed if type(seed) is int else None, videos))
    if not found:
        raise UserError(f"{path}: has no episodes (meta/episodes/chunk-000/file-000.parquet)")
    return found


def _require_row(file: Path, index: int, length: int, expected: int) -> None:
    if index != expected or not 0 < length <= MAX_STEPS:
        raise UserError(f"{file}: expected episode {expected} of at least one step, got episode {index} of {length}")


def _steps(layout: _Layout, episodes: list[_Episode], keys: list[str]) -> Iterator[dict[str, list[Any]]]:
    """For every episode, its batches of each column, in the order of the files."""
    parts: dict[str, list[Any]] = {key: [] for key in keys}
    at = num_rows = 0
    for file in layout.data_files():
        for batch in read_batches(file, ["episode_index", *keys]):
            index = numbers(file, "episode_index", batch["episode_index"], 1)
            start = 0
            while start < len(index):
                if at >= len(episodes) or index[start] != at:
                    raise UserError(f"{file}: expected a step of episode {at}, got one of episode {index[start]}")
                stop = min(len(index), start + episodes[at].length - num_rows)
                if (index[start:stop] != at).any():
                    raise UserError(f"{file}: episode {at} is shorter than its length, {episodes[at].length}")
                for key in keys:
                    parts[key].append(_values(layout, file, key, batch[key].slice(start, stop - start)))
                num_rows += stop - start
                start = stop
                if num_rows == episodes[at].length:
                    yield parts
                    parts, num_rows, at = {key: [] for key in keys}, 0, at + 1
    if at != len(episodes):
        raise UserError(f"{layout.root}: has steps of {at} episodes, expected {len(episodes)}")


def _values(layout: _Layout, file: Path, key: str, column: Any) -> Array:
    if key in layout.images:
        return np.stack([decode(file, content, layout.images[key]) for content in contents(file, key, column)])
    return numbers(file, key, column, layout.vectors[key])


def _actions(layout: _Layout, episodes: list[_Episode]) -> Iterator[Array]:
    for parts in _steps(layout, episodes, layout.actions()):
        yield _joined_actions(layout, {key: np.concatenate(part) for key, part in parts.items()})


def _joined_actions(layout: _Layout, arrays: dict[str, Array]) -> Array:
    parts = [arrays[key].reshape(len(arrays[key]), -1) for key in layout.actions()]
    return np.concatenate(parts, axis=1).astype(np.float64)


def _clips(layout: _Layout, episodes: list[_Episode]) -> Iterator[Clip]:
    own = [key for key in layout.vectors if key.startswith(OWN)]
    vectors = own if layout.is_ours else [*layout.actions(), *layout.states()]
    vectors += [SUCCESS] if SUCCESS in layout.vectors else []
    videos = {key: _video(layout, key, episodes) for key in layout.videos}
    num_bytes = sum(3 * rows * columns for rows, columns in (layout.images | layout.videos).values())
    for episode in episodes:
        require_clip_bytes(layout.root, "an episode", num_bytes * episode.length)
    for episode, parts in zip(episodes, _steps(layout, episodes, [*layout.images, *vectors]), strict=True):
        arrays = {key: np.concatenate(part) for key, part in parts.items()}
        frames = {_camera(key): arrays[key] for key in layout.images}
        frames |= {_camera(key): next(video) for key, video in videos.items()}
        yield _clip(layout, episode, frames, arrays)


def _clip(layout: _Layout, episode: _Episode, frames: dict[str, Array], arrays: dict[str, Array]) -> Clip:
    if layout.is_ours:
        columns = {key.removeprefix(OWN): array for key, array in arrays.items() if key.startswith(OWN)}
    else:
        columns = {STATE: joined_state({key: arrays[key] for key in layout.states()}, episode.length)}
    if SUCCESS in arrays:
        columns.setdefault("is_success", arrays[SUCCESS].astype(bool))
    success = bool(columns["is_success"].any()) if "is_success" in columns else None
    return Clip(frames, _joined_actions(layout, arrays), columns, episode.seed, success)


def _video(layout: _Layout, key: str, episodes: list[_Episode]) -> Iterator[Array]:
    """Yields each episode's frames of one camera, decoding every file once, from its start."""
    place: tuple[int, int] | None = None
    frames: Iterator[Array] = iter(())
    num_read = 0
    for number, episode in enumerate(episodes):
        chunk, index, start_s = episode.videos[key]
        path = layout.root / f"videos/{key}/chunk-{chunk:03d}/file-{index:03d}.mp4"
        if (chunk, index) != place:
            place, frames, num_read = (chunk, index), read_frames(path, layout.videos[key]), 0
        start = round(start_s * layout.fps) if math.isfinite(start_s) else -1
        if not num_read <= start <= MAX_STEPS:
            raise UserError(f"{path}: episode {number} begins at {start_s} s, before the one that it follows has ended")
        found = list(itertools.islice(frames, start - num_read, start - num_read + episode.length))
        if len(found) != episode.length:
            raise UserError(f"{path}: episode {number} has {episode.length} steps, but {len(found)} frames are left")
        num_read = start + episode.length
        yield np.stack(found)
