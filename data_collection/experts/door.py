"""The expert for Door: a finger presses the handle down along its arc, then friction pulls the door open.

The hand cannot grasp the handle: the door is taller than the hand and closer to the handle than half the hand's width,
and there is no room for the palm below the handle's axis.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from smidgen.data_collection.experts.expert import OPEN, Expert, is_near

Privileged = Mapping[str, np.ndarray]

# Where the handle is pressed, relative to its axis, and half the handle's thickness.
PRESS_RADIUS_M = 0.12
HANDLE_HALF_HEIGHT_M = 0.02
# From the grip site to the pressing edge of the open right finger: forward, down, and to the finger's middle.
FINGER_EDGE_M = np.array([0.0105, 0.0092])
FINGER_ASIDE_M = 0.053
HOVER_M = 0.05
HOVER_TOLERANCE_M = 0.03
ALIGNED_M = 0.015
ASTRAY_M = 0.04
ON_HANDLE_M = 0.01
DESCEND_LEAD_M = 0.06
# The latch clears the frame at 1.2 rad.
TURNED_RAD = 1.3
TURN_LEAD_RAD = 0.5
DRAW_LEAD_M = 0.06
LOST_M = 0.06
# Where to leave the door: between the success threshold, 0.3 rad, and the door's stop at 0.4.
OPEN_RAD = 0.37
UP = np.array([0.0, 0.0, 1.0])


class DoorExpert(Expert):
    """Four phases."""

    phases: ClassVar[tuple[str, ...]] = ("reach", "descend", "turn", "draw")
    cue_phases: ClassVar[tuple[str, ...]] = ("reach",)

    def next_phase(self, privileged: Privileged) -> str:
        """Advances when a phase is complete; returns to reaching when the handle springs back."""
        eef, press = privileged["eef_position_m"], _press(privileged, 0.0)
        beside = is_near(eef[:2], press[:2], ALIGNED_M)
        if self.phase == "reach":
            return (
                "descend" if beside and eef[2] < press[2] + HOVER_M + self.approach_m + HOVER_TOLERANCE_M else "reach"
            )
        if self.phase == "descend":
            if not is_near(eef[:2], press[:2], ASTRAY_M):
                return "reach"
            return "turn" if eef[2] < press[2] + ON_HANDLE_M else "descend"
        if not privileged["is_success"] and not is_near(eef, press, LOST_M):
            return "reach"
        return "draw" if privileged["handle_turned_rad"] > TURNED_RAD else self.phase

    def command(self, privileged: Privileged) -> np.ndarray:
        """The next target: x, y, z (m) and the gripper."""
        eef = privileged["eef_position_m"]
        if self.phase == "reach":
            return np.append(self.towards(eef, _press(privileged, 0.0) + (HOVER_M + self.approach_m) * UP), OPEN)
        if self.phase == "descend":
            return np.append(self.towards(eef, _press(privileged, 0.0), DESCEND_LEAD_M), OPEN)
        pressed = _press(privileged, TURN_LEAD_RAD)
        if self.phase == "turn":
            return np.append(pressed, OPEN)
        arm = privileged["object_position_m"] - privileged["hinge_position_m"]
        tangent = np.array([-arm[1], arm[0], 0.0]) / np.hypot(arm[0], arm[1])
        left_m = float(np.hypot(arm[0], arm[1])) * (OPEN_RAD - float(privileged["door_open_rad"]))
        # From where the finger is now: it may have slid along the handle.
        drawn_m = min(left_m, DRAW_LEAD_M) + float((eef - pressed) @ tangent)
        return np.append(pressed + drawn_m * tangent, OPEN)


def _press(privileged: Privileged, lead_rad: float) -> np.ndarray:
    """(3,) gripper position at which its finger has pressed the handle ``lead_rad`` further than now."""
    axis = privileged["handle_axis_m"]
    along = privileged["hinge_position_m"] - axis
    along[2] = 0.0
    along /= np.linalg.norm(along)
    out = np.array([along[1], -along[0], 0.0])
    angle_rad = min(float(privileged["handle_turned_rad"]) + lead_rad, np.pi / 2)
    cos, sin = np.cos(angle_rad), np.sin(angle_rad)
    contact = PRESS_RADIUS_M * (cos * along - sin * UP) + HANDLE_HALF_HEIGHT_M * (sin * along + cos * UP)
    away_m = float((privileged["object_position_m"] - axis) @ out) + FINGER_ASIDE_M
    return axis + contact + away_m * out + FINGER_EDGE_M[0] * along + FINGER_EDGE_M[1] * UP
