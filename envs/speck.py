"""Speck: touch a dot on the table. Its few pixels are all that tells one episode from another.

In Blink the dot shows in one frame of three, a smidgen in time; in Speck in noise every number of a frame carries
Gaussian noise.
"""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from typing import Any, ClassVar

import numpy as np

from smidgen.envs.agentview import DOT_THICKNESS_M, IMAGE_SIZE, NUM_SIDES, dot_radius_m, draw_dot
from smidgen.envs.smidgen_tasks import BLINK, SPECK_NOISE, SPECKS
from smidgen.envs.specs import TABLE_HEIGHT_M, TaskSpec
from smidgen.envs.touch import TouchEnv, TouchSimulation, add_matt_material, add_picture, as_attribute

# Dark, but not black, so that added noise is not clipped.
DOT_RGBA = "0.15 0.15 0.15 1"
# A policy sees three frames: from the second step on, exactly one of any three consecutive frames shows the dot. At the
# start, the first frame, which also pads the history, shows it.
PERIOD_STEPS = 3
# In grey levels out of 255. The dot differs from the table by 95: with the 12,288 tokens of three frames, noise affects
# per-token standardisation from 95 / (2 sqrt(12288)) = 0.4 levels up.
NOISE_SD_LEVELS = 8.0
_LARGEST_KEY = 2**53


class DotSimulation(TouchSimulation):
    """The bare table with a dot on it."""

    def _furnish(self, arena: Any) -> None:
        body = ET.SubElement(arena.worldbody, "body", {"name": "dot", "pos": as_attribute(0, 0, TABLE_HEIGHT_M)})
        half_m = DOT_THICKNESS_M / 2
        add_picture(
            body,
            "dot",
            type="cylinder",
            material=add_matt_material(arena, "dot_matt", DOT_RGBA),
            size=as_attribute(0.01, half_m),
            pos=as_attribute(0, 0, half_m),
        )


class SpeckEnv(TouchEnv):
    """The dot covers exactly ``num_pixels`` pixels of a 64 x 64 frame of the default camera when an episode starts.

    The radius depends on the place, so that the dot appears equally large everywhere. At other places, in larger frames
    or from another camera, the number of pixels follows from that radius.
    """

    simulation_class = DotSimulation
    num_pixels: ClassVar[int]

    def _after_build(self) -> None:
        super()._after_build()
        self.model.vis.quality.numslices = NUM_SIDES
        self._dot_body, self._dot_geom = self.model.body("dot").id, self.model.geom("dot").id

    @property
    def min_image_height(self) -> int:
        """Rows of a frame below which the dot may fall between the pixels."""
        return math.ceil(IMAGE_SIZE / math.sqrt(self.num_pixels))

    def goal_m(self) -> np.ndarray:
        """(2,) x and y of the dot's centre."""
        return self.cue_pose()

    def cue_pose(self) -> np.ndarray:
        """(2,) x and y of the dot's centre in metres."""
        return self.model.body_pos[self._dot_body, :2].copy()

    def _place_cue(self, pose: np.ndarray) -> None:
        self.model.body_pos[self._dot_body, :2] = pose
        self.model.geom_size[self._dot_geom, 0], _ = dot_radius_m(pose, self.num_pixels)

    def sample_cue_pose(self, rng: np.random.Generator) -> np.ndarray:
        """Draws a place as resets do: one at which it is unambiguous which pixels the dot covers."""
        return draw_dot(self.goals, self.num_pixels, rng)

    def _cue_geoms(self) -> list[int]:
        return [self._dot_geom]


class Speck1Env(SpeckEnv):
    """A dot of one pixel."""

    task: ClassVar[TaskSpec] = SPECKS[1]
    num_pixels = 1


class Speck2Env(SpeckEnv):
    """A dot of two pixels."""

    task: ClassVar[TaskSpec] = SPECKS[2]
    num_pixels = 2


class Speck4Env(SpeckEnv):
    """A dot of four pixels."""

    task: ClassVar[TaskSpec] = SPECKS[4]
    num_pixels = 4


class Speck16Env(SpeckEnv):
    """A dot of sixteen pixels."""

    task: ClassVar[TaskSpec] = SPECKS[16]
    num_pixels = 16


class Speck64Env(SpeckEnv):
    """A dot of sixty-four pixels."""

    task: ClassVar[TaskSpec] = SPECKS[64]
    num_pixels = 64


class BlinkEnv(SpeckEnv):
    """A dot of sixteen pixels, drawn only at the control steps 0, 3, 6, ... of an episode."""

    task: ClassVar[TaskSpec] = BLINK
    num_pixels = 16

    def render_frames(self) -> np.ndarray:
        """Frames of the current state: (num_cameras, H, W, 3) uint8, upright; the step decides if they show the dot."""
        if self._num_steps % PERIOD_STEPS == 0:
            return super().render_frames()
        with self.cue_hidden():
            return super().render_frames()


class SpeckNoiseEnv(SpeckEnv):
    """A dot of four pixels; the noise is a function of the episode's seed, the control step and the camera.

    It is independent for every pixel and colour, is added to the rendered frame, and the sum is rounded and clipped to
    0..255. A stored state contains the episode's noise key, so that a state rendered again has the same noise.
    """

    task: ClassVar[TaskSpec] = SPECK_NOISE
    num_pixels = 4
    _noise_key = 0

    def _after_reset(self) -> None:
        super()._after_reset()
        self._noise_key = int(self.simulation.rng.integers(_LARGEST_KEY))

    def _task_state(self) -> np.ndarray:
        return np.append(super()._task_state(), self._noise_key)

    def _set_task_state(self, state: np.ndarray) -> None:
        super()._set_task_state(state[:-1])
        self._noise_key = int(state[-1])

    def render_frames(self) -> np.ndarray:
        """Frames of the current state: (num_cameras, H, W, 3) uint8, upright, with this step's noise."""
        return np.array(
            [
                add_noise(frame, np.random.default_rng((self._noise_key, self._num_steps, camera)))
                for camera, frame in enumerate(super().render_frames())
            ],
            dtype=np.uint8,
        ).reshape(len(self.cameras), *self.image_size, 3)


def add_noise(frame: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A uint8 frame with noise of :data:`NOISE_SD_LEVELS`, rounded and clipped to uint8."""
    noisy = frame + rng.normal(0.0, NOISE_SD_LEVELS, frame.shape)
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)
