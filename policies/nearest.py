"""A nearest-neighbour policy: it plays the chunk of the training window whose frames are closest to what it sees.

Distances are Euclidean over all pixels of all frames, preserved to about (2 / num_features)^0.5 by a fixed random
projection (Johnson and Lindenstrauss, 1984), so that a checkpoint stays small. Nothing is trained: the examples are
stored unchanged (compare Pari et al., The surprising effectiveness of representation learning for visual imitation,
2022).

Shape suffixes: B batch, T frames, H rows, W columns, C channels, P pixels, N stored examples, D projected features, O
output steps, F action features.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from smidgen.policies.constants import LazyConstant
from smidgen.policies.frame_network import FrameNetwork, Frames, NetworkShapes, centred_floats, require_frames
from smidgen.policies.learned_policy import LearnedPolicyConfig
from smidgen.runtime.errors import UserError

# The projection is recomputed from its seed: a forged checkpoint could request any size.
MAX_FEATURES = 4096


@dataclass(frozen=True, kw_only=True)
class NearestConfig(LearnedPolicyConfig):
    """How many examples are stored, and at what resolution."""

    kind: ClassVar[str] = "nearest"
    has_weights: ClassVar[bool] = False
    num_examples: int = field(default=16_384, metadata={"help": "training windows to store, evenly spaced"})
    num_features: int = field(default=256, metadata={"help": "random projections of the pixels to compare"})

    def check(self) -> None:
        """As for every policy; only frames are supported.

        Raises:
            UserError: If a count is out of range, or the end-effector state is requested.
        """
        super().check()
        if self.num_examples < 1:
            raise UserError(f"expected num_examples of at least 1, got {self.num_examples}")
        if not 1 <= self.num_features <= MAX_FEATURES:
            raise UserError(f"expected num_features in 1..{MAX_FEATURES}, got {self.num_features}")
        if self.use_eef_state:
            raise UserError("policy=nearest compares only frames; set use_eef_state=false")

    def build(self, shapes: NetworkShapes) -> FrameNetwork:
        """The network."""
        return Nearest(self, shapes)


class Nearest(FrameNetwork):
    """Projected frames -> the nearest stored example's chunk."""

    features_ND: Tensor
    chunks_NOF: Tensor

    def __init__(self, config: NearestConfig, shapes: NetworkShapes) -> None:
        super().__init__()
        self.shapes, self.frame_shape, self.config = shapes, shapes.frame_shape, config
        sizes = (config.num_examples, shapes.horizon, shapes.action_features)
        self.register_buffer("features_ND", torch.zeros(config.num_examples, config.num_features))
        self.register_buffer("chunks_NOF", torch.zeros(sizes))
        self._projection_PD = LazyConstant(self._draw_projection)

    @property
    def num_memorised(self) -> int:
        """Examples to store."""
        return self.config.num_examples

    def memorise(self, examples: Iterable[tuple[Frames, Float[Tensor, "B O F"]]]) -> None:
        """Stores examples; if there are fewer than ``num_examples``, they are repeated."""
        parts = [(self.project(frames), chunks) for frames, chunks in examples]
        features_ND, chunks_NOF = (torch.cat(column) for column in zip(*parts, strict=True))
        index_N = torch.arange(self.config.num_examples, device=features_ND.device) % len(features_ND)
        self.features_ND.copy_(features_ND[index_N])
        self.chunks_NOF.copy_(chunks_NOF[index_N])

    def project(self, frames_BTHWC: Frames) -> Float[Tensor, "B D"]:
        """Distance-preserving projections of the pixels."""
        require_frames(frames_BTHWC, self.frame_shape)
        x_BP = centred_floats(frames_BTHWC).flatten(1)
        return x_BP @ self._projection_PD.like(x_BP)

    def forward(self, frames_BTHWC: Frames, state_BS: Tensor | None = None, *, weights: Any = None) -> Tensor:
        """The nearest example's chunk (B, O, F); the first one on a tie."""
        # Not by a matrix product: rounding would swamp distances between neighbours.
        mode = "donot_use_mm_for_euclid_dist"
        distances_BN = torch.cdist(self.project(frames_BTHWC), self.features_ND, compute_mode=mode)
        return self.chunks_NOF[distances_BN.argmin(1)]

    def _draw_projection(self) -> Tensor:
        generator = torch.Generator().manual_seed(0)
        num_features = self.config.num_features
        drawn_PD = torch.randn(self.shapes.num_inputs, num_features, generator=generator)
        return drawn_PD / math.sqrt(num_features)
