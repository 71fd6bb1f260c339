"""The interface of every learned policy's network: frames in, the action features of a chunk out.

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
    """Shapes of a network's inputs and outputs.

    Attributes:
        num_frames: Frames T of an example.
        image_size: Rows and columns of a frame.
        channels: Bytes C of a pixel, 3 per camera.
        state_dim: Coordinates of the end-effector state that the network sees; 0 if it sees none.
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
    """Base class of policy networks: frames, and optionally a state, to the action features of a chunk.

    Attributes:
        frame_shape: Shape (T, H, W, C) of an example's frames.
    """

    frame_shape: tuple[int, ...]

    def fit_input(self, batches: Iterable[Frames]) -> None:
        """Fits input statistics on training frames; the batches can be iterated several times."""

    def check_transform(self, frames_BTHWC: Frames) -> None:
        """Tries the input transform, if any, on a few frames.

        Raises:
            UserCodeError: If its output does not match its declaration.
        """

    def memorise(self, examples: Iterable[tuple[Frames, Float[Tensor, "B H F"]]]) -> None:
        """Learns without gradients from training examples: frames, and the chunk's features."""

    @property
    def num_memorised(self) -> int:
        """Number of examples that ``memorise`` needs; 0 if none."""
        return 0

    @property
    def size_note(self) -> str:
        """Text about its size besides the number of parameters; may be empty."""
        return ""

    def weights(self) -> Any:
        """Precomputed values that depend on the weights only, worth computing once an episode; may be None."""
        return None

    def forward(
        self, frames_BTHWC: Frames, state_BS: Float[Tensor, "B S"] | None = None, *, weights: Any = None
    ) -> Float[Tensor, "B H F"]:
        """Predicts the next steps' action features.

        Args:
            frames_BTHWC: Bytes, or floats in [0, 1]; oldest first.
            state_BS: Standardised end-effector state, if the network sees one.
            weights: The result of ``weights()``, if the weights have not changed since.
        """
        raise NotImplementedError


def require_frames(frames_BTHWC: Tensor, frame_shape: tuple[int, ...]) -> None:
    """Refuses frames whose shape does not match the network's.

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
