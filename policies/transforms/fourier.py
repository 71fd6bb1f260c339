"""Fourier transforms: over the whole token axis, per frame, and over time, row and column; and the Hartley transform.

Shape suffixes: B batch, N tokens in, C channels in, M tokens out, D channels out.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from smidgen.policies.transforms.base import InputTransform, as_tokens, frame_axes, on_grid, volume_axes


class _Fourier(InputTransform):
    """Discrete Fourier transform over some neighbouring axes of a grid, per channel.

    X[f] = s * sum_n x[n] exp(-2 pi i f.n / N), with s = 1/sqrt(N) for scale ``ortho`` and 1 for ``none``, N the product
    of the transformed axes' lengths. A complex coefficient becomes 2C real channels: C real parts, then C imaginary
    parts. The half spectrum omits the conjugate half of the last transformed axis, and multiplies bins that represent a
    pair (every bin of that axis but 0 and, for an even length, the last) by sqrt 2, so that ``ortho`` is an isometry;
    ``none`` differs from it only by the factor sqrt(N). Frequencies are in the order of ``numpy.fft``.

    With ``drop_dc`` the coefficient of frequency 0 (one per frame if single frames are transformed) is 0, and
    ``inverse`` returns the input minus its mean: a projection, not a bijection.
    """

    def __init__(
        self,
        grid: tuple[int, ...],
        channels: int,
        *,
        working_grid: tuple[int, ...],
        mixed: tuple[int, ...],
        scale: str,
        full: bool,
        drop_dc: bool,
    ) -> None:
        super().__init__(grid, channels, scale=scale)
        self.full = full
        self.drop_dc = drop_dc
        self.working_grid = working_grid
        self.lengths = tuple(working_grid[axis] for axis in mixed)
        # Dimension 0 is the batch, dimension 1 the channels.
        self.dims = tuple(axis + 2 for axis in mixed)
        self.norm = "ortho" if scale == "ortho" else "backward"
        self._set_factor(math.prod(self.lengths))
        self.num_paired = 0 if full else (self.lengths[-1] + 1) // 2 - 1
        half = self.lengths[-1] if full else self.lengths[-1] // 2 + 1
        self.grid = (*working_grid[: mixed[-1]], half, *working_grid[mixed[-1] + 1 :])
        self.channels = 2 * channels

    def forward(self, x_BNC: Float[Tensor, "batch tokens channels"]) -> Float[Tensor, "batch tokens_out channels_out"]:
        """Transforms in float32 (or float64), even under autocast: half-precision FFTs require powers of two."""
        with torch.autocast(x_BNC.device.type, enabled=False):
            transform: Any = torch.fft.fftn if self.full else torch.fft.rfftn
            spectrum = transform(on_grid(x_BNC, self.working_grid), dim=self.dims, norm=self.norm)
            z = torch.stack([spectrum.real, spectrum.imag], dim=1)
            self._paired(z).mul_(math.sqrt(2.0))
            if self.drop_dc:
                at_zero(z, [dim + 1 for dim in self.dims]).zero_()
            return as_tokens(z.flatten(1, 2))

    def inverse(self, z_BMD: Float[Tensor, "batch tokens_out channels_out"]) -> Float[Tensor, "batch tokens channels"]:
        """Exact inverse on the range of ``forward``; elsewhere it first projects onto real inputs."""
        with torch.autocast(z_BMD.device.type, enabled=False):
            z = on_grid(z_BMD, self.grid).unflatten(1, (2, -1)).clone()
            self._paired(z).mul_(math.sqrt(0.5))
            spectrum = torch.complex(z[:, 0], z[:, 1])
            if self.full:
                return as_tokens(torch.fft.ifftn(spectrum, dim=self.dims, norm=self.norm).real)
            return as_tokens(torch.fft.irfftn(spectrum, s=self.lengths, dim=self.dims, norm=self.norm))

    def _paired(self, z: Tensor) -> Tensor:
        """The part of (B, re/im, C, grid) that represents two bins; empty for a full spectrum."""
        return z.narrow(self.dims[-1] + 1, 1 if self.num_paired else 0, self.num_paired)


class DFT1D(_Fourier):
    """Fourier transform over the whole token axis, per channel: the originator's idea.

    Args:
        grid: Axis lengths of the input's grid.
        channels: Number of channels of a token.
        scale: ``ortho`` or ``none``.
        full: All N complex coefficients, instead of the N // 2 + 1 that a real input needs.
        drop_dc: Omit the mean: the coefficient of frequency 0 is 0.
    """

    def __init__(
        self, grid: tuple[int, ...], channels: int, *, scale: str = "ortho", full: bool = False, drop_dc: bool = False
    ) -> None:
        options: dict[str, Any] = {"scale": scale, "full": full, "drop_dc": drop_dc}
        super().__init__(grid, channels, working_grid=(math.prod(grid),), mixed=(0,), **options)


class DFT2D(_Fourier):
    """Fourier transform of every frame, over rows and columns (grids of one or two axes: over all).

    Args:
        grid: Axis lengths of the input's grid.
        channels: Number of channels of a token.
        scale: ``ortho`` or ``none``.
        full: The full spectrum, instead of the half over columns that a real input needs.
        drop_dc: Omit each frame's mean: its coefficient of frequency 0 is 0.
    """

    def __init__(
        self, grid: tuple[int, ...], channels: int, *, scale: str = "ortho", full: bool = False, drop_dc: bool = False
    ) -> None:
        options: dict[str, Any] = {"scale": scale, "full": full, "drop_dc": drop_dc}
        super().__init__(grid, channels, working_grid=tuple(grid), mixed=frame_axes(grid), **options)


class DFT3D(_Fourier):
    """Fourier transform over the first three axes (time, row, column), each with its own frequencies.

    Args:
        grid: Axis lengths of the input's grid; with fewer than three axes all are transformed.
        channels: Number of channels of a token.
        scale: ``ortho`` or ``none``.
        full: The full spectrum, instead of the half over columns that a real input needs.
        drop_dc: Omit the mean over the three axes: the coefficient of frequency 0 is 0.
    """

    def __init__(
        self, grid: tuple[int, ...], channels: int, *, scale: str = "ortho", full: bool = False, drop_dc: bool = False
    ) -> None:
        options: dict[str, Any] = {"scale": scale, "full": full, "drop_dc": drop_dc}
        super().__init__(grid, channels, working_grid=tuple(grid), mixed=volume_axes(grid), **options)


class Hartley(InputTransform):
    """Hartley transform over the first three axes: real, self-inverse, with the same number of tokens.

    H[f] = s * sum_n x[n] cas(2 pi f.n / N) with cas = cos + sin, of the three axes' joint phase: the true
    multidimensional transform, Re X - Im X of the Fourier coefficients (Bracewell, The Hartley Transform, 1986), not
    the product of one-dimensional ones. The coefficients of f and -f together hold the information of the complex X[f].

    Args:
        grid: Axis lengths of the input's grid; with fewer than three axes all are transformed.
        channels: Number of channels of a token.
        scale: ``ortho`` (s = 1 / sqrt N) or ``none`` (s = 1).
        drop_dc: Omit the mean: the coefficient of frequency 0 is 0.
    """

    def __init__(self, grid: tuple[int, ...], channels: int, *, scale: str = "ortho", drop_dc: bool = False) -> None:
        super().__init__(grid, channels, scale=scale)
        self.drop_dc = drop_dc
        self.dims = tuple(axis + 2 for axis in volume_axes(self.grid))
        self._set_factor(math.prod(self.grid[: len(self.dims)]))

    def forward(self, x_BNC: Float[Tensor, "batch tokens channels"]) -> Float[Tensor, "batch tokens channels"]:
        """Transforms in float32 (or float64), even under autocast."""
        with torch.autocast(x_BNC.device.type, enabled=False):
            z = hartley(on_grid(x_BNC, self.grid), self.dims, "ortho" if self.scale == "ortho" else "backward")
            if self.drop_dc:
                at_zero(z, self.dims).zero_()
            return as_tokens(z)

    def inverse(self, z_BMD: Float[Tensor, "batch tokens channels"]) -> Float[Tensor, "batch tokens channels"]:
        """The transform is its own inverse, up to the scale."""
        with torch.autocast(z_BMD.device.type, enabled=False):
            z = on_grid(z_BMD, self.grid)
            return as_tokens(hartley(z, self.dims, "ortho" if self.scale == "ortho" else "forward"))


def hartley(z: Tensor, dims: tuple[int, ...], norm: str) -> Tensor:
    """Hartley transform over neighbouring dimensions: Re X - Im X at f, which is Re X + Im X at -f.

    A real FFT computes half of the last dimension; the rest are the other half's negative frequencies.
    """
    last = dims[-1]
    spectrum = torch.fft.rfftn(z, dim=dims, norm=norm)
    num_mirrored = (z.shape[last] - 1) // 2
    mirrored = spectrum.narrow(last, 1 if num_mirrored else 0, num_mirrored)
    negative = (mirrored.real + mirrored.imag).flip(dims)
    # Frequency 0 is its own negative: it stays first on every full axis.
    if len(dims) > 1:
        negative = negative.roll([1] * (len(dims) - 1), dims[:-1])
    return torch.cat([spectrum.real - spectrum.imag, negative], dim=last)


def at_zero(z: Tensor, dims: Iterable[int]) -> Tensor:
    """The entries of index 0 along ``dims``, as a view."""
    for dim in dims:
        z = z.narrow(dim, 0, 1)
    return z
