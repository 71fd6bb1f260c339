"""The scripted experts behind the policy protocol: they see privileged state and are never ranked."""

from __future__ import annotations

from typing import Any

import numpy as np

from smidgen.data_collection.experts import EXPERTS, find_expert
from smidgen.envs.tasks import named_task
from smidgen.runtime.errors import unknown_name


class ExpertPolicy:
    """One expert per episode side by side.

    Args:
        task: Name of the task, or ``their.module:Class`` of a user's, which is imported.

    Raises:
        UserError: If the task is unknown or has no expert.
    """

    name: str = "expert"
    observes: tuple[str, ...] = ("privileged",)

    def __init__(self, task: str) -> None:
        expert = find_expert(task)
        if expert is None:
            raise unknown_name("task with an expert", task, EXPERTS)
        self._expert, self._action_spec = expert, named_task(task).action
        self.reset()

    def reset(self, num_episodes: int = 1, seed: int = 0) -> None:
        """Starts episodes; ``seed`` is the first one's, the others count on from it."""
        self._experts = [self._expert(self._action_spec) for _ in range(num_episodes)]
        for row, expert in enumerate(self._experts):
            expert.reset(seed + row)

    def act(self, observations: dict[str, Any]) -> np.ndarray:
        """The experts' targets, float64 (B, A)."""
        privileged = observations["privileged"]
        actions = [
            expert.act({name: value[row] for name, value in privileged.items()})
            for row, expert in enumerate(self._experts)
        ]
        return np.stack(actions)
