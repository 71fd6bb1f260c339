"""Cross-attention less its uniform part: what is left where a softmax over many tokens is nearly flat.

A. Nait Saada, A. Naderi and J. Tanner ("Mind the gap: a spectral analysis of rank collapse and signal propagation in
attention layers", arXiv 2410.07799) find that the uniform part of attention drowns the rest at the start, and take it
off: weights softmax(s) - 1/N.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor
from torch.nn import functional

from smidgen.policies.attention import ByteCrossAttention, CrossAttentionWeights
from smidgen.policies.folded_attention import PreparedTokens, folded_attention
from smidgen.policies.perceiver import Perceiver


class WithoutUniformPart(ByteCrossAttention):
    """A ``ByteCrossAttention`` over prepared tokens whose weights are softmax(s) - 1/N."""

    def forward(self, queries: Tensor | CrossAttentionWeights, x_BMC: Tensor | PreparedTokens) -> Tensor:
        """As the base class, less what uniform attention would read."""
        weights = queries if isinstance(queries, CrossAttentionWeights) else self.fold(queries)
        tokens = x_BMC if isinstance(x_BMC, PreparedTokens) else self.prepare(x_BMC)
        content, rows, columns = weights.score_maps
        own = folded_attention(*tokens, content, rows, columns)
        uniform = folded_attention(*tokens, _flat(content), _none_or_flat(rows), _none_or_flat(columns))
        read, at_rows, at_columns = (_less(part, flat) for part, flat in zip(own, uniform, strict=True))
        values = self._values(cast(Tensor, read), at_rows, at_columns, weights)
        return functional.linear(values, weights.output_EE, weights.output_bias_E)


def _flat(scores: Tensor) -> Tensor:
    """One row of scores that are all the same."""
    return torch.zeros_like(scores[:1])


def _none_or_flat(scores: Tensor | None) -> Tensor | None:
    return None if scores is None else _flat(scores)


def _less(own: Tensor | None, uniform: Tensor | None) -> Tensor | None:
    return None if own is None else own - cast(Tensor, uniform)


def remove_uniform_part(perceiver: Perceiver) -> None:
    """Turns a Perceiver's cross-attention into one without its uniform part; its weights stay where they are."""
    perceiver.encoder.attention.__class__ = WithoutUniformPart
