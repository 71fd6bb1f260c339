"""The experts for pick and place: move one object from the left bin into its quarter of the right one."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from smidgen.data_collection.experts.carry import CarryExpert, Privileged
from smidgen.envs.yaw import principal_yaw

# Avoid a straight arm: with its elbow at the joint limit, the controller cannot bend it again.
NEARER_M = np.array([-0.045, -0.05, 0.0])


class PickPlaceExpert(CarryExpert):
    """Carries the object over the bins' walls and lowers it into the quarter."""

    travel_height_m = 0.96
    # The walls end 8 cm above the floor on which an object stands.
    above_goal_m = 0.12
    over_goal_m = 0.03
    release_above_goal_m = 0.02
    # Height of the grip above the object's centre: the palm stays clear of its top and of the walls.
    grip_above_centre_m: ClassVar[float]

    def grasp_position_m(self, privileged: Privileged) -> np.ndarray:
        """(3,) a point above the object's centre."""
        return privileged["object_position_m"] + np.array([0.0, 0.0, self.grip_above_centre_m])

    def grasp_yaw_rad(self, privileged: Privileged) -> float:
        """The fingers close along the object's y axis, its narrow side."""
        return principal_yaw(float(privileged["object_yaw_rad"]))


class CanExpert(PickPlaceExpert):
    """A can may be grasped from any side."""

    grip_above_centre_m = 0.015

    def place_position_m(self, privileged: Privileged) -> np.ndarray:
        """(3,) on the near side of the quarter's middle, which only a straight arm could reach."""
        return privileged["goal_position_m"] + NEARER_M


class MilkExpert(PickPlaceExpert):
    """Grasped along the gable, where two sides are parallel; across it there are none."""

    grip_above_centre_m = 0.055


class BreadExpert(PickPlaceExpert):
    """Grasped by the pair of faces that keeps the hand farther from the bin's walls."""

    grip_above_centre_m = 0.012

    def grasp_yaw_rad(self, privileged: Privileged) -> float:
        """The yaw that leaves the hand more room."""
        faces_rad = super().grasp_yaw_rad(privileged)
        candidates = (faces_rad, principal_yaw(faces_rad + np.pi / 2))
        return max(candidates, key=lambda yaw_rad: _room_m(privileged["object_position_m"], yaw_rad))


def _room_m(position_m: np.ndarray, yaw_rad: float) -> float:
    """Distance in metres between the hand and the nearest wall of the left bin; negative where it would hit one."""
    along, across = abs(np.cos(yaw_rad)), abs(np.sin(yaw_rad))
    hand = np.array([0.104 * across + 0.032 * along, 0.104 * along + 0.032 * across])
    return float((np.array([0.19, 0.24]) - np.abs(position_m[:2] - np.array([0.1, -0.25])) - hand).min())


class CerealExpert(PickPlaceExpert):
    """Only one side of the box fits between the fingers."""

    grip_above_centre_m = 0.052
