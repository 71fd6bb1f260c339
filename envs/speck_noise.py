"""Speck in noise: touch a dot on the table, in frames whose every number carries Gaussian noise."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from smidgen.envs.smidgen_tasks import SPECK_NOISE
from smidgen.envs.speck import SpeckEnv
from smidgen.envs.specs import TaskSpec

# In grey levels of 255. The dot differs from the table by 95: with the 12,288 tokens of three frames, noise matters to
# per-token standardisation from 95 / (2 sqrt(12288)) = 0.4 levels on.
NOISE_SD_LEVELS = 8.0
_LARGEST_KEY = 2**53


class SpeckNoiseEnv(SpeckEnv):
    """A dot of four pixels; the noise is a function of the episode's seed, the control step and the camera.

    It is independent for every pixel and colour, is added to the drawn frame, and the sum is rounded and cut to 0..255.
    A stored state holds the episode's key to it, so that a state drawn again has the same noise.
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
        """Frames of the present state: (num_cameras, H, W, 3) uint8, upright, with this step's noise."""
        return np.array(
            [
                add_noise(frame, np.random.default_rng((self._noise_key, self._num_steps, camera)))
                for camera, frame in enumerate(super().render_frames())
            ],
            dtype=np.uint8,
        ).reshape(len(self.cameras), *self.image_size, 3)


def add_noise(frame: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A uint8 frame with noise of :data:`NOISE_SD_LEVELS`, rounded and cut to uint8 again."""
    noisy = frame + rng.normal(0.0, NOISE_SD_LEVELS, frame.shape)
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)
