"""Collapsed in closed loop: an episode in which the policy went the mean way instead of the one that its cue asked for.

The reference is the scripted expert on the very same seeds: its own path, and the time-mean of its paths on all of
them, shorter ones padded with their last point. Paths are compared as curves, whatever the speed: a blind policy
without a clock may follow the mean path slower than the expert does.

Letters: ``S``, ``M`` points of a path.
"""

from __future__ import annotations

import typing
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from smidgen.evaluation.protocol import POLICY_ERROR, SIMULATOR_ERROR
from smidgen.evaluation.record_schema import EpisodeRow

COLLAPSED = "collapsed"
# With fewer, the mean path is some episodes' own.
MIN_PATHS = 10
# So much nearer to the mean path than to the episode's own: a path that answers to a third of the cue is no longer it.
NEARER = 0.5
# Whoever stays this close to the episode's own path has answered to its cue, whatever it failed by.
OWN_PATH_M = 0.01
_BEFORE = frozenset({SIMULATOR_ERROR, POLICY_ERROR, "out_of_bounds"})


def time_mean_path(paths: Iterable[np.ndarray]) -> np.ndarray:
    """The mean position at each step, shorter paths going on with their last point.

    Args:
        paths: (S, 3) each, at least one, none empty.

    Returns:
        (S, 3), as long as the longest.
    """
    paths = list(paths)
    num_points = max(map(len, paths))
    return np.mean([np.pad(path, ((0, num_points - len(path)), (0, 0)), mode="edge") for path in paths], axis=0)


def distance_to_path(path_S3: np.ndarray, other_M3: np.ndarray) -> float:
    """Root mean square over a path's points of the distance to the nearest point of another, a polyline, in metres."""
    starts_M3, ends_M3 = (other_M3, other_M3) if len(other_M3) == 1 else (other_M3[:-1], other_M3[1:])
    along_M3 = ends_M3 - starts_M3
    offset_SM3 = path_S3[:, None] - starts_M3
    squared_M = np.maximum((along_M3**2).sum(axis=-1), 1e-18)
    share_SM = np.clip((offset_SM3 * along_M3).sum(axis=-1) / squared_M, 0.0, 1.0)
    nearest_SM3 = offset_SM3 - share_SM[..., None] * along_M3
    return float(np.sqrt((nearest_SM3**2).sum(axis=-1).min(axis=1).mean()))


def follows_mean_path(path_S3: np.ndarray, mean_M3: np.ndarray, own_M3: np.ndarray) -> bool:
    """Whether a path is the mean path and not the one that its episode asked for.

    Args:
        path_S3: The policy's end-effector positions in metres.
        mean_M3: The time-mean of the expert's paths.
        own_M3: The expert's path on the same seed.
    """
    to_own_m = distance_to_path(path_S3, own_M3)
    return to_own_m > OWN_PATH_M and distance_to_path(path_S3, mean_M3) < NEARER * to_own_m


def with_collapsed(
    answers: Mapping[int, Mapping[str, Any]], experts: Mapping[int, Mapping[str, Any]]
) -> list[EpisodeRow]:
    """The episodes' rows, those that followed the mean path labelled so.

    Args:
        answers: What `items.episode_answer` gave for each of the policy's episodes, by seed.
        experts: The same for the expert; empty where the task has none, and then no row changes.

    Returns:
        Rows in the order of ``answers``.
    """
    own = {seed: np.array(answer["path"]) for seed, answer in experts.items() if answer["row"]["success"]}
    if len(own) < MIN_PATHS:
        return [answer["row"] for answer in answers.values()]
    mean_M3 = time_mean_path(own.values())
    rows = []
    for seed, answer in answers.items():
        row = typing.cast(EpisodeRow, dict(answer["row"]))
        may_be = not row["success"] and row["label"] not in _BEFORE and seed in own
        if may_be and follows_mean_path(np.array(answer["path"]), mean_M3, own[seed]):
            row["label"] = COLLAPSED
        rows.append(row)
    return rows
