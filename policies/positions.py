"""Fourier position features of a grid of tokens, held per axis, so that nobody builds a table of N tokens x P features.

A token's features are its axes' features one after the other, each a function of that axis's index alone. What a linear
map makes of them (attention scores) is then a sum of one small table per axis, and their weighted sum over tokens
(attention values) needs the weights' marginals over each axis only.

Shape suffixes: N tokens, P position features, K bands, R rows (any number of linear maps).
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from smidgen.runtime.errors import UserError, unknown_name

POSITION_ENCODINGS = ("per_axis", "one_d", "none")

# An axis with every integer frequency is projected by FFT from this length on, where a table would not fit in memory.
MIN_FFT_LENGTH = 1024


class AxisFeatures(nn.Module):
    """Fourier features of one axis: sin(pi f x) for each frequency f, then cos(pi f x), then x itself.

    The coordinate x goes evenly from -1 to 1 over the axis (0 where the axis has one index), and the K frequencies
    evenly from 1 to the Nyquist frequency, length // 2 (Jaegle et al., Perceiver, 2021, section 3.2 and appendix D).
    With K = length // 2 they are every integer up to it and tell all indices apart; with fewer, features repeat about
    every 2 (K - 1) indices.

    Args:
        length: Number of indices.
        num_bands: Number K of frequencies; None stands for length // 2, and at least 1.
    """

    def __init__(self, length: int, num_bands: int | None = None) -> None:
        super().__init__()
        nyquist = max(1, length // 2)
        num_bands = nyquist if num_bands is None else num_bands
        if num_bands < 1:
            raise UserError(f"expected at least 1 frequency band, got {num_bands}; for no positions choose 'none'")
        self.length = length
        self.num_bands = num_bands
        self.num_features = 2 * num_bands + 1
        self.uses_fft = length >= MIN_FFT_LENGTH and num_bands == nyquist
        # One index alone sits in the middle.
        x = torch.linspace(-1.0, 1.0, length, dtype=torch.float64) if length > 1 else torch.zeros(1).double()
        self.coordinate: Tensor
        self.frequencies: Tensor
        self.register_buffer("coordinate", x, persistent=False)
        frequencies = torch.linspace(1.0, float(nyquist), num_bands, dtype=torch.float64)
        self.register_buffer("frequencies", frequencies, persistent=False)
        if not self.uses_fft:
            self.dense_table: Tensor
            self.register_buffer("dense_table", self._table().float(), persistent=False)

    def _table(self) -> Tensor:
        angle = math.pi * self.coordinate[:, None] * self.frequencies
        return torch.cat([angle.sin(), angle.cos(), self.coordinate[:, None]], dim=1)

    def table(self, dtype: torch.dtype = torch.float32) -> Float[Tensor, "length features"]:
        """The features of every index."""
        if not self.uses_fft and dtype == torch.float32:
            return self.dense_table
        return self._table().to(dtype)

    def moments(self) -> tuple[Float[Tensor, " length"], Float[Tensor, " length"]]:
        """Sum and sum of squares of each index's features, float64."""
        if not self.uses_fft:
            table = self._table()
            return table.sum(1), table.square().sum(1)
        ones = torch.ones(1, self.num_bands, dtype=torch.float64, device=self.coordinate.device)
        sums = self._waves(ones, ones)[0] + self.coordinate
        return sums, self.num_bands + self.coordinate.square()

    def project(self, weights_RP: Float[Tensor, "rows features"]) -> Float[Tensor, "rows length"]:
        """Applies linear maps to every index's features: ``weights @ table.T``."""
        if not self.uses_fft:
            return weights_RP @ self.table(weights_RP.dtype).T
        sines, cosines, slope = weights_RP.split([self.num_bands, self.num_bands, 1], dim=-1)
        return self._waves(sines, cosines) + slope * self.coordinate.to(slope.dtype)

    def collect(self, weights: Float[Tensor, "*rows length"]) -> Float[Tensor, "*rows features"]:
        """Sums the features of all indices, weighted: ``weights @ table``; the adjoint of ``project``."""
        if not self.uses_fft:
            return weights @ self.table(weights.dtype)
        # Coordinates -1 and 1 carry the same waves: the last index joins the first, and a DFT of length - 1 is left.
        folded = torch.cat([weights[..., :1] + weights[..., -1:], weights[..., 1:-1]], dim=-1)
        half = torch.fft.rfft(folded)
        bins, flips, signs = self._bins()
        spectrum = half[..., bins] * signs.to(weights.dtype)
        sines, cosines = -spectrum.imag * flips.to(weights.dtype), spectrum.real
        slope = (weights * self.coordinate.to(weights.dtype)).sum(-1, keepdim=True)
        return torch.cat([sines, cosines, slope], dim=-1)

    def _bins(self) -> tuple[Tensor, Tensor, Tensor]:
        """Where a DFT of length - 1 holds frequency k, -1 where it holds the conjugate, and (-1)^k, the phase at x = -1."""
        period = self.length - 1
        k = torch.arange(1, self.num_bands + 1, device=self.coordinate.device)
        folds = k > period // 2
        return torch.where(folds, period - k, k), 1 - 2 * folds.long(), 1 - 2 * (k % 2)

    def _waves(self, sines: Tensor, cosines: Tensor) -> Tensor:
        """sum_k sines[k] sin(pi k x) + cosines[k] cos(pi k x) at every index, by an inverse real FFT of length - 1."""
        period = self.length - 1
        bins, flips, signs = self._bins()
        coefficients = torch.complex(cosines, -sines * flips.to(sines.dtype)) * signs.to(sines.dtype)
        half = coefficients.new_zeros(*coefficients.shape[:-1], period // 2 + 1).index_add(-1, bins, coefficients)
        # irfft counts paired bins twice (weight 1/2 undoes it), and divides by the period.
        weight = torch.full((period // 2 + 1,), 0.5, dtype=sines.dtype, device=sines.device)
        weight[0] = 1.0
        if period % 2 == 0:
            weight[-1] = 1.0
        wave = torch.fft.irfft(half * weight, n=period, norm="forward")
        return torch.cat([wave, wave[..., :1]], dim=-1)


class PositionEncoding(nn.Module):
    """Position features of a grid: one ``AxisFeatures`` per encoded axis.

    Args:
        name: ``per_axis`` encodes every axis of the grid; ``one_d`` the flattened index alone; ``none`` nothing.
        grid: Axis lengths of the grid.
        num_bands: Frequencies per axis; None stands for half of each axis's length.

    Attributes:
        axis_lengths: Lengths of the encoded axes; empty for ``none``.
        num_features: Number P of features of a token.
    """

    def __init__(self, name: str, grid: tuple[int, ...], num_bands: int | None = None) -> None:
        super().__init__()
        if name not in POSITION_ENCODINGS:
            raise unknown_name("position encoding", name, POSITION_ENCODINGS)
        lengths = {"per_axis": tuple(grid), "one_d": (math.prod(grid),), "none": ()}[name]
        self.num_tokens = math.prod(grid)
        self.axis_lengths = lengths
        self.axes = nn.ModuleList(AxisFeatures(length, num_bands) for length in lengths)
        self.num_features = sum(axis.num_features for axis in self.axis_features)

    @property
    def axis_features(self) -> list[AxisFeatures]:
        """The encoded axes, typed."""
        return [axis for axis in self.axes if isinstance(axis, AxisFeatures)]

    def features(self, dtype: torch.dtype = torch.float32) -> Float[Tensor, "tokens features"]:
        """Every token's features: the plain form, for tests and plots; N x P numbers."""
        tables = [axis.table(dtype) for axis in self.axis_features]
        columns = []
        for index, table in enumerate(tables):
            shape = [1] * len(tables)
            shape[index] = table.shape[0]
            columns.append(table.reshape(*shape, -1).expand(*self.axis_lengths, -1))
        return torch.cat(columns, dim=-1).reshape(self.num_tokens, -1) if columns else torch.zeros(self.num_tokens, 0)

    def project(self, weights_RP: Float[Tensor, "rows features"]) -> list[Float[Tensor, "rows axis_length"]]:
        """Applies linear maps to the features; the sum over axes is a token's share."""
        parts = weights_RP.split([axis.num_features for axis in self.axis_features], dim=-1) if self.axes else []
        return [axis.project(part) for axis, part in zip(self.axis_features, parts, strict=True)]

    def collect(self, marginals: list[Float[Tensor, "*rows axis_length"]]) -> Float[Tensor, "*rows features"]:
        """Sums the features of all tokens, weighted, from the weights' marginals over each axis."""
        parts = [axis.collect(marginal) for axis, marginal in zip(self.axis_features, marginals, strict=True)]
        return torch.cat(parts, dim=-1)

    def token_moments(self) -> tuple[Float[Tensor, " tokens"], Float[Tensor, " tokens"]]:
        """Mean of each token's features and the sum of squares about it, float64; both 0 where there are none."""
        if not self.axes:
            return (torch.zeros(self.num_tokens, dtype=torch.float64),) * 2
        totals = [torch.zeros(self.axis_lengths, dtype=torch.float64)] * 2
        for index, axis in enumerate(self.axis_features):
            shape = [1] * len(self.axis_lengths)
            shape[index] = axis.length
            totals = [total + part.reshape(shape) for total, part in zip(totals, axis.moments(), strict=True)]
        mean = totals[0].flatten() / self.num_features
        return mean, (totals[1].flatten() - self.num_features * mean.square()).clamp(min=0.0)
