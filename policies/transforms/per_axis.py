"""Transforms with one orthonormal map per axis: the base class, the cosine and the Walsh-Hadamard transform.

Shape suffixes: B batch, N tokens in and out, C channels.
"""

from __future__ import annotations

import functools
import math

import torch
from jaxtyping import Float
from torch import Tensor

from smidgen.policies.constants import LazyConstant
from smidgen.policies.transforms.base import InputTransform, as_tokens, on_grid, volume_axes
from smidgen.policies.transforms.fourier import at_zero, hartley
from smidgen.runtime.errors import UserError

# Longest axis for maps that need a full matrix.
MAX_LEARNED_LENGTH = 4096
# Up to this length a product with the matrix is faster than an FFT.
MAX_MATRIX_LENGTH = 512
# Largest factor of a Hadamard matrix to multiply by directly, in bits.
MAX_FACTOR_BITS = 4


def require_matrix_length(lengths: tuple[int, ...]) -> None:
    """Refuses axes whose matrix would be too large.

    Raises:
        UserError: If an axis is longer than 4,096.
    """
    if max(lengths) > MAX_LEARNED_LENGTH:
        raise UserError(
            f"expected axes of at most {MAX_LEARNED_LENGTH} for a transform with a matrix per axis, got "
            f"{max(lengths)}; give the grid its axes (time, row, column), or choose another transform"
        )


class PerAxis(InputTransform):
    """Base class: an orthonormal map of each of the first three axes (all, if fewer); the grid is unchanged.

    A subclass maps one axis in ``_mix``, and may set ``drop_dc`` if index 0 of its axes is the mean.

    Args:
        grid: Axis lengths of the grid.
        channels: Number of channels of a token.
        scale: ``ortho``, or ``none`` for sqrt(N) times that, N the product of the mapped axes' lengths.
    """

    def __init__(self, grid: tuple[int, ...], channels: int, *, scale: str = "ortho") -> None:
        super().__init__(grid, channels, scale=scale)
        self.drop_dc = False
        self.lengths = tuple(self.grid[axis] for axis in volume_axes(self.grid))
        self._set_factor(math.prod(self.lengths))

    def forward(self, x_BNC: Float[Tensor, "batch tokens channels"]) -> Float[Tensor, "batch tokens channels"]:
        """Maps every axis, in float32 (or float64), even under autocast."""
        with torch.autocast(x_BNC.device.type, enabled=False):
            z = self._mix_all(on_grid(x_BNC, self.grid), inverse=False)
            z = z if self.factor == 1 else z * self.factor
            if self.drop_dc:
                at_zero(z, range(2, 2 + len(self.lengths))).zero_()
            return as_tokens(z)

    def inverse(self, z_BMD: Float[Tensor, "batch tokens channels"]) -> Float[Tensor, "batch tokens channels"]:
        """Maps every axis back."""
        with torch.autocast(z_BMD.device.type, enabled=False):
            x = self._mix_all(on_grid(z_BMD, self.grid), inverse=True)
            return as_tokens(x if self.factor == 1 else x / self.factor)

    def _mix_all(self, z: Tensor, *, inverse: bool) -> Tensor:
        # The last axis first: its product accepts tokens whose channels are fastest in memory.
        for axis in reversed(range(len(self.lengths))):
            if self.lengths[axis] > 1:
                z = self._mix(z, axis, inverse=inverse)
        return z

    def _mix(self, z: Tensor, axis: int, *, inverse: bool) -> Tensor:
        """Maps one axis of (B, C, *grid), orthonormally, or back."""
        raise NotImplementedError


class DCT(PerAxis):
    """Cosine transform (DCT-II) of every axis: real, with the same number of tokens, no wrap-around at the borders.

    z[k] = s[k] * sum_n x[n] cos(pi (2 n + 1) k / (2 L)) per axis of length L, with s[0] = 1 / sqrt L and s[k] =
    sqrt(2 / L) (Ahmed, Natarajan and Rao, 1974).

    Args:
        grid: Axis lengths of the grid.
        channels: Number of channels of a token.
        scale: ``ortho``, or ``none`` for sqrt(N) times that: coefficient 0 is then the plain sum.
        drop_dc: Omit the mean over the axes: coefficient 0 is 0.
    """

    def __init__(self, grid: tuple[int, ...], channels: int, *, scale: str = "ortho", drop_dc: bool = False) -> None:
        super().__init__(grid, channels, scale=scale)
        self.drop_dc = drop_dc
        self.matrices = [LazyConstant(functools.partial(dct_matrix, length)) for length in self.lengths]

    def _mix(self, z: Tensor, axis: int, *, inverse: bool) -> Tensor:
        if self.lengths[axis] <= MAX_MATRIX_LENGTH:
            matrix = self.matrices[axis].like(z)
            return multiply(matrix.T if inverse else matrix, z, axis + 2)
        transform = _inverse_dct_by_fft if inverse else _dct_by_fft
        return transform(z.movedim(axis + 2, -1)).movedim(-1, axis + 2)


def dct_matrix(length: int) -> Float[Tensor, "length length"]:
    """The orthonormal DCT-II: row k holds cos(pi (2 n + 1) k / (2 length)), scaled to length 1; float64."""
    k = torch.arange(length, dtype=torch.float64)
    matrix = torch.cos(math.pi / (2 * length) * k[:, None] * (2 * k + 1)) * math.sqrt(2.0 / length)
    matrix[0] = math.sqrt(1.0 / length)
    return matrix


def _dct_by_fft(z: Tensor) -> Tensor:
    """DCT-II of the last dimension by one real FFT (Makhoul, A fast cosine transform in one and two dimensions, 1980).

    With v the even entries and then the odd ones backwards, coefficient k is the real part of V[k] exp(-i pi k / 2 L),
    and coefficient L - k its negative imaginary part.
    """
    length = z.shape[-1]
    spectrum = torch.fft.rfft(torch.cat([z[..., ::2], z[..., 1::2].flip(-1)], dim=-1)) * _quarter_turns(z)
    coefficients = torch.cat([spectrum.real, -spectrum.imag[..., 1 : (length + 1) // 2].flip(-1)], dim=-1)
    return coefficients * _dct_weights(z)


def _inverse_dct_by_fft(z: Tensor) -> Tensor:
    length = z.shape[-1]
    z = z / _dct_weights(z)
    half = length // 2 + 1
    mirrored = torch.cat([torch.zeros_like(z[..., :1]), z[..., 1:].flip(-1)], dim=-1)[..., :half]
    v = torch.fft.irfft(torch.complex(z[..., :half], -mirrored) * _quarter_turns(z).conj(), n=length)
    num_even = (length + 1) // 2
    x = torch.empty_like(v)
    x[..., ::2] = v[..., :num_even]
    x[..., 1::2] = v[..., num_even:].flip(-1)
    return x


def _quarter_turns(z: Tensor) -> Tensor:
    length = z.shape[-1]
    angle = torch.arange(length // 2 + 1, dtype=torch.float64, device=z.device) * (-math.pi / (2 * length))
    return torch.polar(torch.ones_like(angle), angle).to(torch.complex(z[:0], z[:0]).dtype)


def _dct_weights(z: Tensor) -> Tensor:
    weights = z.new_full((z.shape[-1],), math.sqrt(2.0 / z.shape[-1]))
    weights[0] = math.sqrt(1.0 / z.shape[-1])
    return weights


class Hadamard(PerAxis):
    """Walsh-Hadamard transform of every axis, in natural order: spreads a token over all others, without frequencies.

    An axis of 2^k indices gets Sylvester's matrix. No Hadamard matrix of order 3 exists, so an axis of m 2^k indices, m
    odd, gets the Kronecker product of the Hartley matrix of order m and Sylvester's: orthonormal, symmetric (hence
    self-inverse), with a constant first row and no zero entries, so that every output depends on every input.

    Args:
        grid: Axis lengths of the grid.
        channels: Number of channels of a token.
        scale: ``ortho``, or ``none`` for sqrt(N) times that: entries of 1 and -1 if all lengths are powers of two.
        drop_dc: Omit the mean over the axes: coefficient 0 is 0.
    """

    def __init__(self, grid: tuple[int, ...], channels: int, *, scale: str = "ortho", drop_dc: bool = False) -> None:
        super().__init__(grid, channels, scale=scale)
        self.drop_dc = drop_dc
        self.spread = Spread(self.lengths)

    def _mix_all(self, z: Tensor, *, inverse: bool) -> Tensor:
        return self.spread(z, 2)


class Spread:
    """Orthonormal symmetric map of a grid: per axis of m 2^k indices, m odd, Hartley of order m (x) Sylvester of 2^k.

    Applied one Kronecker factor at a time, in O(N log N). Kronecker products of Sylvester's matrices are Sylvester's
    again, so those of neighbouring axes are merged and split into factors of at most 16, the fastest to multiply by.
    """

    def __init__(self, lengths: tuple[int, ...]) -> None:
        self.num_axes = len(lengths)
        self.factors: list[int] = []
        bits = 0
        for length in lengths:
            axis_bits = (length & -length).bit_length() - 1
            if length >> axis_bits > 1:
                self.factors += [*_powers_of_two(bits), length >> axis_bits]
                bits = 0
            bits += axis_bits
        self.factors += _powers_of_two(bits)
        self.matrices = [LazyConstant(functools.partial(_factor_matrix, size)) for size in self.factors]

    def __call__(self, z: Tensor, dim: int) -> Tensor:
        """Maps the grid's dimensions, which start at ``dim``."""
        if not self.factors:
            return z
        shape = z.shape
        z = z.flatten(dim, dim + self.num_axes - 1).unflatten(dim, self.factors)
        for index in reversed(range(len(self.factors))):
            if self.factors[index] <= MAX_MATRIX_LENGTH:
                z = multiply(self.matrices[index].like(z), z, dim + index)
            else:
                z = hartley(z, (dim + index,), "ortho")
        return z.reshape(shape)


def _powers_of_two(bits: int) -> list[int]:
    """Factors of 2^bits, about equal and each at most 2^MAX_FACTOR_BITS."""
    num_parts = -(-bits // MAX_FACTOR_BITS)
    return [2 ** (bits // num_parts + (part < bits % num_parts)) for part in range(num_parts)]


def _factor_matrix(size: int) -> Tensor:
    """Orthonormal Hadamard matrix of order 2^k, or Hartley matrix of odd order; float64."""
    if size % 2:
        phase = 2 * math.pi / size * torch.outer(*[torch.arange(size, dtype=torch.float64)] * 2)
        return (phase.cos() + phase.sin()) / math.sqrt(size)
    matrix = torch.ones(1, 1, dtype=torch.float64)
    while len(matrix) < size:
        matrix = torch.cat([torch.cat([matrix, matrix], 1), torch.cat([matrix, -matrix], 1)])
    return matrix / math.sqrt(size)


def multiply(matrix: Tensor, z: Tensor, dim: int) -> Tensor:
    """Maps dimension ``dim`` of ``z`` by a matrix (outputs, inputs).

    Written as products of whole blocks: matmul would copy ``z`` if the matrix has a gradient.
    """
    if dim == z.ndim - 1:
        return (z.reshape(-1, z.shape[-1]) @ matrix.T).unflatten(0, z.shape[:-1])
    blocks = z.reshape(-1, z.shape[dim], math.prod(z.shape[dim + 1 :]))
    mixed = torch.bmm(matrix.expand(len(blocks), -1, -1), blocks)
    return mixed.reshape(*z.shape[:dim], len(matrix), *z.shape[dim + 1 :])
