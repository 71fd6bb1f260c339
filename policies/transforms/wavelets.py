"""Orthogonal wavelet transforms of every frame: local, at several scales.

Shape suffixes: B batch, N tokens in and out, C channels.
"""

from __future__ import annotations

import functools
import math
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from smidgen.policies.constants import LazyConstant
from smidgen.policies.transforms.base import InputTransform, as_tokens, frame_axes, on_grid
from smidgen.policies.transforms.per_axis import multiply
from smidgen.runtime.errors import UserError

MAX_SIDE = 4096


class _Wavelet(InputTransform):
    """Multi-level wavelet transform over rows and columns, periodic at the borders, in Mallat's layout.

    One level splits rows and columns into averages (first half) and details (second half); the next level does the same
    to the quarter with averages of both, and so on (Mallat, 1989). The grid keeps its shape, and coarse coefficients
    come first on both axes. Levels continue while the filter fits and both sides can be halved.

    Args:
        grid: Axis lengths of the grid; with fewer than three axes all are transformed.
        channels: Number of channels of a token.
        scale: ``ortho``, or ``none`` for sqrt(N) times that, N the number of tokens in a frame.

    Raises:
        UserError: If the sides of a frame cannot be halved at least once, so that the transform would not be exact.
    """

    averaging: ClassVar[tuple[float, ...]]

    def __init__(self, grid: tuple[int, ...], channels: int, *, scale: str = "ortho") -> None:
        super().__init__(grid, channels, scale=scale)
        self.dims = tuple(axis + 2 for axis in frame_axes(self.grid))
        sides = tuple(self.grid[dim - 2] for dim in self.dims)
        self.num_levels = min(self._max_levels(side) for side in sides)
        self._set_factor(math.prod(sides))
        make = functools.partial(wavelet_matrix, self.averaging)
        self.matrices = [
            [LazyConstant(functools.partial(make, side >> level)) for side in sides] for level in range(self.num_levels)
        ]

    def _max_levels(self, side: int) -> int:
        least = 2 * max(1, len(self.averaging) - 1)
        if side % 2 or not least <= side <= MAX_SIDE:
            raise UserError(
                f"expected frames with even sides of {least} to {MAX_SIDE} pixels for this wavelet, "
                f"got a side of {side}; change the image size or choose another transform"
            )
        halvings = (side & -side).bit_length() - 1
        return min(halvings, (side // (len(self.averaging) - 1)).bit_length() - 1)

    def forward(self, x_BNC: Float[Tensor, "batch tokens channels"]) -> Float[Tensor, "batch tokens channels"]:
        """Transforms in float32 (float64 stays), also under autocast."""
        with torch.autocast(x_BNC.device.type, enabled=False):
            z = on_grid(x_BNC, self.grid)
            for level, matrices in enumerate(self.matrices):
                block = z if level == 0 else self._averages(z, level)
                mixed = block
                # The last axis first: its product takes tokens whose channels are the fastest in memory.
                for dim, matrix in reversed(list(zip(self.dims, matrices, strict=True))):
                    mixed = multiply(matrix.like(z), mixed, dim)
                z = mixed if level == 0 else _replaced(z, block, mixed)
            return as_tokens(z if self.factor == 1 else z * self.factor)

    def inverse(self, z_BMD: Float[Tensor, "batch tokens channels"]) -> Float[Tensor, "batch tokens channels"]:
        """Reassembles the averages, level by level from the coarsest."""
        with torch.autocast(z_BMD.device.type, enabled=False):
            x = on_grid(z_BMD, self.grid) / self.factor
            for level in reversed(range(self.num_levels)):
                block = self._averages(x, level)
                mixed = block
                for dim, matrix in zip(self.dims, self.matrices[level], strict=True):
                    mixed = multiply(matrix.like(x).T, mixed, dim)
                x = _replaced(x, block, mixed)
            return as_tokens(x)

    def _averages(self, z: Tensor, level: int) -> Tensor:
        """The averages after ``level`` levels, as a view."""
        for dim in self.dims:
            z = z.narrow(dim, 0, z.shape[dim] >> level)
        return z


class Haar(_Wavelet):
    """Haar wavelet: sums and differences of neighbours, down to one average per frame if sides are powers of two.

    Args:
        grid: Axis lengths of the grid; with fewer than three axes all are transformed.
        channels: Number of channels of a token.
        scale: ``ortho``, or ``none`` for sqrt(N) times that, N the number of tokens in a frame.
    """

    averaging = (math.sqrt(0.5), math.sqrt(0.5))


class Daubechies(_Wavelet):
    """Daubechies' wavelet with two vanishing moments (four taps, ``db2``): no details for linear brightness.

    Filter from Daubechies, Orthonormal bases of compactly supported wavelets (1988), table 1.

    Args:
        grid: Axis lengths of the grid; with fewer than three axes all are transformed.
        channels: Number of channels of a token.
        scale: ``ortho``, or ``none`` for sqrt(N) times that, N the number of tokens in a frame.
    """

    averaging = tuple((a + b * math.sqrt(3.0)) / (4.0 * math.sqrt(2.0)) for a, b in ((1, 1), (3, 1), (3, -1), (1, -1)))


def wavelet_matrix(averaging: tuple[float, ...], length: int) -> Float[Tensor, "length length"]:
    """One level of an orthogonal wavelet transform of a periodic signal: averages, then details; float64.

    Average k weights the samples 2 k + j - (taps / 2 - 1), periodically, by tap j; details weight them by the reversed
    taps with alternating signs (the quadrature mirror filter).
    """
    num_taps = len(averaging)
    matrix = torch.zeros(length, length, dtype=torch.float64)
    for k in range(length // 2):
        for j, tap in enumerate(averaging):
            sample = (2 * k + j - (num_taps // 2 - 1)) % length
            matrix[k, sample] += tap
            matrix[length // 2 + k, sample] += (-1) ** j * averaging[num_taps - 1 - j]
    return matrix


def _replaced(z: Tensor, block: Tensor, mixed: Tensor) -> Tensor:
    """Overwrites a block with new values."""
    block.copy_(mixed)
    return z
