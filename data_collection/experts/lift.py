"""The expert for Lift: above the cube, down, close, up; once more from the start if the cube slips."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from smidgen.data_collection.experts.expert import CLOSED, OPEN, Expert, is_near, towards

HOVER_OFFSET_M = np.array([0.0, 0.0, 0.06])
RAISE_M = 0.10
CLOSE_STEPS = 8
# The fingers are 8 cm apart at most and the cube's diagonal is 5.9 cm: off by more than this, one of them lands on it.
ALIGNED_M = 0.008
GRASP_TOLERANCE_M = 0.008


class LiftExpert(Expert):
    """Four phases; sideways motion happens above the cube only."""

    phases: ClassVar[tuple[str, ...]] = ("reach", "descend", "grasp", "raise")
    cue_phases: ClassVar[tuple[str, ...]] = ("reach", "descend")

    def next_phase(self, privileged: Mapping[str, np.ndarray]) -> str:
        """Moves on when a phase has done its work; back to reaching when the cube is not in hand."""
        eef, cube = privileged["eef_position_m"], privileged["object_position_m"]
        aligned = is_near(eef[:2], cube[:2], ALIGNED_M)
        if self.phase == "reach" and aligned and eef[2] < cube[2] + HOVER_OFFSET_M[2] + ALIGNED_M:
            return "descend"
        if self.phase == "descend" and is_near(eef, cube, GRASP_TOLERANCE_M):
            return "grasp"
        if self.phase == "descend" and not is_near(eef[:2], cube[:2], 3.0 * ALIGNED_M):
            return "reach"
        if self.phase == "grasp" and self.steps_in_phase >= CLOSE_STEPS:
            return "raise" if privileged["is_grasped"] else "reach"
        if self.phase == "raise" and self.steps_in_phase > CLOSE_STEPS and not privileged["is_grasped"]:
            return "reach"
        return self.phase

    def command(self, privileged: Mapping[str, np.ndarray]) -> np.ndarray:
        """The next target: x, y, z (m) and the gripper."""
        eef, cube = privileged["eef_position_m"], privileged["object_position_m"]
        rest_m = float(privileged["object_rest_height_m"])
        if self.phase == "reach":
            return np.append(towards(eef, cube + HOVER_OFFSET_M), OPEN)
        if self.phase == "descend":
            return np.append(towards(eef, cube), OPEN)
        if self.phase == "grasp":
            return np.append(cube, CLOSED)
        return np.append(towards(eef, np.array([eef[0], eef[1], rest_m + RAISE_M])), CLOSED)
