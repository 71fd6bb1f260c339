"""The folded attention for several networks side by side, over tokens that may stay the same from step to step.

The formulas are those of ``folded_attention``; what differs is what is kept. Whatever depends on the tokens alone is
computed once (``prepare_tokens``), the softmax's weights are kept from the forward to the backward pass, and a leading
axis holds one network each, with tokens of its own: ``torch.vmap`` over ``stacked_attention`` gives that axis.

Shape suffixes: S networks, B batch, R rows (queries times heads), N tokens, C channels, K = C + 1 weighted sums (C
without a scale), F = C + 2 features (C + 1 without), I grid rows, J grid columns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

# Scores that are worked on at a time, so that they stay in cache.
BLOCK_SCORES = 2**20


class PreparedTokens(NamedTuple):
    """What the attention reads of its tokens.

    Attributes:
        values_BKN: Their content x, then 1 / g where there is a scale.
        features_BFN: g x, then log g, then ones; without a scale: x, then ones.
        g_B1N: The scale; None stands for ones.
    """

    values_BKN: Float[Tensor, "batch sums tokens"]
    features_BFN: Float[Tensor, "batch features tokens"]
    g_B1N: Float[Tensor, "batch 1 tokens"] | None

    def map(self, function: Callable[[Tensor], Any]) -> PreparedTokens:
        """Applies a function to each of the tensors, in order."""
        values, features = function(self.values_BKN), function(self.features_BFN)
        return PreparedTokens(values, features, None if self.g_B1N is None else function(self.g_B1N))


def prepare_tokens(
    x_BCN: Float[Tensor, "batch channels tokens"], g_BN: Float[Tensor, "batch tokens"] | None
) -> PreparedTokens:
    """Lays tokens out as the products of the forward and the backward pass read them.

    Args:
        x_BCN: Content of the tokens.
        g_BN: Positive scale of each token; None stands for ones.
    """
    ones_B1N = torch.ones_like(x_BCN[:, :1])
    if g_BN is None:
        return PreparedTokens(x_BCN, torch.cat([x_BCN, ones_B1N], 1), None)
    g_B1N = g_BN[:, None]
    features_BFN = torch.cat([x_BCN * g_B1N, g_B1N.log(), ones_B1N], 1)
    return PreparedTokens(torch.cat([x_BCN, g_B1N.reciprocal()], 1), features_BFN, g_B1N)


def stacked_attention(
    tokens: PreparedTokens,
    a_RC: Float[Tensor, "rows channels"],
    p_RI: Float[Tensor, "rows grid_rows"] | None,
    q_RJ: Float[Tensor, "rows grid_columns"] | None,
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """``folded_attention`` over prepared tokens.

    Args:
        tokens: Tokens on an I x J grid.
        a_RC: Content's part in the scores.
        p_RI: Scores of the grid's rows; None where positions lie on one axis alone, or nowhere.
        q_RJ: Scores of the grid's columns; None where there are no positions.

    Returns:
        The weighted sum of contents (B, R, C), and the weights' marginals over grid rows (B, R, I) and columns
        (B, R, J), None where these are.
    """
    inputs = (*tokens, a_RC, p_RI, q_RJ)
    content, rows, columns, *_ = _StackedAttention.apply(*(None if part is None else part[None] for part in inputs))
    return content[0], None if rows is None else rows[0], None if columns is None else columns[0]


def prepared_attention_map(
    tokens: PreparedTokens,
    a_RC: Float[Tensor, "rows channels"],
    p_RI: Float[Tensor, "rows grid_rows"] | None,
    q_RJ: Float[Tensor, "rows grid_columns"] | None,
) -> Float[Tensor, "batch rows tokens"]:
    """The softmax over prepared tokens itself; arguments as for ``stacked_attention``."""
    scores_BRN = a_RC @ tokens.features_BFN[:, : a_RC.shape[1]]
    positions_RN = _outer_sum(p_RI, q_RJ)
    if positions_RN is not None:
        scores_BRN = scores_BRN + (positions_RN if tokens.g_B1N is None else positions_RN * tokens.g_B1N)
    return torch.softmax(scores_BRN, dim=-1)


class _StackedAttention(torch.autograd.Function):
    """Every argument and result has a leading axis of networks.

    Beside the three sums it gives what the backward pass reads again: the softmax's weights, and what these lack to e.
    """

    @staticmethod
    def forward(
        values: Tensor, features: Tensor, g: Tensor | None, a: Tensor, p: Tensor | None, q: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        num_networks, batch, _, num_tokens = values.shape
        weights_SBRN = values.new_empty(num_networks, batch, a.shape[1], num_tokens)
        maps_SBRF = _score_maps(a, g, batch)
        positions_SRN = _outer_sum(p, q)
        results = []
        for block in _blocks(weights_SBRN.shape):
            weights = weights_SBRN[block]
            positions = None if positions_SRN is None else positions_SRN[block[0], None]
            _scores(maps_SBRF[block], features[block], positions, _part(g, block), weights)
            torch.softmax(weights, dim=-1, out=weights)
            # On one axis the weights themselves are the sums per column.
            results.append(
                (values[block] @ weights.mT, *((None, None) if p is None else _position_sums(weights, p, q)))
            )
        sums_SBKR, rows, columns = _joined(results, (num_networks, batch))
        assert sums_SBKR is not None
        content, rest = sums_SBKR.mT.tensor_split([a.shape[2]], dim=-1)
        factor = torch.ones_like(content[..., :1]) if g is None else rest.reciprocal()
        if q is not None and p is None:
            columns = weights_SBRN
        sums = (None if part is None else part * factor for part in (content, rows, columns))
        return (*sums, weights_SBRN, factor)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor | None, ...], output: tuple[Tensor | None, ...]) -> None:
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(*output[3:])
        ctx.save_for_backward(*inputs, *output)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *d_output: Tensor | None) -> tuple[Tensor | None, ...]:
        values, features, g, a, p, q, *outputs, weights_SBRN, factor = ctx.saved_tensors
        d_content, d_rows, d_columns, inner = _output_gradients(d_output[:3], outputs, factor)
        log_g = [] if g is None else [torch.zeros_like(inner)]
        maps_SBRF = torch.cat([d_content, *log_g, -inner], -1)
        d_a, d_p, d_q = (None if part is None else torch.zeros_like(part) for part in (a, p, q))
        d_tokens = _TokenGradients(values, features, g, a, p, q) if any(ctx.needs_input_grad[:3]) else None
        for block in _blocks(weights_SBRN.shape):
            weights = weights_SBRN[block]
            d_t = torch.empty_like(weights)
            positions = _outer_sum(_part(d_rows, block), _part(d_columns, block), out=d_t)
            _scores(maps_SBRF[block], features[block], positions, _part(g, block), d_t)
            d_t.mul_(weights)
            sums = ((values[block][..., : a.shape[2], :] @ d_t.mT).sum(1).mT, *_position_sums(d_t.sum(1), p, q))
            for total, part in zip((d_a, d_p, d_q), sums, strict=True):
                if total is not None and part is not None:
                    total[block[0]].add_(part)
            if d_tokens is not None:
                d_tokens.add(block, weights, d_t, torch.cat([d_content, -inner], -1)[block])
        return *((None, None, None) if d_tokens is None else d_tokens.found), d_a, d_p, d_q

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *inputs: Tensor | None) -> tuple[Any, Any]:
        stacked = (_stacked(part, dim, info.batch_size) for part, dim in zip(inputs, in_dims, strict=True))
        outputs = _StackedAttention.apply(*stacked)
        outputs = tuple(None if part is None else part.unflatten(0, (info.batch_size, -1)) for part in outputs)
        return outputs, tuple(None if part is None else 0 for part in outputs)


class _TokenGradients:
    """Gradients of what was prepared of the tokens: only inputs that are learned need them.

    Attributes:
        found: Those of ``values``, ``features`` and ``g``.
    """

    def __init__(
        self, values: Tensor, features: Tensor, g: Tensor | None, a: Tensor, p: Tensor | None, q: Tensor | None
    ) -> None:
        self.maps_SBRF = _score_maps(a, g, values.shape[1])
        self.positions_SRN = _outer_sum(p, q)
        self.g = g
        self.found = (torch.zeros_like(values), torch.zeros_like(features), None if g is None else torch.zeros_like(g))

    def add(self, block: tuple[slice, slice], weights: Tensor, d_t: Tensor, d_sums: Tensor) -> None:
        """Fills in a block's, from the softmax's weights, the gradient of t, and that of the weighted sums."""
        d_values, d_features, d_g = (_part(part, block) for part in self.found)
        assert d_values is not None
        assert d_features is not None
        d_values.copy_(d_sums[..., : d_values.shape[2]].mT @ weights)
        # The gradient of the scores g t + log g, where g and log g count as inputs of their own.
        d_scores = d_t if self.g is None else d_t / self.g[block]
        num_maps = self.maps_SBRF.shape[-1]
        d_features[..., :num_maps, :].copy_(self.maps_SBRF[block].mT @ d_scores)
        if d_g is not None and self.positions_SRN is not None:
            d_g.copy_((d_scores * self.positions_SRN[block[0], None]).sum(2, keepdim=True))


def _part(part: Tensor | None, block: tuple[slice, slice]) -> Tensor | None:
    return None if part is None else part[block]


def _score_maps(a_SRC: Tensor, g: Tensor | None, batch: int) -> Tensor:
    """Maps of the features that give g A x + log g, or A x, for each example."""
    maps_SRF = a_SRC if g is None else torch.cat([a_SRC, torch.ones_like(a_SRC[..., :1])], -1)
    return maps_SRF[:, None].expand(-1, batch, -1, -1)


def _output_gradients(
    d_sums: Sequence[Tensor | None], sums: Sequence[Tensor | None], factor: Tensor
) -> tuple[Tensor, Tensor | None, Tensor | None, Tensor]:
    """Gradients of the sums, then their inner product with the sums, all times what the softmax lacks to e."""
    pairs = [(d, part) for d, part in zip(d_sums, sums, strict=True) if d is not None and part is not None]
    products = [(d * part).sum(-1, keepdim=True) for d, part in pairs]
    inner = torch.cat(products, -1).sum(-1, keepdim=True) * factor
    filled = [torch.zeros_like(s) if d is None and s is not None else d for d, s in zip(d_sums, sums, strict=True)]
    content, rows, columns = (None if d is None else d * factor for d in filled)
    assert content is not None
    return content, rows, columns, inner


def _stacked(part: Tensor | None, dim: int | None, size: int) -> Tensor | None:
    """Joins the axis of a vmap with the networks' own."""
    if part is None:
        return None
    return (part.expand(size, *part.shape) if dim is None else part.movedim(dim, 0)).flatten(0, 1)


def _blocks(shape: torch.Size) -> list[tuple[slice, slice]]:
    """Networks and examples of each block: several networks with all of their examples, or a part of one's."""
    num_networks, batch, num_rows, num_tokens = shape
    size = max(1, BLOCK_SCORES // (num_rows * num_tokens))
    if size >= batch:
        step = size // batch
        return [(slice(start, start + step), slice(None)) for start in range(0, num_networks, step)]
    starts = range(0, batch, size)
    return [(slice(s, s + 1), slice(start, start + size)) for s in range(num_networks) for start in starts]


def _scores(maps: Tensor, features: Tensor, positions: Tensor | None, g: Tensor | None, out: Tensor) -> None:
    """g times the positions' scores, plus maps of the first features (as many as there are maps)."""
    maps, features, flat = maps.flatten(0, 1), features[..., : maps.shape[-1], :].flatten(0, 1), out.flatten(0, 1)
    if positions is None:
        torch.bmm(maps, features, out=flat)
        return
    if g is not None:
        torch.mul(positions, g, out=out)
    elif positions is not out:
        out.copy_(positions)
    flat.baddbmm_(maps, features)


def _position_sums(weights: Tensor, p: Tensor | None, q: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
    """Sums of (..., N) per grid row and per grid column, where there are maps of these."""
    if p is None or q is None:
        return None, None if q is None else weights
    on_grid = weights.unflatten(-1, (p.shape[-1], q.shape[-1]))
    return on_grid.sum(-1), on_grid.sum(-2)


def _outer_sum(rows: Tensor | None, columns: Tensor | None, out: Tensor | None = None) -> Tensor | None:
    """(..., I) and (..., J) to (..., I J)."""
    if rows is None or columns is None:
        return columns
    on_grid = None if out is None else out.unflatten(-1, (rows.shape[-1], columns.shape[-1]))
    total = torch.add(rows[..., :, None], columns[..., None, :], out=on_grid)
    return total.flatten(-2) if out is None else out


def _joined(blocks: Sequence[tuple[Tensor | None, ...]], leading: tuple[int, int]) -> list[Tensor | None]:
    """Puts the blocks' results together along networks and examples."""
    columns = zip(*blocks, strict=True)
    flat = (None if parts[0] is None else torch.cat([part.flatten(0, 1) for part in parts]) for parts in columns)
    return [None if part is None else part.unflatten(0, leading) for part in flat]
