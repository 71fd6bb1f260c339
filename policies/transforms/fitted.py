"""Transforms fitted to the training split: principal axes and whitening, one small rotation per axis.

A rotation of all 12,288 tokens would take 600 MB and more examples than exist. With one per axis (time, row, column),
the training tokens are modelled as a Kronecker product. Channels are not mixed: every channel goes through the same
rotations, and counts as another sample for their covariances.

Shape suffixes: B batch, N tokens in and out, C channels, L length of an axis.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from smidgen.policies.standardise import RunningMoments, as_batches
from smidgen.policies.transforms.base import on_grid
from smidgen.policies.transforms.per_axis import PerAxis, multiply, require_matrix_length
from smidgen.runtime.errors import UserError


class PCA(PerAxis):
    """Principal axes of time, row and column: multilinear PCA (Lu, Plataniotis and Venetsanopoulos, 2008) in full.

    The covariance of an axis is that of its fibres (the values along it at one place of the other axes, in one channel
    of one example) about their mean over the training examples; its eigenvectors, by decreasing eigenvalue, are the
    rows of the axis's rotation. Only a rotation: subtracting the mean is left to a standardisation slot.

    Args:
        grid: Axis lengths of the grid; the first three are rotated.
        channels: Number of channels of a token.
        scale: ``ortho``, or ``none`` for sqrt(N) times that.
    """

    needs_fit = True
    fitted: Tensor

    def __init__(self, grid: tuple[int, ...], channels: int, *, scale: str = "ortho") -> None:
        super().__init__(grid, channels, scale=scale)
        require_matrix_length(self.lengths)
        for axis, length in enumerate(self.lengths):
            # float64, so that the transpose is an inverse beyond float32 precision.
            self.register_buffer(f"rotation_{axis}", torch.eye(length, dtype=torch.float64))
        self.register_buffer("fitted", torch.zeros((), dtype=torch.bool))

    @torch.no_grad()
    def fit(self, batches: Tensor | Iterable[Tensor]) -> None:
        """Learns every axis's rotation.

        Args:
            batches: Training tokens x_BNC, one tensor or batches.

        Raises:
            UserError: No tokens, or tokens of the wrong shape.
        """
        for axis, covariance in enumerate(self._covariances(batches)):
            self.get_buffer(f"rotation_{axis}").copy_(_principal_axes(covariance))
        self.fitted.fill_(True)

    def _covariances(self, batches: Tensor | Iterable[Tensor]) -> list[Tensor]:
        """Covariance of each axis's fibres about the mean example, float64."""
        scatter = [torch.zeros(length, length, dtype=torch.float64) for length in self.lengths]
        shift, total, num_examples = None, torch.zeros((), dtype=torch.float64), 0
        for x_BNC in as_batches(batches, self.num_tokens, self.input_channels):
            x = on_grid(x_BNC.detach().to("cpu", torch.float64), self.grid)
            # Subtracted before squaring; otherwise the mean example would dominate the precision of the differences.
            shift = x.mean(0, keepdim=True) if shift is None else shift
            x = x - shift
            total, num_examples = total + x.sum(0, keepdim=True), num_examples + len(x)
            for axis, sums in enumerate(scatter):
                sums += _gram(x, axis + 2)
        num_fibres = [num_examples * total.numel() / length for length in self.lengths]
        about_mean = [sums - _gram(total, axis + 2) / num_examples for axis, sums in enumerate(scatter)]
        return [sums / count for sums, count in zip(about_mean, num_fibres, strict=True)]

    def _mix(self, z: Tensor, axis: int, *, inverse: bool) -> Tensor:
        if not self.fitted:
            raise RuntimeError("the transform is not fitted: call fit with training tokens, or load a state dict")
        rotation = self.get_buffer(f"rotation_{axis}").to(z.dtype)
        return multiply(rotation.T if inverse else rotation, z, axis + 2)


class ZCA(PCA):
    """Whitening that stays as close to the input as possible: rotate as ``pca`` does, divide, rotate back.

    Every coefficient in the principal axes, per channel, is divided by its deviation over the training examples, or by
    the floor if that is larger (Kessy, Lewin and Strimmer, Optimal whitening and decorrelation, 2018, with
    the eigenbasis of the Kronecker model as George et al., 2018). White up to correlations left by the rotations.

    Args:
        grid: Axis lengths of the grid; the first three are rotated.
        channels: Number of channels of a token.
        scale: ``ortho``, or ``none`` for sqrt(N) times that.
    """

    num_fit_passes = 2
    is_orthonormal = False
    deviation: Tensor

    def __init__(self, grid: tuple[int, ...], channels: int, *, scale: str = "ortho") -> None:
        super().__init__(grid, channels, scale=scale)
        self.register_buffer("deviation", torch.ones(channels, *self.grid))

    @property
    def gain(self) -> float:
        """Amplification of white noise: the root mean square of 1 / deviation, times the scale's factor."""
        return self.factor * float(self.deviation.double().reciprocal().square().mean().sqrt())

    @torch.no_grad()
    def fit(self, batches: Tensor | Iterable[Tensor]) -> None:
        """Learns rotations and then deviations, in two passes over the training tokens.

        Args:
            batches: Training tokens x_BNC: one tensor, or batches that can be iterated twice.

        Raises:
            UserError: No tokens, tokens of the wrong shape, or a generator.
        """
        if isinstance(batches, Iterator):
            raise UserError("fitting zca takes 2 passes over the training tokens, got an iterator; pass a list")
        super().fit(batches)
        moments = RunningMoments()
        for x_BNC in as_batches(batches, self.num_tokens, self.input_channels):
            moments.update(super()._mix_all(on_grid(x_BNC.double(), self.grid), inverse=False))
        self.deviation.copy_(moments.variance.sqrt().clamp(min=self.floor))

    def _mix_all(self, z: Tensor, *, inverse: bool) -> Tensor:
        rotated = super()._mix_all(z, inverse=False)
        # Rotating no axis returns z itself, which belongs to the caller.
        rotated = rotated.clone() if rotated is z else rotated
        deviation = self.deviation.to(z.dtype)
        return super()._mix_all(rotated.mul_(deviation) if inverse else rotated.div_(deviation), inverse=True)


def _gram(z: Tensor, dim: int) -> Float[Tensor, "length length"]:
    """Inner products of the slices along one dimension."""
    slices = z.movedim(dim, 0).flatten(1)
    return slices @ slices.T


def _principal_axes(covariance: Tensor) -> Float[Tensor, "length length"]:
    """Eigenvectors as rows, by decreasing eigenvalue; each one's largest entry is positive, which fixes the sign."""
    vectors = torch.linalg.eigh(covariance).eigenvectors.flip(1).T
    largest = vectors.gather(1, vectors.abs().argmax(1, keepdim=True))
    return vectors * largest.sign()
