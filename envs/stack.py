"""Stack: put one cube on another (robosuite's Stack, Zhu et al. 2020, arXiv:2009.12293)."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from smidgen.envs.frozen_model import FrozenModel
from smidgen.envs.robosuite_tasks import STACK
from smidgen.envs.simulator import RobosuiteStack
from smidgen.envs.specs import TABLE_HEIGHT_M, TaskSpec
from smidgen.envs.table_objects import FreeObjectEnv, are_touching, geom_mask, sample_beside

CUBE_HALF_SIZE_M = 0.02
BASE_HALF_SIZE_M = 0.025
LIFTED_M = 0.04


class _StackSimulation(FrozenModel, RobosuiteStack):
    """robosuite's Stack; the cubes' sizes are constant."""


class StackEnv(FreeObjectEnv):
    """Two cubes lie within 8 cm of the table's centre at random yaws; the red one's pose is the cue."""

    task: ClassVar[TaskSpec] = STACK
    simulation_class = _StackSimulation
    object_rest_height_m = TABLE_HEIGHT_M + CUBE_HALF_SIZE_M

    @property
    def manipulated_object(self) -> Any:
        """The red cube."""
        return self.simulation.cubeA

    def _after_build(self) -> None:
        super()._after_build()
        self._base_geoms = geom_mask(self.model, self.simulation.cubeB.contact_geoms)

    def is_success(self) -> bool:
        """Whether the red cube is above the table, touches the green one and is not grasped (robosuite's rule)."""
        lifted = self.data.xpos[self._object_body][2] > TABLE_HEIGHT_M + LIFTED_M
        touching = are_touching(self.data, self._object_geoms, self._base_geoms)
        return bool(lifted and touching and not self.is_grasped())

    def base_position_m(self) -> np.ndarray:
        """(3,) the green cube's centre."""
        return self.data.xpos[self.simulation.cubeB_body_id].copy()

    def goal_position_m(self) -> np.ndarray:
        """(3,) the red cube's centre when it lies on the green one."""
        return self.base_position_m() + np.array([0.0, 0.0, BASE_HALF_SIZE_M + CUBE_HALF_SIZE_M])

    def sample_cue_pose(self, rng: np.random.Generator) -> np.ndarray:
        """Draws a position beside the green cube and a yaw as resets do; keeps the current height."""
        base = {self.simulation.cubeB.name: (self.base_position_m(), None, self.simulation.cubeB)}
        pose = sample_beside(self.simulation.placement_initializer, self.simulation.cubeA, base, rng)
        return np.concatenate([pose[:2], [self.cue_pose()[2]], pose[3:]])
