"""Why an episode failed, told from the simulator's state: one label per failed episode."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from smidgen.evaluation.protocol import SUCCESS

# The grip site is this close to the object's centre in any grasp, and farther from it in any pose above the table.
NEAR_M = 0.05


class FailureObserver:
    """Watches one episode's privileged state and names its outcome.

    It reads ``eef_position_m``, ``object_position_m`` (where there is no object, ``goal_position_m``) and
    ``is_grasped``; in a task without them every failure that never reached success is a ``timeout``.
    """

    def __init__(self) -> None:
        self.closest_m = float("nan")
        self.has_object = False
        self.ever_grasped = False
        self.grasped_now = False

    def see(self, privileged: Mapping[str, Any]) -> None:
        """Takes in the state after reset or after a control step."""
        self.has_object = "object_position_m" in privileged
        target_m = privileged.get("object_position_m", privileged.get("goal_position_m"))
        if target_m is not None and "eef_position_m" in privileged:
            offset_m = np.asarray(target_m) - np.asarray(privileged["eef_position_m"])
            self.closest_m = float(np.fmin(self.closest_m, np.linalg.norm(offset_m)))
        self.grasped_now = bool(privileged.get("is_grasped", False))
        self.ever_grasped |= self.grasped_now

    def label(self, success: bool, success_once: bool) -> str:
        """The episode's label; the first that applies."""
        if success:
            return SUCCESS
        if success_once:
            return "not_held"
        if self.ever_grasped:
            return "timeout" if self.grasped_now else "dropped"
        if np.isnan(self.closest_m):
            return "timeout"
        if self.closest_m > NEAR_M:
            return "never_reached"
        return "missed_grasp" if self.has_object else "timeout"
