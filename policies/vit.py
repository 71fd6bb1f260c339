"""A plain transformer over image patches (Dosovitskiy et al., An image is worth 16x16 words, 2021) as a policy.

Shape suffixes: B batch, T frames, H rows, W columns, C channels, N patches of all frames, E width, S state coordinates,
O output steps, F action features.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from smidgen.policies.cnn import chunk_of
from smidgen.policies.frame_network import FrameNetwork, Frames, NetworkShapes, centred_floats, require_frames
from smidgen.policies.learned_policy import LearnedPolicyConfig
from smidgen.runtime.errors import UserError


@dataclass(frozen=True, kw_only=True)
class VitConfig(LearnedPolicyConfig):
    """A transformer over patches."""

    kind: ClassVar[str] = "vit"
    patch_size: int = field(default=8, metadata={"help": "side of a patch in pixels; must divide the frame size"})
    width: int = field(default=128, metadata={"help": "width of a token"})
    num_layers: int = field(default=4, metadata={"help": "transformer layers"})
    num_heads: int = field(default=4, metadata={"help": "heads of the self-attention"})

    def check(self) -> None:
        """As for every policy, and checks the sizes."""
        super().check()
        for name in ("patch_size", "width", "num_layers", "num_heads"):
            if getattr(self, name) < 1:
                raise UserError(f"expected {name} of at least 1, got {getattr(self, name)}")
        if self.width % self.num_heads:
            raise UserError(f"expected num_heads that divides width {self.width}, got {self.num_heads}")

    def build(self, shapes: NetworkShapes) -> FrameNetwork:
        """The network.

        Raises:
            UserError: If the patches do not fill a frame.
        """
        if shapes.image_size % self.patch_size:
            raise UserError(f"expected patch_size that divides the frames' {shapes.image_size}, got {self.patch_size}")
        return Vit(self, shapes)


class Vit(FrameNetwork):
    """Patches of all frames and one readout token -> transformer -> chunk."""

    def __init__(self, config: VitConfig, shapes: NetworkShapes) -> None:
        super().__init__()
        self.shapes, self.frame_shape = shapes, shapes.frame_shape
        self.patches = nn.Conv2d(shapes.channels, config.width, config.patch_size, stride=config.patch_size)
        num_patches = shapes.num_frames * (shapes.image_size // config.patch_size) ** 2
        self.positions_NE = nn.Parameter(0.02 * torch.randn(num_patches, config.width))
        self.readout_E = nn.Parameter(0.02 * torch.randn(config.width))
        # Built one by one: nn.TransformerEncoder copies one layer's initial weights to all.
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                config.width,
                config.num_heads,
                4 * config.width,
                dropout=0.0,
                activation="gelu",
                batch_first=True,
                norm_first=True,
            )
            for _ in range(config.num_layers)
        )
        self.norm = nn.LayerNorm(config.width)
        self.head = nn.Linear(config.width + shapes.state_dim, shapes.num_outputs)

    def forward(self, frames_BTHWC: Frames, state_BS: Tensor | None = None, *, weights: Any = None) -> Tensor:
        """Predicts the next steps' action features (B, O, F)."""
        require_frames(frames_BTHWC, self.frame_shape)
        x_BTCHW = centred_floats(frames_BTHWC).permute(0, 1, 4, 2, 3)
        patches_BTEHW = self.patches(x_BTCHW.flatten(0, 1)).unflatten(0, x_BTCHW.shape[:2])
        tokens_BNE = patches_BTEHW.flatten(3).transpose(2, 3).flatten(1, 2) + self.positions_NE
        readout_B1E = self.readout_E.expand(len(tokens_BNE), 1, -1)
        tokens_BNE = torch.cat([readout_B1E, tokens_BNE], dim=1)
        for layer in self.layers:
            tokens_BNE = layer(tokens_BNE)
        return chunk_of(self.head, self.norm(tokens_BNE[:, 0]), state_BS, self.shapes)
