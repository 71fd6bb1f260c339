"""Input transforms: fixed linear maps of the byte array that a Perceiver reads, one class per transform.

A transform takes tokens ``x_BNC`` whose N tokens lie on a grid (time, row, column[, byte]) in row-major order, and
gives tokens ``z_BMD`` on a grid of its own, over which the positions are encoded.

Shape suffixes: B batch, N tokens in, C channels in, M tokens out, D channels out.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterable
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from smidgen.runtime.errors import UserError, unknown_name

SCALES = ("ortho", "none")


class InputTransform(nn.Module):
    """Base class: an invertible map of tokens on one grid to tokens on another.

    A subclass sets ``grid`` and ``channels`` to those of its output, and ``gain`` where it changes the scale. One that
    learns from data sets ``needs_fit`` and overrides ``fit``.

    Args:
        grid: Axis lengths of the input's grid; their product is N.
        channels: Number C of channels of a token.
        scale: ``ortho`` keeps lengths (an isometry where the transform is linear and orthogonal); ``none`` leaves
            the transform unnormalised.

    Attributes:
        grid: Axis lengths of the output's grid; their product is M.
        channels: Number D of channels of an output token.
        gain: Factor by which the transform multiplies the deviation of white noise.
    """

    needs_fit: ClassVar[bool] = False

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
        self.gain = 1.0

    @property
    def axes(self) -> tuple[int, ...]:
        """Lengths of the axes that positions are encoded over."""
        return self.grid

    @property
    def num_tokens(self) -> int:
        """Number M of output tokens."""
        return math.prod(self.grid)

    def fit(self, batches: Tensor | Iterable[Tensor]) -> None:
        """Learns from training tokens x_BNC (one tensor, or batches); fixed transforms learn nothing."""

    def forward(self, x_BNC: Float[Tensor, "batch tokens channels"]) -> Float[Tensor, "batch tokens_out channels_out"]:
        """Transforms tokens."""
        raise NotImplementedError

    def inverse(self, z_BMD: Float[Tensor, "batch tokens_out channels_out"]) -> Float[Tensor, "batch tokens channels"]:
        """Gives back the tokens that ``forward`` would map to ``z_BMD``."""
        raise NotImplementedError

    def extra_repr(self) -> str:
        """Grid and channels, for ``repr``."""
        return f"grid={self.input_grid} -> {self.grid}, channels={self.input_channels} -> {self.channels}"


class Raw(InputTransform):
    """The identity: tokens as they come."""

    def forward(self, x_BNC: Float[Tensor, "batch tokens channels"]) -> Float[Tensor, "batch tokens channels"]:
        """Gives the tokens back unchanged."""
        return x_BNC

    def inverse(self, z_BMD: Float[Tensor, "batch tokens channels"]) -> Float[Tensor, "batch tokens channels"]:
        """Gives the tokens back unchanged."""
        return z_BMD


class _Fourier(InputTransform):
    """Discrete Fourier transform over the leading axes of a grid, per channel.

    X[f] = s * sum_n x[n] exp(-2 pi i f.n / N), with s = 1/sqrt(N) for scale ``ortho`` and 1 for ``none``, N the product
    of the transformed axes' lengths. A complex coefficient becomes 2C real channels: C real parts, then C imaginary
    parts. The half spectrum leaves out the conjugate half of the last transformed axis, and multiplies what stands
    for a pair (every bin of that axis but 0 and, for an even length, the last) by sqrt 2, so that ``ortho`` is an
    isometry; ``none`` differs from it by the factor sqrt(N) alone. Frequencies keep the order of ``numpy.fft``.
    """

    def __init__(
        self,
        grid: tuple[int, ...],
        channels: int,
        *,
        working_grid: tuple[int, ...],
        num_axes: int,
        scale: str,
        full: bool,
    ) -> None:
        super().__init__(grid, channels, scale=scale)
        self.full = full
        self.working_grid = working_grid
        self.lengths = working_grid[:num_axes]
        # Dimension 0 is the batch, dimension 1 the channels.
        self.dims = tuple(range(2, 2 + num_axes))
        self.norm = "ortho" if scale == "ortho" else "backward"
        self.gain = 1.0 if scale == "ortho" else math.sqrt(math.prod(self.lengths))
        half = self.lengths[-1] if full else self.lengths[-1] // 2 + 1
        self.grid = (*self.lengths[:-1], half, *working_grid[num_axes:])
        self.channels = 2 * channels
        self.num_paired = 0 if full else (self.lengths[-1] + 1) // 2 - 1

    def forward(self, x_BNC: Float[Tensor, "batch tokens channels"]) -> Float[Tensor, "batch tokens_out channels_out"]:
        """Transforms in float32 (float64 stays), also under autocast: half-precision FFTs want powers of two."""
        with torch.autocast(x_BNC.device.type, enabled=False):
            x = _at_least_float32(x_BNC).transpose(1, 2).unflatten(2, self.working_grid)
            transform = torch.fft.fftn if self.full else torch.fft.rfftn
            spectrum = transform(x, dim=self.dims, norm=self.norm)
            z = torch.stack([spectrum.real, spectrum.imag], dim=1)
            self._paired(z).mul_(math.sqrt(2.0))
            # (B, re/im, C, grid) -> (B, M, 2C), the channels slowest in memory, as the attention reads them.
            return z.flatten(1, 2).flatten(2).transpose(1, 2)

    def inverse(self, z_BMD: Float[Tensor, "batch tokens_out channels_out"]) -> Float[Tensor, "batch tokens channels"]:
        """Inverts exactly on the range of ``forward``; elsewhere it projects onto real inputs first."""
        with torch.autocast(z_BMD.device.type, enabled=False):
            z = _at_least_float32(z_BMD).transpose(1, 2).unflatten(2, self.grid).unflatten(1, (2, -1)).clone()
            self._paired(z).mul_(math.sqrt(0.5))
            spectrum = torch.complex(z[:, 0], z[:, 1])
            if self.full:
                x = torch.fft.ifftn(spectrum, dim=self.dims, norm=self.norm).real
            else:
                x = torch.fft.irfftn(spectrum, s=self.lengths, dim=self.dims, norm=self.norm)
            return x.flatten(2).transpose(1, 2)

    def _paired(self, z: Tensor) -> Tensor:
        """The part of (B, re/im, C, grid) that stands for two bins; empty in a full spectrum."""
        return z.narrow(self.dims[-1] + 1, 1 if self.num_paired else 0, self.num_paired)


class DFT1D(_Fourier):
    """Fourier transform over the whole token axis, per channel: the originator's idea.

    Args:
        grid: Axis lengths of the input's grid.
        channels: Number of channels of a token.
        scale: ``ortho`` or ``none``.
        full: All N complex coefficients, instead of the N // 2 + 1 that a real input needs.
    """

    def __init__(self, grid: tuple[int, ...], channels: int, *, scale: str = "ortho", full: bool = False) -> None:
        super().__init__(grid, channels, working_grid=(math.prod(grid),), num_axes=1, scale=scale, full=full)


class DFT3D(_Fourier):
    """Fourier transform over the first three axes (time, row, column), each with its own frequencies.

    Args:
        grid: Axis lengths of the input's grid; with fewer than three axes all are transformed.
        channels: Number of channels of a token.
        scale: ``ortho`` or ``none``.
        full: The full spectrum, instead of the half over columns that a real input needs.
    """

    def __init__(self, grid: tuple[int, ...], channels: int, *, scale: str = "ortho", full: bool = False) -> None:
        super().__init__(grid, channels, working_grid=tuple(grid), num_axes=min(3, len(grid)), scale=scale, full=full)


def _at_least_float32(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()


TRANSFORMS: dict[str, type[InputTransform]] = {"raw": Raw, "dft1d": DFT1D, "dft3d": DFT3D}


def build_transform(name: str, grid: tuple[int, ...], channels: int, **options: Any) -> InputTransform:
    """Builds an input transform by name.

    Args:
        name: One of ``TRANSFORMS``.
        grid: Axis lengths of the input's grid: (T, H, W), (T, H, W, 3) for tokens of single bytes, or any other.
        channels: Number of channels of a token.
        **options: The transform's own, such as ``scale="none"`` or ``full=True``.

    Raises:
        UserError: Unknown name or option, or an empty grid.
    """
    if name not in TRANSFORMS:
        raise unknown_name("transform", name, TRANSFORMS)
    valid = [key for key, p in inspect.signature(TRANSFORMS[name]).parameters.items() if p.kind is p.KEYWORD_ONLY]
    for key in options:
        if key not in valid:
            raise unknown_name(f"option of transform {name!r}", key, valid)
    return TRANSFORMS[name](tuple(grid), channels, **options)
