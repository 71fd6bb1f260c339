"""Minari's data sets in HDF5, read: also those of earlier versions, whose pictures are JPEG."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from smidgen.data_collection.array_files import Array
from smidgen.data_collection.formats.clip import (
    STATE,
    WHOLE,
    Clip,
    ClipSet,
    View,
    fitting,
    joined_state,
    require_clip_bytes,
    require_same,
    state_names,
    told,
)
from smidgen.data_collection.formats.hdf5_files import (
    array_shape,
    attribute,
    is_encoded,
    is_group,
    is_numbers,
    leaves,
    members,
    open_hdf5,
    picture_size,
    read_array,
    read_frames,
    read_pictures,
    read_rows,
)
from smidgen.data_collection.formats.minari import DATA, METADATA, RECORDED, SOURCE
from smidgen.runtime.errors import UserError
from smidgen.runtime.files import read_json

_SUCCESS_KEYS = ("is_success", "success")


def matches(path: Path) -> bool:
    """Whether a path is a directory that could be Minari's."""
    return (path / METADATA).is_file()


def read(path: Path, view: View = WHOLE) -> ClipSet:
    """Opens a set; clips are read one at a time.

    Args:
        path: Its directory.
        view: Which frames the clips have.

    Raises:
        UserError: If it is damaged, or stored in another format than HDF5.
    """
    metadata = read_json(path / METADATA)
    if not isinstance(metadata, dict) or metadata.get("data_format") != "hdf5":
        raise UserError(f"{path / METADATA}: expected data_format 'hdf5': write it again with Minari and that format")
    data = path / DATA
    with open_hdf5(data) as file:
        names = _episode_names(members(file, data), data)
        first = _Episode(file[names[0]], data)
        sizes, left_out = first.image_sizes(), first.left_out()
        widths, action_widths = first.widths(), first.action_widths()
        num_unknown = sum(_Episode(file[name], data).success() is None for name in names)
    source = read_json(path / SOURCE) if (path / SOURCE).exists() else {}
    is_ours = isinstance(source, dict) and bool(source)
    lacks = [f"success of {num_unknown} of {len(names)} episodes, which count as successful"] if num_unknown else []
    lacks += [] if is_ours else told("left out", left_out)
    episodes = _Episodes(data, view, widths, action_widths, is_ours)
    return ClipSet(
        task=str(metadata.get("dataset_id") or path.name),
        control_hz=None,
        image_sizes=sizes,
        action_names=state_names({name or "action": width for name, width in action_widths.items()}),
        column_names={STATE: state_names(widths)},
        num_clips=len(names),
        clips=functools.partial(episodes.clips, names),
        actions=functools.partial(episodes.actions, names),
        source=source if isinstance(source, dict) else {},
        origin={"format": "minari", "dataset_id": str(metadata.get("dataset_id"))[:100]},
        lacks=tuple(lacks),
        some=lambda places: episodes.clips([names[place] for place in places]),
    )


def _episode_names(found: Mapping[str, Any], path: Path) -> list[str]:
    names = [name for name in found if name.startswith("episode_") and name[8:].isdecimal() and len(name) < 18]
    if not names:
        raise UserError(f"{path}: expected groups episode_0, episode_1, ...")
    return sorted(names, key=lambda name: int(name[8:]))


class _Episode:
    """One episode's arrays, before any is read.

    Args:
        group: Its group.
        path: The file.

    Raises:
        UserError: If it has no actions or observations, or links lead elsewhere.
    """

    def __init__(self, group: Any, path: Path) -> None:
        self._path, self._group = path, group
        parts = members(group, path) if is_group(group) else {}
        if missing := [name for name in ("observations", "actions") if name not in parts]:
            raise UserError(f"{path}: {group.name!s:.60} has no {missing[0]}: expected an episode of Minari")
        self.name = str(group.name)
        self.actions, observed = leaves(parts["actions"], path), leaves(parts["observations"], path)
        lengths = {array_shape(part, path)[:1] for part in self.actions.values()}
        if len(lengths) != 1 or lengths <= {(), (0,)}:
            raise UserError(f"{path}: {self.name:.60}: expected actions of one length, at least one step")
        ((self.num_steps,),) = lengths
        self.infos = leaves(parts["infos"], path) if "infos" in parts else {}
        self._ends = parts.get("terminations")
        pictures = {name: each for name, each in observed.items() if is_encoded(each) or _are_frames(each)}
        self.cameras = {(name or "camera").replace("/", "."): each for name, each in pictures.items()}
        vectors = {
            name or "state": each
            for name, each in observed.items()
            if is_numbers(each) and len(each.shape) in (1, 2) and each.dtype != np.uint8
        }
        widths = {name: each.shape[1] if len(each.shape) == 2 else 1 for name, each in vectors.items()}
        self.vectors = {name: vectors[name] for name in fitting(widths)}
        self._rest = [
            name or "observations"
            for name in observed
            if name not in pictures and (name or "state") not in self.vectors
        ]

    def image_sizes(self) -> dict[str, tuple[int, int]]:
        """(rows, columns) of each camera."""
        return {name: self._size(member) for name, member in self.cameras.items()}

    def _size(self, member: Any) -> tuple[int, int]:
        return picture_size(member, self._path) if is_encoded(member) else (member.shape[1], member.shape[2])

    def widths(self) -> dict[str, int]:
        """Coordinates of each observation that is a vector."""
        return {name: each.shape[1] if len(each.shape) == 2 else 1 for name, each in self.vectors.items()}

    def action_widths(self) -> dict[str, int]:
        """Coordinates of each part of a composite action, or of the action itself under ""."""
        shapes = {name: array_shape(each, self._path) for name, each in self.actions.items()}
        return {name: int(np.prod(shape[1:], dtype=np.int64)) for name, shape in shapes.items()}

    def joined_actions(self) -> Array:
        """Actions (S, A): a composite space's parts side by side."""
        parts = {name: read_rows(each, self.num_steps, self._path) for name, each in self.actions.items()}
        return joined_state(parts, self.num_steps)

    def frames(self, view: View) -> dict[str, Array]:
        """Frames of the cameras that are read."""
        found = {}
        for name, member in self.cameras.items():
            if view.shows(name) and is_encoded(member):
                size = picture_size(member, self._path)
                found[name] = read_pictures(member, self.num_steps, size, view.image_size, self._path)
            elif view.shows(name):
                found[name] = read_frames(member, self.num_steps, view.image_size, self._path)
        return found

    @property
    def is_ours(self) -> bool:
        """Whether the episode was exported from here."""
        return RECORDED in self.infos

    def _flag_name(self) -> str | None:
        """The info that says which steps succeed: a number for each step, or for the reset as well."""
        for key in _SUCCESS_KEYS:
            member = self.infos.get(key)
            if member is not None and is_numbers(member) and member.size == (member.shape or (0,))[0] >= self.num_steps:
                return key
        return None

    def flags(self) -> Array | None:
        """Which steps succeed, bool (S,): a foreign set's flag after action s stands in row s + 1, ours in row s."""
        name = self._flag_name()
        if name is None:
            return None
        values = read_array(self.infos[name], self._path).reshape(-1).astype(bool)
        is_later = not self.is_ours and len(values) == self.num_steps + 1
        return values[1:] if is_later else values[: self.num_steps]

    def success(self) -> bool | None:
        """Whether it succeeded: ours end with a termination, others where a step succeeds; None if unknown."""
        if self.is_ours and self._ends is not None and is_numbers(self._ends):
            return bool(read_array(self._ends, self._path).any())
        flags = self.flags()
        return None if flags is None else bool(flags.any())

    def seed(self) -> int | None:
        """Seed of its reset, if known."""
        value = attribute(self._group, "seed")
        return value if type(value) is int else None

    def left_out(self) -> list[str]:
        """What an import does not take, by its name in the episode."""
        return [
            *(f"observations/{name}" for name in self._rest),
            *(f"infos/{name}" for name in self.infos if name != self._flag_name()),
        ]


def _are_frames(member: Any) -> bool:
    return bool(is_numbers(member) and member.dtype == np.uint8 and len(member.shape) == 4 and member.shape[-1] == 3)


@dataclass(frozen=True)
class _Episodes:
    """Reads episodes.

    Attributes:
        path: The file.
        view: Which frames they have.
        widths: Width of each vector in the first one, which all must have.
        action_widths: The same of the parts of its action.
        is_ours: Whether the set was exported from here: then every info is taken.
    """

    path: Path
    view: View
    widths: dict[str, int]
    action_widths: dict[str, int]
    is_ours: bool

    def clips(self, names: list[str]) -> Iterator[Clip]:
        """Yields some episodes."""
        with open_hdf5(self.path) as file:
            for name in names:
                yield self._clip(_Episode(file[name], self.path))

    def actions(self, names: list[str]) -> Iterator[Array]:
        """Yields the actions of some episodes."""
        with open_hdf5(self.path) as file:
            for name in names:
                yield _Episode(file[name], self.path).joined_actions()

    def _clip(self, episode: _Episode) -> Clip:
        path, num_steps = self.path, episode.num_steps
        require_same(path, f"observations of {episode.name:.60}", self.widths, episode.widths())
        require_same(path, f"actions of {episode.name:.60}", self.action_widths, episode.action_widths())
        infos = {name: each for name, each in episode.infos.items() if self.is_ours and is_numbers(each)}
        held = num_steps * self.view.num_bytes(episode.image_sizes())
        held += sum(each.nbytes for part in (episode.vectors, episode.actions, infos) for each in part.values())
        require_clip_bytes(path, f"{episode.name:.60}", held)
        vectors = {name: read_rows(each, num_steps, path) for name, each in episode.vectors.items()}
        columns = {name: read_rows(each, num_steps, path) for name, each in infos.items()}
        columns[STATE] = joined_state(vectors, num_steps)
        if (flags := episode.flags()) is not None:
            columns["is_success"] = flags
        return Clip(episode.frames(self.view), episode.joined_actions(), columns, episode.seed(), episode.success())
