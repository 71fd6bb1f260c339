"""Minari's data sets in HDF5 (0.5.4), both ways: written by the library itself, in an environment of its own.

    <name>-v0/data/metadata.json, main_data.hdf5: episode_<i>/{observations/<name>, actions, rewards, terminations,
        truncations, infos/<column>}, with one more observation than actions
    <name>-v0/smidgen.json    the header and the rows of the store that the set was made from

No frame follows the last action of a stored attempt: the last observation stands there again, and ``infos/is_recorded``
is false.
"""

from __future__ import annotations

import functools
import json
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from smidgen.data_collection.array_files import Array, write_npz
from smidgen.data_collection.formats.clip import STATE, Clip, ClipSet, joined_state, state_names
from smidgen.data_collection.formats.hdf5_files import (
    array_shape,
    attribute,
    is_group,
    leaves,
    members,
    open_hdf5,
    read_pictures,
    read_rows,
)
from smidgen.runtime.errors import UserError
from smidgen.runtime.files import read_json, write_json_atomic

VERSION = "0.5.4"
METADATA, DATA, SOURCE = "data/metadata.json", "data/main_data.hdf5", "smidgen.json"
RECORDED = "is_recorded"
INSTALL = f"python3.11 -m venv minari && minari/bin/pip install 'minari[hdf5]=={VERSION}' pillow"
_CHILD = Path(__file__).with_name("minari_child.py")
_SUCCESS_KEYS = ("is_success", "success")


def write(clips: ClipSet, out: Path, python: str) -> Path:
    """Writes a set through the library, one clip in memory at a time.

    Args:
        clips: The set.
        out: The data set's name in the folder of data sets, without its version.
        python: An interpreter that has Minari.

    Raises:
        UserError: If the interpreter does not have it, with what installs it.
    """
    require_minari(python)
    root, name = out.parent, f"{out.name}-v0"
    with tempfile.TemporaryDirectory() as scratch:
        specification = Path(scratch, "specification.json")
        write_json_atomic(specification, _specification(clips, name))
        environment = {"MINARI_DATASETS_PATH": str(root), "PATH": "/usr/bin:/bin"}
        command = [python, "-I", str(_CHILD), str(specification)]
        with (
            open(Path(scratch, "messages"), "w+b") as messages,
            subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=messages, text=True, env=environment
            ) as child,
        ):
            _send(clips, child, Path(scratch, "episode.npz"))
            messages.seek(0)
            if child.wait():
                reason = messages.read().decode("utf-8", "replace").strip().rpartition("\n")[2]
                raise UserError(f"Minari could not write {root / name}: {reason[:200]}")
    write_json_atomic(root / name / SOURCE, clips.source)
    return root / name


def require_minari(python: str) -> None:
    """Refuses an interpreter without the library.

    Raises:
        UserError: With the command that makes one.
    """
    program = "import importlib.metadata, minari, h5py, PIL; print(importlib.metadata.version('minari'))"
    try:
        done = subprocess.run([python, "-I", "-c", program], capture_output=True, text=True, check=False)
        found = done.stdout.strip() if not done.returncode else done.stderr.strip().rpartition("\n")[2]
    except OSError as error:
        found = str(error)
    if found != VERSION:
        raise UserError(
            f"minari_python={python}: expected an interpreter with Minari {VERSION}, got {found[:100]!r}; make one: "
            f"{INSTALL}; then add minari_python=minari/bin/python"
        )


def _send(clips: ClipSet, child: Any, path: Path) -> None:
    """Hands over one clip after another through a file; ends early if the child does."""
    for clip in clips.clips():
        write_npz(path, _episode_arrays(clip))
        try:
            child.stdin.write(f"{path}\n")
            child.stdin.flush()
        except BrokenPipeError:
            break
        if not child.stdout.readline():
            break
    child.stdin.close()


def _episode_arrays(clip: Clip) -> dict[str, Array]:
    last = np.arange(clip.num_steps) == clip.num_steps - 1
    rewards = clip.columns.get("is_success", np.zeros(clip.num_steps)).astype(np.float64)
    observed = {**clip.frames, STATE: clip.columns[STATE]}
    infos = {name: column for name, column in clip.columns.items() if name != STATE and column.size}
    infos[RECORDED] = np.ones(clip.num_steps, bool)
    arrays = {
        "seed": np.array([clip.seed]),
        "actions": clip.actions,
        "rewards": rewards,
        "terminations": last & bool(clip.success),
        "truncations": last & (not clip.success),
        **{f"observations.{name}": _one_more(array) for name, array in observed.items() if array.size},
        **{f"infos.{name}": _one_more(array) for name, array in infos.items()},
    }
    arrays[f"infos.{RECORDED}"][-1] = False
    return arrays


def _one_more(array: Array) -> Array:
    return np.concatenate([array, array[-1:]])


def _specification(clips: ClipSet, name: str) -> dict[str, Any]:
    header, state = clips.source["header"], clips.column_names[STATE]
    images = {camera: {"dtype": "uint8", "shape": [*size, 3]} for camera, size in clips.image_sizes.items()}
    spec = header["action_spec"]
    return {
        "dataset_id": name,
        "observations": images | ({STATE: {"dtype": "float64", "shape": [len(state)]}} if state else {}),
        "actions": {"dtype": "float64", "shape": [len(spec["names"])], "low": spec["low"], "high": spec["high"]},
        "algorithm_name": str(header["expert"].get("name", "unknown")),
        "description": f"{clips.task}, {clips.control_hz} Hz; smidgen data set {clips.source['sha256']}",
        "requirements": ["smidgen"],
    }


def matches(path: Path) -> bool:
    """Whether a path is a directory that could be Minari's."""
    return (path / METADATA).is_file()


def read(path: Path) -> ClipSet:
    """Opens a set; clips are read one at a time.

    Raises:
        UserError: If it is damaged, or stored in another format than HDF5.
    """
    metadata = read_json(path / METADATA)
    if not isinstance(metadata, dict) or metadata.get("data_format") != "hdf5":
        raise UserError(f"{path / METADATA}: expected data_format 'hdf5': write it again with Minari and that format")
    data, pictures = path / DATA, _encoded_pictures(metadata, path)
    with open_hdf5(data) as file:
        names = _episode_names(members(file, data), data)
        first = _read_episode(file[names[0]], pictures, data)
        widths = _state_widths(_observed(file[names[0]], data), data)
        widest = _read_actions(file[names[0]], data).shape[1]
    source = read_json(path / SOURCE) if (path / SOURCE).exists() else {}
    lacks = ["seeds: episodes are numbered from 0"]
    lacks += [] if first.success is not None else ["success: every episode counts as successful"]
    return ClipSet(
        task=str(metadata.get("dataset_id") or path.name)[:100],
        control_hz=None,
        image_sizes={name: (frames.shape[1], frames.shape[2]) for name, frames in first.frames.items()},
        action_names=state_names({"action": widest}),
        column_names={STATE: state_names(widths)},
        num_clips=len(names),
        clips=functools.partial(_clips, data, names, pictures),
        actions=functools.partial(_actions, data, names),
        source=source if isinstance(source, dict) else {},
        origin={"format": "minari", "dataset_id": str(metadata.get("dataset_id"))[:100]},
        lacks=tuple(lacks),
        some=lambda places: _clips(data, [names[place] for place in places], pictures),
    )


def _encoded_pictures(metadata: Mapping[str, Any], path: Path) -> dict[str, tuple[int, int]]:
    """Sizes of the observations that are stored as JPEG, by name."""
    if not metadata.get("jpeg_encoding"):
        return {}
    folder = path / METADATA
    try:
        space = json.loads(str(metadata.get("observation_space")))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{folder}: observation_space is not valid JSON") from error
    spaces = space.get("subspaces", {"": space}) if isinstance(space, dict) else {}
    found = {}
    for name, each in spaces.items() if isinstance(spaces, dict) else ():
        shape = each.get("shape") if isinstance(each, dict) else None
        if isinstance(shape, list) and len(shape) == 3 and shape[2] == 3 and each.get("dtype") == "uint8":
            if not all(type(size) is int and 0 < size <= 4096 for size in shape):
                raise UserError(f"{folder}: observation_space: {name!r:.60} has shape {shape!s:.60}")
            found[name] = (shape[0], shape[1])
    return found


def _episode_names(found: Mapping[str, Any], path: Path) -> list[str]:
    names = [name for name in found if name.startswith("episode_") and name[8:].isdecimal() and len(name) < 18]
    if not names:
        raise UserError(f"{path}: expected groups episode_0, episode_1, ...")
    return sorted(names, key=lambda name: int(name[8:]))


def _clips(path: Path, names: list[str], pictures: Mapping[str, tuple[int, int]]) -> Iterator[Clip]:
    with open_hdf5(path) as file:
        for name in names:
            yield _read_episode(file[name], pictures, path)


def _actions(path: Path, names: list[str]) -> Iterator[Array]:
    with open_hdf5(path) as file:
        for name in names:
            yield _read_actions(file[name], path)


def _observed(episode: Any, path: Path) -> dict[str, Any]:
    return leaves(_part(episode, "observations", path), path)


def _part(episode: Any, name: str, path: Path) -> Any:
    found = members(episode, path) if is_group(episode) else {}
    if name not in found:
        raise UserError(f"{path}: {episode.name!s:.60} has no {name}: expected an episode of Minari")
    return found[name]


def _read_actions(episode: Any, path: Path) -> Array:
    """Actions (S, A): a composite space's parts side by side."""
    parts = leaves(_part(episode, "actions", path), path)
    lengths = {array_shape(part, path)[:1] for part in parts.values()}
    if len(lengths) != 1 or lengths <= {(), (0,)}:
        raise UserError(f"{path}: {episode.name!s:.60}: expected actions of one length, at least one step")
    ((num_steps,),) = lengths
    return joined_state({name: read_rows(part, num_steps, path) for name, part in parts.items()}, num_steps)


def _state_widths(observed: Mapping[str, Any], path: Path) -> dict[str, int]:
    """Coordinates of every observation that is a vector of numbers."""
    found = {}
    for name, dataset in observed.items():
        if (
            dataset.dtype.kind in "biuf"
            and len(shape := array_shape(dataset, path)) in (1, 2)
            and dataset.dtype != np.uint8
        ):
            found[name or "state"] = shape[1] if len(shape) == 2 else 1
    return found


def _read_episode(episode: Any, pictures: Mapping[str, tuple[int, int]], path: Path) -> Clip:
    actions, observed = _read_actions(episode, path), _observed(episode, path)
    num_steps = len(actions)
    frames = {
        name or "camera": read_pictures(dataset, num_steps, pictures[name], path)
        if name in pictures
        else read_rows(dataset, num_steps, path)
        for name, dataset in observed.items()
        if name in pictures or (len(dataset.shape) == 4 and dataset.shape[-1] == 3 and dataset.dtype == np.uint8)
    }
    widths = _state_widths(observed, path)
    vectors = {name: read_rows(observed["" if name not in observed else name], num_steps, path) for name in widths}
    columns = {STATE: vectors[STATE] if set(vectors) == {STATE} else joined_state(vectors, num_steps)}
    infos = leaves(episode["infos"], path) if "infos" in members(episode, path) else {}
    columns |= {name: read_rows(infos[name], num_steps, path) for name in infos if infos[name].dtype.kind in "biuf"}
    success = _success(infos, columns, num_steps, path)
    seed = attribute(episode, "seed")
    return Clip(frames, actions, columns, seed if type(seed) is int else None, success)


def _success(infos: Mapping[str, Any], columns: dict[str, Array], num_steps: int, path: Path) -> bool | None:
    """Whether an episode succeeded; a foreign set's flag after action s stands in row s + 1, ours in row s."""
    key = next((key for key in _SUCCESS_KEYS if key in columns), None)
    if key is None:
        return None
    if RECORDED not in infos and infos[key].shape[0] > num_steps:
        columns["is_success"] = read_rows(infos[key], num_steps + 1, path)[1:].astype(bool)
    return bool(columns["is_success"].any()) if "is_success" in columns else None
