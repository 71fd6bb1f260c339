"""Transforms with learned parameters, trained with the rest of the network.

Shape suffixes: B batch, N tokens in, C channels in, M tokens out, D channels out, P pixels and channels of a patch.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from smidgen.policies.transforms.base import InputTransform, as_tokens, frame_axes, on_grid
from smidgen.policies.transforms.per_axis import PerAxis, multiply, require_matrix_length
from smidgen.runtime.errors import UserError

PATCH_SIDE = 4
STEM_WIDTHS = (8, 16)


class LearnedOrthogonal(PerAxis):
    """A learned rotation of time, row and column: an upper bound on orthonormal maps per axis.

    Each rotation is the Cayley transform (I + A)^-1 (I - A) of a skew-symmetric A = G - G^T, with G the parameter
    (Helfrich, Willmott and Ye, 2018): a rotation for any G. Channels are not mixed.

    Args:
        grid: Axis lengths of the grid; the first three are rotated.
        channels: Number of channels of a token.
        scale: ``ortho``, or ``none`` for sqrt(N) times that.
        seed: 0 starts at the identity, any other value at a random rotation.
    """

    is_learned = True

    def __init__(self, grid: tuple[int, ...], channels: int, *, scale: str = "ortho", seed: int = 0) -> None:
        super().__init__(grid, channels, scale=scale)
        require_matrix_length(self.lengths)
        generator = np.random.default_rng(seed)
        self.generators = nn.ParameterDict()
        for axis, length in enumerate(self.lengths):
            if length > 1:
                start = generator.standard_normal((length, length)) * math.sqrt(0.5 / length) if seed else 0.0
                self.generators[str(axis)] = nn.Parameter(torch.zeros(length, length) + torch.as_tensor(start).float())

    def rotation(self, axis: int) -> Float[Tensor, "length length"]:
        """The current rotation of an axis."""
        parameter = self.generators[str(axis)]
        skew = parameter - parameter.T
        identity = torch.eye(len(skew), dtype=skew.dtype, device=skew.device)
        return torch.linalg.solve(identity + skew, identity - skew)

    def _mix(self, z: Tensor, axis: int, *, inverse: bool) -> Tensor:
        rotation = self.rotation(axis).to(z.dtype)
        return multiply(rotation.T if inverse else rotation, z, axis + 2)


class _Embedding(InputTransform):
    """Base class of embeddings of single frames, whose scale is that of their weights."""

    is_orthonormal = False
    is_learned = True

    def __init__(self, grid: tuple[int, ...], channels: int, *, scale: str = "ortho") -> None:
        super().__init__(grid, channels, scale=scale)
        if scale != "ortho":
            raise UserError(f"a learned embedding has no scale option: expected scale 'ortho', got {scale!r}")
        self.frame_axes = frame_axes(self.grid)


class Patches(_Embedding):
    """Patches of 4 x 4 pixels as tokens, linearly embedded (Dosovitskiy et al., An image is worth 16x16 words, 2021).

    The embedding is square (a patch's pixels and channels to as many channels), has no bias, and starts as a random
    rotation, so that initially nothing is lost and lengths are preserved.

    Args:
        grid: Axis lengths of the input's grid; patches cover rows and columns (grids of one or two axes: all).
        channels: Number of channels of a token.
        scale: Only ``ortho``.

    Raises:
        UserError: If patches do not fill a frame.
    """

    def __init__(self, grid: tuple[int, ...], channels: int, *, scale: str = "ortho") -> None:
        super().__init__(grid, channels, scale=scale)
        output = list(self.input_grid)
        for axis in self.frame_axes:
            if output[axis] % PATCH_SIDE:
                raise UserError(
                    f"expected frames whose sides are multiples of the patches' {PATCH_SIDE} pixels, got a side of "
                    f"{output[axis]}; change the image size or choose another transform"
                )
            output[axis] //= PATCH_SIDE
        self.grid = tuple(output)
        self.channels = channels * PATCH_SIDE ** len(self.frame_axes)
        self.weight = nn.Parameter(torch.empty(self.channels, self.channels))
        nn.init.orthogonal_(self.weight)

    def forward(self, x_BNC: Float[Tensor, "batch tokens channels"]) -> Float[Tensor, "batch tokens_out channels_out"]:
        """Cuts frames into patches and embeds them."""
        with torch.autocast(x_BNC.device.type, enabled=False):
            split, inside = self._split_axes()
            x = on_grid(x_BNC, split).to(self.weight.dtype)
            kept = [dim for dim in range(2, x.ndim) if dim not in inside]
            # Pixels and channels last, as in a frame's memory: the copy moves whole lines of a patch.
            patches_BMP = x.permute(0, *kept, *inside, 1).flatten(-1 - len(inside)).flatten(1, -2)
            return patches_BMP @ self.weight.T

    def inverse(self, z_BMD: Float[Tensor, "batch tokens_out channels_out"]) -> Float[Tensor, "batch tokens channels"]:
        """Solves for the patches and reassembles the frames."""
        with torch.autocast(z_BMD.device.type, enabled=False):
            _, inside = self._split_axes()
            patches_BPM = torch.linalg.solve(self.weight, z_BMD.to(self.weight.dtype).transpose(1, 2))
            x = patches_BPM.unflatten(1, (*[PATCH_SIDE] * len(inside), self.input_channels)).unflatten(-1, self.grid)
            x = x.movedim(1 + len(inside), 1).movedim(tuple(range(2, 2 + len(inside))), inside)
            return as_tokens(x.reshape(*x.shape[:2], *self.input_grid))

    def _split_axes(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The input's grid with each axis of a frame as (patches, pixels), and the dimensions of those pixels."""
        split: list[int] = []
        inside = []
        for axis, length in enumerate(self.input_grid):
            if axis in self.frame_axes:
                split += [length // PATCH_SIDE, PATCH_SIDE]
                inside.append(len(split) + 1)
            else:
                split.append(length)
        return tuple(split), tuple(inside)


class ConvStem(_Embedding):
    """Two 3 x 3 convolutions of stride 2 over every frame, with a ReLU between: 1/16 of the tokens, 16 channels each.

    A small form of the stem of Xiao et al., Early convolutions help transformers see better (2021). Not a bijection.

    Args:
        grid: Axis lengths of the input's grid: at least rows and columns.
        channels: Number of channels of a token.
        scale: Only ``ortho``.

    Raises:
        UserError: If the grid has only one axis.
    """

    is_bijection = False
    is_linear = False

    def __init__(self, grid: tuple[int, ...], channels: int, *, scale: str = "ortho") -> None:
        super().__init__(grid, channels, scale=scale)
        if len(self.frame_axes) != 2:
            raise UserError(f"a convolution stem needs rows and columns, got grid {self.input_grid}; choose another")
        hidden, self.channels = STEM_WIDTHS
        output = list(self.input_grid)
        for axis in self.frame_axes:
            output[axis] = -(-output[axis] // 4)
        self.grid = tuple(output)
        self.first = nn.Conv2d(channels, hidden, 3, stride=2, padding=1)
        self.second = nn.Conv2d(hidden, self.channels, 3, stride=2, padding=1)

    def forward(self, x_BNC: Float[Tensor, "batch tokens channels"]) -> Float[Tensor, "batch tokens_out channels_out"]:
        """Convolves every frame separately."""
        with torch.autocast(x_BNC.device.type, enabled=False):
            row, column = (axis + 2 for axis in self.frame_axes)
            # (B, C, time, row, column, rest) -> (B, time, rest, C, row, column)
            x = on_grid(x_BNC, self.input_grid).movedim((1, row, column), (-3, -2, -1))
            z = self.second(torch.relu_(self.first(x.flatten(0, -4).to(self.first.weight.dtype))))
            return as_tokens(z.unflatten(0, x.shape[:-3]).movedim((-3, -2, -1), (1, row, column)).contiguous())
