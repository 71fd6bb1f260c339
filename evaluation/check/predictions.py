"""A table of predictions in place of the policy: an ``.npz`` with the arrays ``episode``, ``step`` and ``prediction``.

Letters: ``M`` rows of the table, ``H`` chunk steps, ``A`` action coordinates.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from smidgen.data_collection.array_files import Array, read_npz_arrays
from smidgen.data_collection.episode import Episode
from smidgen.data_collection.formats.reader import EpisodeReader
from smidgen.evaluation.check.answers import EpisodeAnswers, neighbours, now_and_last
from smidgen.evaluation.check.probes import AS_RECORDED
from smidgen.runtime.errors import UserError

ARRAYS = ("episode", "step", "prediction")


def read_predictions(path: Path, reader: EpisodeReader) -> list[EpisodeAnswers]:
    """Reads a table as answers to what was recorded; there are none under any probe.

    Args:
        path: The file: ``episode`` (M,), the number in the set from 0, of our own sets the seed; ``step`` (M,);
            ``prediction`` (M, A), or (M, H, A) of chunks, in the action's units.
        reader: The episodes.

    Raises:
        UserError: If it is damaged, or a row names no step of the set, or is not finite.
    """
    table = read_npz_arrays(path, ARRAYS)
    episode_M, step_M = (_whole_numbers(path, name, table[name]) for name in ("episode", "step"))
    chunks_MHA = _chunks(path, table["prediction"], len(episode_M), len(reader.header["action_spec"]["names"]))
    if len(step_M) != len(episode_M):
        raise UserError(f"{path}: expected as many steps as episodes, got {len(step_M)} and {len(episode_M)}")
    numbers = list(reader.numbers)
    given = set(episode_M.tolist())
    unknown = sorted(given - set(numbers))
    if unknown:
        raise UserError(f"{path}: {reader.path} has no episode {unknown[0]}; it has {numbers[0]} to {numbers[-1]}")
    found = []
    for moment in neighbours(reader.episodes(reader.places(sorted(given)))):
        at = np.flatnonzero(episode_M == moment.own.seed)
        at = at[np.argsort(step_M[at], kind="stable")]
        found.append(_answers(path, moment.own, moment.other, step_M[at], chunks_MHA[at]))
    if not found:
        raise UserError(f"{path}: expected predictions of at least two episodes")
    return found


def _answers(path: Path, own: Episode, other: Episode, steps_K: np.ndarray, chunks_KHA: Array) -> EpisodeAnswers:
    if steps_K[0] < 0 or steps_K[-1] >= own.num_steps or len(np.unique(steps_K)) < len(steps_K):
        raise UserError(
            f"{path}: episode {own.seed} has steps 0 to {own.num_steps - 1}, expected each at most once, got "
            f"{steps_K[0]} to {steps_K[-1]}"
        )
    earlier_KA = np.full_like(chunks_KHA[:, 0], np.nan)
    follows = np.flatnonzero(np.diff(steps_K, prepend=-2) == 1)
    earlier_KA[follows] = chunks_KHA[follows - 1, 0]
    return EpisodeAnswers(
        number=own.seed,
        steps_K=steps_K,
        actions_SA=own.actions,
        state_SE=own.eef_state,
        other_actions_SA=other.actions,
        other_state_SE=other.eef_state,
        chunks_KHA=chunks_KHA,
        earlier_KA=earlier_KA,
        by_probe={AS_RECORDED: now_and_last(chunks_KHA)},
    )


def _whole_numbers(path: Path, name: str, array: Array) -> Array:
    if array.ndim != 1 or array.dtype.kind != "i" or not len(array):
        raise UserError(f"{path}: expected {name} as whole numbers (M,), got {array.dtype} {array.shape}")
    return array.astype(np.int64)


def _chunks(path: Path, array: Array, num_rows: int, size: int) -> Array:
    shaped = array[:, None] if array.ndim == 2 else array
    if shaped.ndim != 3 or shaped.shape[0] != num_rows or shaped.shape[1] < 1 or shaped.shape[2] != size:
        expected = f"({num_rows}, {size}) or ({num_rows}, H, {size})"
        raise UserError(f"{path}: expected prediction of shape {expected}, got {array.shape}")
    if array.dtype.kind != "f" or not np.isfinite(array).all():
        row = "" if array.dtype.kind != "f" else f" in row {np.argwhere(~np.isfinite(array))[0][0]}"
        raise UserError(f"{path}: expected finite numbers as prediction, got {array.dtype}{row and ' with NaN'}{row}")
    return shaped.astype(np.float64)
