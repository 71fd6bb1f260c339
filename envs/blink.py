"""Blink: touch a dot that shows in one of three frames; a smidgen in time."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from smidgen.envs.smidgen_tasks import BLINK
from smidgen.envs.speck import SpeckEnv
from smidgen.envs.specs import TaskSpec

# A policy sees three frames: from the second step on, exactly one of any three in a row shows the dot. At the start
# the first frame, which stands in for those before it, shows it.
PERIOD_STEPS = 3


class BlinkEnv(SpeckEnv):
    """A dot of sixteen pixels, drawn at the control steps 0, 3, 6, ... of an episode and at no other."""

    task: ClassVar[TaskSpec] = BLINK
    num_pixels = 16

    def render_frames(self) -> np.ndarray:
        """Frames of the present state: (num_cameras, H, W, 3) uint8, upright; the step decides if the dot is there."""
        if self._num_steps % PERIOD_STEPS == 0:
            return super().render_frames()
        with self.cue_hidden():
            return super().render_frames()
