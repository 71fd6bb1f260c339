"""Rotation of a gripper about the vertical: yaw relative to home, modulo pi.

A half turn only swaps the two fingers.
"""

from __future__ import annotations

import numpy as np

# Of two equivalent yaws, the one within a quarter turn of this is used: joint 7's offset from mid-range at home.
MIDDLE_RAD = np.pi / 4
# A target that leaves that half turn by less than this does not make the hand spin round.
HYSTERESIS_RAD = 0.17


def principal_yaw(yaw_rad: float) -> float:
    """The equivalent yaw in [-pi/2, pi/2)."""
    return float((yaw_rad + np.pi / 2) % np.pi - np.pi / 2)


# A larger step would throw the arm onto another branch of its self-motion: near a straight wrist, joints 5 and 7 share
# an axis, a fast turn swings joint 5 as much as joint 7, and joint 6 ends at its limit.
LEAD_RAD = 0.2


def next_yaw(yaw_rad: float, present_rad: float) -> float:
    """The gripper's target yaw in this control step: towards the commanded yaw, by at most :data:`LEAD_RAD`.

    Args:
        yaw_rad: The commanded yaw, modulo pi.
        present_rad: The gripper's yaw, between -pi and pi.

    Returns:
        A yaw in radians.
    """
    offset_rad = nearest_equal_yaw(yaw_rad, present_rad) - present_rad
    return present_rad + float(np.clip(offset_rad, -LEAD_RAD, LEAD_RAD))


def nearest_equal_yaw(yaw_rad: float, present_rad: float) -> float:
    """Of the reachable yaws equal modulo pi, the one nearest to the gripper's current yaw.

    Args:
        yaw_rad: The commanded yaw.
        present_rad: The gripper's yaw, between -pi and pi.

    Returns:
        A yaw within a quarter turn and :data:`HYSTERESIS_RAD` of :data:`MIDDLE_RAD`.
    """
    principal = principal_yaw(yaw_rad)
    equals = (principal, principal - np.pi, principal + np.pi)
    reachable = [equal for equal in equals if abs(equal - MIDDLE_RAD) <= np.pi / 2 + HYSTERESIS_RAD]
    return min(reachable, key=lambda equal: abs(equal - present_rad))


def turned_about_vertical(rotation: np.ndarray, yaw_rad: float) -> np.ndarray:
    """A (3, 3) rotation, rotated by a yaw about the world's vertical axis."""
    cos, sin = np.cos(yaw_rad), np.sin(yaw_rad)
    return np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]]) @ rotation


def yaw_between(rotation: np.ndarray, home: np.ndarray) -> float:
    """The yaw in radians, in (-pi, pi], that brings one (3, 3) rotation closest to another."""
    offset = rotation @ home.T
    return float(np.arctan2(offset[1, 0] - offset[0, 1], offset[0, 0] + offset[1, 1]))
