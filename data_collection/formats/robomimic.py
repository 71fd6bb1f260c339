"""One HDF5 file as robomimic's ``SequenceDataset`` reads it (0.3.0 and 0.5.0), written.

data                    attributes env_args (JSON), total
data/demo_<i>           attributes num_samples, seed, success, model_file (MuJoCo XML, if an import brought it)
    actions (S, A), rewards (S,), dones (S,), obs/<camera>_image uint8 (S, H, W, 3), obs/<state> (S, D), <column>
mask/successful, mask/failed    names of demos
smidgen_source          JSON as bytes: the header and the rows of the store that the file was made from
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from smidgen.data_collection.formats.clip import STATE, Clip, ClipSet
from smidgen.data_collection.formats.hdf5_files import create_hdf5
from smidgen.runtime.files import canonical_json

SUFFIX = ".hdf5"
IMAGE = "_image"
ACTIONS, STATES, REWARDS, DONES, SUCCESS = "actions", "states", "rewards", "dones", "is_success"
SOURCE = "smidgen_source"
MODEL = "model_file"
MASKS = ("successful", "failed")
# EnvType.GYM_TYPE of robomimic; the class is never made without rollouts.
_GYM_TYPE = 2


def write(clips: ClipSet, out: Path) -> Path:
    """Writes a set, one clip in memory at a time.

    Args:
        clips: The set.
        out: The file's path without its suffix.
    """
    path = out.with_name(out.name + SUFFIX)
    masks: dict[str, list[bytes]] = {name: [] for name in MASKS}
    with create_hdf5(path) as file:
        data, total = file.create_group("data"), 0
        for index, clip in enumerate(clips.clips()):
            name = f"demo_{index}"
            _write_demo(data.create_group(name), clip)
            total += clip.num_steps
            if clip.success is not None:
                masks[MASKS[0] if clip.success else MASKS[1]].append(name.encode())
        data.attrs["total"] = total
        data.attrs["env_args"] = json.dumps(_env_args(clips))
        for name, demos in masks.items():
            if demos:
                file.create_dataset(f"mask/{name}", data=np.array(demos, "S"))
        file.create_dataset(SOURCE, data=np.frombuffer(canonical_json(clips.source), np.uint8))
    return path


def _write_demo(group: Any, clip: Clip) -> None:
    group.attrs["num_samples"] = clip.num_steps
    for name in ("seed", "success"):
        if getattr(clip, name) is not None:
            group.attrs[name] = getattr(clip, name)
    if clip.model:
        group.attrs[MODEL] = clip.model
    group.create_dataset("actions", data=clip.actions)
    group.create_dataset("rewards", data=clip.columns.get("is_success", np.zeros(clip.num_steps)).astype(np.float64))
    group.create_dataset("dones", data=(np.arange(clip.num_steps) == clip.num_steps - 1).astype(np.int64))
    for camera, frames in clip.frames.items():
        group.create_dataset(f"obs/{camera}{IMAGE}", data=frames, chunks=(1, *frames.shape[1:]))
    for name, column in clip.columns.items():
        group.create_dataset(f"obs/{name}" if name == STATE else name, data=column)


def _env_args(clips: ClipSet) -> dict[str, Any]:
    return {
        "env_name": clips.task,
        "env_version": str(clips.source["sha256"]),
        "type": _GYM_TYPE,
        "env_kwargs": {"control_freq": clips.control_hz, "action_names": list(clips.action_names)},
    }
