"""What the default camera sees of the table, for what must look a certain size before anything is drawn; no simulator.

robosuite's camera ``agentview`` over its table arena; a test compares these figures with the compiled model. A dot's
level is the number of pixels that it covers in a 64 x 64 frame. A pixel shows the dot when the ray through its centre
meets the dot (the v0 render profile has no antialiasing), so a radius at which the number is exactly the level is found
without drawing anything.
"""

from __future__ import annotations

import functools
import math

import numpy as np
from scipy.spatial.transform import Rotation

from smidgen.envs.smidgen_tasks import GoalRange
from smidgen.envs.specs import TABLE_HEIGHT_M

POSITION_M = np.array([0.5, 0.0, 1.35])
QUATERNION_WXYZ = (0.653, 0.271, 0.271, 0.653)
FOVY_DEG = 45.0
# The frames that sizes refer to.
IMAGE_SIZE = 64
# Width of a pixel at unit depth.
PIXEL_TANGENT = 2 * math.tan(math.radians(FOVY_DEG) / 2) / IMAGE_SIZE
DOT_THICKNESS_M = 5e-5
# The renderer draws a circle as a polygon with this many sides.
NUM_SIDES = 128
# Minimum distance from a pixel's centre to the dot's edge, which the polygon, the dot's thickness and rounding blur.
MIN_CLEARANCE_M = 1.5e-4


def camera_axes() -> np.ndarray:
    """(3, 3) columns: right, up and backwards in the world frame."""
    return Rotation.from_quat(np.roll(QUATERNION_WXYZ, -1)).as_matrix()


@functools.cache
def pixel_centres_m() -> np.ndarray:
    """(P, 2) x and y where the rays through the pixels' centres hit the dot's plane."""
    offsets = (np.arange(IMAGE_SIZE) + 0.5 - IMAGE_SIZE / 2) * PIXEL_TANGENT
    right, up = np.meshgrid(offsets, offsets)
    rays = np.stack([right, up, -np.ones_like(right)], axis=-1).reshape(-1, 3) @ camera_axes().T
    assert (rays[:, 2] < 0).all(), "the camera looks down"
    drop_m = POSITION_M[2] - TABLE_HEIGHT_M - DOT_THICKNESS_M
    return POSITION_M[:2] + rays[:, :2] * (drop_m / -rays[:, 2:])


def dot_radius_m(place_m: np.ndarray, num_pixels: int) -> tuple[float, float]:
    """Radius of a dot that covers a given number of pixels at a given place.

    Args:
        place_m: (2,) x and y of the dot's centre.
        num_pixels: The dot's level.

    Returns:
        The radius, and the distance from the dot's edge to the nearest pixel centre.
    """
    offsets_m = pixel_centres_m() - place_m
    distances_m = np.partition(np.hypot(offsets_m[:, 0], offsets_m[:, 1]), num_pixels)
    last_covered_m, first_bare_m = distances_m[:num_pixels].max(), distances_m[num_pixels]
    return float(last_covered_m + first_bare_m) / 2, float(first_bare_m - last_covered_m) / 2


def draw_dot(goals: GoalRange, num_pixels: int, rng: np.random.Generator) -> np.ndarray:
    """Draws a place, and redraws it while it is ambiguous which pixels the dot covers.

    Args:
        goals: The range of places.
        num_pixels: The dot's level.
        rng: Decides.

    Returns:
        (2,) x and y in metres.
    """
    while True:
        place_m = goals.draw(rng)
        _, clearance_m = dot_radius_m(place_m, num_pixels)
        if clearance_m >= MIN_CLEARANCE_M:
            return place_m
