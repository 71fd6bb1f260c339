"""What every scripted expert is: a phase machine over shared motion primitives, acting as a policy would."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from smidgen.runtime.action_spec import ActionSpec

OPEN, CLOSED = -1.0, 1.0
# How far ahead of the gripper a commanded target may lie: the controller's critically damped gains (12 rad/s) then move
# the arm at up to half of LEAD_M * 12 per second. Most targets are nearer and are the waypoint itself, so that a
# demonstration's labels tell where the cue is from the first step on.
LEAD_M = 0.15
# How gently a descent is held back while it is aside of its goal.
FUNNEL_M = 0.02
# The slowest pace and the highest approach of experts that vary, as differences from those that do not.
SLOWER, HIGHER_M = 0.6, 0.05


class Expert(abc.ABC):
    """Solves one task from privileged state.

    The commanded target is what demonstrations are labelled with. It depends on the present state and the phase alone,
    so :meth:`target` can be asked about an altered state.

    Args:
        action_spec: The task's action layout.
        variation: How much pace and approach differ between episodes, from 0 (not at all) to 1; drawn from the seed.
    """

    phases: ClassVar[tuple[str, ...]]
    # Phases in which the cue could lie elsewhere in its range without touching the robot.
    cue_phases: ClassVar[tuple[str, ...]]

    def __init__(self, action_spec: ActionSpec, variation: float = 0.0) -> None:
        self.action_spec = action_spec
        self.variation = variation
        self.reset(0)

    def reset(self, seed: int) -> None:
        """Starts an episode.

        Args:
            seed: The episode's seed, for whatever an expert does at random.
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
            (A,) in the task's action specification, inside its box.
        """
        phase = self.next_phase(privileged)
        if phase != self.phase:
            self._enter(phase)
        action = self.target(privileged)
        self.steps_in_phase += 1
        return action

    def target(self, privileged: Mapping[str, np.ndarray]) -> np.ndarray:
        """The target of the present phase, whichever phase the state calls for; changes nothing.

        Asked about a state with the cue moved, this is the counterfactual label: where the same motion would go.

        Args:
            privileged: The environment's :meth:`privileged` state, possibly altered.

        Returns:
            (A,) in the task's action specification, inside its box.
        """
        return np.clip(self.command(privileged), self.action_spec.low, self.action_spec.high)

    def towards(self, position_m: np.ndarray, goal_m: np.ndarray, lead_m: float = LEAD_M) -> np.ndarray:
        """As :func:`towards`, at the episode's pace."""
        return towards(position_m, goal_m, lead_m * self.pace)

    @abc.abstractmethod
    def next_phase(self, privileged: Mapping[str, np.ndarray]) -> str:
        """The phase that the present state calls for, given the one it is in."""

    @abc.abstractmethod
    def command(self, privileged: Mapping[str, np.ndarray]) -> np.ndarray:
        """The target of the present phase."""


def towards(position_m: np.ndarray, goal_m: np.ndarray, lead_m: float = LEAD_M) -> np.ndarray:
    """A target on the straight line to a goal, at most ``lead_m`` ahead of where the gripper is.

    Args:
        position_m: (3,) where the gripper is.
        goal_m: (3,) where it shall go.
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
    """How high above a place to stay while still beside it: 0 once it is met exactly enough, rising to ``height_m``.

    Args:
        error_m: Horizontal distance from the place.
        height_m: Height at :data:`FUNNEL_M` beyond ``exact_m``.
        exact_m: Distance at which the way down is free.
    """
    return height_m * float(np.clip((error_m - exact_m) / FUNNEL_M, 0.0, 1.0))
