"""Clips into an episode store.

A set that was exported from here becomes the store that it was, to the byte. A foreign one becomes a store whose
actions keep their names and units (kind ``other``); what it does not say is listed in the header: ``config.lacks``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from smidgen.data_collection.array_files import Array
from smidgen.data_collection.episode import (
    ARRAYS_LAYOUT,
    Episode,
    check_episode,
    empty_counterfactuals,
    failed_attempt,
    manifest_row,
    write_episode,
)
from smidgen.data_collection.formats.clip import MAX_NAME_CHARACTERS, STATE, Clip, ClipSet
from smidgen.data_collection.formats.config import ImportConfig
from smidgen.data_collection.formats.from_store import DEMONSTRATIONS, SOURCE_VERSION, pairs_of_clip
from smidgen.data_collection.manifest import (
    ARRAY_FILES,
    MANIFEST_NAME,
    MAX_IMAGE_SIZE,
    MODEL_FILE,
    SCHEMA_VERSION,
    Attempt,
    Header,
    build_manifest,
)
from smidgen.data_collection.store import EPISODES_NAME, write_model
from smidgen.runtime.action_spec import OTHER, ActionSpec
from smidgen.runtime.errors import UserError
from smidgen.runtime.files import write_json_atomic
from smidgen.runtime.progress import progress
from smidgen.runtime.schemas import check_type

_UNKNOWN = "unknown"


@dataclass(frozen=True)
class Written:
    """What an import wrote.

    Attributes:
        num_episodes: Episodes.
        is_equal: Whether every file equals the one that the set was exported from; None for a foreign set.
        notes: What the user should know, one line each.
    """

    num_episodes: int
    is_equal: bool | None
    notes: tuple[str, ...]


def write_store(path: Path, clips: ClipSet, pairs: ClipSet | None, config: ImportConfig, directory: Path) -> Written:
    """Writes a store, one clip in memory at a time.

    Args:
        path: What is imported, for messages.
        clips: The episodes.
        pairs: Their counterfactual pairs, if they come with the set.
        config: The settings.
        directory: An empty directory.

    Raises:
        UserError: If the set cannot be a store; says why, and what to set.
    """
    if clips.source:
        return _restore(path, clips, pairs, directory)
    header = foreign_header(path, clips, config)
    rows, num_flagged = [], 0
    with progress(clips.num_clips, f"importing {path.name} (episodes)") as advance:
        for index, clip in enumerate(clips.clips()):
            episode = foreign_episode(path, clip, header, config.seed_start + index)
            num_flagged += episode.success and not flagged(clip).any()
            rows.append(_write(path, directory, header, episode, empty_counterfactuals(header), clip.model))
            # The next one is read while these would still be held.
            del clip, episode
            advance(1, "")
    _finish(directory, header, rows)
    notes = [f"not in the set: {each}" for each in header["config"]["lacks"]]
    if num_flagged:
        notes.append(
            f"{num_flagged} of {len(rows)} episodes succeed at no step that the set names: at their last one here"
        )
    if any(MODEL_FILE in row["files"] for row in rows):
        notes.append(f"the set brings its models: smidgen-data replay {config.out} compares its frames with its states")
    return Written(len(rows), None, tuple(notes))


def _write(
    path: Path, directory: Path, header: Mapping[str, Any], episode: Episode, pairs: Mapping[str, Array], model: str
) -> dict[str, Any]:
    check_episode(f"{path}: episode {episode.seed}", header, episode, pairs)
    episodes = directory / EPISODES_NAME
    model_sha256 = write_model(directory, model) if model else ""
    return manifest_row(episodes, write_episode(episodes, header, episode, pairs, model_sha256))


def _require_finite(path: Path, episode: Episode, pairs: Mapping[str, Array]) -> None:
    numbers = {**pairs, **{name: getattr(episode, name) for name in ARRAYS_LAYOUT}}
    for name, array in numbers.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise UserError(f"{path}: {name} of episode {episode.seed} contains NaN or infinity")


def _finish(directory: Path, header: Mapping[str, Any], rows: list[dict[str, Any]]) -> None:
    write_json_atomic(directory / MANIFEST_NAME, build_manifest(header, rows))


def _restore(path: Path, clips: ClipSet, pairs: ClipSet | None, directory: Path) -> Written:
    """Writes again what was exported from here."""
    header, source_rows = checked_source(path, clips.source, DEMONSTRATIONS)
    if pairs is not None and pairs.source.get("sha256") != clips.source["sha256"]:
        raise UserError(f"{path}: its counterfactual pairs belong to another data set; export both again")
    attempts, pair_clips = clips.clips(), pairs.clips() if pairs is not None else None
    rows, num_changed, num_lost, num_models_lost = [], 0, 0, 0
    with progress(len(source_rows), f"importing {path.name} (episodes)") as advance:
        for source in source_rows:
            episode, model = _restored(path, source, header, attempts)
            arrays = empty_counterfactuals(header)
            if source["num_counterfactuals"] and pair_clips is not None:
                arrays = pairs_of_clip(header, _next_clip(path, pair_clips, source["seed"]))
            num_lost += source["num_counterfactuals"] - len(arrays["step"])
            num_models_lost += MODEL_FILE in source["files"] and not model
            _require_finite(path, episode, arrays)
            rows.append(_write(path, directory, header, episode, arrays, model))
            kept = ARRAY_FILES if len(arrays["step"]) == source["num_counterfactuals"] else ("arrays.npz", "frames.npy")
            num_changed += any(rows[-1]["files"][name] != source["files"][name] for name in kept)
            advance(1, "")
    num_more = sum(1 for _ in attempts)
    _finish(directory, header, rows)
    notes = [f"{num_more} episodes were added to the export and are left out"] if num_more else []
    notes += [f"{num_lost} counterfactual pairs are not in the set"] if num_lost else []
    notes += [f"{num_models_lost} model files are not in the set"] if num_models_lost else []
    notes += [f"{num_changed} of {len(rows)} episodes differ from those that were exported"] if num_changed else []
    return Written(len(rows), rows == source_rows and not num_more, tuple(notes))


def checked_source(path: Path, source: Mapping[str, Any], part: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Header and rows of the store that a set was exported from.

    Args:
        path: The set, for messages.
        source: What it says of its source.
        part: What it should be, demonstrations or counterfactual pairs.

    Raises:
        UserError: If the file that says so was altered, or it is the other part.
    """
    if source.get("smidgen_source") != SOURCE_VERSION or type(source.get("sha256")) is not str:
        raise UserError(
            f"{path}: expected smidgen_source {SOURCE_VERSION} with a sha256: altered, or from a later version?"
        )
    if source.get("part") != part:
        raise UserError(f"{path} holds the {source.get('part')!r:.40} of an export; name its folder, or its {part}")
    check_type(source.get("header"), Header, f"{path}: smidgen_source", "header")
    check_type(source.get("rows"), list[Attempt], f"{path}: smidgen_source", "rows")
    ActionSpec.from_json(source["header"]["action_spec"], str(path))
    return dict(source["header"]), list(source["rows"])


def _restored(
    path: Path, row: Mapping[str, Any], header: Mapping[str, Any], attempts: Iterator[Clip]
) -> tuple[Episode, str]:
    """An episode as it was, and its model."""
    if not row["num_steps"]:
        return failed_attempt(row["seed"], row["error"] or "", header), ""
    clip = _next_clip(path, attempts, row["seed"])
    cameras = header["cameras"]
    _require(path, clip, [*cameras], ["phase", "is_success"])
    # A column of no coordinates is left out by some formats.
    nothing = np.empty((clip.num_steps, 0))
    episode = Episode(
        seed=row["seed"],
        success=row["success"],
        success_at_reset=row["success_at_reset"],
        error=row["error"],
        frames=_side_by_side([clip.frames[camera] for camera in cameras]),
        actions=clip.actions,
        # A column of one coordinate has lost its axis in some.
        eef_state=clip.columns.get(STATE, nothing).reshape(clip.num_steps, -1),
        states=clip.columns.get("states", nothing).reshape(clip.num_steps, -1),
        phase=clip.columns["phase"].astype("<i2"),
        is_success=clip.columns["is_success"].astype(bool),
    )
    return episode, clip.model


def _next_clip(path: Path, clips: Iterator[Clip], seed: int) -> Clip:
    clip = next(clips, None)
    if clip is None or clip.seed != seed:
        raise UserError(
            f"{path}: expected the episode of seed {seed} next, as exported, got {clip and clip.seed}: episodes were "
            "removed or moved? Without its record of the source (smidgen_source, smidgen.json) it is read as foreign"
        )
    return clip


def _require(path: Path, clip: Clip, cameras: list[str], columns: list[str]) -> None:
    missing = [name for name in cameras if name not in clip.frames] + [
        each for each in columns if each not in clip.columns
    ]
    shapes = {clip.frames[name].shape for name in cameras if name in clip.frames}
    if missing or len(shapes) != 1:
        raise UserError(f"{path}: an episode lacks {', '.join(missing) or 'cameras of one size'}: altered?")


def foreign_header(path: Path, clips: ClipSet, config: ImportConfig) -> dict[str, Any]:
    """The header of a foreign set's store.

    Raises:
        UserError: If the set lacks what a store needs, or its cameras do not fit; says what to set.
    """
    cameras = _chosen_cameras(path, clips, config)
    control_hz = config.control_hz or clips.control_hz
    if not control_hz:
        raise UserError(f"{path} does not say how many steps a second has; add control_hz=...")
    lacks = ["counterfactual pairs: no cue slope", *clips.lacks]
    lacks.append(f"seeds: episodes are numbered from {config.seed_start}; seeds of the set, if any, are not kept")
    task = " ".join("".join(char if char.isprintable() else " " for char in clips.task).split())
    lacks += [f"the rest of a task of {len(task)} characters"] if len(task) > MAX_NAME_CHARACTERS else []
    lacks += [] if "phase" in clips.column_names else ["phases"]
    lacks += [] if clips.column_names.get(STATE) else ["end-effector state"]
    left_out = [name for name in clips.image_sizes if name not in cameras]
    header = {
        "schema_version": SCHEMA_VERSION,
        "task": task[:MAX_NAME_CHARACTERS] or _UNKNOWN,
        "environment": {"imported": clips.origin},
        "versions": {"numpy": np.__version__, "smidgen": version("smidgen")},
        "expert": {"name": _UNKNOWN},
        "phases": [_UNKNOWN],
        "action_spec": _action_spec(path, clips).to_json(),
        "eef_state_names": list(clips.column_names.get(STATE, ())),
        "cameras": cameras,
        "image_size": config.image_size or clips.image_sizes[cameras[0]][0],
        "control_hz": control_hz,
        "history": 1,
        "config": {
            "imported": {name: value for name, value in asdict(config).items() if name != "out"} | {"cameras": cameras},
            "lacks": lacks + [f"camera {name}: left out" for name in left_out],
        },
    }
    check_type(header, Header, str(path))
    return header


def _chosen_cameras(path: Path, clips: ClipSet, config: ImportConfig) -> list[str]:
    sizes = clips.image_sizes
    shown = ", ".join(f"{name} {rows} x {columns}" for name, (rows, columns) in sizes.items())
    if not sizes:
        other = "; ".join(each for each in clips.lacks if each.startswith("left out"))
        raise UserError(
            f"{path} has no camera, uint8 (steps, rows, columns, 3) or encoded pictures, and policies read frames"
            f"{other and f'; {other}'}"
        )
    chosen = list(config.cameras) or list(sizes)
    if unknown := [name for name in chosen if name not in sizes]:
        raise UserError(f"{path} has no camera {unknown[0]!r:.60}; it has {shown:.500}")
    if config.image_size:
        return chosen
    if len({sizes[name] for name in chosen}) > 1:
        raise UserError(
            f"{path}: cameras of different sizes: {shown:.500}; choose some of one size, cameras=[...], or scale all, "
            "image_size=N"
        )
    rows, columns = sizes[chosen[0]]
    if rows != columns or rows > MAX_IMAGE_SIZE:
        raise UserError(
            f"{path}: frames are {rows} x {columns}; a store needs squares: image_size=N crops and scales them"
        )
    return chosen


def _action_spec(path: Path, clips: ClipSet) -> ActionSpec:
    """The actions under their names, with the bounds that the data has."""
    if not clips.action_names:
        raise UserError(f"{path}: its actions have no coordinates")
    low, high = np.full(len(clips.action_names), np.inf), np.full(len(clips.action_names), -np.inf)
    for index, actions in enumerate(clips.actions()):
        if actions.shape[1] != len(low) or not np.isfinite(actions).all():
            raise UserError(f"{path}: episode {index}: expected finite actions of {len(low)} coordinates")
        low, high = np.minimum(low, actions.min(axis=0)), np.maximum(high, actions.max(axis=0))
    return ActionSpec(clips.action_names, (OTHER,) * len(low), tuple(low.tolist()), tuple(high.tolist()))


def foreign_episode(path: Path, clip: Clip, header: Mapping[str, Any], seed: int) -> Episode:
    """One of a foreign set's episodes, under a number of its own.

    Raises:
        UserError: If it differs from the header, or holds NaN.
    """
    num_steps = clip.num_steps
    _require_cameras(path, clip, header, seed)
    success = True if clip.success is None else clip.success
    is_success = flagged(clip)
    if success and not is_success.any():
        # A success needs a first step.
        is_success = np.arange(num_steps) == num_steps - 1
    states = clip.columns.get("states", np.empty((num_steps, 0)))
    episode = Episode(
        seed=seed,
        success=success,
        success_at_reset=False,
        error=None,
        frames=_side_by_side([clip.frames[camera] for camera in header["cameras"]]),
        actions=clip.actions,
        eef_state=clip.columns.get(STATE, np.empty((num_steps, 0))).reshape(num_steps, -1).astype(np.float64),
        states=states.reshape(num_steps, -1).astype(np.float64),
        phase=np.zeros(num_steps, np.int16),
        is_success=is_success,
    )
    _require_finite(path, episode, {})
    return episode


def _side_by_side(frames: list[Array]) -> Array:
    """Frames (S, H, W, 3) of some cameras as (S, N, H, W, 3), without copying those of only one."""
    return np.stack(frames, axis=1) if len(frames) > 1 else frames[0][:, None]


def flagged(clip: Clip) -> Array:
    """The steps at which a clip says that it succeeds: bool (S,)."""
    flags = clip.columns.get("is_success", np.zeros(clip.num_steps))
    return flags.astype(bool).reshape(clip.num_steps)


def _require_cameras(path: Path, clip: Clip, header: Mapping[str, Any], number: int) -> None:
    size = header["image_size"]
    for name in header["cameras"]:
        if name not in clip.frames:
            raise UserError(f"{path}: episode {number} has no camera {name!r:.60}")
        rows, columns = clip.frames[name].shape[1:3]
        if (rows, columns) != (size, size):
            raise UserError(
                f"{path}: episode {number}: frames of {name:.60} are {rows} x {columns}, those of the first {size} x "
                f"{size}; image_size=N crops and scales all"
            )
