"""What every format shares: a clip (one episode as named arrays) and the set that it belongs to.

Letters: S steps, H rows, W columns, A action coordinates, D coordinates of a column.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from smidgen.data_collection.array_files import Array
from smidgen.runtime import optional_libraries as optional
from smidgen.runtime.errors import UserError

# A clip is held in memory one at a time; what is kept of an episode, its chosen cameras at their final size.
MAX_CLIP_BYTES = 1 << 31
MAX_CLIPS = 1_000_000
MAX_STEPS = 1_000_000
MAX_NAMES = 1000
MAX_TOLD = 8
MAX_NAME_CHARACTERS = 200
_MEMBER = re.compile(r"_index_[0-9]{1,9}")
# The column that policies may see; every other one is privileged.
STATE = "eef_state"
INSTALL = "pip install 'smidgen[formats]'"


@dataclass(frozen=True)
class View:
    """Which frames of a set are read.

    Attributes:
        cameras: Their cameras; empty: all.
        image_size: Side of the squares that they are cropped and scaled to, one frame at a time; 0: as they are.
    """

    cameras: tuple[str, ...] = ()
    image_size: int = 0

    def shows(self, camera: str) -> bool:
        """Whether a camera's frames are read."""
        return not self.cameras or camera in self.cameras

    def num_bytes(self, sizes: Mapping[str, tuple[int, int]]) -> int:
        """Bytes of one step's frames, given (rows, columns) of every camera in the set."""
        side = self.image_size
        return sum(3 * (side * side or rows * columns) for name, (rows, columns) in sizes.items() if self.shows(name))


WHOLE = View()


@dataclass(frozen=True, eq=False)
class Clip:
    """One episode.

    Attributes:
        frames: uint8 (S, H, W, 3) of each camera that is read.
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
        image_sizes: (rows, columns) of each camera in the set, read or not.
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
    parts = [np.reshape(vectors[name], (num_steps, -1)) for name in sorted(vectors, key=_natural)]
    return np.concatenate([np.empty((num_steps, 0)), *parts], axis=1).astype(np.float64, copy=False)


def state_names(widths: Mapping[str, int]) -> tuple[str, ...]:
    """Names of the coordinates of :func:`joined_state`."""
    return tuple(each for name in sorted(widths, key=_natural) for each in numbered(name, widths[name]))


def _natural(name: str) -> list[tuple[int, str]]:
    """Sorts ``_index_10``, a member of Minari's tuples, after ``_index_2``."""
    parts = name.split("/")
    return [(int(part[7:]), "") if _MEMBER.fullmatch(part) else (-1, part) for part in parts]


def fitting(widths: Mapping[str, int]) -> list[str]:
    """The vectors that a store has names for, the narrowest first: together at most :data:`MAX_NAMES` coordinates."""
    taken: list[str] = []
    total = 0
    for name in sorted(widths, key=lambda name: (widths[name], name)):
        total += widths[name]
        if total > MAX_NAMES:
            break
        taken.append(name)
    return taken


def require_same(path: Path, what: str, first: Mapping[str, int], here: Mapping[str, int]) -> None:
    """Refuses an episode whose vectors are not those of the set's first one: they would stand under wrong names.

    Args:
        path: The file, for the message.
        what: The episode and the kind of vectors.
        first: Width of each vector of the first episode.
        here: The same of this one.

    Raises:
        UserError: If a name or a width differs.
    """
    if dict(first) != dict(here):
        shown = [", ".join(f"{name} ({width})" for name, width in sorted(each.items())) for each in (first, here)]
        raise UserError(f"{path}: {what}: expected those of the first episode, {shown[0]:.200}; got {shown[1]:.200}")


def told(kind: str, names: Sequence[str]) -> list[str]:
    """A line for :attr:`ClipSet.lacks` about what a set has and an import does not take; none if there is nothing."""
    more = f" and {len(names) - MAX_TOLD} more" if len(names) > MAX_TOLD else ""
    return [f"{kind}: {', '.join(name[:60] for name in sorted(names)[:MAX_TOLD])}{more}"] if names else []


def is_plain_name(name: str) -> bool:
    """Whether a name can be that of a feature, of a group and of a folder: printable, on one level and not hidden."""
    return (
        0 < len(name) <= MAX_NAME_CHARACTERS
        and name.isprintable()
        and not name.startswith(".")
        and not any(part in name for part in ("/", "\\", ".."))
    )


def numbered(prefix: str, count: int) -> tuple[str, ...]:
    """Names of coordinates that have none."""
    return tuple(f"{prefix}_{index}" for index in range(count))
