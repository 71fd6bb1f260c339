"""The expert for Stack: put the red cube onto the green one."""

from __future__ import annotations

import numpy as np

from smidgen.data_collection.experts.carry import CarryExpert, Privileged
from smidgen.envs.yaw import principal_yaw


class StackExpert(CarryExpert):
    """Grasps by the pair of faces that keeps its fingers farther from the green cube."""

    travel_height_m = 0.93
    over_goal_m = 0.010

    def grasp_position_m(self, privileged: Privileged) -> np.ndarray:
        """(3,) the red cube's centre."""
        return privileged["object_position_m"]

    def grasp_yaw_rad(self, privileged: Privileged) -> float:
        """The yaw of the pair of faces that keeps the fingers farther from the green cube."""
        offset = privileged["goal_position_m"] - privileged["object_position_m"]
        faces_rad = principal_yaw(float(privileged["object_yaw_rad"]))
        # At home yaw the fingers close along y.
        towards_base_rad = np.arctan2(offset[1], offset[0]) - np.pi / 2
        along = abs(np.cos(faces_rad - towards_base_rad))
        return faces_rad if along < np.sqrt(0.5) else principal_yaw(faces_rad + np.pi / 2)
