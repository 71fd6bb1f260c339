"""The simplest sighted policy: its chunk is linear in the pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from smidgen.policies.cnn import chunk_of
from smidgen.policies.frame_network import FrameNetwork, Frames, NetworkShapes, centred_floats, require_frames
from smidgen.policies.learned_policy import LearnedPolicyConfig


@dataclass(frozen=True, kw_only=True)
class LinearConfig(LearnedPolicyConfig):
    """A linear map of all pixels."""

    kind: ClassVar[str] = "linear"

    def build(self, shapes: NetworkShapes) -> FrameNetwork:
        """The network."""
        return Linear(shapes)


class Linear(FrameNetwork):
    """All pixels -> chunk."""

    def __init__(self, shapes: NetworkShapes) -> None:
        super().__init__()
        self.shapes, self.frame_shape = shapes, shapes.frame_shape
        self.map = nn.Linear(shapes.num_inputs + shapes.state_dim, shapes.num_outputs)

    def forward(self, frames_BTHWC: Frames, state_BS: Tensor | None = None, *, weights: Any = None) -> Tensor:
        """Predicts the next steps' action features (B, horizon, F)."""
        require_frames(frames_BTHWC, self.frame_shape)
        return chunk_of(self.map, centred_floats(frames_BTHWC).flatten(1), state_BS, self.shapes)
