"""A task under the names that LeRobot (0.4.4) gives observations; imports nothing of LeRobot's.

``examples/lerobot_env_smidgen`` registers it with LeRobot, so that ``lerobot-eval`` finds it.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box
from gymnasium.spaces import Dict as DictSpace

from smidgen.envs.robosuite_env import RobosuiteEnv
from smidgen.envs.tasks import make_env

Observation = dict[str, Any]


class LeRobotNames(gymnasium.Wrapper[Observation, np.ndarray, dict[str, np.ndarray], np.ndarray]):
    """Observations as ``pixels`` (a dictionary by camera) and ``agent_pos``, as LeRobot's evaluation reads them.

    LeRobot takes an episode for solved if ``is_success`` holds at its last step. Here that is our success, held for
    ``hold_steps`` steps, so that both count the same; ``is_success_now`` is what the environment calls ``is_success``.
    LeRobot looks for ``task``, ``task_description`` and ``_max_episode_steps`` on the outermost wrapper.

    Args:
        env: A task with at least one camera.
    """

    def __init__(self, env: RobosuiteEnv) -> None:
        super().__init__(env)
        self._task = env.task
        # What exported data sets carry as the instruction.
        self.task = self.task_description = env.task.name
        self._max_episode_steps = env.task.horizon
        size = (*env.image_size, 3)
        state_size = len(env.task.eef_state_names)
        self._cameras = env.cameras
        self.observation_space = DictSpace(
            {
                "pixels": DictSpace({camera: Box(0, 255, size, dtype=np.uint8) for camera in env.cameras}),
                "agent_pos": Box(-np.inf, np.inf, (state_size,), dtype=np.float64),
            }
        )

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """As the environment's, under LeRobot's names."""
        observation, info = self.env.reset(seed=seed, options=options)
        return self._renamed(observation), self._with_success(info)

    def step(self, action: np.ndarray) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """As the environment's, under LeRobot's names."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        return self._renamed(observation), float(reward), terminated, truncated, self._with_success(info)

    def _renamed(self, observation: dict[str, np.ndarray]) -> Observation:
        pixels = {camera: observation[f"{camera}_image"] for camera in self._cameras}
        return {"pixels": pixels, "agent_pos": observation["eef_state"]}

    def _with_success(self, info: dict[str, Any]) -> dict[str, Any]:
        held = info["success_held_steps"] >= self._task.hold_steps
        return {**info, "is_success_now": info["is_success"], "is_success": held}


def make_lerobot_env(task: str, **kwargs: Any) -> LeRobotNames:
    """Makes a task under LeRobot's names.

    Args:
        task: A name in :data:`smidgen.envs.tasks.TASKS`, or ``their.module:Class``, which is imported.
        **kwargs: As :class:`smidgen.envs.robosuite_env.RobosuiteEnv` takes them.

    Raises:
        UserError: As :func:`smidgen.envs.tasks.make_env` raises it.
    """
    return LeRobotNames(make_env(task, **kwargs))
