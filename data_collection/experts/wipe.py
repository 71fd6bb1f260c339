"""The expert for Wipe: down onto the nearest dirt, then on to the nearest remaining dirt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from smidgen.data_collection.experts.expert import Expert, is_near

Privileged = Mapping[str, np.ndarray]

HOVER_M = 0.03
HOVER_TOLERANCE_M = 0.02
ALIGNED_M = 0.03
# Commanded below the table's surface: the compliant controller keeps the tool pressed flat on it.
PRESS_M = 0.01
# The nearest dirt is usually at the tool's edge; a target exactly on it would be approached ever more slowly.
STRIDE_M = 0.035


class WipeExpert(Expert):
    """Three phases."""

    phases: ClassVar[tuple[str, ...]] = ("reach", "wipe", "rest")
    cue_phases: ClassVar[tuple[str, ...]] = ("reach",)

    def next_phase(self, privileged: Privileged) -> str:
        """Goes down once above dirt, and rests when none is left."""
        if privileged["is_success"]:
            return "rest"
        if self.phase == "reach":
            eef, nearest = privileged["eef_position_m"], self._nearest(privileged)
            low = eef[2] < nearest[2] + HOVER_M + self.approach_m + HOVER_TOLERANCE_M
            return "wipe" if low and is_near(eef[:2], nearest[:2], ALIGNED_M) else "reach"
        return self.phase

    def command(self, privileged: Privileged) -> np.ndarray:
        """The next target: x, y, z (m)."""
        eef = privileged["eef_position_m"]
        nearest = self._nearest(privileged)
        if self.phase == "rest":
            return np.array([eef[0], eef[1], nearest[2] + HOVER_M])
        if self.phase == "reach":
            return self.towards(eef, nearest + np.array([0.0, 0.0, HOVER_M + self.approach_m]))
        offset = nearest[:2] - eef[:2]
        stride = offset * max(1.0, self.pace * STRIDE_M / max(float(np.linalg.norm(offset)), 1e-9))
        return np.array([*(eef[:2] + stride), nearest[2] - PRESS_M])

    def _nearest(self, privileged: Privileged) -> np.ndarray:
        """(3,) the dirt nearest to the tool."""
        left = privileged["dirt_positions_m"][~privileged["is_wiped"]]
        if not len(left):
            left = privileged["dirt_positions_m"]
        distances = np.linalg.norm(left[:, :2] - privileged["eef_position_m"][:2], axis=1)
        return left[np.argmin(distances)]
