"""Minari's data sets in HDF5 (0.5.4), written by the library itself, in an environment of its own.

    <name>-v0/data/metadata.json, main_data.hdf5: episode_<i>/{observations/<name>, actions, rewards, terminations,
        truncations, infos/<column>}, with one more observation than actions
    <name>-v0/smidgen.json    the header and the rows of the store that the set was made from

No frame follows the last action of a stored attempt: the last observation stands there again, and ``infos/is_recorded``
is false.
"""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from smidgen.data_collection.array_files import Array, write_npz
from smidgen.data_collection.formats.clip import STATE, Clip, ClipSet
from smidgen.runtime.errors import UserError
from smidgen.runtime.files import write_json_atomic

VERSION = "0.5.4"
METADATA, DATA, SOURCE = "data/metadata.json", "data/main_data.hdf5", "smidgen.json"
RECORDED = "is_recorded"
INSTALL = f"python3.11 -m venv minari && minari/bin/pip install 'minari[hdf5]=={VERSION}' pillow"
_CHILD = Path(__file__).with_name("minari_child.py")


def write(clips: ClipSet, out: Path, python: str) -> Path:
    """Writes a set through the library, one clip in memory at a time.

    Args:
        clips: The set.
        out: The data set's name in the folder of data sets, without its version.
        python: An interpreter that has Minari.

    Raises:
        UserError: If the interpreter does not have it, with what installs it.
    """
    python = require_minari(python)
    root, name = out.parent, f"{out.name}-v0"
    with tempfile.TemporaryDirectory() as scratch:
        specification = Path(scratch, "specification.json")
        write_json_atomic(specification, _specification(clips, name))
        environment = {**os.environ, "MINARI_DATASETS_PATH": str(root)}
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
                if "No space left" in reason:
                    raise OSError(errno.ENOSPC, "No space left on device")
                raise UserError(f"Minari could not write {name}: {reason[:200]}")
    write_json_atomic(root / name / SOURCE, clips.source)
    return root / name


def require_minari(python: str) -> str:
    """Refuses an interpreter without the library.

    Returns:
        Its path; a name is looked for once, so that what was asked is what runs.

    Raises:
        UserError: With the command that makes one.
    """
    found_path = shutil.which(python) or python
    program = "import importlib.metadata, minari, h5py, PIL; print(importlib.metadata.version('minari'))"
    try:
        done = subprocess.run([found_path, "-I", "-c", program], capture_output=True, text=True, check=False)
        found = done.stdout.strip() if not done.returncode else done.stderr.strip().rpartition("\n")[2]
    except OSError as error:
        found = str(error)
    if found != VERSION:
        raise UserError(
            f"minari_python={python}: expected an interpreter with Minari {VERSION}, got {found[:100]!r}; make one: "
            f"{INSTALL}; then add minari_python=minari/bin/python"
        )
    return found_path


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
