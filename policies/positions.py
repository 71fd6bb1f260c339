"""Fourier position features of a grid of tokens, stored per axis, so that no table of N tokens x P features is built.

A token's features are the concatenated features of its axes, each a function of that axis's index alone. A linear map
of them (attention scores) is then a sum of one small table per axis, and their weighted sum over tokens (attention
values) needs only the weights' marginals over each axis.

Shape suffixes: N tokens, P position features, K bands, R rows (any number of linear maps).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from smidgen.policies.constants import LazyConstant
from smidgen.runtime.errors import UserError, unknown_name

POSITION_ENCODINGS = ("per_axis", "one_d", "permuted", "aliased", "none")
ALIASED_BANDS = 16

# From this length on, an axis with every integer frequency is projected by FFT: a table would not fit in memory.
MIN_FFT_LENGTH = 1024


class AxisFeatures:
    """Fourier features of one axis: sin(pi f x) for each frequency f, then cos(pi f x), then x itself.

    The coordinate x is evenly spaced from -1 to 1 over the axis (0 if the axis has one index), and the K frequencies
    from 1 to the Nyquist frequency, length // 2 (Jaegle et al., Perceiver, 2021, section 3.2 and appendix D).
    With K = length // 2 they are all integers up to it and distinguish all indices; with fewer, features repeat about
    every 2 (K - 1) indices.

    Args:
        length: Number of indices.
        num_bands: Number K of frequencies; None means length // 2, at least 1.
    """

    def __init__(self, length: int, num_bands: int | None = None) -> None:
        self.nyquist = max(1, length // 2)
        num_bands = self.nyquist if num_bands is None else num_bands
        if num_bands < 1:
            raise UserError(f"expected at least 1 frequency band, got {num_bands}; for no positions choose 'none'")
        self.length = length
        self.num_bands = num_bands
        self.num_features = 2 * num_bands + 1
        self.uses_fft = length >= MIN_FFT_LENGTH and num_bands == self.nyquist
        self._tables = LazyConstant(self._table)
        self._coordinates = LazyConstant(self._coordinate)

    def _coordinate(self) -> Tensor:
        return torch.linspace(-1.0, 1.0, self.length, dtype=torch.float64) if self.length > 1 else torch.zeros(1)

    def _table(self) -> Tensor:
        x = self._coordinate()[:, None].double()
        angle = math.pi * x * torch.linspace(1.0, float(self.nyquist), self.num_bands, dtype=torch.float64)
        return torch.cat([angle.sin(), angle.cos(), x], dim=1)

    def table(self, like: Tensor) -> Float[Tensor, "length features"]:
        """The features of every index, with the dtype and on the device of ``like``."""
        return self._tables.like(like)

    def moments(self) -> tuple[Float[Tensor, " length"], Float[Tensor, " length"]]:
        """Sum and sum of squares of each index's features, float64."""
        x = self._coordinate().double()
        if not self.uses_fft:
            table = self._table()
            return table.sum(1), table.square().sum(1)
        ones = torch.ones(1, self.num_features, dtype=torch.float64)
        return _project_by_fft(ones, x)[0], self.num_bands + x.square()

    def project(self, weights_RP: Float[Tensor, "*rows features"]) -> Float[Tensor, "*rows length"]:
        """Applies linear maps to every index's features: ``weights @ table.T``."""
        if self.uses_fft:
            return _Project.apply(weights_RP, self._coordinates.like(weights_RP))
        return weights_RP @ self.table(weights_RP).T

    def collect(self, weights: Float[Tensor, "*rows length"]) -> Float[Tensor, "*rows features"]:
        """Weighted sum of the features of all indices: ``weights @ table``; the adjoint of ``project``."""
        if self.uses_fft:
            return _Collect.apply(weights, self._coordinates.like(weights))
        return weights @ self.table(weights)


class _Project(torch.autograd.Function):
    """``AxisFeatures.project`` for every integer frequency, by FFT; its adjoint is ``_Collect``."""

    @staticmethod
    def forward(maps: Tensor, coordinate: Tensor) -> Tensor:
        return _project_by_fft(maps, coordinate)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(inputs[1])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _Collect.apply(gradient, *ctx.saved_tensors), None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], maps: Tensor, coordinate: Tensor) -> tuple[Tensor, int]:
        assert in_dims[0] is not None
        assert in_dims[1] is None, "networks differ in their weights, not in coordinates"
        return _Project.apply(maps.movedim(in_dims[0], 0), coordinate), 0


class _Collect(torch.autograd.Function):
    """``AxisFeatures.collect`` for every integer frequency, by FFT; its adjoint is ``_Project``."""

    @staticmethod
    def forward(weights: Tensor, coordinate: Tensor) -> Tensor:
        return _collect_by_fft(weights, coordinate)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(inputs[1])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _Project.apply(gradient, *ctx.saved_tensors), None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], weights: Tensor, coordinate: Tensor) -> tuple[Tensor, int]:
        assert in_dims[0] is not None
        assert in_dims[1] is None, "networks differ in their weights, not in coordinates"
        return _Collect.apply(weights.movedim(in_dims[0], 0), coordinate), 0


def _project_by_fft(maps: Tensor, coordinate: Tensor) -> Tensor:
    """sum_k maps[k] sin(pi k x) + maps[K + k] cos(pi k x), plus the slope times x, at every coordinate x.

    The waves repeat after length - 1 indices, so an inverse real DFT of that length computes them. It covers the
    frequencies up to half its length; on an axis of even length K is one more, and is merged with K - 1 as its
    conjugate.
    """
    period, num_bands, num_bins, signs = _wave_layout(coordinate)
    sines, cosines, slope = maps.split([num_bands, num_bands, 1], dim=-1)
    spectrum = maps.new_zeros(*maps.shape[:-1], period // 2 + 1, 2)
    # A real DFT counts paired bins twice, but not the middle bin, if there is one.
    torch.mul(cosines[..., :num_bins], signs[:num_bins] / 2, out=spectrum[..., 1:, 0])
    torch.mul(sines[..., :num_bins], -signs[:num_bins] / 2, out=spectrum[..., 1:, 1])
    if num_bins < num_bands:
        spectrum[..., -1, 0] += cosines[..., -1] * (signs[-1] / 2)
        spectrum[..., -1, 1] += sines[..., -1] * (signs[-1] / 2)
    elif period % 2 == 0:
        spectrum[..., -1, :] *= 2
    wave = torch.fft.irfft(torch.view_as_complex(spectrum), n=period, norm="forward")
    return torch.cat([wave, wave[..., :1]], dim=-1).addcmul_(slope, coordinate)


def _collect_by_fft(weights: Tensor, coordinate: Tensor) -> Tensor:
    """Weighted sums over all coordinates x of sin(pi k x), of cos(pi k x) for k = 1..K, and of x itself."""
    _, num_bands, num_bins, signs = _wave_layout(coordinate)
    # The waves are equal at the first and the last coordinate, -1 and 1.
    folded = weights[..., :-1].clone()
    folded[..., 0] += weights[..., -1]
    spectrum = torch.view_as_real(torch.fft.rfft(folded))
    sums = weights.new_empty(*weights.shape[:-1], 2 * num_bands + 1)
    torch.mul(spectrum[..., 1:, 1], -signs[:num_bins], out=sums[..., :num_bins])
    torch.mul(spectrum[..., 1:, 0], signs[:num_bins], out=sums[..., num_bands : num_bands + num_bins])
    if num_bins < num_bands:
        sums[..., num_bands - 1] = spectrum[..., -1, 1] * signs[-1]
        sums[..., 2 * num_bands - 1] = spectrum[..., -1, 0] * signs[-1]
    sums[..., -1] = weights @ coordinate
    return sums


def _wave_layout(coordinate: Tensor) -> tuple[int, int, int, Tensor]:
    """Period of the waves, number K of bands, bins of a real DFT besides the mean, and (-1)^k, the phase of x = -1."""
    length = len(coordinate)
    k = torch.arange(1, length // 2 + 1, device=coordinate.device)
    return length - 1, length // 2, (length - 1) // 2, (1 - 2 * (k % 2)).to(coordinate.dtype)


class PositionEncoding:
    """Position features of a grid: one ``AxisFeatures`` per encoded axis. Constants only, nothing is learned.

    Args:
        name: ``per_axis`` encodes every axis of the grid; ``one_d`` only the flattened index; ``none`` nothing;
            ``permuted`` gives each token another token's ``per_axis`` features, by one fixed permutation; ``aliased``
            is ``one_d`` with too few bands, so that features repeat about every 2 (K - 1) tokens.
        grid: Axis lengths of the grid.
        num_bands: Frequencies per axis; None means half of each axis's length (16 for ``aliased``).

    Attributes:
        axes: The encoded axes; empty for ``none``.
        axis_lengths: Their lengths.
        num_features: Number P of features of a token.
        has_many_features: Whether it encodes one long axis by about as many features as that has tokens.

    Raises:
        UserError: Unknown name, or fewer than one band.
    """

    def __init__(self, name: str, grid: tuple[int, ...], num_bands: int | None = None) -> None:
        if name not in POSITION_ENCODINGS:
            raise unknown_name("position encoding", name, POSITION_ENCODINGS)
        self.num_tokens = math.prod(grid)
        flat = (self.num_tokens,)
        lengths = {"per_axis": tuple(grid), "permuted": tuple(grid), "one_d": flat, "aliased": flat, "none": ()}
        self.axis_lengths: tuple[int, ...] = lengths[name]
        if name == "aliased" and num_bands is None:
            num_bands = ALIASED_BANDS
        self._is_permuted = name == "permuted"
        self._places, self._tokens = LazyConstant(self._place_of_token), LazyConstant(self._token_of_place)
        self.axes = [AxisFeatures(length, num_bands) for length in self.axis_lengths]
        self.num_features = sum(axis.num_features for axis in self.axes)
        # Then a map of the features is best applied to every token's features once, and not to their weighted sums.
        self.has_many_features = len(self.axes) == 1 and self.axes[0].uses_fft
        self._moments = LazyConstant(self._token_moments)

    def features(self, like: Tensor) -> Float[Tensor, "tokens features"]:
        """Every token's features: the plain form, for tests and plots; N x P numbers."""
        columns = [self._over_grid(index, axis.table(like)) for index, axis in enumerate(self.axes)]
        table = torch.cat(columns, dim=-1).flatten(0, -2) if columns else like.new_zeros(self.num_tokens, 0)
        return table[self._places.of(torch.int64, like.device)] if self._is_permuted else table

    def arrange(self, x: Float[Tensor, "*leading tokens"]) -> Float[Tensor, "*leading tokens"]:
        """Sorts tokens by their places on the grid, the order that the other methods use."""
        return x.index_select(-1, self._tokens.of(torch.int64, x.device)) if self._is_permuted else x

    def restore(self, x: Float[Tensor, "*leading tokens"]) -> Float[Tensor, "*leading tokens"]:
        """Inverts ``arrange``."""
        return x.index_select(-1, self._places.of(torch.int64, x.device)) if self._is_permuted else x

    def _place_of_token(self) -> Tensor:
        return torch.from_numpy(np.random.default_rng(0).permutation(self.num_tokens))

    def _token_of_place(self) -> Tensor:
        return self._place_of_token().argsort()

    def project(self, weights_RP: Float[Tensor, "*rows features"]) -> list[Float[Tensor, "*rows axis_length"]]:
        """Applies linear maps to the features; a token's value is the sum over axes."""
        parts = weights_RP.split([axis.num_features for axis in self.axes], dim=-1) if self.axes else []
        return [axis.project(part) for axis, part in zip(self.axes, parts, strict=True)]

    def collect(self, marginals: list[Float[Tensor, "*rows axis_length"]]) -> Float[Tensor, "*rows features"]:
        """Weighted sum of the features of all tokens, from the weights' marginals over each axis."""
        return torch.cat([axis.collect(part) for axis, part in zip(self.axes, marginals, strict=True)], dim=-1)

    def token_moments(self, like: Tensor) -> tuple[Float[Tensor, " tokens"], Float[Tensor, " tokens"]]:
        """Mean of each place's features and the sum of squares about it; both 0 without features."""
        mean, sum_squares = self._moments.like(like)
        return mean, sum_squares

    def _token_moments(self) -> Tensor:
        sums = squares = torch.zeros(*self.axis_lengths, 1, dtype=torch.float64)
        for index, axis in enumerate(self.axes):
            axis_sums, axis_squares = axis.moments()
            sums = sums + self._over_grid(index, axis_sums[:, None])
            squares = squares + self._over_grid(index, axis_squares[:, None])
        mean = (sums / max(1, self.num_features)).flatten().expand(self.num_tokens)
        about_mean = squares.flatten() - self.num_features * mean.square()
        return torch.stack([mean, about_mean.clamp(min=0.0).expand(self.num_tokens)])

    def _over_grid(self, index: int, table: Tensor) -> Tensor:
        shape = [1] * len(self.axis_lengths)
        shape[index] = -1
        return table.reshape(*shape, table.shape[-1]).expand(*self.axis_lengths, -1)
