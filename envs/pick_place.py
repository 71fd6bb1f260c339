"""Pick and place: carry one object from the left bin to its quarter of the right one (robosuite's PickPlace tasks).

Zhu et al. 2020, arXiv:2009.12293. The pictures of the four objects in the right bin show where each belongs.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from smidgen.envs.frozen_model import FrozenModel
from smidgen.envs.robosuite_tasks import PICK_PLACE_BREAD, PICK_PLACE_CAN, PICK_PLACE_CEREAL, PICK_PLACE_MILK
from smidgen.envs.simulator import (
    RobosuitePickPlaceBread,
    RobosuitePickPlaceCan,
    RobosuitePickPlaceCereal,
    RobosuitePickPlaceMilk,
)
from smidgen.envs.specs import TaskSpec
from smidgen.envs.table_objects import FreeObjectEnv, ParkedObjects, sample_beside

BIN_FLOOR_HEIGHT_M = 0.82


class _CanSimulation(FrozenModel, ParkedObjects, RobosuitePickPlaceCan):
    pass


class _MilkSimulation(FrozenModel, ParkedObjects, RobosuitePickPlaceMilk):
    pass


class _BreadSimulation(FrozenModel, ParkedObjects, RobosuitePickPlaceBread):
    pass


class _CerealSimulation(FrozenModel, ParkedObjects, RobosuitePickPlaceCereal):
    pass


class PickPlaceEnv(FreeObjectEnv):
    """The object is placed anywhere in the left bin, 5 cm clear of the walls, at a random yaw; its pose is the cue."""

    # From the object's centre, which is robosuite's origin, down to the surface below it.
    standing_height_m: ClassVar[float]

    @property
    def manipulated_object(self) -> Any:
        """The one object left in the scene."""
        return self.simulation.objects[self.simulation.object_id]

    @property
    def object_rest_height_m(self) -> float:
        """Height of the object's centre when it stands in a bin."""
        return BIN_FLOOR_HEIGHT_M + self.standing_height_m

    def goal_position_m(self) -> np.ndarray:
        """(3,) the object's centre when it stands in the middle of its quarter of the right bin."""
        x, y, _ = self.simulation.target_bin_placements[self.simulation.object_id]
        return np.array([x, y, self.object_rest_height_m])

    def sample_cue_pose(self, rng: np.random.Generator) -> np.ndarray:
        """Draws a position in the left bin and a yaw as resets do; keeps the current height."""
        sampler = self.simulation.placement_initializer.samplers["CollisionObjectSampler"]
        pose = sample_beside(sampler, self.manipulated_object, {}, rng)
        return np.concatenate([pose[:2], [self.cue_pose()[2]], pose[3:]])


class PickPlaceCanEnv(PickPlaceEnv):
    """The can, 5 cm across and 8 cm tall."""

    task: ClassVar[TaskSpec] = PICK_PLACE_CAN
    simulation_class = _CanSimulation
    standing_height_m = 0.040


class PickPlaceMilkEnv(PickPlaceEnv):
    """The milk carton, 4 by 4 cm and 14 cm tall, with a gable."""

    task: ClassVar[TaskSpec] = PICK_PLACE_MILK
    simulation_class = _MilkSimulation
    standing_height_m = 0.061


class PickPlaceBreadEnv(PickPlaceEnv):
    """The loaf of bread, 5 by 4 cm and 5 cm tall."""

    task: ClassVar[TaskSpec] = PICK_PLACE_BREAD
    simulation_class = _BreadSimulation
    standing_height_m = 0.023


class PickPlaceCerealEnv(PickPlaceEnv):
    """The box of cereal, 10 by 3 cm and 15 cm tall."""

    task: ClassVar[TaskSpec] = PICK_PLACE_CEREAL
    simulation_class = _CerealSimulation
    standing_height_m = 0.075
