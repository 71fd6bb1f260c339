"""A store as clips: its attempts, and its counterfactual pairs as a set of their own.

In the pairs' set a clip is an attempt and a step is a pair: one state as ``agentview``, ``agentview_moved`` and
``agentview_hidden``, with the expert's target as the action and its target for the moved cue in ``target_moved``.
Earlier frames are cameras too: ``agentview_past1`` is one control step before.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import numpy as np

from smidgen.data_collection.array_files import Array
from smidgen.data_collection.episode import ARRAYS_LAYOUT, COUNTERFACTUALS_LAYOUT
from smidgen.data_collection.formats.clip import STATE, Clip, ClipSet, numbered
from smidgen.data_collection.manifest import HEADER_FIELDS
from smidgen.data_collection.store import EpisodeStore
from smidgen.runtime.errors import UserError

SOURCE_VERSION = 1
DEMONSTRATIONS, PAIRS = "demonstrations", "pairs"
VIEWS = ("frames", "frames_moved", "frames_hidden")
PAIR_COLUMNS = tuple(name for name in COUNTERFACTUALS_LAYOUT if name not in (*VIEWS, "target"))
EPISODE_COLUMNS = tuple(name for name in ARRAYS_LAYOUT if name != "actions")


def demonstrations(store: EpisodeStore) -> ClipSet:
    """The attempts that have steps, failed ones too.

    Raises:
        UserError: If there are none.
    """
    header = store.manifest
    seeds = [row["seed"] for row in header["episodes"] if row["num_steps"]]
    if not seeds:
        raise UserError(f"{store.directory} has no frames to export: every attempt was aborted")
    first = store.episode(seeds[0])
    return ClipSet(
        task=header["task"],
        control_hz=header["control_hz"],
        image_sizes=dict.fromkeys(header["cameras"], (header["image_size"], header["image_size"])),
        action_names=tuple(header["action_spec"]["names"]),
        column_names={STATE: tuple(header["eef_state_names"]), "states": numbered("state", first.states.shape[1])},
        num_clips=len(seeds),
        clips=functools.partial(_attempts, store, seeds),
        actions=lambda: (store.episode(seed).actions for seed in seeds),
        source=_source(store, DEMONSTRATIONS),
    )


def counterfactual_pairs(store: EpisodeStore) -> ClipSet | None:
    """The counterfactual pairs; None if there are none."""
    header = store.manifest
    seeds = [row["seed"] for row in header["episodes"] if row["num_counterfactuals"]]
    if not seeds:
        return None
    actions, size = tuple(header["action_spec"]["names"]), header["image_size"]
    pose = numbered("pose", store.counterfactuals(seeds[:1])["cue_pose"].shape[1])
    return ClipSet(
        task=f"{header['task']}: counterfactual pairs",
        control_hz=header["control_hz"],
        image_sizes=dict.fromkeys(view_names(header), (size, size)),
        action_names=actions,
        column_names={
            STATE: tuple(header["eef_state_names"]),
            "target_moved": actions,
            "cue_pose": pose,
            "cue_pose_moved": pose,
        },
        num_clips=len(seeds),
        clips=functools.partial(_pair_clips, store, seeds),
        actions=lambda: (store.counterfactuals([seed])["target"] for seed in seeds),
        source=_source(store, PAIRS),
    )


def view_names(header: dict[str, Any]) -> dict[str, tuple[str, int, int]]:
    """For each camera of the pairs' set, the array, the frame of the history and the camera that it shows."""
    newest = header["history"] - 1
    return {
        f"{camera}{view.removeprefix('frames')}{f'_past{ago}' if ago else ''}": (
            view,
            newest - ago,
            index,
        )
        for view in VIEWS
        for ago in range(header["history"])
        for index, camera in enumerate(header["cameras"])
    }


def _attempts(store: EpisodeStore, seeds: list[int]) -> Iterator[Clip]:
    for seed in seeds:
        episode = store.episode(seed)
        frames: dict[str, Array] = {
            camera: episode.frames[:, index] for index, camera in enumerate(store.manifest["cameras"])
        }
        columns = {name: getattr(episode, name) for name in EPISODE_COLUMNS}
        yield Clip(frames, episode.actions, columns, seed, episode.success, store.model(seed))


def _pair_clips(store: EpisodeStore, seeds: list[int]) -> Iterator[Clip]:
    for seed in seeds:
        pairs = store.counterfactuals([seed])
        frames = {
            name: pairs[view][:, frame, camera] for name, (view, frame, camera) in view_names(store.manifest).items()
        }
        columns = {name: pairs[name] for name in PAIR_COLUMNS}
        yield Clip(frames, pairs["target"], columns, seed, None)


def pairs_of_clip(header: dict[str, Any], clip: Clip) -> dict[str, Array]:
    """The counterfactual arrays that a clip of the pairs' set was made from, by ``COUNTERFACTUALS_LAYOUT``."""
    size = header["image_size"]
    shape = (clip.num_steps, header["history"], len(header["cameras"]), size, size, 3)
    arrays: dict[str, Array] = {view: np.empty(shape, np.uint8) for view in VIEWS}
    for name, (view, frame, camera) in view_names(header).items():
        arrays[view][:, frame, camera] = clip.frames[name]
    # A column of one coordinate has lost its axis in some formats.
    flat = [name for name in PAIR_COLUMNS if len(COUNTERFACTUALS_LAYOUT[name][1]) == 1]
    columns = {
        name: clip.columns[name] if name in flat else clip.columns[name].reshape(clip.num_steps, -1)
        for name in PAIR_COLUMNS
    }
    return {**arrays, "target": clip.actions, **columns}


def _source(store: EpisodeStore, part: str) -> dict[str, Any]:
    return {
        "smidgen_source": SOURCE_VERSION,
        "part": part,
        "sha256": store.sha256,
        "header": {name: store.manifest[name] for name in HEADER_FIELDS},
        "rows": store.manifest["episodes"],
    }
