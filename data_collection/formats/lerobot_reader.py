"""LeRobot's data set v3.0, read: frames as PNG in Parquet or as MP4, one episode in memory at a time.

Paths are built from the layout, never from what a file says. A camera's episodes follow one another in its videos.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from smidgen.data_collection.array_files import Array
from smidgen.data_collection.formats.clip import (
    MAX_CLIPS,
    MAX_NAMES,
    MAX_STEPS,
    STATE,
    WHOLE,
    Clip,
    ClipSet,
    View,
    fitting,
    is_plain_name,
    joined_state,
    numbered,
    require_clip_bytes,
    told,
)
from smidgen.data_collection.formats.lerobot import ACTION, IMAGES, INFO, OWN, SOURCE, SUCCESS, TASKS
from smidgen.data_collection.formats.parquet_files import contents, num_rows, numbers, read_batches
from smidgen.data_collection.formats.pictures import decode, squares
from smidgen.data_collection.formats.video import read_frames
from smidgen.runtime.errors import UserError
from smidgen.runtime.files import read_json

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
        left_out: Other features, which are not read.
        view: Which frames are read.
    """

    root: Path
    fps: float
    images: dict[str, tuple[int, int]] = field(default_factory=dict)
    videos: dict[str, tuple[int, int]] = field(default_factory=dict)
    vectors: dict[str, int] = field(default_factory=dict)
    names: dict[str, tuple[str, ...]] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
    view: View = WHOLE

    def camera(self, key: str) -> str:
        """What a feature of pictures is called in a store; a prefix stays where two would be called alike."""
        keys = [*self.images, *self.videos]
        short = [_short(each) for each in keys]
        return _short(key) if short.count(_short(key)) == 1 else key

    def shown(self, pictures: dict[str, tuple[int, int]]) -> list[str]:
        """Features among some whose frames are read."""
        return [key for key in pictures if self.view.shows(self.camera(key))]

    def empty(self, key: str, length: int) -> Array:
        """Room for an episode's frames of a feature, as they are kept."""
        rows, columns = (self.images | self.videos)[key]
        side = self.view.image_size
        return np.empty((length, side or rows, side or columns, 3), np.uint8)

    def sizes(self) -> dict[str, tuple[int, int]]:
        """(rows, columns) of each camera."""
        return {self.camera(key): size for key, size in (self.images | self.videos).items()}

    def data_files(self) -> list[Path]:
        """The Parquet files of the steps, in order."""
        return sorted(self.root.glob("data/chunk-*/file-*.parquet"))

    @property
    def is_ours(self) -> bool:
        """Whether the exact arrays of a store are there."""
        return OWN + ACTION in self.vectors

    @property
    def has_flags(self) -> bool:
        """Whether a flag for each step says that it succeeds."""
        return self.vectors.get(SUCCESS) == 1

    def actions(self) -> list[str]:
        """Features that make up the action."""
        if self.is_ours:
            return [OWN + ACTION]
        return (
            [ACTION] if ACTION in self.vectors else sorted(key for key in self.vectors if key.startswith(f"{ACTION}."))
        )

    def states(self) -> list[str]:
        """Features that make up the state of a foreign set."""
        widths = {key: width for key, width in self.vectors.items() if key.startswith("observation.")}
        return sorted(fitting(widths))

    def unused(self) -> list[str]:
        """Features of numbers that are not read."""
        used = {*self.actions(), *self.states(), *([SUCCESS] if self.has_flags else [])}
        return sorted(set(self.vectors) - used)


def matches(path: Path) -> bool:
    """Whether a path is a directory that could be LeRobot's."""
    return (path / INFO).is_file()


def read(path: Path, view: View = WHOLE) -> ClipSet:
    """Opens a set; clips are read one at a time.

    Args:
        path: Its directory.
        view: Which frames the clips have.

    Raises:
        UserError: If it is damaged, or of another version.
    """
    info = read_json(path / INFO)
    if not isinstance(info, dict) or not str(info.get("codebase_version")).startswith("v3."):
        raise UserError(f"{path / INFO}: expected a LeRobot data set of version v3.0; convert it with LeRobot first")
    fps = info.get("fps")
    rate = float(fps) if isinstance(fps, int | float) and not isinstance(fps, bool) and 0 < fps < 1e6 else 0.0
    layout = _layout(path, info.get("features"), rate, view)
    if not layout.actions():
        there = f"; left out: {', '.join(layout.left_out)[:200]}" if layout.left_out else ""
        raise UserError(f"{path / INFO}: has no feature 'action' of numbers{there}")
    lengths = _episodes(path, layout)
    tasks = _tasks(path)
    source = read_json(path / SOURCE) if layout.is_ours and (path / SOURCE).exists() else {}
    num_unknown = 0 if layout.has_flags else sum(episode.success is None for episode in lengths)
    lacks = [f"success of {num_unknown} of {len(lengths)} episodes, which count as successful"] if num_unknown else []
    lacks += [f"tasks: {len(tasks)} sentences, of which the first names the set"] if len(tasks) > 1 else []
    lacks += [] if layout.is_ours else told("left out", [*layout.left_out, *layout.unused()])
    return ClipSet(
        task=tasks[0],
        control_hz=layout.fps or None,
        image_sizes=layout.sizes(),
        action_names=tuple(name for key in layout.actions() for name in layout.names[key]),
        column_names={STATE: tuple(name for key in layout.states() for name in layout.names[key])},
        num_clips=len(lengths),
        clips=functools.partial(_clips, layout, lengths),
        actions=functools.partial(_actions, layout, lengths),
        source=source if isinstance(source, dict) else {},
        origin={"format": "lerobot", "robot_type": str(info.get("robot_type"))[:100]},
        lacks=tuple(lacks),
    )


def _short(key: str) -> str:
    return key.removeprefix(IMAGES).removeprefix("observation.")


def _layout(path: Path, features: Any, fps: float, view: View) -> _Layout:
    layout = _Layout(path, fps, view=view)
    if not isinstance(features, dict) or len(features) > MAX_NAMES:
        raise UserError(f"{path / INFO}: expected an object of features")
    for key, feature in features.items():
        shape: Any = feature.get("shape") if isinstance(feature, dict) else None
        fits = isinstance(shape, list) and all(type(size) is int and 0 < size <= MAX_STEPS for size in shape)
        if not fits or not is_plain_name(key):
            raise UserError(f"{path / INFO}: feature {key!r:.60}: expected a plain name, a dtype and a shape")
        if feature.get("dtype") in ("image", "video"):
            pictures = layout.images if feature["dtype"] == "image" else layout.videos
            if (size := _picture_size(path, key, feature)) is not None:
                pictures[key] = size
            else:
                layout.left_out.append(key)
        elif feature.get("dtype") in _NUMBERS and key not in _INDICES and len(shape) <= 1:
            width = shape[0] if shape else 1
            layout.vectors[key] = width
            layout.names[key] = _names(key, feature.get("names"), width)
        elif key not in _INDICES:
            layout.left_out.append(key)
    return layout


def _picture_size(path: Path, key: str, feature: dict[str, Any]) -> tuple[int, int] | None:
    """(rows, columns) of a feature's pictures; None if they are not of three channels."""
    shape, names = feature["shape"], feature.get("names")
    if isinstance(names, list) and names and str(names[0]).startswith("channel"):
        shape = [*shape[1:], shape[0]]
    if len(shape) != 3 or not 0 < min(shape[:2]) <= max(shape[:2]) <= 4096:
        raise UserError(f"{path / INFO}: feature {key!r:.60}: expected pictures (height, width, 3), got {shape!s:.60}")
    return (shape[0], shape[1]) if shape[2] == 3 else None


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
    """The sentences by their index, at most a few hundred of them."""
    found: list[tuple[int, str]] = []
    if (path / TASKS).exists():
        for batch in read_batches(path / TASKS, (), ("task_index", "task", "__index_level_0__")):
            index = batch.pop("task_index").to_pylist() if "task_index" in batch else None
            for column in batch.values():
                places = index or range(len(found), len(found) + len(column))
                pairs = zip(places, column, strict=True)
                found += [(place if type(place) is int else 0, str(value.as_py())) for place, value in pairs]
            if len(found) > MAX_NAMES:
                break
    return [sentence for _, sentence in sorted(found)] or [path.resolve().name]


@dataclass(frozen=True)
class _Episode:
    """Where an episode is: its length, seed and success, if they are there, and each video's file and first second."""

    length: int
    seed: int | None
    success: bool | None
    videos: dict[str, tuple[int, int, float]]


def _episodes(path: Path, layout: _Layout) -> list[_Episode]:
    files = sorted(path.glob("meta/episodes/chunk-*/file-*.parquet"))
    wanted = ["episode_index", "length"]
    places = {
        key: [f"videos/{key}/{name}" for name in ("chunk_index", "file_index", "from_timestamp")]
        for key in layout.shown(layout.videos)
    }
    wanted += [name for each in places.values() for name in each]
    found: list[_Episode] = []
    num_steps, num_rows_there = 0, sum(num_rows(file) for file in layout.data_files())
    for file in files:
        for batch in read_batches(file, wanted, ("seed", "success")):
            columns = {name: numbers(file, name, batch[name], 1).tolist() for name in wanted}
            whole = [name for name in wanted if not name.endswith("from_timestamp")]
            if not all(type(value) is int for name in whole for value in columns[name]):
                raise UserError(f"{file}: expected {', '.join(whole):.200} as integers")
            nothing = [None] * len(columns["length"])
            seeds, outcomes = (batch[name].to_pylist() if name in batch else nothing for name in ("seed", "success"))
            for row, (seed, success) in enumerate(zip(seeds, outcomes, strict=True)):
                videos = {key: tuple(columns[name][row] for name in names) for key, names in places.items()}
                _require_row(file, columns["episode_index"][row], columns["length"][row], len(found))
                known = seed if type(seed) is int else None, success if type(success) is bool else None
                found.append(_Episode(columns["length"][row], *known, videos))
                num_steps += found[-1].length
            if num_steps > num_rows_there or len(found) > MAX_CLIPS:
                raise UserError(
                    f"{file}: claims {len(found)} episodes of {num_steps} steps and more, but the data files have "
                    f"{num_rows_there} rows; expected at most {MAX_CLIPS} episodes"
                )
    if not found:
        raise UserError(f"{path}: has no episodes (meta/episodes/chunk-000/file-000.parquet)")
    return found


def _require_row(file: Path, index: int, length: int, expected: int) -> None:
    if index != expected or not 0 < length <= MAX_STEPS:
        raise UserError(f"{file}: expected episode {expected} of at least one step, got episode {index} of {length}")


def _steps(layout: _Layout, episodes: list[_Episode], keys: list[str]) -> Iterator[dict[str, Array]]:
    """Every episode's columns, (S,), (S, D) or frames (S, H, W, 3), in the order of the files."""
    parts, at, filled = _Parts(layout, episodes[0].length, keys), 0, 0
    for file in layout.data_files():
        for batch in read_batches(file, ["episode_index", *keys]):
            index = numbers(file, "episode_index", batch["episode_index"], 1)
            start = 0
            while start < len(index):
                if at >= len(episodes) or index[start] != at:
                    raise UserError(f"{file}: expected a step of episode {at}, got one of episode {index[start]}")
                stop = min(len(index), start + episodes[at].length - filled)
                if (index[start:stop] != at).any():
                    raise UserError(f"{file}: episode {at} is shorter than its length, {episodes[at].length}")
                for key in keys:
                    parts.add(file, key, filled, batch[key].slice(start, stop - start))
                filled += stop - start
                start = stop
                if filled == episodes[at].length:
                    yield parts.arrays()
                    at, filled = at + 1, 0
                    parts = _Parts(layout, episodes[at].length if at < len(episodes) else 0, keys)
    if at != len(episodes):
        raise UserError(f"{layout.root}: has steps of {at} episodes, expected {len(episodes)}")


class _Parts:
    """One episode's columns while they are read in batches; every picture is scaled as soon as it is decoded.

    Args:
        layout: The columns.
        length: Its steps.
        keys: Features to read.
    """

    def __init__(self, layout: _Layout, length: int, keys: list[str]) -> None:
        self._layout = layout
        self._frames = {key: layout.empty(key, length) for key in keys if key in layout.images}
        self._vectors: dict[str, list[Array]] = {key: [] for key in keys if key not in layout.images}

    def add(self, file: Path, key: str, start: int, column: Any) -> None:
        """Reads a batch of a feature, whose first row is a step of the episode."""
        if key in self._vectors:
            self._vectors[key].append(numbers(file, key, column, self._layout.vectors[key]))
            return
        for step, content in enumerate(contents(file, key, column), start):
            picture = decode(file, content, self._layout.images[key])
            self._frames[key][step] = squares(picture[None], self._layout.view.image_size)[0]

    def arrays(self) -> dict[str, Array]:
        """All of it."""
        return {**self._frames, **{key: np.concatenate(part) for key, part in self._vectors.items()}}


def _actions(layout: _Layout, episodes: list[_Episode]) -> Iterator[Array]:
    for arrays in _steps(layout, episodes, layout.actions()):
        yield _joined_actions(layout, arrays)


def _joined_actions(layout: _Layout, arrays: dict[str, Array]) -> Array:
    parts = [arrays[key].reshape(len(arrays[key]), -1) for key in layout.actions()]
    return np.concatenate(parts, axis=1).astype(np.float64)


def _clips(layout: _Layout, episodes: list[_Episode]) -> Iterator[Clip]:
    own = [key for key in layout.vectors if key.startswith(OWN)]
    vectors = own if layout.is_ours else [*layout.actions(), *layout.states()]
    vectors += [SUCCESS] if layout.has_flags else []
    videos = {key: _video(layout, key, episodes) for key in layout.shown(layout.videos)}
    num_bytes = layout.view.num_bytes(layout.sizes())
    for episode in episodes:
        require_clip_bytes(layout.root, "an episode", num_bytes * episode.length)
    images = layout.shown(layout.images)
    for episode, arrays in zip(episodes, _steps(layout, episodes, [*images, *vectors]), strict=True):
        frames = {layout.camera(key): arrays[key] for key in images}
        frames |= {layout.camera(key): next(video) for key, video in videos.items()}
        yield _clip(layout, episode, frames, arrays)


def _clip(layout: _Layout, episode: _Episode, frames: dict[str, Array], arrays: dict[str, Array]) -> Clip:
    if layout.is_ours:
        columns = {key.removeprefix(OWN): array for key, array in arrays.items() if key.startswith(OWN)}
    else:
        columns = {STATE: joined_state({key: arrays[key] for key in layout.states()}, episode.length)}
    if SUCCESS in arrays:
        columns.setdefault("is_success", arrays[SUCCESS].astype(bool))
    success = episode.success
    if success is None and "is_success" in columns:
        success = bool(columns["is_success"].any())
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
        found, step = layout.empty(key, episode.length), 0
        for frame in itertools.islice(frames, start - num_read, start - num_read + episode.length):
            found[step] = squares(frame[None], layout.view.image_size)[0]
            step += 1
        if step != episode.length:
            raise UserError(f"{path}: episode {number} has {episode.length} steps, but {step} frames are left")
        num_read = start + episode.length
        yield found
