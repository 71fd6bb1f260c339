"""The experts for nut assembly: grasp the nut by its handle, carry it over the peg and drop it."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from smidgen.data_collection.experts.carry import CarryExpert, Privileged
from smidgen.envs.yaw import principal_yaw


class NutAssemblyExpert(CarryExpert):
    """The peg is 13 cm tall: the nut is released once the peg's tip is in its hole, and drops the rest of the way."""

    travel_height_m = 0.99
    above_goal_m = 0.15
    over_goal_m = 0.006
    release_above_goal_m = 0.10
    descend_lead_m = 0.03
    carry_lead_m = 0.06
    lower_lead_m = 0.03
    exact_m = 0.008
    handle_m: ClassVar[float]

    def grasp_position_m(self, privileged: Privileged) -> np.ndarray:
        """(3,) the middle of the handle's free part; the handle points along the nut's x axis."""
        yaw_rad = float(privileged["object_yaw_rad"])
        return privileged["object_position_m"] + self.handle_m * np.array([np.cos(yaw_rad), np.sin(yaw_rad), 0.0])

    def grasp_yaw_rad(self, privileged: Privileged) -> float:
        """Across the handle."""
        return principal_yaw(float(privileged["object_yaw_rad"]))

    def carry_yaw_rad(self, privileged: Privileged) -> float:
        """Home yaw with the handle on the near side of the peg; a quarter turn from it if that is out of reach."""
        # The handle's direction once the gripper has turned home.
        home_rad = float(privileged["object_yaw_rad"]) - float(privileged["eef_yaw_rad"])
        return 0.0 if np.cos(home_rad) < 0.0 else -np.pi / 2


class SquareNutExpert(NutAssemblyExpert):
    """The square hole fits at any quarter turn, including home."""

    handle_m = 0.064


class RoundNutExpert(NutAssemblyExpert):
    """The round hole fits at any yaw."""

    handle_m = 0.070
