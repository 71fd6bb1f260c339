"""The expert for the touch tasks: it commands the place to touch, from the first step to the last."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from smidgen.data_collection.experts.expert import Expert, funnel_m, is_near

NEAR_M = 0.02
# The largest lead at which these tasks still respond to a target.
VARIED_LEAD_M = 0.1


class TouchExpert(Expert):
    """Goes straight to the goal and stays.

    The label is the goal itself at every step, so that the mean of the labels is the mean goal: a policy that has
    collapsed to the mean scores the computed chance level. There are no obstacles on the table, and if the arm is
    pushed away, the same command brings it back. An expert with variation does command waypoints, at its own pace and
    from higher up; its mean label lies above the mean goal.
    """

    phases: ClassVar[tuple[str, ...]] = ("reach", "touch")
    cue_phases: ClassVar[tuple[str, ...]] = ("reach",)

    def next_phase(self, privileged: Mapping[str, np.ndarray]) -> str:
        """Touching near the goal, reaching otherwise."""
        near = is_near(privileged["eef_position_m"], privileged["goal_position_m"], NEAR_M)
        return "touch" if near else "reach"

    def command(self, privileged: Mapping[str, np.ndarray]) -> np.ndarray:
        """The next target: x, y, z (m)."""
        eef, goal = privileged["eef_position_m"], privileged["goal_position_m"].copy()
        if not self.variation:
            return goal
        beside_m = float(np.linalg.norm(eef[:2] - goal[:2]))
        goal[2] += funnel_m(beside_m, self.approach_m, exact_m=NEAR_M)
        return self.towards(eef, goal, VARIED_LEAD_M)
