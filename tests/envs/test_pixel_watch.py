"""The watch over frames: what it refuses, what it lets pass, on a model of its own and without a renderer."""

from typing import Any

import mujoco
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smidgen.envs.errors import PixelError
from smidgen.envs.pixel_watch import MAX_UNSEEN_MOVE_M, MIN_SIDE_PX, PixelWatch, max_unseen_move_m
from smidgen.runtime.workers import map_unordered

# Both cameras look along x from 1 m away, 90 degrees high and wide; the second looks away from the hand.
MODEL = mujoco.MjModel.from_xml_string("""
<mujoco>
  <worldbody>
    <camera name="front" pos="-1 0 0" xyaxes="0 -1 0 0 0 1" fovy="90"/>
    <camera name="back" pos="-1 0 0" xyaxes="0 1 0 0 0 1" fovy="90"/>
    <body name="hand" mocap="true"><site name="left_grip_site"/></body>
  </worldbody>
</mujoco>
""")
SIZE = (64, 64)


class Hand:
    """Moves the hand, and shows the watch a picture for each camera."""

    def __init__(self, cameras: tuple[str, ...] = ("front",), image_size: tuple[int, int] = SIZE) -> None:
        self.data = mujoco.MjData(MODEL)
        self.watch = PixelWatch(MODEL, self.data, cameras, image_size)
        self.shape = (*image_size, 3)

    def see(self, place_m: Any, *pictures: int) -> None:
        """Pictures of one number are equal, those of two differ in a pixel."""
        self.data.mocap_pos[0] = place_m
        mujoco.mj_forward(MODEL, self.data)
        frames = np.zeros((len(pictures), *self.shape), dtype=np.uint8)
        for frame, picture in zip(frames, pictures, strict=True):
            frame[0, 0] = picture
        self.watch.see(frames)
        # Frames are the caller's, who may do what they like with them.
        frames[:] = 77


def test_a_picture_that_stays_while_the_arm_moves_is_refused_with_the_distance() -> None:
    hand = Hand()
    hand.see([0, 0, 0], 1)
    for step in range(1, 10):
        hand.see([0, 0.001 * step, 0], 1)
    with pytest.raises(PixelError, match=r"'front' still shows the same frame after the arm moved 0\.011 m; run"):
        hand.see([0, 0.011, 0], 1)
    with pytest.raises(PixelError, match="moved"):
        hand.see([0, 0.011, 0], 1)
    hand.see([0, 0.011, 0], 2)


def test_an_arm_at_rest_may_look_the_same_for_ever() -> None:
    hand = Hand()
    for step in range(1000):
        hand.see([0, 1e-6 * step, 0], 1)
    assert hand.watch.largest_unseen_move_m == pytest.approx(0.000999)


def test_what_a_camera_cannot_see_it_need_not_show() -> None:
    hand = Hand(("front", "back"))
    for step in range(20):
        hand.see([0, 0.01 * step, 0], step + 1, 1)
    hand.see([0, 1.01, 0], 99, 1)
    with pytest.raises(PixelError, match="'back'"):
        hand.see([-2, 0, 0], 100, 1)


@pytest.mark.parametrize("edge", [1.0, -1.0])
def test_the_view_ends_where_the_picture_does(edge: float) -> None:
    for beyond_m, is_seen in ((0.01, False), (-0.01, True)):
        for wide in (1, 2):
            hand = Hand(image_size=(64, 64 * wide))
            hand.see([0, 0, 0], 1)
            place = [0, edge * (wide + beyond_m), 0]
            if is_seen:
                with pytest.raises(PixelError):
                    hand.see(place, 1)
            else:
                hand.see(place, 1)


@given(
    steps=st.lists(st.tuples(st.floats(-0.004, 0.004), st.booleans()), min_size=1, max_size=40),
)
def test_the_alarm_is_raised_when_the_move_since_the_last_change_passes_the_limit(steps) -> None:
    hand, place_m, since_m, picture = Hand(), 0.0, 0.0, 1
    hand.see([0, 0, 0], picture)
    for step_m, has_changed in steps:
        place_m += step_m
        if has_changed:
            since_m, picture = place_m, picture + 1
        if abs(place_m - since_m) > MAX_UNSEEN_MOVE_M:
            with pytest.raises(PixelError):
                hand.see([0, place_m, 0], picture)
        else:
            hand.see([0, place_m, 0], picture)


def test_a_picture_of_one_colour_is_refused() -> None:
    hand = Hand()
    with pytest.raises(PixelError, match="camera 'front' shows a single colour"):
        hand.see([0, 0, 0], 0)


def test_coarse_pictures_may_stay_longer_and_tiny_ones_for_ever() -> None:
    coarse = Hand(image_size=(32, 48))
    assert max_unseen_move_m((32, 48)) == 2 * MAX_UNSEEN_MOVE_M
    assert max_unseen_move_m((640, 480)) == MAX_UNSEEN_MOVE_M
    coarse.see([0, 0, 0], 1)
    coarse.see([0, 0.019, 0], 1)
    with pytest.raises(PixelError):
        coarse.see([0, 0.021, 0], 1)
    tiny = Hand(image_size=(1, MIN_SIDE_PX))
    for step in range(10):
        tiny.see([0, 0.1 * step, 0], 0)


def fail(item: int) -> None:
    hand = Hand()
    hand.see([0, 0, 0], 0)


def test_the_error_comes_whole_out_of_a_worker() -> None:
    with pytest.raises(PixelError, match=r"single colour.*run smidgen-doctor, then the same command again"):
        list(map_unordered(fail, [1], 1))
