"""What the answers show: error and skill, whom they follow, how far each probe moves them, copying and latching.

"Following" is a slope: when the frames are another episode's, by how much does the answer move towards what was done
there? 1: all the way; 0: not at all. Frames show the arm too, and an arm in motion gives away where it goes, so that
this slope proves little by itself. The one that decides uses only moments in which the arm's history leaves open what
comes next: the first step, and parts of the episode where a linear regression on it explains less than half. There it
is the coefficient of the target's change beside that of the history (Frisch and Waugh, "Partial time regressions as
compared with individual trends", Econometrica 1, 1933). What comes next is the last step of a chunk, if there are any.

Letters: ``N`` rows, ``P`` coordinates, ``H`` chunk steps, ``X`` numbers of the arm's history.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from smidgen.data_collection.array_files import Array
from smidgen.evaluation import collapse
from smidgen.evaluation.check.answers import EpisodeAnswers
from smidgen.evaluation.check.probes import (
    AS_RECORDED,
    CAMERA_SWAPPED,
    FRAMES_SWAPPED,
    REPEATED,
    STATE_SWAPPED,
)
from smidgen.evaluation.check.rows import UNDEFINED, Chunks, Measured, Moves, Rows
from smidgen.evaluation.check.thresholds import NUM_TIME_PARTS, OPEN_FROM

# Rows for each principal component of the history that is fitted, at least.
_ROWS_PER_FIT = 5


@dataclass(frozen=True)
class Accuracy:
    """How good the predictions are.

    Attributes:
        error: Root mean square error of each coordinate, in its own unit.
        r2: R^2 of each coordinate.
        error_by_chunk_step: Root mean square error at each step of a chunk, in deviations of the target.
        skill: Skill against what can be said without looking, by the reference's name.
        skill_open: Skill of the chunk's last step against the mean of each step, where the arm's history leaves open
            what comes next.
        skill_by_coordinate: The same for each coordinate.
        skill_by_chunk_step: The same for each step of a chunk.
    """

    error: dict[str, float]
    r2: dict[str, float]
    error_by_chunk_step: tuple[float, ...]
    skill: dict[str, Measured]
    skill_open: Measured
    skill_by_coordinate: dict[str, dict[str, float]]
    skill_by_chunk_step: dict[str, tuple[float, ...]]


@dataclass(frozen=True)
class Response:
    """What one probe does.

    Attributes:
        change: How far the answers move, over how far the demonstrator's actions differ from episode to episode; what
            the policy draws at random is taken off.
        skill: Skill against the mean of each step, with the probe.
    """

    change: Measured
    skill: Measured


@dataclass(frozen=True)
class Following:
    """What the answers follow, as slopes; undefined where it was not asked.

    Attributes:
        frames: Another episode's frames, where the arm's history leaves open what comes next.
        frames_whole: Another episode's frames at every step, their arm included.
        state: Another episode's state, the frames unchanged.
        both: From one episode to the next as recorded, where the history leaves open what comes next.
        cameras: As ``frames``, of each camera alone.
        open_share: Share of the rows in parts of the episode where that is so.
        cue: At counterfactual pairs: the cue slope; its sums by episode are ``cue_parts``.
    """

    frames: Measured
    frames_whole: Measured
    state: Measured
    both: Measured
    cameras: dict[str, Measured]
    open_share: float
    cue: Measured
    cue_parts: collapse.SlopeParts | None


@dataclass(frozen=True)
class Habits:
    """Answers that come from earlier answers.

    Attributes:
        copycat: Weight of the demonstrator's previous action.
        latching: How much more often than the demonstrator's its answer stays the same.
        noise: How far answers to the same input differ, over how far the demonstrator's differ between episodes.
    """

    copycat: Measured
    latching: Measured
    noise: Measured


def accuracy(rows: Rows, chunks: Chunks) -> Accuracy:
    """Error and skill."""
    error_NHP = np.square(chunks.answer_NHP - chunks.target_NHP)
    references = {name: np.square(each - chunks.target_NHP) for name, each in chunks.references.items()}
    is_open_NP = left_open(rows) != 0
    rmse_P = np.sqrt(error_NHP[:, 0].mean(axis=0)) * rows.deviation_P
    r2_P = collapse.r2_per_coordinate(chunks.answer_NHP[:, 0], chunks.target_NHP[:, 0])
    return Accuracy(
        error=dict(zip(rows.names, rmse_P.tolist(), strict=True)),
        r2=dict(zip(rows.names, r2_P.tolist(), strict=True)),
        error_by_chunk_step=tuple(np.sqrt(error_NHP.mean(axis=(0, 2))).tolist()),
        skill={name: _skill(rows, error_NHP[:, 0], each[:, 0]) for name, each in references.items()},
        skill_open=_skill(rows, error_NHP[:, -1] * is_open_NP, references["time_mean"][:, -1] * is_open_NP),
        skill_by_coordinate={
            name: dict(zip(rows.names, _plain_skill(error_NHP[:, 0], each[:, 0]), strict=True))
            for name, each in references.items()
        },
        skill_by_chunk_step={
            name: tuple(_plain_skill(error_NHP.sum(axis=2), each.sum(axis=2))) for name, each in references.items()
        },
    )


def _skill(rows: Rows, error_NP: Array, reference_NP: Array) -> Measured:
    return rows.ratio(error_NP.sum(axis=1), reference_NP.sum(axis=1)).mapped(lambda share: 1 - share)


def _plain_skill(error: Array, reference: Array) -> list[float]:
    """Skill of each column."""
    totals = zip(error.sum(axis=0).tolist(), reference.sum(axis=0).tolist(), strict=True)
    return [1 - one / other if other > 0 else math.nan for one, other in totals]


def responses(rows: Rows, chunks: Chunks) -> dict[str, Response]:
    """How far every probe moves the answers, by its key."""
    now, noise_N = rows.now, _noise(rows)
    differ_N = np.square(now.change_NP).sum(axis=1)
    reference_N = np.square(chunks.references["time_mean"][:, 0] - now.target_NP).sum(axis=1)
    found = {}
    for key, answer_NP in now.by_probe.items():
        moved_N = np.square(now.moved_NP(key)).sum(axis=1)
        excess_N = moved_N if key == REPEATED else moved_N - noise_N
        error_N = np.square(answer_NP - now.target_NP).sum(axis=1)
        change = UNDEFINED if key == AS_RECORDED else rows.ratio(excess_N, differ_N).mapped(_root)
        found[key] = Response(change, rows.ratio(error_N, reference_N).mapped(lambda share: 1 - share))
    return found


def _noise(rows: Rows) -> Array:
    repeated = REPEATED if REPEATED in rows.now.by_probe else AS_RECORDED
    return np.square(rows.now.moved_NP(repeated)).sum(axis=1)


def _root(square: float) -> float:
    return math.sqrt(max(square, 0.0)) if math.isfinite(square) else math.nan


def following(rows: Rows, answers: Sequence[EpisodeAnswers], measured_indices: Sequence[int]) -> Following:
    """What the answers follow.

    Args:
        rows: All measured steps.
        answers: The same, for their counterfactual pairs.
        measured_indices: The action's coordinates that pairs are measured on, unscaled, as everywhere.
    """
    whole_NP = np.where(rows.is_pair_N[:, None], rows.now.change_NP, 0.0)
    open_NP = left_open(rows)
    parts = _cue_parts(answers, measured_indices)
    prefix = f"{CAMERA_SWAPPED}:"
    cameras = [key.removeprefix(prefix) for key in rows.now.by_probe if key.startswith(prefix)]
    there_NP = rows.last.other_answer_NP - rows.last.answer_NP
    is_known_NP = np.isfinite(there_NP)
    return Following(
        frames=_slope(rows, rows.last, FRAMES_SWAPPED, open_NP),
        frames_whole=_slope(rows, rows.now, FRAMES_SWAPPED, whole_NP),
        state=_slope(rows, rows.now, STATE_SWAPPED, whole_NP),
        both=_slope_of(rows, np.where(is_known_NP, there_NP, 0.0), open_NP * is_known_NP),
        cameras={camera: _slope(rows, rows.last, prefix + camera, open_NP) for camera in cameras},
        open_share=float((open_NP != 0).any(axis=1).mean()),
        cue=UNDEFINED if parts is None else Measured.of(parts),
        cue_parts=parts,
    )


def _slope(rows: Rows, moves: Moves, key: str, change_NP: Array) -> Measured:
    return _slope_of(rows, moves.moved_NP(key), change_NP) if key in moves.by_probe else UNDEFINED


def _slope_of(rows: Rows, moved_NP: Array, change_NP: Array) -> Measured:
    return rows.ratio((moved_NP * change_NP).sum(axis=1), np.square(change_NP).sum(axis=1))


def left_open(rows: Rows) -> Array:
    """How far what comes next differs beyond the arm's history, (N, P); 0 where the history tells more than half."""
    open_NP = np.zeros_like(rows.last.change_NP)
    later_N = np.flatnonzero(rows.steps_N > 0)
    parts = collapse.in_time_bins(rows.steps_N[later_N], NUM_TIME_PARTS) if len(later_N) else []
    moments = [np.flatnonzero(rows.steps_N == 0), *(later_N[inside.numpy()] for _, _, inside in parts)]
    for moment_R in moments:
        paired_R = moment_R[rows.is_pair_N[moment_R]]
        change_RP = rows.last.change_NP[paired_R]
        left_RP = beyond(change_RP, rows.history_NX[paired_R])
        if np.square(left_RP).sum() >= OPEN_FROM * np.square(change_RP).sum() > 0:
            open_NP[paired_R] = left_RP
    return open_NP


def beyond(change_RP: Array, history_RX: Array) -> Array:
    """What is left of a change after a linear regression on the history's main components: (R, P)."""
    spread_X = np.sqrt(np.square(history_RX).mean(axis=0)) if len(history_RX) else np.zeros(0)
    scaled_RX = history_RX[:, spread_X > 0] / spread_X[spread_X > 0]
    axes_RX, sizes_X, _ = np.linalg.svd(scaled_RX, full_matrices=False)
    num_kept = min(int((sizes_X > 1e-6 * sizes_X.max(initial=0.0)).sum()), len(history_RX) // _ROWS_PER_FIT)
    basis_RX = axes_RX[:, :num_kept]
    return change_RP - basis_RX @ (basis_RX.T @ change_RP)


def _cue_parts(answers: Sequence[EpisodeAnswers], indices: Sequence[int]) -> collapse.SlopeParts | None:
    with_pairs = [(number, each.pairs) for number, each in enumerate(answers) if each.pairs is not None]
    if not with_pairs:
        return None
    moved = np.concatenate([pairs.moved_KA - pairs.answer_KA for _, pairs in with_pairs])[:, indices]
    expected = np.concatenate([pairs.target_moved_KA - pairs.target_KA for _, pairs in with_pairs])[:, indices]
    episode_K = np.concatenate([np.full(len(pairs.answer_KA), number) for number, pairs in with_pairs])
    return collapse.cue_slope_parts(moved, expected, episode_K)


def habits(rows: Rows, answers: Sequence[EpisodeAnswers]) -> Habits:
    """Copying, latching, and answers that differ from call to call."""
    earlier_NP, before_NP = (
        rows.scaled(parts)
        for parts in (
            [each.earlier_KA for each in answers],
            [each.actions_SA[np.maximum(each.steps_K - 1, 0)] for each in answers],
        )
    )
    now, is_later_N, is_known_N = rows.now, rows.steps_N > 0, np.isfinite(earlier_NP).all(axis=1) & (rows.steps_N > 0)

    def copycat(index: np.ndarray) -> float:
        index = index[is_later_N[index]]
        rows_of = (now.answer_NP[index], now.target_NP[index], before_NP[index])
        return collapse.copycat_weight(*rows_of) if len(index) else math.nan

    def latching(index: np.ndarray) -> float:
        index = index[is_known_N[index]]
        steps = (np.stack([earlier_NP, now.answer_NP], axis=1), np.stack([before_NP, now.target_NP], axis=1))
        return collapse.latching_index(*([*each[index]] for each in steps)) if len(index) else math.nan

    noise = rows.ratio(_noise(rows), np.square(now.change_NP).sum(axis=1)).mapped(_root)
    latched = latching(np.arange(len(is_known_N)))
    return Habits(rows.resampled(copycat), Measured(latched), noise if REPEATED in now.by_probe else UNDEFINED)
