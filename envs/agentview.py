"""The default camera's geometry, for what must look a certain size before anything is drawn; no simulator.

robosuite's camera ``agentview`` over its table arena. A test compares these figures with the compiled model.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.spatial.transform import Rotation

POSITION_M = np.array([0.5, 0.0, 1.35])
QUATERNION_WXYZ = (0.653, 0.271, 0.271, 0.653)
FOVY_DEG = 45.0
# The frames in which sizes are given.
IMAGE_SIZE = 64
# One pixel's side at unit depth.
PIXEL_TANGENT = 2 * math.tan(math.radians(FOVY_DEG) / 2) / IMAGE_SIZE


def camera_axes() -> np.ndarray:
    """(3, 3) columns: right, up and backwards in the world frame."""
    return Rotation.from_quat(np.roll(QUATERNION_WXYZ, -1)).as_matrix()
