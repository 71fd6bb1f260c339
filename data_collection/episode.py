"""One attempt of an expert at a task: observations, commands, and the states to render any step again.

Axes: S steps, N cameras, H rows, W columns, A action coordinates, E end-effector state, Q simulator state,
K counterfactual pairs, T frames of history (newest last), P numbers of a cue's pose.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from smidgen.data_collection.array_files import (
    Array,
    ArrayLayout,
    NpyFile,
    check_layout,
    check_npy,
    read_npz,
    write_npy,
    write_npz,
)
from smidgen.data_collection.manifest import (
    ARRAY_FILES,
    EPISODE_SIDECAR,
    MODEL_FILE,
    array_sizes,
    episode_directory_name,
)
from smidgen.data_collection.outcome import OUTCOME_FIELDS, Outcome, make_outcome
from smidgen.runtime.errors import UserError
from smidgen.runtime.files import atomic_directory, canonical_json, sha256_file

FRAMES_LAYOUT: ArrayLayout = ("|u1", ("steps", "cameras", "height", "width", 3))
ARRAYS_LAYOUT: dict[str, ArrayLayout] = {
    "actions": ("<f8", ("steps", "action")),
    "eef_state": ("<f8", ("steps", "eef_state")),
    "states": ("<f8", ("steps", "state")),
    "phase": ("<i2", ("steps",)),
    "is_success": ("|b1", ("steps",)),
}
_PAIR_FRAMES: ArrayLayout = ("|u1", ("pairs", "history", "cameras", "height", "width", 3))
COUNTERFACTUALS_LAYOUT: dict[str, ArrayLayout] = {
    "step": ("<i8", ("pairs",)),
    "frames": _PAIR_FRAMES,
    "frames_moved": _PAIR_FRAMES,
    "frames_hidden": _PAIR_FRAMES,
    "target": ("<f8", ("pairs", "action")),
    "target_moved": ("<f8", ("pairs", "action")),
    "eef_state": ("<f8", ("pairs", "eef_state")),
    "cue_pose": ("<f8", ("pairs", "pose")),
    "cue_pose_moved": ("<f8", ("pairs", "pose")),
}


@dataclass(frozen=True, eq=False)
class Episode:
    """A successful or failed attempt.

    Attributes:
        seed: Seed of the reset; task and seed identify the episode.
        success: Whether success held for as long as the task requires.
        success_at_reset: Whether the task was already solved before the first step.
        error: The simulator's error, or None; an attempt with an error has no steps.
        frames: uint8 (S, N, H, W, 3); frame s is seen before action s.
        actions: float64 (S, A), the expert's clean targets.
        eef_state: float64 (S, E), before action s.
        states: float64 (S, Q), simulator states before action s.
        phase: int16 (S,), the expert's phase at action s as an index into the header's ``phases``.
        is_success: bool (S,), after action s.
    """

    seed: int
    success: bool
    success_at_reset: bool
    error: str | None
    frames: Array
    actions: Array
    eef_state: Array
    states: Array
    phase: Array
    is_success: Array

    @property
    def num_steps(self) -> int:
        """Control steps taken."""
        return len(self.frames)

    @property
    def outcome(self) -> Outcome:
        """The attempt's outcome."""
        first = 0 if self.success_at_reset else None
        if first is None and self.is_success.any():
            first = int(np.argmax(self.is_success)) + 1
        return make_outcome(self.seed, self.success, first, self.num_steps)


def empty_counterfactuals(header: Mapping[str, Any]) -> dict[str, Array]:
    """Counterfactual arrays without pairs."""
    sizes = {**array_sizes(header), "pairs": 0, "pose": 0}
    return {name: np.empty(_shape(axes, sizes), dtype) for name, (dtype, axes) in COUNTERFACTUALS_LAYOUT.items()}


def failed_attempt(seed: int, error: str, header: Mapping[str, Any]) -> Episode:
    """An attempt aborted by the simulator: counted as a failure, without steps."""
    sizes = {**array_sizes(header), "steps": 0, "state": 0}
    arrays = {name: np.empty(_shape(axes, sizes), dtype) for name, (dtype, axes) in ARRAYS_LAYOUT.items()}
    frames = np.empty(_shape(FRAMES_LAYOUT[1], sizes), FRAMES_LAYOUT[0])
    return Episode(seed=seed, success=False, success_at_reset=False, error=error, frames=frames, **arrays)


def write_episode(
    directory: Path,
    header: Mapping[str, Any],
    episode: Episode,
    counterfactuals: Mapping[str, Array],
    model_sha256: str = "",
) -> dict[str, Any]:
    """Writes an episode's directory atomically.

    Args:
        directory: The data set's ``episodes`` directory.
        header: The data set's header; it determines the arrays' shapes.
        episode: The episode.
        counterfactuals: Its pairs, by the names of ``COUNTERFACTUALS_LAYOUT``.
        model_sha256: The MuJoCo model that it was imported with, if any.

    Returns:
        The episode's row.

    Raises:
        UserError: If an array does not match the header, the disk is full, or the directory is not writable.
    """
    target = directory / episode_directory_name(episode.seed)
    check_episode(target, header, episode, counterfactuals)
    arrays = {name: getattr(episode, name) for name in ARRAYS_LAYOUT}
    with atomic_directory(target) as temporary:
        write_npy(temporary / "frames.npy", episode.frames)
        write_npz(temporary / "arrays.npz", arrays)
        write_npz(temporary / "counterfactuals.npz", counterfactuals)
        row = _row(episode, len(counterfactuals["step"]), temporary, model_sha256)
        (temporary / EPISODE_SIDECAR).write_bytes(canonical_json({**header, **row}))
    return row


def check_episode(
    source: Path | str, header: Mapping[str, Any], episode: Episode, counterfactuals: Mapping[str, Array]
) -> None:
    """Checks that an episode's arrays have the types and shapes that a header says.

    Args:
        source: What it is, for messages.
        header: The data set's header.
        episode: The episode.
        counterfactuals: Its pairs.

    Raises:
        UserError: If an array does not match.
    """
    sizes = array_sizes(header)
    check_layout(source, _shapes({"frames": episode.frames}), {"frames": FRAMES_LAYOUT}, sizes)
    check_layout(source, _shapes({name: getattr(episode, name) for name in ARRAYS_LAYOUT}), ARRAYS_LAYOUT, sizes)
    check_layout(source, _shapes(counterfactuals), COUNTERFACTUALS_LAYOUT, sizes)


def read_episode(directory: Path, header: Mapping[str, Any], row: Mapping[str, Any]) -> Episode:
    """Opens an episode: frames as a memory map, small arrays in memory.

    Args:
        directory: The data set's ``episodes`` directory.
        header: The data set's header.
        row: The episode's row.

    Raises:
        UserError: If a file is missing or does not match header and row.
    """
    folder = directory / episode_directory_name(row["seed"])
    sizes = {**array_sizes(header), "steps": row["num_steps"]}
    frames = frames_file(directory, header, row).memory_mapped()
    arrays = read_npz(folder / "arrays.npz", ARRAYS_LAYOUT, sizes)
    episode = Episode(
        seed=row["seed"],
        success=row["success"],
        success_at_reset=row["success_at_reset"],
        error=row["error"],
        frames=frames,
        **arrays,
    )
    _check_values(folder / "arrays.npz", arrays, len(header["phases"]))
    if episode.outcome != {name: row[name] for name in OUTCOME_FIELDS}:
        raise UserError(f"{folder / 'arrays.npz'}: is_success contradicts the row's first_success_step: altered?")
    return episode


def frames_file(directory: Path, header: Mapping[str, Any], row: Mapping[str, Any]) -> NpyFile:
    """The file of an episode's frames, its header checked; arguments and errors as for :func:`read_episode`."""
    path = directory / episode_directory_name(row["seed"]) / "frames.npy"
    return check_npy(path, "frames", FRAMES_LAYOUT, {**array_sizes(header), "steps": row["num_steps"]})


def read_counterfactuals(directory: Path, header: Mapping[str, Any], row: Mapping[str, Any]) -> dict[str, Array]:
    """Reads an episode's counterfactual pairs, by the names of ``COUNTERFACTUALS_LAYOUT``.

    Raises:
        UserError: If the file is missing or does not hold what header and row say.
    """
    path = directory / episode_directory_name(row["seed"]) / "counterfactuals.npz"
    pairs = read_npz(path, COUNTERFACTUALS_LAYOUT, {**array_sizes(header), "pairs": row["num_counterfactuals"]})
    _check_finite(path, pairs)
    step = pairs["step"]
    if ((step < 0) | (step >= row["num_steps"])).any():
        raise UserError(f"{path}: a pair's step is outside the episode's {row['num_steps']} steps")
    return pairs


def manifest_row(directory: Path, row: Mapping[str, Any]) -> dict[str, Any]:
    """An episode's row as stored in the manifest, which adds the sidecar's hash."""
    sidecar = directory / episode_directory_name(row["seed"]) / EPISODE_SIDECAR
    return {**row, "files": {**row["files"], EPISODE_SIDECAR: sha256_file(sidecar)}}


def _row(episode: Episode, num_counterfactuals: int, folder: Path, model_sha256: str) -> dict[str, Any]:
    model = {MODEL_FILE: model_sha256} if model_sha256 else {}
    return {
        **episode.outcome,
        "num_counterfactuals": num_counterfactuals,
        "error": episode.error,
        "files": {name: sha256_file(folder / name) for name in ARRAY_FILES} | model,
    }


def _check_values(path: Path, arrays: Mapping[str, Array], num_phases: int) -> None:
    _check_finite(path, arrays)
    phase = arrays["phase"]
    if ((phase < 0) | (phase >= num_phases)).any():
        raise UserError(f"{path}: a phase index is outside the header's {num_phases} phases")


def _check_finite(path: Path, arrays: Mapping[str, Array]) -> None:
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise UserError(f"{path}: array {name!r} contains NaN or infinity")


def _shape(axes: tuple[str | int, ...], sizes: Mapping[str, int]) -> tuple[int, ...]:
    return tuple(sizes[axis] if isinstance(axis, str) else axis for axis in axes)


def _shapes(arrays: Mapping[str, Array]) -> dict[str, tuple[str, tuple[int, ...]]]:
    return {name: (array.dtype.str, array.shape) for name, array in arrays.items()}
