"""Stripes: touch the place on a line that is encoded by the frequency of a board's stripes."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from typing import Any, ClassVar

import mujoco
import numpy as np

from smidgen.envs.agentview import IMAGE_SIZE, PIXEL_TANGENT, POSITION_M, QUATERNION_WXYZ, camera_axes
from smidgen.envs.smidgen_tasks import STRIPES, STRIPES_GOALS
from smidgen.envs.specs import TABLE_HEIGHT_M, TaskSpec
from smidgen.envs.touch import TouchEnv, TouchSimulation, add_matt_material, add_picture, as_attribute

# Below the goals in the frame, where the arm never occludes the board.
BOARD_WIDTH_PX, BOARD_HEIGHT_PX, BOARD_BOTTOM_ROW = 58, 14, 62
STRIPED_WIDTH_PX, BAR_HEIGHT_PX = 56, 12
# From 9.3 down to 4.7 pixels a period, well above the aliasing limit of 2: the visible frequency is the board's.
MIN_CYCLES, MAX_CYCLES = 6.0, 12.0
NUM_BARS = 12
# The stripes lean by one pixel from bottom to top, so that edges fall at a different place in every row: vertical ones,
# without antialiasing, look the same at two frequencies unless some edge crosses a whole column of pixel centres.
LEAN_RAD = math.atan(1 / BAR_HEIGHT_PX)
BOARD_RGBA, BAR_RGBA = "0.6 0.6 0.6 1", "0.15 0.15 0.15 1"
# Thin enough that a stripe's sides are invisible.
BOARD_HALF_THICKNESS_M, BAR_HALF_THICKNESS_M = 1e-3, 3e-5
# For such a geom MuJoCo uses the body's position and ignores geom_pos.
_UNMOVED = (mujoco.mjtSameFrame.mjSAMEFRAME_BODY, mujoco.mjtSameFrame.mjSAMEFRAME_INERTIA)


def _depth_m() -> float:
    """Distance from the camera at which the board's lower edge rests on the table."""
    below_axis = (BOARD_BOTTOM_ROW - IMAGE_SIZE / 2) * PIXEL_TANGENT
    ray = camera_axes() @ np.array([0.0, -below_axis, -1.0])
    return float((TABLE_HEIGHT_M - POSITION_M[2]) / ray[2])


# Width of a pixel on the board.
PIXEL_M = PIXEL_TANGENT * _depth_m()


def _board_position_m() -> np.ndarray:
    above_axis = (IMAGE_SIZE / 2 - BOARD_BOTTOM_ROW + BOARD_HEIGHT_PX / 2) * PIXEL_TANGENT
    return POSITION_M + camera_axes() @ np.array([0.0, above_axis, -1.0]) * _depth_m()


class StripesSimulation(TouchSimulation):
    """The bare table with a board that faces the camera, so that its stripes are equally wide in the frame."""

    def _furnish(self, arena: Any) -> None:
        pose = {"pos": as_attribute(*_board_position_m()), "quat": as_attribute(*QUATERNION_WXYZ)}
        board = ET.SubElement(arena.worldbody, "body", {"name": "board", **pose})
        half_width_m, half_height_m = BOARD_WIDTH_PX / 2 * PIXEL_M, BOARD_HEIGHT_PX / 2 * PIXEL_M
        board_look = {"type": "box", "material": add_matt_material(arena, "board_matt", BOARD_RGBA)}
        add_picture(
            board, "board", size=as_attribute(half_width_m, half_height_m, BOARD_HALF_THICKNESS_M), **board_look
        )
        bar_look = {
            "type": "box",
            "material": add_matt_material(arena, "bar_matt", BAR_RGBA),
            "axisangle": as_attribute(0, 0, 1, -LEAN_RAD),
            "size": as_attribute(PIXEL_M, BAR_HEIGHT_PX / 2 * PIXEL_M, BAR_HALF_THICKNESS_M),
        }
        for index in range(NUM_BARS):
            # Off the body's centre, where MuJoCo would fix it.
            add_picture(board, f"bar_{index}", pos=as_attribute(PIXEL_M, 0, BOARD_HALF_THICKNESS_M), **bar_look)


class StripesEnv(TouchEnv):
    """Six to twelve dark stripes, the first always at the left edge; the goal's y is linear in their frequency.

    For goals one tolerance apart, the stripes differ by about a quarter of a cycle over the whole width.
    """

    task: ClassVar[TaskSpec] = STRIPES
    simulation_class = StripesSimulation

    def _after_build(self) -> None:
        super()._after_build()
        self._bars = [self.model.geom(f"bar_{index}").id for index in range(NUM_BARS)]
        assert not np.isin(self.model.geom_sameframe[self._bars], _UNMOVED).any(), "MuJoCo reads these geoms' positions"
        self._cycles = MIN_CYCLES

    @property
    def min_image_height(self) -> int:
        """Rows of a frame below which neighbouring frequencies may look alike."""
        return IMAGE_SIZE

    def goal_m(self) -> np.ndarray:
        """(2,) x and y of the place that the frequency encodes."""
        share = (self._cycles - MIN_CYCLES) / (MAX_CYCLES - MIN_CYCLES)
        low_m, high_m = np.array(STRIPES_GOALS.low_m), np.array(STRIPES_GOALS.high_m)
        return low_m + share * (high_m - low_m)

    def cue_pose(self) -> np.ndarray:
        """(1,) the stripes' frequency in cycles over the board's width."""
        return np.array([self._cycles])

    def _place_cue(self, pose: np.ndarray) -> None:
        self._cycles = float(pose[0])
        left, right = (stripe_edges(self._cycles) - 0.5) * STRIPED_WIDTH_PX * PIXEL_M
        self.model.geom_pos[self._bars, 0] = (left + right) / 2
        self.model.geom_size[self._bars, 0] = (right - left) / 2
        # Bars of zero width would still show their sides, so they are hidden inside the board.
        self.model.geom_pos[self._bars, 2] = np.where(right > left, BOARD_HALF_THICKNESS_M, 0.0)

    def sample_cue_pose(self, rng: np.random.Generator) -> np.ndarray:
        """Draws a frequency uniformly, as resets do."""
        return rng.uniform([MIN_CYCLES], [MAX_CYCLES])

    def _cue_geoms(self) -> list[int]:
        return self._bars


def stripe_edges(cycles: float) -> np.ndarray:
    """(2, NUM_BARS) left and right edges of the dark stripes at mid-height, as fractions of the striped width.

    Stripes that do not fit have no width.
    """
    starts = np.arange(NUM_BARS)
    return np.minimum(np.stack([starts, starts + 0.5]) / cycles, 1.0)
