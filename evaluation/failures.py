"""Labels each failed episode with the reason why it failed, derived from the simulator's state.

The first reason that applies, in this order:

1. ``simulator_error``, ``policy_error``: the episode was aborted (rollout.py).
2. ``not_held``: the episode ends in success, but it was not held for long enough.
3. ``out_of_bounds``: at the end, the gripper is at the edge of the action's box, or the object has left the box.
4. ``collapsed``: the path is the mean path and not this episode's own. This is tested afterwards, for all failures but
   the first and the third kind, since it needs the expert's paths on the same seeds (`with_collapsed`).
5. ``dropped``: the object was grasped and has fallen since.
6. ``misplaced``: the object was grasped and lies elsewhere; without an object, the fingertips are down beside the goal.
7. ``missed_grasp``: the gripper came near the object and closed or moved on without a grasp.
8. ``stalled``: the gripper stood still to the end.
9. ``not_held``: success was reached for a moment.
10. ``never_reached``: the gripper never came near.
11. ``timeout``: none of these; the policy was still active.

A rule applies only if the task's privileged state has the entries that it reads: ``dropped`` and ``missed_grasp`` need
``is_grasped`` and a free object, which is one with an ``object_rest_height_m``.

The mean path is the time mean of the scripted expert's paths on the same seeds, with shorter ones padded with their
last point. Paths are compared as curves regardless of speed: a blind policy without a clock may follow the mean path
more slowly than the expert.

Letters: ``S``, ``M`` points of a path.
"""

from __future__ import annotations

import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from smidgen.envs.specs import TaskSpec
from smidgen.evaluation.protocol import POLICY_ERROR, SIMULATOR_ERROR, SUCCESS
from smidgen.evaluation.record_schema import EpisodeRow

# Stored answers of unfinished evaluations are discarded when the rules below change.
RULES_VERSION = 2
# A grip is up to 6 cm from the centre of the largest objects, e.g. a nut that is held by its handle.
NEAR_M = 0.08
EDGE_M = 0.005
# Below the floor of the action's box, an object has fallen off the table.
OFF_TABLE_M = 0.05
FALLEN_M = 0.03
MOVED_M = 0.02
# The fingertips are down when they are as low as success requires.
DOWN_M = 0.008
CLOSING_M = 0.01
STILL_M = 0.01
STILL_S = 2.0
# Contacts of the pads flicker while an object swings.
LOST_STEPS = 3

_PLACES = ("object_position_m", "goal_position_m", "dirt_positions_m")
_READ = ("eef_position_m", "gripper_opening_m", "is_grasped", "is_success", *_PLACES)
COLLAPSED = "collapsed"
# With fewer paths, the mean is too close to single paths.
MIN_PATHS = 10
# A collapsed path is nearer to the mean path by this factor; one that follows a third of the cue is not.
NEARER = 0.5
# A policy that stays this close to the episode's own path has followed the cue, whatever the reason for its failure.
OWN_PATH_M = 0.01
_BEFORE = frozenset({SIMULATOR_ERROR, POLICY_ERROR, "out_of_bounds"})


@dataclass(frozen=True, eq=False)
class _Trace:
    """An episode's states at reset and after each of S control steps, by entry."""

    task: TaskSpec
    states: Mapping[str, np.ndarray]
    is_free: bool
    success_once: bool

    @property
    def eef_S3(self) -> np.ndarray:
        return self.states["eef_position_m"]

    @property
    def ends_successful(self) -> bool:
        return "is_success" in self.states and bool(self.states["is_success"][-1])

    @property
    def can_be_held(self) -> bool:
        """Whether there is an object that can be carried away."""
        return self.is_free and "is_grasped" in self.states

    @property
    def held_steps(self) -> np.ndarray:
        return np.flatnonzero(self.states["is_grasped"])

    @property
    def is_lost(self) -> bool:
        """Whether the object was grasped but is not at the end."""
        return self.can_be_held and len(self.held_steps) > 0 and not self.is_in_hand

    @property
    def is_in_hand(self) -> bool:
        return bool(self.states["is_grasped"][-1 - LOST_STEPS :].any())

    @property
    def near_steps(self) -> np.ndarray:
        """Steps at which the gripper was near the object; without an object, near the goal or any piece of dirt."""
        place = next((self.states[name] for name in _PLACES if name in self.states), None)
        if place is None:
            return np.arange(len(self.eef_S3))
        offsets_SP3 = place.reshape(len(place), -1, 3) - self.eef_S3[:, None]
        return np.flatnonzero(np.linalg.norm(offsets_SP3, axis=-1).min(axis=1) <= NEAR_M)


class FailureObserver:
    """Observes one episode's privileged state and labels its outcome.

    Args:
        task: Some rules depend on its action box and control rate.
    """

    def __init__(self, task: TaskSpec) -> None:
        self._task = task
        self._states: list[dict[str, np.ndarray]] = []
        self._is_free = False

    def see(self, privileged: Mapping[str, Any]) -> None:
        """Stores the state after reset or after a control step."""
        self._is_free = "object_rest_height_m" in privileged
        self._states.append(
            {name: np.array(privileged[name], dtype=np.float64) for name in _READ if name in privileged}
        )

    def label(self, success: bool, success_once: bool) -> str:
        """The episode's label; the first rule that applies."""
        if success:
            return SUCCESS
        states = {name: np.stack([state[name] for state in self._states]) for name in self._states[0]}
        trace = _Trace(self._task, states, self._is_free, success_once)
        return next((name for name, applies in _RULES if applies(trace)), "timeout")


def _is_out_of_bounds(trace: _Trace) -> bool:
    positions = trace.task.action.position_indices
    low_m, high_m = (np.array(bound)[positions] for bound in (trace.task.action.low, trace.task.action.high))
    # The floor of the box is the table, where much of the work is done.
    floor_m, low_m[2] = low_m[2], -np.inf
    position_m = trace.eef_S3[-1]
    if (position_m < low_m + EDGE_M).any() or (position_m > high_m - EDGE_M).any():
        return True
    if not trace.is_free:
        return False
    object_m = trace.states["object_position_m"][-1]
    fallen_off = bool(object_m[2] < floor_m - OFF_TABLE_M)
    return fallen_off or bool(((object_m < low_m) | (object_m > high_m)).any())


def _is_dropped(trace: _Trace) -> bool:
    if not trace.is_lost:
        return False
    height_m = trace.states["object_position_m"][:, 2]
    return bool(height_m[trace.held_steps[-1]] - height_m[-1] > FALLEN_M)


def _is_misplaced(trace: _Trace) -> bool:
    if "object_position_m" not in trace.states:
        goal = trace.states.get("goal_position_m")
        return goal is not None and bool(trace.eef_S3[-1, 2] <= goal[-1, 2] + DOWN_M)
    start_m, end_m = trace.states["object_position_m"][[0, -1], :2]
    return trace.is_lost and float(np.linalg.norm(end_m - start_m)) > MOVED_M


def _has_missed_grasp(trace: _Trace) -> bool:
    if not trace.can_be_held or trace.is_in_hand or not len(trace.near_steps):
        return False
    return _has_closed_near(trace) or not _has_stalled(trace)


def _has_closed_near(trace: _Trace) -> bool:
    if "gripper_opening_m" not in trace.states:
        return False
    opening_m = trace.states["gripper_opening_m"][trace.near_steps]
    return bool((np.maximum.accumulate(opening_m) - opening_m > CLOSING_M).any())


def _has_stalled(trace: _Trace) -> bool:
    still_steps = round(STILL_S * trace.task.control_hz)
    last_S3 = trace.eef_S3[-1 - still_steps :]
    return len(last_S3) > still_steps and bool((np.linalg.norm(last_S3 - last_S3[-1], axis=1) <= STILL_M).all())


# In order of precedence.
_RULES: tuple[tuple[str, Callable[[_Trace], bool]], ...] = (
    ("not_held", lambda trace: trace.ends_successful),
    ("out_of_bounds", _is_out_of_bounds),
    ("dropped", _is_dropped),
    ("misplaced", _is_misplaced),
    ("missed_grasp", _has_missed_grasp),
    ("stalled", _has_stalled),
    ("not_held", lambda trace: trace.success_once),
    ("never_reached", lambda trace: not len(trace.near_steps)),
)


def time_mean_path(paths: Iterable[np.ndarray]) -> np.ndarray:
    """The mean position at each step, with shorter paths padded with their last point.

    Args:
        paths: (S, 3) each, at least one, none empty.

    Returns:
        (S, 3), as long as the longest.
    """
    paths = list(paths)
    num_points = max(map(len, paths))
    return np.mean([np.pad(path, ((0, num_points - len(path)), (0, 0)), mode="edge") for path in paths], axis=0)


def distance_to_path(path_S3: np.ndarray, other_M3: np.ndarray) -> float:
    """RMS distance in metres of a path's points to the nearest point of another path, taken as a polyline."""
    starts_M3, ends_M3 = (other_M3, other_M3) if len(other_M3) == 1 else (other_M3[:-1], other_M3[1:])
    along_M3 = ends_M3 - starts_M3
    offset_SM3 = path_S3[:, None] - starts_M3
    squared_M = np.maximum((along_M3**2).sum(axis=-1), 1e-18)
    share_SM = np.clip((offset_SM3 * along_M3).sum(axis=-1) / squared_M, 0.0, 1.0)
    nearest_SM3 = offset_SM3 - share_SM[..., None] * along_M3
    return float(np.sqrt((nearest_SM3**2).sum(axis=-1).min(axis=1).mean()))


def follows_mean_path(path_S3: np.ndarray, mean_M3: np.ndarray, own_M3: np.ndarray) -> bool:
    """Whether a path is the mean path and not the episode's own.

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
    """The episodes' rows, with those that followed the mean path labelled ``collapsed``.

    Args:
        answers: The result of `items.episode_answer` for each of the policy's episodes, by seed.
        experts: The same for the expert; empty if the task has none, in which case no row changes.

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
