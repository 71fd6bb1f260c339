"""The base of experts that carry an object to a place: above it, down, close, up, over, down, open, away.

Every phase steers by the current positions of object and goal, so a push or a slip is corrected as it happens, and a
dropped object is grasped again.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from smidgen.data_collection.experts.expert import CLOSED, OPEN, Expert, funnel_m, is_near
from smidgen.envs.yaw import principal_yaw

Privileged = Mapping[str, np.ndarray]

# As in the expert for Lift, phases change while the gripper is still moving, so that no label waits at a threshold.
ALIGNED_M = 0.015
ALIGNED_RAD = 0.2
HOVER_TOLERANCE_M = 0.03
GRASP_TOLERANCE_M = 0.010
ASTRAY_M = 0.04
# Farther than this from the object, the gripper stays above everything in the scene; this far below that height, it
# does not move sideways at all.
NEARBY_M = 0.08
RISE_M = 0.05
# A descent that takes longer has hit something, e.g. a wall; the grasp may work from there.
BLOCKED_STEPS = 25
SQUEEZE_STEPS = 2
GIVE_UP_STEPS = 15
# Pad contacts flicker while an object swings; it counts as dropped after this long without contact.
LOST_STEPS = 3
# How long a released object may take to settle before it is picked up again.
SETTLE_STEPS = 15
RETREAT_M = 0.12


class CarryExpert(Expert):
    """Seven phases up to the release, and one to retreat."""

    phases: ClassVar[tuple[str, ...]] = (
        "reach",
        "descend",
        "grasp",
        "raise",
        "carry",
        "lower",
        "release",
        "retreat",
    )
    cue_phases: ClassVar[tuple[str, ...]] = ("reach",)

    # Distances that differ between tasks, in metres.
    travel_height_m: ClassVar[float]
    hover_m: ClassVar[float] = 0.06
    # The control law does not fully decouple position from rotation: a faster descent pulls the arm centimetres aside.
    descend_lead_m: ClassVar[float] = 0.06
    exact_m: ClassVar[float] = 0.012
    carry_lead_m: ClassVar[float] = 0.10
    lower_lead_m: ClassVar[float] = 0.05
    above_goal_m: ClassVar[float] = 0.06
    over_goal_m: ClassVar[float] = 0.015
    release_above_goal_m: ClassVar[float] = 0.006
    opened_m: ClassVar[float] = 0.06

    def reset(self, seed: int) -> None:
        """Starts an episode with nothing grasped."""
        super().reset(seed)
        self.steps_grasped = self.steps_lost = 0

    @abc.abstractmethod
    def grasp_position_m(self, privileged: Privileged) -> np.ndarray:
        """(3,) where the gripper closes, in metres."""

    @abc.abstractmethod
    def grasp_yaw_rad(self, privileged: Privileged) -> float:
        """Yaw of the gripper when it closes; ignored by tasks without yaw."""

    def place_position_m(self, privileged: Privileged) -> np.ndarray:
        """(3,) where the object's centre should be after the release, in metres."""
        return privileged["goal_position_m"]

    def carry_yaw_rad(self, privileged: Privileged) -> float:
        """Yaw of the gripper at the release."""
        return 0.0

    def next_phase(self, privileged: Privileged) -> str:
        """Advances when a phase is complete; returns to reaching when the object is not grasped."""
        held = bool(privileged["is_grasped"])
        self.steps_grasped = self.steps_grasped + 1 if held else 0
        self.steps_lost = 0 if held else self.steps_lost + 1
        return str(getattr(self, f"_after_{self.phase}")(privileged))

    def _after_reach(self, privileged: Privileged) -> str:
        eef, grasp = privileged["eef_position_m"], self.grasp_position_m(privileged)
        low = eef[2] < grasp[2] + self.hover_m + self.approach_m + HOVER_TOLERANCE_M
        turned = not self._turns or abs(self._yaw_error_rad(privileged, self.grasp_yaw_rad(privileged))) < ALIGNED_RAD
        ready = low and turned and privileged["gripper_opening_m"] > self.opened_m
        return "descend" if ready and is_near(eef[:2], grasp[:2], ALIGNED_M) else "reach"

    def _after_descend(self, privileged: Privileged) -> str:
        eef, grasp = privileged["eef_position_m"], self.grasp_position_m(privileged)
        if not is_near(eef[:2], grasp[:2], ASTRAY_M):
            return "reach"
        low = eef[2] < grasp[2] + GRASP_TOLERANCE_M
        blocked = self.steps_in_phase > BLOCKED_STEPS
        return "grasp" if blocked or (low and is_near(eef[:2], grasp[:2], self.exact_m)) else "descend"

    def _after_grasp(self, privileged: Privileged) -> str:
        if self.steps_grasped > SQUEEZE_STEPS:
            return "raise"
        return "reach" if self.steps_in_phase > GIVE_UP_STEPS else "grasp"

    def _after_raise(self, privileged: Privileged) -> str:
        if self.steps_lost > LOST_STEPS:
            return "reach"
        carried, goal = privileged["object_position_m"], self.place_position_m(privileged)
        return "carry" if carried[2] > goal[2] + self.above_goal_m - HOVER_TOLERANCE_M else "raise"

    def _after_carry(self, privileged: Privileged) -> str:
        if self.steps_lost > LOST_STEPS:
            return "reach"
        turned = not self._turns or abs(self._yaw_error_rad(privileged, self.carry_yaw_rad(privileged))) < ALIGNED_RAD
        over = is_near(privileged["object_position_m"][:2], self.place_position_m(privileged)[:2], self.over_goal_m)
        return "lower" if over and turned else "carry"

    def _after_lower(self, privileged: Privileged) -> str:
        if self.steps_lost > LOST_STEPS:
            return "reach"
        carried, goal = privileged["object_position_m"], self.place_position_m(privileged)
        return "release" if carried[2] < goal[2] + self.release_above_goal_m else "lower"

    def _after_release(self, privileged: Privileged) -> str:
        return "retreat" if privileged["gripper_opening_m"] > self.opened_m else "release"

    def _after_retreat(self, privileged: Privileged) -> str:
        failed = self.steps_in_phase > SETTLE_STEPS and not privileged["is_success"]
        return "reach" if failed else "retreat"

    def command(self, privileged: Privileged) -> np.ndarray:
        """The next target: x, y, z (m), yaw (rad) if the task has it, and the gripper."""
        return np.asarray(getattr(self, f"_{self.phase}")(privileged))

    def _reach(self, privileged: Privileged) -> np.ndarray:
        eef = privileged["eef_position_m"]
        goal = self.grasp_position_m(privileged) + np.array([0.0, 0.0, self.hover_m + self.approach_m])
        distance_m = float(np.linalg.norm(goal[:2] - eef[:2]))
        goal[2] += funnel_m(distance_m, max(0.0, self.travel_height_m - goal[2]), NEARBY_M)
        if distance_m > NEARBY_M:
            # Between walls or beside a peg, go up before going across.
            rising_m = max(0.0, self.travel_height_m - eef[2])
            goal[:2] -= (goal[:2] - eef[:2]) * min(1.0, rising_m / RISE_M)
        return self._action(self.towards(eef, goal), self.grasp_yaw_rad(privileged), OPEN)

    def _descend(self, privileged: Privileged) -> np.ndarray:
        eef, grasp = privileged["eef_position_m"], self.grasp_position_m(privileged)
        height_m = funnel_m(float(np.linalg.norm(eef[:2] - grasp[:2])), self.hover_m, self.exact_m)
        target = self.towards(eef, grasp + np.array([0.0, 0.0, height_m]), self.descend_lead_m)
        return self._action(target, self.grasp_yaw_rad(privileged), OPEN)

    def _grasp(self, privileged: Privileged) -> np.ndarray:
        grasp = self.grasp_position_m(privileged)
        # An object that is already moving up must not drag the target along.
        lifted_m = max(0.0, privileged["object_position_m"][2] - privileged["object_rest_height_m"])
        return self._action(grasp - np.array([0.0, 0.0, lifted_m]), self.grasp_yaw_rad(privileged), CLOSED)

    def _raise(self, privileged: Privileged) -> np.ndarray:
        eef = privileged["eef_position_m"]
        goal = np.array([eef[0], eef[1], self._carry_height_m(privileged)])
        return self._action(self.towards(eef, goal, self.carry_lead_m), self.carry_yaw_rad(privileged), CLOSED)

    def _carry(self, privileged: Privileged) -> np.ndarray:
        eef = privileged["eef_position_m"]
        goal = eef + self.place_position_m(privileged) - privileged["object_position_m"]
        goal[2] = self._carry_height_m(privileged)
        return self._action(self.towards(eef, goal, self.carry_lead_m), self.carry_yaw_rad(privileged), CLOSED)

    def _lower(self, privileged: Privileged) -> np.ndarray:
        eef, offset = privileged["eef_position_m"], self.place_position_m(privileged) - privileged["object_position_m"]
        height_m = funnel_m(float(np.linalg.norm(offset[:2])), self.above_goal_m, self.over_goal_m)
        target = self.towards(eef, eef + offset + np.array([0.0, 0.0, height_m]), self.lower_lead_m)
        return self._action(target, self.carry_yaw_rad(privileged), CLOSED)

    def _release(self, privileged: Privileged) -> np.ndarray:
        return self._action(privileged["eef_position_m"], self.carry_yaw_rad(privileged), OPEN)

    def _retreat(self, privileged: Privileged) -> np.ndarray:
        eef = privileged["eef_position_m"]
        goal = np.array([eef[0], eef[1], self.place_position_m(privileged)[2] + RETREAT_M])
        return self._action(self.towards(eef, goal, self.carry_lead_m), self.carry_yaw_rad(privileged), OPEN)

    def _carry_height_m(self, privileged: Privileged) -> float:
        """Gripper height at which the grasped object clears the obstacles on its way to the goal."""
        hanging_m = privileged["eef_position_m"][2] - privileged["object_position_m"][2]
        return float(self.place_position_m(privileged)[2] + self.above_goal_m + hanging_m)

    @property
    def _turns(self) -> bool:
        return "yaw" in self.action_spec.kinds

    def _yaw_error_rad(self, privileged: Privileged, yaw_rad: float) -> float:
        return principal_yaw(yaw_rad - float(privileged["eef_yaw_rad"]))

    def _action(self, position_m: np.ndarray, yaw_rad: float, gripper: float) -> np.ndarray:
        yaw = [principal_yaw(yaw_rad)] if self._turns else []
        return np.concatenate([position_m, yaw, [gripper]])
