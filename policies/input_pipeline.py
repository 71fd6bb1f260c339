"""The input pipeline of a Perceiver: a standardisation slot, the input transform, another slot.

Shape suffixes: B batch, N or M tokens, C or D channels.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor, nn

from smidgen.policies.standardise import (
    QUANTISATION_NOISE,
    Standardiser,
    TokenBatches,
    build_standardiser,
    in_pieces,
)
from smidgen.policies.transforms import InputTransform
from smidgen.runtime.errors import UserCodeError, UserError


class InputPipeline(nn.Module):
    """Standardise, transform, standardise: everything between a frame's bytes and the attention.

    The floor under a deviation is the quantisation noise of a byte, propagated to the slot: ``floor_scale / (255 sqrt
    12)`` before the transform; after it, times the gains of the first slot and the transform.

    Args:
        transform: The input transform.
        before: Standardisation of the tokens that enter the transform, one of ``STANDARDISERS``.
        after: Standardisation of the tokens that leave it.
        floor_scale: Multiplies the floor, to check whether a result depends on it.
    """

    def __init__(
        self, transform: InputTransform, *, before: str = "none", after: str = "none", floor_scale: float = 1.0
    ) -> None:
        super().__init__()
        if not 0 < floor_scale < math.inf:
            raise UserError(
                f"expected a finite floor_scale above 0, got {floor_scale}; 1 is the quantisation noise of a byte"
            )
        self.floor = floor_scale * QUANTISATION_NOISE
        self.before = build_standardiser(before, math.prod(transform.input_grid), transform.input_channels, self.floor)
        self.transform = transform
        self.after = build_standardiser(after, transform.num_tokens, transform.channels, self.floor * transform.factor)

    @property
    def grid(self) -> tuple[int, ...]:
        """Axis lengths of the output's grid."""
        return self.transform.grid

    @property
    def channels(self) -> int:
        """Number D of output channels."""
        return self.transform.channels

    @property
    def num_tokens(self) -> int:
        """Number M of output tokens."""
        return self.transform.num_tokens

    @property
    def needs_fit(self) -> bool:
        """Whether any part is fitted to data."""
        return self.before.needs_fit or self.transform.needs_fit or self.after.needs_fit

    @torch.no_grad()
    def fit(self, batches: TokenBatches) -> None:
        """Fits the three parts in order, each on the output of the parts before it.

        Args:
            batches: Training tokens x_BNC in [0, 1]: one tensor, or batches that can be iterated once per fitted part
                (a list, or an object whose ``__iter__`` restarts; not a generator).

        Raises:
            UserError: No tokens, tokens of the wrong shape, or a generator if several passes are needed.
        """
        parts: list[Standardiser | InputTransform] = [self.before, self.transform, self.after]
        num_passes = sum(part.num_fit_passes for part in parts if part.needs_fit)
        if num_passes > 1 and isinstance(batches, Iterator):
            raise UserError(
                f"fitting takes {num_passes} passes over the training tokens, got an iterator that can be used once; "
                f"pass a list or an object whose __iter__ restarts"
            )
        for index, part in enumerate(parts):
            part.floor = self.floor * math.prod(earlier.gain for earlier in parts[:index])
            if part.needs_fit:
                part.fit(_Mapped(batches, parts[:index]))

    @torch.no_grad()
    def check_transform(self, x_BNC: Float[Tensor, "batch tokens channels"], name: str) -> None:
        """Tries the transform on a few tokens without affecting the run's random draws.

        Args:
            x_BNC: Tokens in [0, 1].
            name: The transform's name.

        Raises:
            UserCodeError: If its output does not match its ``grid`` and ``channels``, or is not a finite floating-point
                tensor.
        """
        is_training = self.training
        with torch.random.fork_rng(devices=[]):
            self.eval()
            output = self.transform(self.before(x_BNC))
            self.train(is_training)
        if not isinstance(output, Tensor) or not output.is_floating_point():
            got = f"{output.dtype}" if isinstance(output, Tensor) else type(output).__name__
            raise UserCodeError(f"transform {name!r:.200}: expected a floating-point tensor from forward, got {got}")
        expected = (len(x_BNC), self.num_tokens, self.channels)
        if tuple(output.shape) != expected:
            raise UserCodeError(
                f"transform {name!r:.200}: expected forward to return {expected}, batch, tokens and channels from its "
                f"grid {tuple(self.grid)} and channels {self.channels}, got {tuple(output.shape)}; set self.grid "
                "and self.channels to those of the output"
            )
        if not output.isfinite().all():
            raise UserCodeError(f"transform {name!r:.200}: forward returns NaN or infinity for frames of the data set")

    def forward(self, x_BNC: Float[Tensor, "batch tokens channels"]) -> Float[Tensor, "batch tokens_out channels_out"]:
        """Maps tokens in [0, 1] to what the attention reads, in full precision."""
        with torch.autocast(x_BNC.device.type, enabled=False):
            return self.after(self.transform(self.before(x_BNC)))

    def inverse(self, z_BMD: Float[Tensor, "batch tokens_out channels_out"]) -> Float[Tensor, "batch tokens channels"]:
        """Inverts ``forward`` (except for the mean that the slot ``example`` discards)."""
        return self.before.inverse(self.transform.inverse(self.after.inverse(z_BMD)))


class _Mapped:
    """Training tokens mapped by some parts; can be iterated again if the tokens can."""

    def __init__(self, batches: TokenBatches, parts: list[Standardiser | InputTransform]) -> None:
        self.batches = batches
        self.parts = parts

    def __iter__(self) -> Iterator[Tensor]:
        for x in in_pieces(self.batches):
            for part in self.parts:
                x = part(x)
            yield x
