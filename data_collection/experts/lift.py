"""The expert for Lift: above the cube, down, close, up; starts again if the cube slips."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from smidgen.data_collection.experts.expert import CLOSED, OPEN, Expert, is_near

HOVER_OFFSET_M = np.array([0.0, 0.0, 0.06])
RAISE_M = 0.10
# Phases change while the gripper is still moving. A phase that ended at its goal would linger just short of it, and the
# label would change within a millimetre: an imitator cannot see that difference, and would stop there.
ALIGNED_M = 0.015
HOVER_TOLERANCE_M = 0.03
GRASP_TOLERANCE_M = 0.012
# The fingers open to 8 cm and the cube's diagonal is 5.9 cm: further off, a finger would land on it.
ASTRAY_M = 0.025
SQUEEZE_STEPS = 2
GIVE_UP_STEPS = 15


class LiftExpert(Expert):
    """Four phases; sideways motion only above the cube."""

    phases: ClassVar[tuple[str, ...]] = ("reach", "descend", "grasp", "raise")
    cue_phases: ClassVar[tuple[str, ...]] = ("reach",)

    def reset(self, seed: int) -> None:
        """Starts an episode with nothing grasped."""
        super().reset(seed)
        self.steps_grasped = 0

    def next_phase(self, privileged: Mapping[str, np.ndarray]) -> str:
        """Advances when a phase is complete; returns to reaching when the cube is not grasped."""
        eef, cube = privileged["eef_position_m"], privileged["object_position_m"]
        self.steps_grasped = self.steps_grasped + 1 if privileged["is_grasped"] else 0
        if self.phase == "reach":
            low = eef[2] < cube[2] + self._hover_offset_m()[2] + HOVER_TOLERANCE_M
            return "descend" if low and is_near(eef[:2], cube[:2], ALIGNED_M) else "reach"
        if self.phase == "descend":
            if not is_near(eef[:2], cube[:2], ASTRAY_M):
                return "reach"
            return "grasp" if eef[2] < cube[2] + GRASP_TOLERANCE_M else "descend"
        if self.phase == "grasp" and self.steps_grasped > SQUEEZE_STEPS:
            return "raise"
        lost = not privileged["is_grasped"] and self.steps_in_phase > GIVE_UP_STEPS
        return "reach" if lost else self.phase

    def command(self, privileged: Mapping[str, np.ndarray]) -> np.ndarray:
        """The next target: x, y, z (m) and the gripper."""
        eef, cube = privileged["eef_position_m"], privileged["object_position_m"]
        rest_m = float(privileged["object_rest_height_m"])
        if self.phase == "reach":
            return np.append(self.towards(eef, cube + self._hover_offset_m()), OPEN)
        if self.phase == "descend":
            return np.append(self.towards(eef, cube), OPEN)
        if self.phase == "grasp":
            return np.append([cube[0], cube[1], rest_m], CLOSED)
        return np.append(self.towards(eef, np.array([eef[0], eef[1], rest_m + RAISE_M])), CLOSED)

    def _hover_offset_m(self) -> np.ndarray:
        return HOVER_OFFSET_M + np.array([0.0, 0.0, self.approach_m])
