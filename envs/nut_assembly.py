"""Nut assembly: put a nut over its peg (robosuite's NutAssembly tasks, Zhu et al. 2020, arXiv:2009.12293)."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from smidgen.envs.frozen_model import FrozenModel
from smidgen.envs.robosuite_tasks import NUT_ASSEMBLY_ROUND, NUT_ASSEMBLY_SQUARE
from smidgen.envs.simulator import RobosuiteNutAssemblyRound, RobosuiteNutAssemblySquare
from smidgen.envs.specs import TaskSpec
from smidgen.envs.table_objects import FreeObjectEnv, ParkedObjects, sample_beside

TABLE_TOP_HEIGHT_M = 0.82
NUT_HALF_HEIGHT_M = 0.01


class _SquareSimulation(FrozenModel, ParkedObjects, RobosuiteNutAssemblySquare):
    pass


class _RoundSimulation(FrozenModel, ParkedObjects, RobosuiteNutAssemblyRound):
    pass


class NutAssemblyEnv(FreeObjectEnv):
    """A nut lies on its side of the table at a random yaw; its pose is the cue. The pegs do not move."""

    object_rest_height_m = TABLE_TOP_HEIGHT_M + NUT_HALF_HEIGHT_M

    @property
    def manipulated_object(self) -> Any:
        """The one nut left in the scene."""
        return self.simulation.nuts[self.simulation.nut_id]

    def goal_position_m(self) -> np.ndarray:
        """(3,) the nut's centre when it is on its peg."""
        peg = (self.simulation.peg1_body_id, self.simulation.peg2_body_id)[self.simulation.nut_id]
        x, y, _ = self.data.xpos[peg]
        return np.array([x, y, self.object_rest_height_m])

    def sample_cue_pose(self, rng: np.random.Generator) -> np.ndarray:
        """Draws a position and a yaw as resets do; keeps the current height."""
        sampler = self.simulation.placement_initializer.samplers[f"{self.manipulated_object.name}Sampler"]
        pose = sample_beside(sampler, self.manipulated_object, {}, rng)
        return np.concatenate([pose[:2], [self.cue_pose()[2]], pose[3:]])


class NutAssemblySquareEnv(NutAssemblyEnv):
    """The square brass nut."""

    task: ClassVar[TaskSpec] = NUT_ASSEMBLY_SQUARE
    simulation_class = _SquareSimulation


class NutAssemblyRoundEnv(NutAssemblyEnv):
    """The round steel nut."""

    task: ClassVar[TaskSpec] = NUT_ASSEMBLY_ROUND
    simulation_class = _RoundSimulation
