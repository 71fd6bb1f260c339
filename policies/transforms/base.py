"""The base class of input transforms: a map of tokens on one grid to tokens on another.

A transform takes tokens ``x_BNC`` whose N tokens lie on a grid (time, row, column[, byte]) in row-major order, and
returns tokens ``z_BMD`` on a grid of its own, over which the positions are encoded. A linear transform mixes only
tokens: every channel goes through the same map.

Shape suffixes: B batch, N tokens in, C channels in, M tokens out, D channels out, G... the grid's axes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from smidgen.policies.standardise import QUANTISATION_NOISE
from smidgen.runtime.errors import UserError, unknown_name

SCALES = ("ortho", "none")


class InputTransform(nn.Module):
    """Base class: an invertible map of tokens on one grid to tokens on another.

    A subclass sets ``grid`` and ``channels`` to those of its output, and ``factor`` if it changes the scale. One that
    is fitted to data sets ``needs_fit`` and overrides ``fit``.

    Args:
        grid: Axis lengths of the input's grid; their product is N.
        channels: Number C of channels of a token.
        scale: ``ortho`` preserves lengths (an isometry if the transform is linear and orthogonal); ``none`` leaves the
            transform unnormalised: the same times the square root of the number of tokens that it mixes.

    Attributes:
        grid: Axis lengths of the output's grid; their product is M.
        channels: Number D of channels of an output token.
        factor: Scale relative to the orthonormal form.
        floor: Smallest deviation that a transform may divide by, above 0: the quantisation noise of a byte, until the
            input pipeline sets it.
        needs_fit: Whether it is fitted to the training tokens before training.
        num_fit_passes: Number of passes over the training tokens in ``fit``.
        is_bijection: Whether ``inverse`` recovers every input.
        is_orthonormal: Whether it preserves inner products with scale ``ortho``.
        is_linear: Whether every output is a weighted sum of inputs.
        is_learned: Whether it has parameters, which training changes.
    """

    needs_fit: ClassVar[bool] = False
    num_fit_passes: ClassVar[int] = 1
    is_bijection: ClassVar[bool] = True
    is_orthonormal: ClassVar[bool] = True
    is_linear: ClassVar[bool] = True
    is_learned: ClassVar[bool] = False

    def __init__(self, grid: tuple[int, ...], channels: int, *, scale: str = "ortho") -> None:
        super().__init__()
        if not grid or min(grid) < 1 or channels < 1:
            raise UserError(
                f"an input transform needs at least one axis, and axes and channels of at least 1; "
                f"got grid {tuple(grid)} with {channels} channels; check the number and the size of the frames"
            )
        if scale not in SCALES:
            raise unknown_name("transform scale", scale, SCALES)
        self.input_grid = tuple(grid)
        self.input_channels = channels
        self.scale = scale
        self.grid = self.input_grid
        self.channels = channels
        self.factor = 1.0
        self.floor = QUANTISATION_NOISE

    @property
    def axes(self) -> tuple[int, ...]:
        """Lengths of the axes that positions are encoded over."""
        return self.grid

    @property
    def num_tokens(self) -> int:
        """Number M of output tokens."""
        return math.prod(self.grid)

    @property
    def gain(self) -> float:
        """Amplification of white noise by the transform."""
        return self.factor

    def fit(self, batches: Tensor | Iterable[Tensor]) -> None:
        """Fits to training tokens x_BNC (one tensor, or batches); does nothing for fixed transforms."""

    def forward(self, x_BNC: Float[Tensor, "batch tokens channels"]) -> Float[Tensor, "batch tokens_out channels_out"]:
        """Transforms tokens."""
        raise NotImplementedError

    def inverse(self, z_BMD: Float[Tensor, "batch tokens_out channels_out"]) -> Float[Tensor, "batch tokens channels"]:
        """Returns the tokens that ``forward`` would map to ``z_BMD``.

        Raises:
            UserError: If the transform is not a bijection.
        """
        raise UserError(f"{type(self).__name__} has no inverse: it is not a bijection")

    def extra_repr(self) -> str:
        """Grid and channels, for ``repr``."""
        return f"grid={self.input_grid} -> {self.grid}, channels={self.input_channels} -> {self.channels}"

    def _set_factor(self, num_mixed: int) -> None:
        self.factor = 1.0 if self.scale == "ortho" else math.sqrt(num_mixed)


class Raw(InputTransform):
    """The identity.

    Args:
        grid: Axis lengths of the grid.
        channels: Number of channels of a token.
        scale: Ignored.
    """

    def forward(self, x_BNC: Float[Tensor, "batch tokens channels"]) -> Float[Tensor, "batch tokens channels"]:
        """Returns the tokens unchanged."""
        return x_BNC

    def inverse(self, z_BMD: Float[Tensor, "batch tokens channels"]) -> Float[Tensor, "batch tokens channels"]:
        """Returns the tokens unchanged."""
        return z_BMD


def on_grid(x_BNC: Tensor, grid: tuple[int, ...]) -> Tensor:
    """Tokens (B, N, C) to (B, C, *grid), at least float32: half-precision FFTs require powers of two."""
    x_BNC = x_BNC if x_BNC.dtype == torch.float64 else x_BNC.float()
    return x_BNC.transpose(1, 2).unflatten(2, grid)


def as_tokens(z: Tensor) -> Tensor:
    """(B, D, *grid) to tokens (B, M, D), with channels slowest in memory, as the attention reads them."""
    return z.flatten(2).transpose(1, 2)


def volume_axes(grid: tuple[int, ...]) -> tuple[int, ...]:
    """The axes that a transform over time, row and column mixes: the first three, or all of fewer."""
    return tuple(range(min(3, len(grid))))


def frame_axes(grid: tuple[int, ...]) -> tuple[int, ...]:
    """The axes that a transform of single frames mixes: row and column, or all of fewer than three."""
    return (1, 2) if len(grid) > 2 else tuple(range(len(grid)))
