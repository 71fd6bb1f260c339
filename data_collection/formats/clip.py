"""What every format shares: a clip (one episode as named arrays) and the set that it belongs to.

Letters: S steps, H rows, W columns, A action coordinates, D coordinates of a column.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from smidgen.data_collection.array_files import Array
from smidgen.runtime import optional_libraries as optional
from smidgen.runtime.errors import UserError

# A clip is held in memory one at a time; nobody's episode of robot frames is larger.
MAX_CLIP_BYTES = 1 << 31
MAX_CLIPS = 1_000_000
MAX_STEPS = 1_000_000
MAX_NAMES = 1000
# The column that policies may see; every other one is privileged.
STATE = "eef_state"
INSTALL = "pip install h5py 'pyarrow<26'"


@dataclass(frozen=True, eq=False)
class Clip:
    """One episode.

    Attributes:
        frames: uint8 (S, H, W, 3) of each camera.
        actions: float64 (S, A).
        columns: Other arrays (S,) or (S, D) by name, such as ``eef_state`` and ``is_success``.
        seed: Seed of its reset, if known.
        success: Whether it succeeded, if known.
        model: Its MuJoCo model as XML, if it brings one.
    """

    frames: dict[str, Array]
    actions: Array
    columns: dict[str, Array]
    seed: int | None = None
    success: bool | None = None
    model: str = ""

    @property
    def num_steps(self) -> int:
        """Control steps."""
        return len(self.actions)


@dataclass(frozen=True, eq=False)
class ClipSet:
    """Clips, made or read one at a time, and what they share.

    Attributes:
        task: What is demonstrated, in a few words.
        control_hz: Steps per second, if known.
        image_sizes: (rows, columns) of each camera.
        action_names: Names of the action's coordinates.
        column_names: Names of each column's coordinates; a column may be missing.
        num_clips: How many.
        clips: Iterates over the clips, from the first.
        actions: Iterates over the clips' actions alone, which is quick.
        source: The store that it was made from; {} for a foreign set.
        origin: What a foreign set says about itself.
        lacks: What it does not say, in words.
        some: Iterates over the clips at some places without reading the others, where the format can; see :meth:`at`.
    """

    task: str
    control_hz: float | None
    image_sizes: dict[str, tuple[int, int]]
    action_names: tuple[str, ...]
    column_names: dict[str, tuple[str, ...]]
    num_clips: int
    clips: Callable[[], Iterator[Clip]]
    actions: Callable[[], Iterator[Array]]
    source: dict[str, Any]
    origin: dict[str, Any] = field(default_factory=dict)
    lacks: tuple[str, ...] = ()
    some: Callable[[Sequence[int]], Iterator[Clip]] | None = None

    def at(self, places: Sequence[int]) -> Iterator[Clip]:
        """The clips at some places, which ascend; those between are skipped, or read and dropped."""
        if self.some is not None:
            return self.some(places)
        wanted = set(places)
        upto_last = itertools.islice(self.clips(), max(places, default=-1) + 1)
        return (clip for place, clip in enumerate(upto_last) if place in wanted)


def optional_library(name: str) -> Any:
    """A library that only these formats need.

    Raises:
        UserError: If it is not installed, with the command that installs it.
    """
    return optional.optional_library(name, INSTALL)


def require_clip_bytes(path: Path, where: str, num_bytes: int) -> None:
    """Refuses an array before memory is taken for it.

    Raises:
        UserError: If it is larger than any clip may be.
    """
    if num_bytes > MAX_CLIP_BYTES:
        raise UserError(f"{path}: {where} has {num_bytes} bytes, more than an episode may have ({MAX_CLIP_BYTES})")


def joined_state(vectors: Mapping[str, Array], num_steps: int) -> Array:
    """A foreign set's vectors side by side, in the order of their names: float64 (S, D); D may be 0."""
    parts = [np.reshape(vectors[name], (num_steps, -1)) for name in sorted(vectors)]
    return np.concatenate([np.empty((num_steps, 0)), *parts], axis=1).astype(np.float64, copy=False)


def state_names(widths: Mapping[str, int]) -> tuple[str, ...]:
    """Names of the coordinates of :func:`joined_state`."""
    return tuple(each for name in sorted(widths) for each in numbered(name, widths[name]))


def numbered(prefix: str, count: int) -> tuple[str, ...]:
    """Names of coordinates that have none."""
    return tuple(f"{prefix}_{index}" for index in range(count))
