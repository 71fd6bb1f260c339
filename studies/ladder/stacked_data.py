"""The examples that several networks side by side are trained or measured on.

Shape suffixes: S networks, B batch, N pool, M tokens, D channels, O output steps, A outputs.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from smidgen.policies.folded_attention import PreparedTokens
from smidgen.policies.perceiver import Perceiver
from studies.ladder.stacked_network import StackedInput

# Up to this many tokens are prepared once instead of at each step.
MAX_PREPARED_TOKENS = 2**22


class Examples(NamedTuple):
    """Inputs of all networks, with their targets."""

    inputs: StackedInput
    target_SBOA: Float[Tensor, "networks batch steps outputs"]


class StackedPool:
    """Pools of equal size, one for each network.

    Whatever in the input pipeline does not learn is applied once; where nothing in it learns and the pool is small, so
    is what the attention computes of tokens alone.

    Args:
        networks: The networks, with fitted inputs.
        frames: Frames (N, T, H, W, C) of each network's pool.
        targets: Targets (N, A) of each network's pool.
        labels: Classes (N,) of each network's pool.

    Attributes:
        target_SNOA: The targets.
        labels_SN: The classes.
    """

    def __init__(
        self,
        networks: Sequence[Perceiver],
        frames: Sequence[Tensor],
        targets: Sequence[Tensor],
        labels: Sequence[Tensor],
    ) -> None:
        self.network = networks[0]
        self.is_input_learned = any(True for _ in self.network.input_pipeline.parameters())
        with torch.no_grad():
            if self.is_input_learned:
                parts = list(frames)
            else:
                parts = [n.input_pipeline(n.tokens(x)) for n, x in zip(networks, frames, strict=True)]
            self.inputs = torch.stack(parts)
        self.target_SNOA = torch.stack(list(targets))[:, :, None]
        self.labels_SN = torch.stack(list(labels))
        num_tokens = self.inputs[..., 0].numel()
        self.prepared = self._prepare(self.inputs) if num_tokens <= MAX_PREPARED_TOKENS else None

    @property
    def size(self) -> int:
        """Number of examples of each network."""
        return self.target_SNOA.shape[1]

    def taken(self, rows: Tensor) -> StackedPool:
        """The pools of only these networks."""
        pool = copy.copy(self)
        pool.inputs, pool.target_SNOA, pool.labels_SN = self.inputs[rows], self.target_SNOA[rows], self.labels_SN[rows]
        pool.prepared = None if self.prepared is None else _taken(self.prepared, rows)
        return pool

    def all(self) -> Examples:
        """The whole pool."""
        return Examples(self._prepare(self.inputs) if self.prepared is None else self.prepared, self.target_SNOA)

    def batch(self, indices_SB: Int[Tensor, "networks batch"]) -> Examples:
        """Chosen examples of each network."""
        rows_S1 = torch.arange(len(indices_SB))[:, None]
        if self.prepared is None:
            inputs = self._prepare(self.inputs[rows_S1, indices_SB])
        else:
            inputs = _taken(self.prepared, (rows_S1, indices_SB))
        return Examples(inputs, self.target_SNOA[rows_S1, indices_SB])

    def _prepare(self, inputs: Tensor) -> StackedInput:
        """Tokens as the attention reads them, which depends on no weights: one network prepares them for all."""
        if self.is_input_learned:
            return inputs
        with torch.no_grad():
            prepared = self.network.encoder.attention.prepare(inputs.flatten(0, 1))
        return prepared.map(lambda part: part.unflatten(0, inputs.shape[:2]))


def _taken(inputs: StackedInput, index: Tensor | tuple[Tensor, Tensor]) -> StackedInput:
    if not isinstance(inputs, PreparedTokens):
        return inputs[index]
    return inputs.map(lambda part: part[index])
