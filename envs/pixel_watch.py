"""Watches a renderer's frames while episodes run, for blank frames and for frames frozen while the arm moves.

The check at the start (selfcheck.py) does not cover the hours after it: a context can be lost, or return the last frame
for ever. The watch sits in the renderer, below anything a task adds to a frame (noise would hide a frozen frame), and
checks every frame of the process. It reads the simulation without changing it.
"""

from __future__ import annotations

from collections.abc import Sequence

import mujoco
import numpy as np

from smidgen.envs.errors import untrusted_pixels

GRIP_SITE = "grip_site"
# In smaller frames a moving arm may not change any pixel, and a frame of one colour can be valid.
MIN_SIDE_PX = 16
CALIBRATED_SIDE_PX = 64
# Several times what occurs in real episodes of any task: see results/reliability/pixels.json.
MAX_UNSEEN_MOVE_M = 0.01


def max_unseen_move_m(image_size: tuple[int, int]) -> float:
    """How far the end effector may move in view without changing a frame; farther at low resolution."""
    return MAX_UNSEEN_MOVE_M * max(1.0, CALIBRATED_SIDE_PX / min(image_size))


class PixelWatch:
    """Compares every frame of each camera with the previous one, given how far the end effector has moved since.

    Args:
        model: The compiled model; its end effector is the site whose name ends with :data:`GRIP_SITE`.
        data: The rendered state.
        cameras: Names of the cameras, in the order of the frames.
        image_size: Height and width of a frame in pixels.

    Attributes:
        largest_unseen_move_m: The farthest the end effector has moved in view without changing a frame.
    """

    def __init__(
        self, model: mujoco.MjModel, data: mujoco.MjData, cameras: Sequence[str], image_size: tuple[int, int]
    ) -> None:
        self._data = data
        self._names = tuple(cameras)
        self._cameras = [model.camera(name).id for name in cameras]
        (self._grip_site,) = (site for site in range(model.nsite) if model.site(site).name.endswith(GRIP_SITE))
        half_height = np.tan(np.radians(model.cam_fovy[self._cameras]) / 2.0)
        height, width = image_size
        self._half_view_N2 = np.column_stack([half_height * width / height, half_height])
        self._is_watching = min(image_size) >= MIN_SIDE_PX
        self._limit_m = max_unseen_move_m(image_size)
        self._last: list[np.ndarray | None] = [None] * len(self._cameras)
        self._last_change_m = np.zeros((len(self._cameras), 3))
        self.largest_unseen_move_m = 0.0

    def see(self, frames: np.ndarray) -> None:
        """Checks the frames (num_cameras, H, W, 3) of the current state.

        Raises:
            PixelError: If a frame has a single colour, or is unchanged although the end effector is in view and has
                moved farther than :func:`max_unseen_move_m`.
        """
        if not self._is_watching:
            return
        for index, frame in enumerate(frames):
            last = self._last[index]
            if last is not None and np.array_equal(frame, last):
                self._see_unchanged(index)
                continue
            if _is_of_one_colour(frame):
                raise untrusted_pixels(f"camera {self._names[index]!r} shows a single colour")
            # Copied, because the caller may modify the frame.
            self._last[index], self._last_change_m[index] = frame.copy(), self._eef_position_m()

    def _eef_position_m(self) -> np.ndarray:
        return np.asarray(self._data.site_xpos[self._grip_site])

    def _see_unchanged(self, index: int) -> None:
        moved_m = float(np.linalg.norm(self._eef_position_m() - self._last_change_m[index]))
        if moved_m <= min(self.largest_unseen_move_m, self._limit_m) or not self._is_in_view(index):
            return
        self.largest_unseen_move_m = max(moved_m, self.largest_unseen_move_m)
        if moved_m > self._limit_m:
            raise untrusted_pixels(
                f"camera {self._names[index]!r} still shows the same frame after the arm moved {moved_m:.3f} m"
            )

    def _is_in_view(self, index: int) -> bool:
        """Whether the end effector is inside the frame; MuJoCo's cameras look along their -z axis."""
        camera = self._cameras[index]
        axes = np.reshape(self._data.cam_xmat[camera], (3, 3))
        right, up, back = axes.T @ (self._eef_position_m() - self._data.cam_xpos[camera])
        return bool(back < 0.0 and (np.abs([right, up]) < -back * self._half_view_N2[index]).all())


def _is_of_one_colour(frame: np.ndarray) -> bool:
    # Compares rows: comparing every pixel with the first takes ten times as long.
    return np.array_equal(frame[1:], frame[:-1]) and np.array_equal(frame[0, 1:], frame[0, :-1])
