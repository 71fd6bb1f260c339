"""Standardisation: the options for the slots before and after an input transform.

Every statistic is computed on the training split in float64 and stored in a buffer, so that it is part of the state
dict. Means and deviations are those of the population (divided by the count).

Shape suffixes: B batch, N or M tokens, C or D channels.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from smidgen.runtime.errors import UserError, unknown_name

# Standard deviation of a byte's rounding error, in units of [0, 1].
QUANTISATION_NOISE = 1.0 / (255.0 * math.sqrt(12.0))

TokenBatches = Tensor | Iterable[Tensor]


class RunningMoments:
    """Mean and variance of a stream of batches, merged batch by batch in float64 (Chan, Golub and LeVeque, 1983)."""

    def __init__(self) -> None:
        self.count = 0
        self.mean = torch.zeros((), dtype=torch.float64)
        self.sum_squares = torch.zeros((), dtype=torch.float64)

    def update(self, x: Tensor) -> None:
        """Adds the samples along the first dimension of ``x``."""
        num_new = x.shape[0]
        if num_new == 0:
            return
        x = x.detach().to("cpu", torch.float64)
        mean = x.mean(0)
        sum_squares = (x - mean).square_().sum(0)
        delta = mean - self.mean
        total = self.count + num_new
        self.sum_squares = self.sum_squares + sum_squares + delta.square() * (self.count * num_new / total)
        self.mean = self.mean + delta * (num_new / total)
        self.count = total

    @property
    def variance(self) -> Tensor:
        """Population variance."""
        return self.sum_squares / self.count


class Standardiser(nn.Module):
    """Base class, and the option ``none``: tokens pass unchanged.

    Args:
        num_tokens: Number M of tokens.
        channels: Number D of channels.
        floor: Smallest deviation to divide by, above 0, for tokens that never vary.

    Raises:
        UserError: If the floor is not finite and above 0.
    """

    needs_fit: ClassVar[bool] = False
    num_fit_passes: ClassVar[int] = 1

    def __init__(self, num_tokens: int, channels: int, floor: float = QUANTISATION_NOISE) -> None:
        super().__init__()
        if not 0 < floor < math.inf:
            raise UserError(f"expected a finite floor above 0 under the deviation, got {floor}")
        self.num_tokens = num_tokens
        self.channels = channels
        self.floor = floor

    @property
    def gain(self) -> float:
        """Amplification of white noise: the root mean square of the tokens' multipliers."""
        return 1.0

    def fit(self, batches: TokenBatches) -> None:
        """Learns the statistics from training tokens (one tensor, or batches)."""

    def forward(self, x_BMD: Float[Tensor, "batch tokens channels"]) -> Float[Tensor, "batch tokens channels"]:
        """Standardises tokens."""
        return x_BMD

    def inverse(self, z_BMD: Float[Tensor, "batch tokens channels"]) -> Float[Tensor, "batch tokens channels"]:
        """Inverts ``forward``."""
        return z_BMD


class _Fitted(Standardiser):
    """(x - mean) / max(deviation, floor), with statistics of a shape that the subclass chooses.

    Statistics are stored channels first, (1 or D, 1 or M), the memory order of the transforms' output.
    """

    needs_fit = True
    statistics_per_channel = True
    statistics_per_token = False

    def __init__(self, num_tokens: int, channels: int, floor: float = QUANTISATION_NOISE) -> None:
        super().__init__(num_tokens, channels, floor)
        shape = (channels if self.statistics_per_channel else 1, num_tokens if self.statistics_per_token else 1)
        self.mean: Tensor
        self.deviation: Tensor
        self.fitted: Tensor
        self.register_buffer("mean", torch.zeros(shape))
        self.register_buffer("deviation", torch.ones(shape))
        self.register_buffer("fitted", torch.zeros((), dtype=torch.bool))

    def _store(self, mean: Tensor, variance: Tensor) -> None:
        self.mean.copy_(mean.T)
        # Computed in float64, where a variance that is only rounding errors stays far below the floor.
        self.deviation.copy_(variance.sqrt().clamp(min=self.floor).T)
        self.fitted.fill_(True)

    def _require_fitted(self) -> None:
        if not self.fitted:
            raise RuntimeError("no statistics to standardise by: call fit with training tokens, or load a state dict")

    @property
    def gain(self) -> float:
        """Amplification of white noise: the root mean square of 1 / deviation."""
        self._require_fitted()
        return float(self.deviation.double().reciprocal().square().mean().sqrt())

    def forward(self, x_BMD: Float[Tensor, "batch tokens channels"]) -> Float[Tensor, "batch tokens channels"]:
        """Standardises tokens."""
        self._require_fitted()
        mean, deviation = self.mean.T, self.deviation.T
        if x_BMD.is_contiguous():
            # Same layout as the tokens; otherwise every channel of the statistics would be a jump in memory.
            mean, deviation = mean.contiguous(), deviation.contiguous()
        return (x_BMD - mean).div_(deviation)

    def inverse(self, z_BMD: Float[Tensor, "batch tokens channels"]) -> Float[Tensor, "batch tokens channels"]:
        """Inverts ``forward``."""
        self._require_fitted()
        return z_BMD * self.deviation.T + self.mean.T


class GlobalStandardiser(_Fitted):
    """One mean and deviation per channel, over all tokens of all training examples."""

    def fit(self, batches: TokenBatches) -> None:
        """Learns mean[d] and deviation[d]."""
        moments = RunningMoments()
        for x_BMD in as_batches(batches, self.num_tokens, self.channels):
            moments.update(x_BMD.flatten(0, 1))
        self._store(moments.mean[None], moments.variance[None])


class TokenStandardiser(_Fitted):
    """Each token's own mean and deviation, per channel, over the training examples."""

    statistics_per_token = True

    def fit(self, batches: TokenBatches) -> None:
        """Learns mean[m, d] and deviation[m, d]."""
        moments = RunningMoments()
        for x_BMD in as_batches(batches, self.num_tokens, self.channels):
            moments.update(x_BMD)
        self._store(moments.mean, moments.variance)


class CentreStandardiser(_Fitted):
    """Each token's own mean over the training examples, and one scale for all tokens and channels.

    The scale is the root of the variance about those means, averaged over tokens and channels: the output has unit
    variance, and tokens that vary more stay larger.
    """

    statistics_per_token = True

    def __init__(self, num_tokens: int, channels: int, floor: float = QUANTISATION_NOISE) -> None:
        super().__init__(num_tokens, channels, floor)
        self.register_buffer("deviation", torch.ones(1, 1))

    def fit(self, batches: TokenBatches) -> None:
        """Learns mean[m, d] and the one scale."""
        moments = RunningMoments()
        for x_BMD in as_batches(batches, self.num_tokens, self.channels):
            moments.update(x_BMD)
        self._store(moments.mean, moments.variance.mean().reshape(1, 1))


class ExampleStandardiser(_Fitted):
    """Subtracts each example's mean over its tokens, per channel, without dividing.

    ``forward`` needs no statistics. The example's mean is lost, so ``inverse`` adds the training examples' average
    mean instead: exact up to one constant per channel.
    """

    def fit(self, batches: TokenBatches) -> None:
        """Learns the average mean[d], for ``inverse`` only."""
        moments = RunningMoments()
        for x_BMD in as_batches(batches, self.num_tokens, self.channels):
            moments.update(x_BMD.mean(1, dtype=torch.float64))
        self._store(moments.mean[None], torch.ones(1, self.channels, dtype=torch.float64))

    def forward(self, x_BMD: Float[Tensor, "batch tokens channels"]) -> Float[Tensor, "batch tokens channels"]:
        """Subtracts each example's mean."""
        return x_BMD - x_BMD.mean(1, keepdim=True)

    def inverse(self, z_BMD: Float[Tensor, "batch tokens channels"]) -> Float[Tensor, "batch tokens channels"]:
        """Adds the training examples' average mean."""
        self._require_fitted()
        return z_BMD + self.mean.T


STANDARDISERS: dict[str, type[Standardiser]] = {
    "none": Standardiser,
    "global": GlobalStandardiser,
    "example": ExampleStandardiser,
    "centre": CentreStandardiser,
    "token": TokenStandardiser,
}


def build_standardiser(name: str, num_tokens: int, channels: int, floor: float = QUANTISATION_NOISE) -> Standardiser:
    """Builds one of ``STANDARDISERS``; an unknown name is a ``UserError`` that lists them."""
    if name not in STANDARDISERS:
        raise unknown_name("standardisation", name, STANDARDISERS)
    return STANDARDISERS[name](num_tokens, channels, floor)


def in_pieces(batches: TokenBatches) -> Iterable[Tensor]:
    """Yields batches unchanged, or one tensor in pieces, so that a data set is not copied to float64 at once."""
    return batches.split(64) if isinstance(batches, Tensor) else batches


def as_batches(batches: TokenBatches, num_tokens: int, channels: int) -> Iterator[Tensor]:
    """Iterates over batches of tokens and checks each one's shape.

    Raises:
        UserError: A batch whose shape is not (any, num_tokens, channels), or no examples.
    """
    num_examples = 0
    for x_BMD in in_pieces(batches):
        if x_BMD.ndim != 3 or x_BMD.shape[1:] != (num_tokens, channels):
            raise UserError(
                f"expected training tokens of shape (batch, {num_tokens}, {channels}), got {tuple(x_BMD.shape)}; "
                f"check the grid and the channels that the transform was built with"
            )
        num_examples += x_BMD.shape[0]
        yield x_BMD
    if num_examples == 0:
        raise UserError("expected training tokens, got none; check that the data set has episodes")
