"""A fast random rotation of the whole token axis: a control that spreads a change without structure.

Shape suffixes: B batch, N tokens in and out, C channels.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from smidgen.policies.transforms.base import InputTransform, as_tokens, on_grid
from smidgen.policies.transforms.per_axis import Spread


class RandomOrthogonal(InputTransform):
    """Random signs, Hadamard, random signs, Hadamard over the flat token axis, per channel: O(N log N).

    Two rounds, because after one round tokens still differ by a pattern of signs that Walsh functions invert (Ailon
    and Chazelle, 2009; Yu et al., Orthogonal random features, 2016). If N is not a power of two, its odd part is a
    separate Kronecker factor (see ``Spread``).

    Args:
        grid: Axis lengths of the grid.
        channels: Number of channels of a token.
        scale: ``ortho``, or ``none`` for sqrt(N) times that.
        seed: Seed of the signs, which are stored in a buffer.
    """

    signs: Tensor

    def __init__(self, grid: tuple[int, ...], channels: int, *, scale: str = "ortho", seed: int = 0) -> None:
        super().__init__(grid, channels, scale=scale)
        num_tokens = self.num_tokens
        self._set_factor(num_tokens)
        signs = np.random.default_rng(seed).integers(0, 2, (2, num_tokens)) * 2 - 1
        self.register_buffer("signs", torch.from_numpy(signs).to(torch.float32))
        self.spread = Spread((num_tokens,))

    def forward(self, x_BNC: Float[Tensor, "batch tokens channels"]) -> Float[Tensor, "batch tokens channels"]:
        """Rotates in float32 (or float64), even under autocast."""
        with torch.autocast(x_BNC.device.type, enabled=False):
            x = on_grid(x_BNC, (self.num_tokens,))
            first, second = self.signs.to(x.dtype)
            # Signs with the result's layout determine its memory order: one pass instead of two.
            z = first.expand(self.channels, -1).contiguous() * x
            z = self.spread(self.spread(z, 2).mul_(second), 2)
            return as_tokens(z if self.factor == 1 else z * self.factor)

    def inverse(self, z_BMD: Float[Tensor, "batch tokens channels"]) -> Float[Tensor, "batch tokens channels"]:
        """Rotates back."""
        with torch.autocast(z_BMD.device.type, enabled=False):
            z = on_grid(z_BMD, (self.num_tokens,))
            first, second = self.signs.to(z.dtype)
            x = self.spread(self.spread(z, 2) * second, 2) * first
            return as_tokens(x if self.factor == 1 else x / self.factor)
