"""How large a dot on the table looks.

A dot's level is the number of pixels that it covers in a 64 x 64 frame of the default camera. A pixel shows the dot
when the ray through its centre meets the dot (the v0 render profile has no antialiasing), so the number is counted
without drawing anything, and does not depend on who draws.
"""

from __future__ import annotations

import functools
import math

import numpy as np

from smidgen.envs.agentview import IMAGE_SIZE, PIXEL_TANGENT, POSITION_M, camera_axes
from smidgen.envs.goals import GoalRange
from smidgen.envs.specs import TABLE_HEIGHT_M

DOT_THICKNESS_M = 2e-4
# No pixel's centre may lie nearer to the dot's edge: rasterisers draw a circle as a polygon, and round.
EDGE_MARGIN_PX = 0.04
MAX_DRAWS = 100_000

_CAMERA_ABOVE_DOT_M = POSITION_M[2] - TABLE_HEIGHT_M - DOT_THICKNESS_M


@functools.cache
def pixel_centres_m() -> np.ndarray:
    """(P, 2) x and y of where the rays through the pixels' centres meet the dot's plane."""
    offsets = (np.arange(IMAGE_SIZE) + 0.5 - IMAGE_SIZE / 2) * PIXEL_TANGENT
    right, up = np.meshgrid(offsets, offsets)
    rays = np.stack([right, up, -np.ones_like(right)], axis=-1).reshape(-1, 3) @ camera_axes().T
    assert (rays[:, 2] < 0).all(), "the camera looks down"
    return POSITION_M[:2] + rays[:, :2] * (_CAMERA_ABOVE_DOT_M / -rays[:, 2:])


def footprint_m2(place_m: np.ndarray) -> float:
    """Area of the table that one pixel shows at a place: depth^3 / height times the pixel's extent at unit depth.

    Args:
        place_m: (2,) x and y.
    """
    offset_m = np.append(place_m - POSITION_M[:2], -_CAMERA_ABOVE_DOT_M)
    depth_m = -float(offset_m @ camera_axes()[:, 2])
    return depth_m**3 / _CAMERA_ABOVE_DOT_M * PIXEL_TANGENT**2


def dot_radius_m(place_m: np.ndarray, num_pixels: int) -> float:
    """Radius of a dot that is as large as ``num_pixels`` pixels at a place."""
    return math.sqrt(num_pixels * footprint_m2(place_m) / math.pi)


def count_pixels(place_m: np.ndarray, num_pixels: int) -> tuple[int, bool]:
    """Pixels that a dot of a level covers at a place, and whether any pixel is in doubt.

    Args:
        place_m: (2,) x and y of the dot's centre.
        num_pixels: The dot's level.
    """
    radius_m = dot_radius_m(place_m, num_pixels)
    margin_m = EDGE_MARGIN_PX * math.sqrt(footprint_m2(place_m))
    offsets_m = pixel_centres_m() - place_m
    distances_m = np.hypot(offsets_m[:, 0], offsets_m[:, 1])
    return int((distances_m < radius_m).sum()), bool((np.abs(distances_m - radius_m) < margin_m).any())


def draw_dot(goals: GoalRange, num_pixels: int, rng: np.random.Generator) -> np.ndarray:
    """Draws a place; one where the dot would not cover its number of pixels, beyond doubt, is drawn again.

    Args:
        goals: The range of places.
        num_pixels: The dot's level.
        rng: Decides.

    Returns:
        (2,) x and y in metres.
    """
    for _ in range(MAX_DRAWS):
        place_m = goals.draw(rng)
        if count_pixels(place_m, num_pixels) == (num_pixels, False):
            return place_m
    raise AssertionError(f"no place in {goals} shows a dot of {num_pixels} pixels")
