"""What a policy is shown in place of what was recorded: another episode's frames, frozen or grey ones, no camera.

A probe picks frames by their step, so that nothing is built but the frames that are shown next.

Letters: ``S`` steps of an episode, ``...`` any steps, ``N`` cameras, ``H W`` rows and columns, ``E`` state.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from smidgen.data_collection.array_files import Array
from smidgen.data_collection.episode import Episode
from smidgen.evaluation.held_out_predictions import BLANK

# Steps by which frames are late: a camera's latency at its worst.
DELAY = 5
AS_RECORDED, REPEATED = "as_recorded", "repeated"
FRAMES_SWAPPED, STATE_SWAPPED = "frames_swapped", "state_swapped"
FROZEN, BLANKED, DELAYED = "frames_frozen", "frames_blanked", "frames_delayed"
SHIFTED, JITTERED = "frames_shifted", "frames_jittered"
CAMERA_SWAPPED, CAMERA_BLANKED = "camera_swapped", "camera_blanked"


@dataclass(frozen=True, eq=False)
class Moment:
    """An episode and the one that it is confused with.

    Attributes:
        own: The episode.
        other: Another one, whose frames or states stand in at the same step; after its end, its last.
    """

    own: Episode
    other: Episode

    def other_steps(self, steps: np.ndarray) -> np.ndarray:
        """Steps in the other episode."""
        return np.minimum(steps, self.other.num_steps - 1)


@dataclass(frozen=True)
class Probe:
    """One way of asking.

    Attributes:
        name: Its name in the report.
        frames: uint8 (..., N, H, W, 3), what is shown at some steps.
        swaps_state: Whether the state is the other episode's.
        camera: The camera that is altered, where only one is.
    """

    name: str
    frames: Callable[[Moment, np.ndarray], Array]
    swaps_state: bool = False
    camera: str | None = None

    def state(self, moment: Moment, steps: np.ndarray) -> Array:
        """float64 (..., E), the state that is shown at some steps."""
        if self.swaps_state:
            return moment.other.eef_state[moment.other_steps(steps)]
        return moment.own.eef_state[steps]

    @property
    def key(self) -> str:
        """Its name, and its camera if it has one."""
        return self.name if self.camera is None else f"{self.name}:{self.camera}"


def _own(moment: Moment, steps: np.ndarray) -> Array:
    return moment.own.frames[steps]


def _swapped(moment: Moment, steps: np.ndarray) -> Array:
    return moment.other.frames[moment.other_steps(steps)]


def _frozen(moment: Moment, steps: np.ndarray) -> Array:
    return moment.own.frames[np.zeros_like(steps)]


def _blanked(moment: Moment, steps: np.ndarray) -> Array:
    return np.broadcast_to(np.uint8(BLANK), (*steps.shape, *moment.own.frames.shape[1:]))


def _delayed(moment: Moment, steps: np.ndarray) -> Array:
    return moment.own.frames[np.maximum(steps - DELAY, 0)]


def _shifted(moment: Moment, steps: np.ndarray) -> Array:
    """One column to the right; the first column stays."""
    frames = moment.own.frames[steps]
    return np.concatenate([frames[..., :1, :], frames[..., :-1, :]], axis=-2)


def _jittered(moment: Moment, steps: np.ndarray) -> Array:
    """One grey level more, less or the same, by a pattern that belongs to the episode."""
    shape = moment.own.frames.shape[1:]
    pattern = np.random.default_rng(moment.own.seed).integers(-1, 2, shape, dtype=np.int16)
    return np.clip(moment.own.frames[steps].astype(np.int16) + pattern, 0, 255).astype(np.uint8)


def _one_camera(index: int, altered: Callable[[Moment, np.ndarray], Array]) -> Callable[[Moment, np.ndarray], Array]:
    def frames(moment: Moment, steps: np.ndarray) -> Array:
        shown = np.array(moment.own.frames[steps])
        shown[..., index, :, :, :] = altered(moment, steps)[..., index, :, :, :]
        return shown

    return frames


def probes(cameras: Sequence[str]) -> list[Probe]:
    """Every probe of a policy that sees these cameras; the answer as recorded comes first.

    With one camera, that it is taken away is ``frames_blanked``.
    """
    found = [
        Probe(AS_RECORDED, _own),
        Probe(REPEATED, _own),
        Probe(FRAMES_SWAPPED, _swapped),
        Probe(STATE_SWAPPED, _own, swaps_state=True),
        Probe(FROZEN, _frozen),
        Probe(BLANKED, _blanked),
        Probe(DELAYED, _delayed),
        Probe(SHIFTED, _shifted),
        Probe(JITTERED, _jittered),
    ]
    for index, camera in enumerate(cameras if len(cameras) > 1 else ()):
        found += [
            Probe(CAMERA_SWAPPED, _one_camera(index, _swapped), camera=camera),
            Probe(CAMERA_BLANKED, _one_camera(index, _blanked), camera=camera),
        ]
    return found
