"""The base class of scripted experts: a phase machine over shared motion primitives, with a policy's interface."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from smidgen.runtime.action_spec import ActionSpec

OPEN, CLOSED = -1.0, 1.0
# Maximum distance from the gripper to a commanded target: the controller's critically damped gains (12 rad/s) then move
# the arm at up to half of LEAD_M * 12 per second. Most targets are nearer and are the waypoint itself, so that the
# labels reveal where the cue is from the first step on.
LEAD_M = 0.15
# How gradually a descent is slowed while the gripper is off to the side of its goal.
FUNNEL_M = 0.02
# The slowest pace and the highest approach of varying experts, relative to those that do not vary.
SLOWER, HIGHER_M = 0.6, 0.05


class Expert(abc.ABC):
    """Solves one task from privileged state.

    Demonstrations are labelled with the commanded target. It depends only on the current state and phase, so
    :meth:`target` can be evaluated on an altered state.

    Args:
        action_spec: The task's action layout.
        variation: How much pace and approach vary between episodes, from 0 (not at all) to 1; drawn from the seed.
    """

    phases: ClassVar[tuple[str, ...]]
    # Phases in which the cue could be anywhere in its range without touching the robot.
    cue_phases: ClassVar[tuple[str, ...]]

    def __init__(self, action_spec: ActionSpec, variation: float = 0.0) -> None:
        self.action_spec = action_spec
        self.variation = variation
        self.reset(0)

    def reset(self, seed: int) -> None:
        """Starts an episode.

        Args:
            seed: The episode's seed, for the expert's random choices.
        """
        self.rng = np.random.default_rng(seed)
        slower, higher = self.variation * self.rng.uniform(size=2)
        self.pace, self.approach_m = 1.0 - SLOWER * float(slower), HIGHER_M * float(higher)
        self._enter(self.phases[0])

    def _enter(self, phase: str) -> None:
        assert phase in self.phases
        self.phase = phase
        self.steps_in_phase = 0

    def act(self, privileged: Mapping[str, np.ndarray]) -> np.ndarray:
        """Chooses the next target.

        Args:
            privileged: The environment's :meth:`privileged` state.

        Returns:
            (A,) in the task's action specification, within its bounds.
        """
        phase = self.next_phase(privileged)
        if phase != self.phase:
            self._enter(phase)
        action = self.target(privileged)
        self.steps_in_phase += 1
        return action

    def target(self, privileged: Mapping[str, np.ndarray]) -> np.ndarray:
        """The target of the current phase, whichever phase the state calls for; has no side effects.

        For a state with the cue moved, this is the counterfactual label: where the same motion would go.

        Args:
            privileged: The environment's :meth:`privileged` state, possibly altered.

        Returns:
            (A,) in the task's action specification, within its bounds.
        """
        return np.clip(self.command(privileged), self.action_spec.low, self.action_spec.high)

    def towards(self, position_m: np.ndarray, goal_m: np.ndarray, lead_m: float = LEAD_M) -> np.ndarray:
        """As :func:`towards`, at the episode's pace."""
        return towards(position_m, goal_m, lead_m * self.pace)

    @abc.abstractmethod
    def next_phase(self, privileged: Mapping[str, np.ndarray]) -> str:
        """The phase that the current state calls for, given the current phase."""

    @abc.abstractmethod
    def command(self, privileged: Mapping[str, np.ndarray]) -> np.ndarray:
        """The target of the current phase."""


def towards(position_m: np.ndarray, goal_m: np.ndarray, lead_m: float = LEAD_M) -> np.ndarray:
    """A target on the straight line to a goal, at most ``lead_m`` ahead of the gripper.

    Args:
        position_m: (3,) the gripper's position.
        goal_m: (3,) the goal.
        lead_m: Largest distance between target and gripper.

    Returns:
        (3,) target in metres.
    """
    offset = goal_m - position_m
    distance_m = float(np.linalg.norm(offset))
    return position_m + offset * min(1.0, lead_m / max(distance_m, 1e-9))


def is_near(position_m: np.ndarray, goal_m: np.ndarray, tolerance_m: float) -> bool:
    """Whether a position is within a tolerance of a goal."""
    return float(np.linalg.norm(position_m - goal_m)) < tolerance_m


def funnel_m(error_m: float, height_m: float, exact_m: float) -> float:
    """How high to stay above a place while off to its side: 0 within ``exact_m``, rising to ``height_m``.

    Args:
        error_m: Horizontal distance from the place.
        height_m: Height at :data:`FUNNEL_M` beyond ``exact_m``.
        exact_m: Distance within which the descent is allowed.
    """
    return height_m * float(np.clip((error_m - exact_m) / FUNNEL_M, 0.0, 1.0))
