"""Lift: grasp a cube on a table and raise it by 4 cm (robosuite's Lift, Zhu et al. 2020, arXiv:2009.12293)."""

from __future__ import annotations

from typing import Any, ClassVar

import mujoco
import numpy as np

from smidgen.envs.frozen_model import FrozenModel
from smidgen.envs.robosuite_env import RobosuiteEnv
from smidgen.envs.robosuite_tasks import LIFT
from smidgen.envs.simulator import RobosuiteLift
from smidgen.envs.specs import TABLE_HEIGHT_M, TaskSpec

CUBE_HALF_SIZE_M = 0.021
CUBE_RANGE_M = 0.03
LIFT_HEIGHT_M = 0.04


class _CubeSize:
    """Replaces the generator that robosuite draws the cube's size from."""

    def uniform(self, low: float, high: float) -> float:
        assert low <= CUBE_HALF_SIZE_M <= high
        return CUBE_HALF_SIZE_M


class _LiftSimulation(FrozenModel, RobosuiteLift):
    """robosuite's Lift with a fixed cube size; robosuite draws a new one whenever the model is built."""

    rng: Any

    def _load_model(self) -> None:
        generator, self.rng = self.rng, _CubeSize()
        super()._load_model()
        self.rng = self.placement_initializer.rng = generator


class LiftEnv(RobosuiteEnv):
    """The cube lies within 3 cm of the table's centre at a random yaw; its pose is the episode's cue."""

    task: ClassVar[TaskSpec] = LIFT
    simulation_class = _LiftSimulation

    def _after_build(self) -> None:
        self._cube = self.simulation.cube_body_id
        joint = self.model.joint(self.simulation.cube.joints[0])
        self._cube_qpos = slice(int(joint.qposadr[0]), int(joint.qposadr[0]) + 7)

    def is_success(self) -> bool:
        """Whether the cube's centre is more than 4 cm above the table."""
        return bool(self.data.xpos[self._cube][2] > TABLE_HEIGHT_M + LIFT_HEIGHT_M)

    def is_grasped(self) -> bool:
        """Whether both fingertips touch the cube."""
        return bool(self.simulation._check_grasp(self._robot.gripper["right"], self.simulation.cube))

    def privileged(self) -> dict[str, np.ndarray]:
        """State for experts and failure labels.

        Returns:
            ``eef_position_m`` (3,), ``gripper_opening_m`` (), ``object_position_m`` (3,), ``object_rest_height_m`` ()
            the object's height at rest on the table, ``is_grasped`` () bool, ``is_success`` () bool.
        """
        eef_state = self.eef_state()
        return {
            "eef_position_m": eef_state[:3],
            "gripper_opening_m": eef_state[3],
            "object_position_m": self.data.xpos[self._cube].copy(),
            "object_rest_height_m": np.float64(TABLE_HEIGHT_M + CUBE_HALF_SIZE_M),
            "is_grasped": np.bool_(self.is_grasped()),
            "is_success": np.bool_(self.is_success()),
        }

    def cue_pose(self) -> np.ndarray:
        """(7,) the cube's position (m) and unit quaternion (w, x, y, z)."""
        return self.data.qpos[self._cube_qpos].copy()

    def set_cue_pose(self, pose: np.ndarray) -> None:
        """Moves the cube to a (7,) pose and leaves everything else unchanged."""
        self.data.qpos[self._cube_qpos] = pose
        mujoco.mj_forward(self.model, self.data)

    def sample_cue_pose(self, rng: np.random.Generator) -> np.ndarray:
        """Draws a position and a yaw as resets do; keeps the current height."""
        x, y = rng.uniform(-CUBE_RANGE_M, CUBE_RANGE_M, 2)
        half_yaw_rad = rng.uniform(0.0, np.pi)
        return np.array([x, y, self.cue_pose()[2], np.cos(half_yaw_rad), 0.0, 0.0, np.sin(half_yaw_rad)])

    def _cue_geoms(self) -> list[int]:
        return [self.model.geom(name).id for name in self.simulation.cube.visual_geoms]
