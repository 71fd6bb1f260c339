"""A policy that is shown other frames than there are: what it achieves all the same is not owed to sight."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from smidgen.data_collection.array_files import Array
from smidgen.data_collection.store import EpisodeStore
from smidgen.envs.tasks import named_task
from smidgen.evaluation.env_spec import EnvSpec
from smidgen.policies.policy_calls import PolicyCalls
from smidgen.runtime.errors import UserError


class BlindArm:
    """A policy that is shown other frames than there are.

    Args:
        calls: The policy.
        action_size: Number of the action's coordinates.
        instead: The frames to show, (1, cameras, H, W, 3), from the true ones, the episode's seed and the step.
    """

    def __init__(self, calls: PolicyCalls, action_size: int, instead: Callable[[Array, int, int], Array]) -> None:
        self.name, self.observes = f"{calls.policy.name}-blind", calls.observes
        self._calls, self._action_size, self._instead = calls, action_size, instead

    def reset(self, num_episodes: int = 1, seed: int = 0) -> None:
        """Starts an episode."""
        self._seed, self._step = seed, 0
        self._calls.reset(num_episodes=num_episodes, seed=seed)

    def act(self, observations: Mapping[str, Any]) -> Array:
        """The policy's action to the frames that it is shown."""
        frames = self._instead(observations["frames"], self._seed, self._step)
        self._step += 1
        return self._calls.act({**observations, "frames": frames}, self._action_size)


class FirstFrame:
    """Shows the first frame of an episode at every step."""

    def __call__(self, frames: Array, seed: int, step: int) -> Array:
        """The frame at step 0."""
        if step == 0:
            self._first = np.array(frames)
        return np.array(self._first)


class RecordedFrames:
    """Shows the frames of a recorded episode, another one for every seed; after its end, its last."""

    def __init__(self, store: EpisodeStore) -> None:
        self._store = store

    def __call__(self, frames: Array, seed: int, step: int) -> Array:
        """Its frame at a step."""
        seeds = self._store.training_seeds
        shown = self._store.episode(seeds[seed % len(seeds)]).frames
        return np.array(shown[min(step, len(shown) - 1)])[None]


def blind_arm(calls: PolicyCalls, spec: EnvSpec, data: str | None) -> PolicyCalls:
    """The blind arm of a policy: with the frames of recorded episodes, or without any with the first frame throughout.

    Raises:
        UserError: If the recorded episodes are not as the policy sees them.
    """
    shown = FirstFrame() if data is None else RecordedFrames(_open(data, spec))
    return PolicyCalls(BlindArm(calls, named_task(spec.task).action.size, shown))


def _open(data: str, spec: EnvSpec) -> EpisodeStore:
    store = EpisodeStore.open(data)
    if not store.training_seeds:
        raise UserError(f"{data} has no successful episodes; collect more")
    if store.manifest["image_size"] != spec.image_size:
        size, wanted = store.manifest["image_size"], spec.image_size
        raise UserError(f"{data} has frames of {size} x {size}, the policy sees {wanted} x {wanted}")
    return store.with_cameras(spec.cameras)
