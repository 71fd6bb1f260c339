"""Stock robosuite as a user would run it, with its own controller and renderer: the reference for our speed.

The controller is configured for absolute targets in the world frame, as our tasks use; nothing else is changed. numba's
compiler is off, as everywhere in smidgen (see :mod:`smidgen.envs.backend`).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from smidgen.envs.robosuite_tasks import LIFT, PICK_PLACE_CAN
from smidgen.envs.simulator import RobosuiteLift, RobosuitePickPlaceCan, quiet_robosuite
from smidgen.envs.specs import TaskSpec

# The Panda's gripper pointing down, as a rotation vector; close to where every episode starts.
_POINTING_DOWN_RAD = np.array([np.pi, 0.0, 0.0])


CLASSES: dict[str, type[Any]] = {LIFT.name: RobosuiteLift, PICK_PLACE_CAN.name: RobosuitePickPlaceCan}


class StockEnv:
    """robosuite's environment of a task with the few methods that a serial loop needs.

    Args:
        task: One of :data:`CLASSES`; its actions are x, y, z and the gripper.
        image_size: Rows and columns of a frame.
        cameras: Names of the cameras.
        seed: Seed of robosuite's generator, which all episodes draw from.
    """

    def __init__(self, task: TaskSpec, image_size: int, cameras: tuple[str, ...], seed: int = 0) -> None:
        self.cameras = cameras
        with quiet_robosuite():
            from robosuite.controllers import load_composite_controller_config

            controller = load_composite_controller_config(robot="Panda")
            controller["body_parts"]["right"].update(input_type="absolute", input_ref_frame="world")
            self._env = CLASSES[task.name](
                robots="Panda",
                controller_configs=controller,
                renderer="mujoco",
                has_renderer=False,
                has_offscreen_renderer=True,
                use_camera_obs=True,
                camera_names=list(cameras),
                camera_heights=image_size,
                camera_widths=image_size,
                control_freq=task.control_hz,
                horizon=task.horizon,
                ignore_done=True,
                seed=seed,
            )

    def reset(self) -> np.ndarray:
        """Starts an episode: (num_cameras, H, W, 3) uint8 frames, upright."""
        with quiet_robosuite():
            return self._frames(self._env.reset())

    def step(self, action_A: np.ndarray) -> tuple[np.ndarray, bool]:
        """Moves towards (4,) x, y, z in metres and a gripper command in [-1, 1].

        Returns:
            The frames, and whether the task is done.
        """
        action = np.concatenate([action_A[:3], _POINTING_DOWN_RAD, action_A[3:]])
        observation, reward, _, _ = self._env.step(action)
        return self._frames(observation), bool(reward > 0)

    def _frames(self, observation: dict[str, Any]) -> np.ndarray:
        return np.stack([observation[f"{name}_image"][::-1] for name in self.cameras])

    def close(self) -> None:
        """Closes the renderer."""
        self._env.close()
