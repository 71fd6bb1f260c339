"""What every learned policy's network is, whatever its architecture: frames in, the action features of a chunk out.

Letters: ``B`` examples, ``T`` frames, ``H W`` rows and columns (``H`` before an ``F`` is the horizon), ``C`` channels,
``S`` state coordinates, ``F`` action features.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from smidgen.runtime.errors import UserError

Frames = UInt8[Tensor, "B T H W C"]


@dataclass(frozen=True)
class NetworkShapes:
    """What goes into a policy's network and what comes out.

    Attributes:
        num_frames: Frames T of an example.
        image_size: Rows and columns of a frame.
        channels: Bytes C of a pixel, 3 per camera.
        state_dim: Coordinates of the end-effector state that the network sees; 0 where it sees none.
        horizon: Future steps that it predicts.
        action_features: Outputs F per step.
    """

    num_frames: int
    image_size: int
    channels: int
    state_dim: int
    horizon: int
    action_features: int

    @property
    def frame_shape(self) -> tuple[int, int, int, int]:
        """Shape (T, H, W, C) of an example's frames."""
        return (self.num_frames, self.image_size, self.image_size, self.channels)

    @property
    def num_inputs(self) -> int:
        """Bytes of an example's frames."""
        return math.prod(self.frame_shape)

    @property
    def num_outputs(self) -> int:
        """Outputs of all steps."""
        return self.horizon * self.action_features


class FrameNetwork(nn.Module):
    """What every policy's network is: frames, and a state where it sees one, to the action features of a chunk.

    Attributes:
        frame_shape: Shape (T, H, W, C) of an example's frames.
    """

    frame_shape: tuple[int, ...]

    def fit_input(self, batches: Iterable[Frames]) -> None:
        """Takes the input's statistics from training frames; the batches can be gone through several times."""

    def check_transform(self, frames_BTHWC: Frames) -> None:
        """Asks an input transform about a few frames, where there is one.

        Raises:
            UserCodeError: If what it gives is not what it says that it gives.
        """

    def memorise(self, examples: Iterable[tuple[Frames, Float[Tensor, "B H F"]]]) -> None:
        """Learns what needs no gradient from training examples: frames, and the chunk's features."""

    @property
    def num_memorised(self) -> int:
        """Examples that ``memorise`` asks for; 0 where there is nothing to memorise."""
        return 0

    @property
    def size_note(self) -> str:
        """What a line about its size says besides the number of parameters; empty where nothing."""
        return ""

    def weights(self) -> Any:
        """What follows from the weights alone and is worth computing once an episode; None where nothing is."""
        return None

    def forward(
        self, frames_BTHWC: Frames, state_BS: Float[Tensor, "B S"] | None = None, *, weights: Any = None
    ) -> Float[Tensor, "B H F"]:
        """Predicts the next steps' action features.

        Args:
            frames_BTHWC: Bytes, or floats in [0, 1]; oldest first.
            state_BS: Standardised end-effector state, where the network sees one.
            weights: What ``weights()`` gave, where they have not changed since.
        """
        raise NotImplementedError


def require_frames(frames_BTHWC: Tensor, frame_shape: tuple[int, ...]) -> None:
    """Refuses frames of another shape than the network's.

    Raises:
        UserError: Naming both shapes.
    """
    if frames_BTHWC.shape[1:] != frame_shape or not len(frames_BTHWC):
        raise UserError(
            f"expected frames of shape (batch, {', '.join(map(str, frame_shape))}), got "
            f"{tuple(frames_BTHWC.shape)}; check number, size and cameras of the frames"
        )


def centred_floats(frames_BTHWC: Frames | Float[Tensor, "B T H W C"]) -> Float[Tensor, "B T H W C"]:
    """Bytes, or floats in [0, 1], to floats in [-1, 1]."""
    x_BTHWC = frames_BTHWC if frames_BTHWC.is_floating_point() else frames_BTHWC.to(torch.float32) / 255.0
    return 2 * x_BTHWC - 1
