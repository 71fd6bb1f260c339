"""Convolutional policies: what most people would train first, and the reference for a Perceiver.

A small convolutional encoder with a spatial softmax: each of its last feature maps is reduced to the location
of its maximum (Levine et al., End-to-end training of deep visuomotor policies, 2016) and the value there. ``cnn`` sees
its frames stacked in the channels; ``cnn_rnn`` encodes each alone and runs a GRU over them (BC-RNN of Mandlekar et al.,
What matters in learning from offline human demonstrations, 2021).

Shape suffixes: B batch, T frames, H rows, W columns, C channels, K feature maps, E features, S state coordinates, O
output steps, F action features.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from smidgen.policies.frame_network import FrameNetwork, Frames, NetworkShapes, centred_floats, require_frames
from smidgen.policies.learned_policy import LearnedPolicyConfig
from smidgen.runtime.errors import UserError


@dataclass(frozen=True, kw_only=True)
class CnnConfig(LearnedPolicyConfig):
    """A convolutional network over stacked frames."""

    kind: ClassVar[str] = "cnn"
    width: int = field(
        default=32, metadata={"help": "feature maps of the first convolution; later ones: twice as many"}
    )
    hidden_dim: int = field(default=256, metadata={"help": "width of the layers after the convolutions"})

    def check(self) -> None:
        """As for every policy, and checks the widths."""
        super().check()
        for name in ("width", "hidden_dim"):
            if getattr(self, name) < 1:
                raise UserError(f"expected {name} of at least 1, got {getattr(self, name)}")

    def build(self, shapes: NetworkShapes) -> FrameNetwork:
        """The network."""
        return Cnn(self, shapes)


@dataclass(frozen=True, kw_only=True)
class CnnRnnConfig(CnnConfig):
    """A convolutional network over each frame, and a GRU over the frames."""

    kind: ClassVar[str] = "cnn_rnn"
    num_frames: int = field(default=8, metadata={"help": "frames that the policy sees, the newest included"})

    def build(self, shapes: NetworkShapes) -> FrameNetwork:
        """The network."""
        return CnnRnn(self, shapes)


class ConvEncoder(nn.Module):
    """Four convolutions and a spatial softmax.

    Args:
        channels: Channels C of the input.
        width: Feature maps of the first convolution; the last has twice as many, K.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        wide = 2 * width
        self.convolutions = nn.Sequential(
            nn.Conv2d(channels, width, 5, stride=2, padding=2),
            nn.ReLU(),
            nn.Conv2d(width, wide, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(wide, wide, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(wide, wide, 3, padding=1),
        )
        self.num_features = 3 * wide

    def forward(self, x_BCHW: Float[Tensor, "B C H W"]) -> Float[Tensor, "B E"]:
        """Expected column, row and value of each feature map under its softmax."""
        return spatial_softmax(self.convolutions(x_BCHW))


def spatial_softmax(maps_BKHW: Float[Tensor, "B K H W"]) -> Float[Tensor, "B 3K"]:
    """Each map's expected column and row, from -1 to 1, and its expected value, under its softmax."""
    rows, columns = maps_BKHW.shape[2:]
    weights_BKHW = functional.softmax(maps_BKHW.flatten(2), dim=2).view_as(maps_BKHW)
    column_W = torch.linspace(-1, 1, columns, dtype=maps_BKHW.dtype, device=maps_BKHW.device)
    row_H = torch.linspace(-1, 1, rows, dtype=maps_BKHW.dtype, device=maps_BKHW.device)
    x_BK = (weights_BKHW.sum(2) * column_W).sum(2)
    y_BK = (weights_BKHW.sum(3) * row_H).sum(2)
    value_BK = (weights_BKHW * maps_BKHW).sum((2, 3))
    return torch.cat([x_BK, y_BK, value_BK], dim=1)


class Cnn(FrameNetwork):
    """Frames stacked in the channels -> convolutions -> chunk."""

    def __init__(self, config: CnnConfig, shapes: NetworkShapes) -> None:
        super().__init__()
        self.shapes, self.frame_shape = shapes, shapes.frame_shape
        self.encoder = ConvEncoder(shapes.num_frames * shapes.channels, config.width)
        self.head = chunk_head(self.encoder.num_features + shapes.state_dim, config.hidden_dim, shapes)

    def forward(self, frames_BTHWC: Frames, state_BS: Tensor | None = None, *, weights: Any = None) -> Tensor:
        """Predicts the next steps' action features (B, O, F)."""
        require_frames(frames_BTHWC, self.frame_shape)
        x_BTCHW = centred_floats(frames_BTHWC).permute(0, 1, 4, 2, 3)
        features_BE = self.encoder(x_BTCHW.flatten(1, 2))
        return chunk_of(self.head, features_BE, state_BS, self.shapes)


class CnnRnn(FrameNetwork):
    """Each frame -> convolutions; a GRU over the frames -> chunk."""

    def __init__(self, config: CnnRnnConfig, shapes: NetworkShapes) -> None:
        super().__init__()
        self.shapes, self.frame_shape = shapes, shapes.frame_shape
        self.encoder = ConvEncoder(shapes.channels, config.width)
        self.recurrent = nn.GRU(self.encoder.num_features, config.hidden_dim, batch_first=True)
        self.head = chunk_head(config.hidden_dim + shapes.state_dim, config.hidden_dim, shapes)

    def forward(self, frames_BTHWC: Frames, state_BS: Tensor | None = None, *, weights: Any = None) -> Tensor:
        """Predicts the next steps' action features (B, O, F)."""
        require_frames(frames_BTHWC, self.frame_shape)
        x_BTCHW = centred_floats(frames_BTHWC).permute(0, 1, 4, 2, 3)
        encoded_BTE = self.encoder(x_BTCHW.flatten(0, 1)).unflatten(0, x_BTCHW.shape[:2])
        _, last_1BE = self.recurrent(encoded_BTE)
        return chunk_of(self.head, last_1BE[0], state_BS, self.shapes)


def chunk_head(num_inputs: int, hidden_dim: int, shapes: NetworkShapes) -> nn.Sequential:
    """Two hidden layers, and the outputs for all steps of a chunk."""
    return nn.Sequential(
        nn.Linear(num_inputs, hidden_dim),
        nn.ReLU(),
        nn.Linear(hidden_dim, hidden_dim),
        nn.ReLU(),
        nn.Linear(hidden_dim, shapes.num_outputs),
    )


def chunk_of(head: nn.Module, features_BE: Tensor, state_BS: Tensor | None, shapes: NetworkShapes) -> Tensor:
    """The chunk (B, O, F) that a head computes from features, and from the state if the network sees one.

    Raises:
        UserError: If the state is missing or of another width.
    """
    width = 0 if state_BS is None else state_BS.shape[-1]
    if width != shapes.state_dim:
        raise UserError(f"expected a state of {shapes.state_dim} coordinates, got {width}; check use_eef_state")
    if state_BS is not None:
        features_BE = torch.cat([features_BE, state_BS.to(features_BE.dtype)], dim=1)
    return head(features_BE).unflatten(1, (shapes.horizon, shapes.action_features))
