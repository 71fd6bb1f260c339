"""Policies that see nothing, or only their own arm: a learned policy must beat them before it counts as seeing.

Letters: ``B`` parallel episodes, ``A`` action coordinates, ``S`` control steps, ``E`` end-effector state.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float

from smidgen.runtime.action_spec import ActionSpec


@dataclass(frozen=True, eq=False)
class DemoStatistics:
    """What blind baselines know about the demonstrations (successful training episodes only).

    Attributes:
        mean_action: (A,) mean over all targets of all steps.
        time_mean_SA: (S, A) mean target at each control step, shorter episodes padded with their last target.
    """

    mean_action: Float[np.ndarray, " A"]
    time_mean_SA: Float[np.ndarray, "S A"]

    def time_mean_at(self, steps: np.ndarray) -> np.ndarray:
        """Mean target at any array of control steps (shape ``...``), padded with the last: (..., A)."""
        return self.time_mean_SA[np.minimum(steps, len(self.time_mean_SA) - 1)]


class Baseline:
    """Base class of the baselines: the task's action, the number of parallel episodes and the step.

    Args:
        action: The task's action.
        statistics: Required if ``needs_statistics``.
    """

    name: str
    observes: tuple[str, ...] = ()
    needs_training: ClassVar[bool] = False
    needs_statistics: ClassVar[bool] = False

    def __init__(self, action: ActionSpec, statistics: DemoStatistics | None = None) -> None:
        self.action = action
        self._statistics = statistics
        self.reset()

    @property
    def statistics(self) -> DemoStatistics:
        """The demonstrations' statistics; the caller that builds the baseline guarantees them."""
        assert self._statistics is not None
        return self._statistics

    def reset(self, num_episodes: int = 1, seed: int = 0) -> None:
        """Starts episodes; ``seed`` is the first episode's, the others follow consecutively."""
        self.num_episodes = num_episodes
        self.step = 0

    def act(self, observations: Mapping[str, Any]) -> Float[np.ndarray, "B A"]:
        """The next action of every episode, float64, in physical units and within bounds."""
        actions_BA = np.asarray(self._next_actions(observations), dtype=np.float64)
        self.step += 1
        return self.action.clip(np.broadcast_to(actions_BA, (self.num_episodes, self.action.size)))

    def _next_actions(self, observations: Mapping[str, Any]) -> np.ndarray:
        raise NotImplementedError

    def _eef_state(self, observations: Mapping[str, Any]) -> Float[np.ndarray, "B E"]:
        eef_state_BE = np.asarray(observations["eef_state"], dtype=np.float64)
        if eef_state_BE.ndim != 2 or len(eef_state_BE) != self.num_episodes:
            raise ValueError(
                f"expected eef_state of shape ({self.num_episodes}, E), got {eef_state_BE.shape}; "
                "call reset(num_episodes=...) with the number of rows"
            )
        return eef_state_BE


class RandomPolicy(Baseline):
    """Uniform within the action's bounds; each row draws from its own episode's seed, whatever runs in parallel."""

    name = "random"

    def reset(self, num_episodes: int = 1, seed: int = 0) -> None:
        """Starts episodes with one generator each."""
        super().reset(num_episodes, seed)
        self._generators = [np.random.default_rng(seed + row) for row in range(num_episodes)]

    def _next_actions(self, observations: Mapping[str, Any]) -> np.ndarray:
        return np.stack([generator.uniform(self.action.low, self.action.high) for generator in self._generators])


class NoopPolicy(Baseline):
    """Holds the first observed end-effector position, gripper open."""

    name = "noop"
    observes: tuple[str, ...] = ("eef_state",)

    def _next_actions(self, observations: Mapping[str, Any]) -> np.ndarray:
        if self.step == 0:
            self._held_BA = self.action.hold(self._eef_state(observations))
        return self._held_BA


class MeanActionPolicy(Baseline):
    """Always the mean target of the demonstrations: the plateau that mean collapse is named after."""

    name = "mean_action"
    needs_statistics = True

    def _next_actions(self, observations: Mapping[str, Any]) -> np.ndarray:
        return self.statistics.mean_action


class TimeMeanPolicy(Baseline):
    """The mean trajectory of the demonstrations, step by step: the best a blind policy with a clock can do."""

    name = "time_mean"
    needs_statistics = True

    def _next_actions(self, observations: Mapping[str, Any]) -> np.ndarray:
        return self.statistics.time_mean_at(np.asarray(self.step))


class PersistencePolicy(Baseline):
    """Commands the current end-effector position, gripper open."""

    name = "persistence"
    observes: tuple[str, ...] = ("eef_state",)

    def _next_actions(self, observations: Mapping[str, Any]) -> np.ndarray:
        return self.action.hold(self._eef_state(observations))
