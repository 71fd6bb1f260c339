"""One HDF5 file as robomimic's ``SequenceDataset`` reads it (0.3.0 and 0.5.0), both ways.

data                    attributes env_args (JSON), total
data/demo_<i>           attributes num_samples, seed, success, model_file (MuJoCo XML, if an import brought it)
    actions (S, A), rewards (S,), dones (S,), obs/<camera>_image uint8 (S, H, W, 3), obs/<state> (S, D), <column>
mask/successful, mask/failed    names of demos
smidgen_source          JSON as bytes: the header and the rows of the store that the file was made from
"""

from __future__ import annotations

import functools
import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from smidgen.data_collection.array_files import Array
from smidgen.data_collection.formats.clip import (
    STATE,
    Clip,
    ClipSet,
    joined_state,
    numbered,
    optional_library,
    state_names,
)
from smidgen.data_collection.formats.hdf5_files import (
    MAGIC,
    array_shape,
    attribute,
    is_group,
    members,
    open_hdf5,
    read_array,
    read_json_text,
    read_text,
    subgroup,
)
from smidgen.runtime.errors import UserError
from smidgen.runtime.files import canonical_json
from smidgen.runtime.schemas import NAME_PATTERN

SUFFIX = ".hdf5"
_IMAGE = "_image"
_SOURCE = "smidgen_source"
_DEMO = re.compile(r"demo_([0-9]{1,9})")
# EnvType.GYM_TYPE of robomimic; the class is never made without rollouts.
_GYM_TYPE = 2
_KNOWN = ("actions", "rewards", "dones")
_MODEL = "model_file"
# robosuite's largest have a tenth of that.
_MAX_MODEL_CHARACTERS = 1 << 22
# Half a character: what h5py makes of bytes that are not UTF-8.
_SURROGATE = re.compile("[\ud800-\udfff]")


def write(clips: ClipSet, out: Path) -> Path:
    """Writes a set, one clip in memory at a time.

    Args:
        clips: The set.
        out: The file's path without its suffix.
    """
    h5py = optional_library("h5py")
    path = out.with_name(out.name + SUFFIX)
    masks: dict[str, list[bytes]] = {"successful": [], "failed": []}
    with h5py.File(path, "w") as file:
        data, total = file.create_group("data"), 0
        for index, clip in enumerate(clips.clips()):
            name = f"demo_{index}"
            _write_demo(data.create_group(name), clip)
            total += clip.num_steps
            if clip.success is not None:
                masks["successful" if clip.success else "failed"].append(name.encode())
        data.attrs["total"] = total
        data.attrs["env_args"] = json.dumps(_env_args(clips))
        for name, demos in masks.items():
            if demos:
                file.create_dataset(f"mask/{name}", data=np.array(demos, "S"))
        file.create_dataset(_SOURCE, data=np.frombuffer(canonical_json(clips.source), np.uint8))
    return path


def _write_demo(group: Any, clip: Clip) -> None:
    group.attrs["num_samples"] = clip.num_steps
    for name in ("seed", "success"):
        if getattr(clip, name) is not None:
            group.attrs[name] = getattr(clip, name)
    if clip.model:
        group.attrs[_MODEL] = clip.model
    group.create_dataset("actions", data=clip.actions)
    group.create_dataset("rewards", data=clip.columns.get("is_success", np.zeros(clip.num_steps)).astype(np.float64))
    group.create_dataset("dones", data=(np.arange(clip.num_steps) == clip.num_steps - 1).astype(np.int64))
    for camera, frames in clip.frames.items():
        group.create_dataset(f"obs/{camera}{_IMAGE}", data=frames, chunks=(1, *frames.shape[1:]))
    for name, column in clip.columns.items():
        group.create_dataset(f"obs/{name}" if name == STATE else name, data=column)


def _env_args(clips: ClipSet) -> dict[str, Any]:
    return {
        "env_name": clips.task,
        "env_version": str(clips.source["sha256"]),
        "type": _GYM_TYPE,
        "env_kwargs": {"control_freq": clips.control_hz, "action_names": list(clips.action_names)},
    }


def matches(path: Path) -> bool:
    """Whether a path is a file that could be robomimic's."""
    if not path.is_file():
        return False
    with open(path, "rb") as file:
        return file.read(len(MAGIC)) == MAGIC


def read(path: Path) -> ClipSet:
    """Opens a file; clips are read one at a time.

    Raises:
        UserError: If it is damaged, or not as robomimic writes it.
    """
    with open_hdf5(path) as file:
        data = members(file, path).get("data")
        if data is None or not is_group(data):
            raise UserError(f"{path}: has no group 'data': expected a data set of robomimic")
        names = _demo_names(members(data, path), path)
        first = _read_demo(data[names[0]], path)
        widths = _state_widths(subgroup(data[names[0]], "obs", path), path)
        env = read_json_text(attribute(data, "env_args") or "{}", "env_args", path)
        source = _read_source(file, path)
    given = env.get("env_kwargs")
    kwargs: dict[str, Any] = given if isinstance(given, dict) else {}
    given_names = kwargs.get("action_names") if source else None
    lacks = [] if first.success is not None else ["success: every demonstration counts as successful"]
    lacks += [] if first.seed is not None else ["seeds: episodes are numbered from 0"]
    lacks += [] if first.model else ["model files: smidgen-data replay cannot render its states"]
    sizes = {name: (frames.shape[1], frames.shape[2]) for name, frames in first.frames.items()}
    return ClipSet(
        task=str(env.get("env_name", path.stem))[:100],
        control_hz=_rate(kwargs.get("control_freq")),
        image_sizes=sizes,
        action_names=tuple(given_names or numbered("action", first.actions.shape[1])),
        column_names={STATE: state_names(widths)},
        num_clips=len(names),
        clips=functools.partial(_read_demos, path, names),
        actions=functools.partial(_read_actions, path, names),
        source=source,
        origin={
            "format": "robomimic",
            "env_name": str(env.get("env_name", ""))[:100],
            **({"model_files": _model_files(env, kwargs, sizes)} if first.model else {}),
        },
        lacks=tuple(lacks),
        some=lambda places: _read_demos(path, [names[place] for place in places]),
    )


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


def _read_demos(path: Path, names: list[str]) -> Iterator[Clip]:
    with open_hdf5(path) as file:
        data = members(file, path)["data"]
        for name in names:
            yield _read_demo(data[name], path)


def _read_actions(path: Path, names: list[str]) -> Iterator[Array]:
    with open_hdf5(path) as file:
        data = members(file, path)["data"]
        for name in names:
            yield _actions(data[name], path)


def _actions(group: Any, path: Path) -> Array:
    found = members(group, path) if is_group(group) else {}
    if "actions" not in found:
        raise UserError(f"{path}: {group.name} has no actions: expected a demonstration of robomimic")
    shape = array_shape(found["actions"], path)
    if len(shape) != 2 or 0 in shape:
        raise UserError(f"{path}: {group.name}/actions: expected (steps, coordinates), got {shape}")
    return read_array(found["actions"], path).astype(np.float64, copy=False)


def _read_demo(group: Any, path: Path) -> Clip:
    actions = _actions(group, path)
    num_steps = len(actions)
    observed = subgroup(group, "obs", path)
    cameras = [name for name, member in observed.items() if _is_camera(member, path)]
    frames = {name.removesuffix(_IMAGE): _rows(observed[name], num_steps, path) for name in cameras}
    vectors = {name: _rows(observed[name], num_steps, path) for name in _state_widths(observed, path)}
    columns = {STATE: vectors[STATE] if STATE in vectors else joined_state(vectors, num_steps)}
    for name, member in members(group, path).items():
        if name not in _KNOWN and not is_group(member):
            columns[name] = _rows(member, num_steps, path)
    rewards = members(group, path).get("rewards")
    if "is_success" not in columns and rewards is not None and (values := _rows(rewards, num_steps, path)).any():
        columns["is_success"] = values.reshape(num_steps, -1)[:, 0] > 0
    success, seed = attribute(group, "success"), attribute(group, "seed")
    if success is None and "is_success" in columns:
        success = columns["is_success"].any()
    success = None if success is None else bool(success)
    return Clip(frames, actions, columns, seed if type(seed) is int else None, success, _model(group, path))


def _model(group: Any, path: Path) -> str:
    """The MuJoCo model of a demonstration, as it stands; "" if it brings none."""
    value = attribute(group, _MODEL)
    xml = "" if value is None else read_text(value, f"{_MODEL} of {group.name!s:.100}", path)
    if len(xml) > _MAX_MODEL_CHARACTERS or "\0" in xml or _SURROGATE.search(xml):
        raise UserError(
            f"{path}: expected {_MODEL} of {group.name!s:.100} to be text of at most {_MAX_MODEL_CHARACTERS} characters"
        )
    return xml


def _is_camera(member: Any, path: Path) -> bool:
    shape = array_shape(member, path)
    return len(shape) == 4 and shape[-1] == 3 and member.dtype == np.uint8


def _state_widths(observed: dict[str, Any], path: Path) -> dict[str, int]:
    """Coordinates of every observation that is a vector; depth and other images are left out."""
    shapes = {name: array_shape(member, path) for name, member in observed.items()}
    return {name: math.prod(shape[1:]) for name, shape in shapes.items() if len(shape) in (1, 2)}


def _rows(dataset: Any, num_steps: int, path: Path) -> Array:
    shape = array_shape(dataset, path)
    if not shape or shape[0] != num_steps:
        raise UserError(f"{path}: {dataset.name!s:.100}: expected {num_steps} steps as in actions, got shape {shape}")
    return read_array(dataset, path)


def _read_source(file: Any, path: Path) -> dict[str, Any]:
    if _SOURCE not in file:
        return {}
    dataset = members(file, path)[_SOURCE]
    if array_shape(dataset, path) and dataset.dtype == np.uint8:
        return read_json_text(read_array(dataset, path).tobytes(), _SOURCE, path)
    raise UserError(f"{path}: expected {_SOURCE} to be text as bytes")
