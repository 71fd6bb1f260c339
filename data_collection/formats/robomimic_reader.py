"""One HDF5 file of robomimic, read: actions, frames, vectors and states of one demonstration at a time.

What an import takes of a foreign file is named here; every other array is left unread, and said to be.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Iterable, Iterator, Sequence
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
    numbered,
    require_clip_bytes,
    require_same,
    state_names,
    told,
)
from smidgen.data_collection.formats.hdf5_files import (
    MAGIC,
    array_shape,
    attribute,
    is_group,
    is_numbers,
    members,
    open_hdf5,
    read_array,
    read_frames,
    read_json_text,
    read_text,
    subgroup,
)
from smidgen.data_collection.formats.robomimic import (
    ACTIONS,
    DONES,
    IMAGE,
    MASKS,
    MODEL,
    REWARDS,
    SOURCE,
    STATES,
    SUCCESS,
)
from smidgen.runtime.errors import UserError
from smidgen.runtime.schemas import NAME_PATTERN

# What of a demonstration is read; a link under another name is not followed.
_TAKEN = (ACTIONS, REWARDS, STATES, SUCCESS, "obs")
_DEMO = re.compile(r"demo_([0-9]{1,9})")
# robosuite's largest have a tenth of that.
_MAX_MODEL_CHARACTERS = 1 << 22
# Half a character: what h5py makes of bytes that are not UTF-8.
_SURROGATE = re.compile("[\ud800-\udfff]")


def matches(path: Path) -> bool:
    """Whether a path is a file that could be robomimic's."""
    if not path.is_file():
        return False
    with open(path, "rb") as file:
        return file.read(len(MAGIC)) == MAGIC


def read(path: Path, view: View = WHOLE) -> ClipSet:
    """Opens a file; clips are read one at a time.

    Args:
        path: The file.
        view: Which frames the clips have.

    Raises:
        UserError: If it is damaged, or not as robomimic writes it.
    """
    with open_hdf5(path) as file:
        data = members(file, path).get("data")
        if data is None or not is_group(data):
            raise UserError(f"{path}: has no group 'data': expected a data set of robomimic")
        names = _demo_names(members(data, path), path)
        source = _read_source(file, path)
        first = _Demo(data[names[0]], path)
        outcomes = _Outcomes.of([data[name] for name in names], path, bool(source))
        env = _env_args(attribute(data, "env_args"), path)
        model = _model(data[names[0]], path)
        sizes, widths, num_coordinates = first.image_sizes(), first.widths(), first.num_coordinates
        masks = [f"mask/{name}" for name in subgroup(file, "mask", path) if name not in MASKS]
        left_out = [] if source else [*first.left_out(), *masks]
    given = env.get("env_kwargs")
    kwargs: dict[str, Any] = given if isinstance(given, dict) else {}
    given_names = kwargs.get("action_names") if source else None
    lacks = outcomes.lacks()
    lacks += [] if model else ["model files: smidgen-data replay cannot render its states"]
    lacks += told("left out", left_out)
    episodes = _Episodes(path, view, widths, bool(source), outcomes)
    return ClipSet(
        task=str(env.get("env_name", path.stem)),
        control_hz=_rate(kwargs.get("control_freq")),
        image_sizes=sizes,
        action_names=tuple(given_names or numbered("action", num_coordinates)),
        column_names={STATE: state_names(widths)},
        num_clips=len(names),
        clips=functools.partial(episodes.clips, list(enumerate(names))),
        actions=functools.partial(_read_actions, path, names),
        source=source,
        origin={
            "format": "robomimic",
            "env_name": str(env.get("env_name", ""))[:100],
            **({"model_files": _model_files(env, kwargs, sizes)} if model else {}),
        },
        lacks=tuple(lacks),
        some=lambda places: episodes.clips([(place, names[place]) for place in places]),
    )


def _env_args(value: Any, path: Path) -> dict[str, Any]:
    """What a file says of its environment; only its name and rate are used, so that nonsense counts as nothing."""
    try:
        return read_json_text(value or "{}", "env_args", path)
    except UserError:
        return {}


def _model_files(env: dict[str, Any], kwargs: dict[str, Any], sizes: dict[str, tuple[int, int]]) -> dict[str, Any]:
    """How the frames were drawn, by ``ModelFiles``; robosuite's defaults where the file does not say."""
    found = str(env.get("env_version", ""))
    return {
        "robosuite": found if NAME_PATTERN.fullmatch(found) else "",
        "image_sizes": {name: list(size) for name, size in sizes.items()},
        "visual_meshes": kwargs.get("render_visual_mesh", True) is not False,
        "collision_meshes": kwargs.get("render_collision_mesh", False) is True,
    }


def _rate(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and 0 < value < 1e6 else None


def _demo_names(found: dict[str, Any], path: Path) -> list[str]:
    numbers = {name: _DEMO.fullmatch(name) for name in found}
    strange = next((name for name, match in numbers.items() if match is None), None)
    if strange is not None or not numbers:
        raise UserError(f"{path}: expected groups data/demo_0, demo_1, ..., got {strange or 'none'!s:.60}")
    return sorted(numbers, key=lambda name: int(name[5:]))


@dataclass(frozen=True)
class _Outcomes:
    """What a file says of its demonstrations' success.

    A demonstration's own attribute counts, else its ``is_success``, else its rewards: where all of the file are 0 or 1,
    and some are 1, a demonstration without a 1 has failed. Other rewards tell nothing.

    Attributes:
        success: Of each demonstration; None if unknown.
        rewards_are_flags: Whether a reward of 1 marks a step that succeeds.
        reason: Why some are unknown.
    """

    success: list[bool | None]
    rewards_are_flags: bool = False
    reason: str = ""

    @classmethod
    def of(cls, groups: list[Any], path: Path, is_ours: bool) -> _Outcomes:
        """Reads what is said of some demonstrations."""
        success = [_stated_success(group, path) for group in groups]
        if is_ours:
            return cls(success)
        known = [each for each in (_rewards(group, path) for group in groups) if each is not None]
        are_binary, is_any = all(np.isin(each, (0, 1)).all() for each in known), any(each.any() for each in known)
        if known and are_binary and is_any:
            rewards = [_rewards(group, path) for group in groups]
            found = [
                bool(each.any()) if stated is None and each is not None else stated
                for stated, each in zip(success, rewards, strict=True)
            ]
            return cls(found, True, "they have no rewards")
        reason = (
            "there are no rewards" if not known else "rewards are all 0" if not is_any else "rewards are not 0 and 1"
        )
        return cls(success, False, reason)

    def lacks(self) -> list[str]:
        """A line about what is unknown, if anything is."""
        count = self.success.count(None)
        if not count or not self.reason:
            return []
        return [f"success of {count} of {len(self.success)} demonstrations, which count as successful: {self.reason}"]


def _stated_success(group: Any, path: Path) -> bool | None:
    value = attribute(group, "success") if is_group(group) else None
    if isinstance(value, bool | int | float) and value in (0, 1):
        return bool(value)
    flags = _flags(members(group, path, _TAKEN).get(SUCCESS), path) if is_group(group) else None
    return None if flags is None else bool(flags.any())


def _are_flags(member: Any) -> bool:
    """Whether an array has one number for each step."""
    return member is not None and is_numbers(member) and bool(member.shape) and member.size == member.shape[0]


def _flags(member: Any, path: Path) -> Array | None:
    """A flag for each step, bool (S,); None if an array is something else."""
    return read_array(member, path).reshape(-1).astype(bool) if _are_flags(member) else None


def _rewards(group: Any, path: Path) -> Array | None:
    member = members(group, path, _TAKEN).get(REWARDS) if is_group(group) else None
    return read_array(member, path).reshape(-1) if _are_flags(member) else None


class _Demo:
    """One demonstration's arrays, before any is read.

    Args:
        group: Its group.
        path: The file.

    Raises:
        UserError: If it has no actions, or links lead elsewhere.
    """

    def __init__(self, group: Any, path: Path) -> None:
        self._path, self.name = path, str(group.name)
        self.columns = members(group, path, _TAKEN) if is_group(group) else {}
        if ACTIONS not in self.columns:
            raise UserError(f"{path}: {group.name!s:.100} has no actions: expected a demonstration of robomimic")
        shape = array_shape(self.columns[ACTIONS], path)
        if len(shape) != 2 or 0 in shape:
            raise UserError(f"{path}: {group.name!s:.100}/actions: expected (steps, coordinates), got {shape}")
        self.num_steps, self.num_coordinates = shape
        observed = subgroup(group, "obs", path)
        pictures = {
            name: member
            for name, member in observed.items()
            if is_numbers(member) and member.dtype == np.uint8 and len(member.shape) == 4 and member.shape[-1] == 3
        }
        short = [name.removesuffix(IMAGE) for name in pictures]
        self.cameras = {
            name if short.count(name.removesuffix(IMAGE)) > 1 else name.removesuffix(IMAGE): member
            for name, member in pictures.items()
        }
        vectors = {name: each for name, each in observed.items() if is_numbers(each) and len(each.shape) in (1, 2)}
        widths = {name: math.prod(each.shape[1:]) for name, each in vectors.items()}
        self.vectors = {name: vectors[name] for name in fitting(widths)}
        self._rest = set(observed) - set(pictures) - set(self.vectors)

    def image_sizes(self) -> dict[str, tuple[int, int]]:
        """(rows, columns) of each camera."""
        return {name: (member.shape[1], member.shape[2]) for name, member in self.cameras.items()}

    def widths(self) -> dict[str, int]:
        """Coordinates of each observation that is a vector."""
        return {name: math.prod(member.shape[1:]) for name, member in self.vectors.items()}

    def left_out(self) -> list[str]:
        """What an import does not take, by its name in the demonstration."""
        unused = set(self.columns) - {*_TAKEN, DONES, "next_obs"}
        unused |= {SUCCESS} if SUCCESS in self.columns and not _are_flags(self.columns[SUCCESS]) else set()
        unused |= {STATES} if STATES in self.columns and not self.has_states() else set()
        return [*unused, *(f"obs/{name}" for name in self._rest)]

    def has_states(self) -> bool:
        """Whether it has the simulator's states, a row for each step."""
        member = self.columns.get(STATES)
        return member is not None and is_numbers(member) and member.shape[:1] == (self.num_steps,)

    def require_steps(self, member: Any) -> None:
        """Refuses an array of another length than the actions."""
        if not member.shape or member.shape[0] != self.num_steps:
            raise UserError(
                f"{self._path}: {member.name!s:.100}: expected {self.num_steps} steps as in actions, got {member.shape}"
            )


@dataclass(frozen=True)
class _Episodes:
    """Reads demonstrations.

    Attributes:
        path: The file.
        view: Which frames they have.
        widths: Width of each vector in the first one, which all must have.
        is_ours: Whether the file was exported from here: then every column is taken.
        outcomes: Whether each succeeded, if known.
    """

    path: Path
    view: View
    widths: dict[str, int]
    is_ours: bool
    outcomes: _Outcomes

    def clips(self, wanted: Sequence[tuple[int, str]]) -> Iterator[Clip]:
        """Yields some demonstrations, by place and name."""
        with open_hdf5(self.path) as file:
            data = members(file, self.path)["data"]
            for place, name in wanted:
                yield self._clip(data[name], self.outcomes.success[place])

    def _clip(self, group: Any, success: bool | None) -> Clip:
        path, demo = self.path, _Demo(group, self.path)
        require_same(path, f"observations of {demo.name:.100}", self.widths, demo.widths())
        wanted = {name: member for name, member in demo.cameras.items() if self.view.shows(name)}
        columns = {
            name: member
            for name, member in demo.columns.items()
            if (self.is_ours and name not in (ACTIONS, REWARDS, DONES, "obs")) or (name == STATES and demo.has_states())
        }
        for member in (*wanted.values(), *demo.vectors.values(), *columns.values()):
            demo.require_steps(member)
        self._require_bytes(demo, columns.values())
        frames = {
            name: read_frames(member, demo.num_steps, self.view.image_size, path) for name, member in wanted.items()
        }
        vectors = {name: read_array(member, path) for name, member in demo.vectors.items()}
        arrays = {name: read_array(member, path) for name, member in columns.items()}
        arrays[STATE] = joined_state(vectors, demo.num_steps)
        if not self.is_ours and (flags := self._flags(demo)) is not None:
            arrays[SUCCESS] = flags
        seed = attribute(group, "seed")
        actions = read_array(demo.columns[ACTIONS], path).astype(np.float64, copy=False)
        model = _model(group, path)
        return Clip(frames, actions, arrays, seed if type(seed) is int else None, success, model)

    def _require_bytes(self, demo: _Demo, columns: Iterable[Any]) -> None:
        held = demo.num_steps * self.view.num_bytes(demo.image_sizes())
        held += sum(member.nbytes for member in (demo.columns[ACTIONS], *demo.vectors.values(), *columns))
        require_clip_bytes(self.path, f"{demo.name:.100}", held)

    def _flags(self, demo: _Demo) -> Array | None:
        """Which steps succeed: a flag of its own, or rewards where they are flags."""
        names = (SUCCESS, REWARDS) if self.outcomes.rewards_are_flags else (SUCCESS,)
        found = (_flags(demo.columns.get(name), self.path) for name in names)
        return next((flags for flags in found if flags is not None and len(flags) == demo.num_steps), None)


def _read_actions(path: Path, names: list[str]) -> Iterator[Array]:
    with open_hdf5(path) as file:
        data = members(file, path)["data"]
        for name in names:
            yield read_array(_Demo(data[name], path).columns[ACTIONS], path).astype(np.float64, copy=False)


def _model(group: Any, path: Path) -> str:
    """The MuJoCo model of a demonstration, as it stands; "" if it brings none."""
    value = attribute(group, MODEL)
    xml = "" if value is None else read_text(value, f"{MODEL} of {group.name!s:.100}", path)
    if len(xml) > _MAX_MODEL_CHARACTERS or "\0" in xml or _SURROGATE.search(xml):
        raise UserError(
            f"{path}: expected {MODEL} of {group.name!s:.100} to be text of at most {_MAX_MODEL_CHARACTERS} characters"
        )
    return xml


def _read_source(file: Any, path: Path) -> dict[str, Any]:
    if SOURCE not in file:
        return {}
    dataset = members(file, path)[SOURCE]
    if array_shape(dataset, path) and dataset.dtype == np.uint8:
        return read_json_text(read_array(dataset, path).tobytes(), SOURCE, path)
    raise UserError(f"{path}: expected {SOURCE} to be text as bytes")
