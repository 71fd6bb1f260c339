"""Softmax attention whose queries all examples share, over content and per-axis positions, without keys or values.

With keys linear in a token, a query's score is one linear map of the token, and with values linear in it, the
attention needs the weighted sum of tokens only. Let row r be one query of one head, A its map of the content x, P and Q
its maps of the positions (row and column of the grid), and g the token's own scale (one over its deviation):

    t[r, n] = A[r] x[n] + P[r, i] + Q[r, j]              with token n at row i, column j of the grid
    e[r, n] = g[n] softmax_n(g[n] t[r, n])
    content[r] = sum_n e[r, n] x[n]     rows[r, i] = sum_j e[r, i, j]     columns[r, j] = sum_i e[r, i, j]

Backwards, let w be the gradient of e, which has the form of t with the outputs' gradients as maps, and d[r] =
sum_n e w, which is the inner product of the outputs and their gradients. Then the gradient of t is e (g w - d), and
its sums over tokens are those of the forward pass. Scores are computed again instead of kept, a few examples at a
time, so that they stay in cache. One softmax gives e up to a factor per row, of scores g t + log g; the factor is
the sum of that softmax over g.

Shape suffixes: B batch, b examples of a block, R rows (queries times heads), N tokens, C channels, I grid rows, J grid
columns.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

# Scores that are worked on at a time: on a CPU what stays in cache, on an accelerator what fits in memory.
CPU_BLOCK_SCORES = 2**19
ACCELERATOR_BLOCK_SCORES = 2**28

Sums = tuple[
    Float[Tensor, "batch rows channels"],
    Float[Tensor, "batch rows grid_rows"] | None,
    Float[Tensor, "batch rows grid_columns"] | None,
]


def folded_attention(
    x_BCN: Float[Tensor, "batch channels tokens"],
    g_BN: Float[Tensor, "batch tokens"] | None,
    a_RC: Float[Tensor, "rows channels"],
    p_RI: Float[Tensor, "rows grid_rows"] | None,
    q_RJ: Float[Tensor, "rows grid_columns"] | None,
) -> Sums:
    """Attends to tokens on an I x J grid, N = I J in row-major order (see the module's docstring for the formulas).

    Args:
        x_BCN: Content of the tokens, best contiguous.
        g_BN: Positive scale of each token; None stands for ones.
        a_RC: Content's part in the scores.
        p_RI: Scores of the grid's rows; None where positions lie on one axis alone, or nowhere.
        q_RJ: Scores of the grid's columns; None where there are no positions.

    Returns:
        The weighted sum of contents, and the weights' marginals over grid rows and columns (None where these are).
    """
    return _FoldedAttention.apply(x_BCN, g_BN, a_RC, p_RI, q_RJ)


def attention_map(
    x_BCN: Float[Tensor, "batch channels tokens"],
    g_BN: Float[Tensor, "batch tokens"] | None,
    a_RC: Float[Tensor, "rows channels"],
    p_RI: Float[Tensor, "rows grid_rows"] | None,
    q_RJ: Float[Tensor, "rows grid_columns"] | None,
) -> Float[Tensor, "batch rows tokens"]:
    """The softmax over tokens itself, differentiable: B R N numbers. Arguments as for ``folded_attention``."""
    scores_BRN = a_RC @ x_BCN
    positions_RN = _position_scores(p_RI, q_RJ)
    if positions_RN is not None:
        scores_BRN = scores_BRN + positions_RN
    return torch.softmax(scores_BRN if g_BN is None else scores_BRN * g_BN[:, None], dim=-1)


class _FoldedAttention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x_BCN: Tensor, g_BN: Tensor | None, a_RC: Tensor, p_RI: Tensor | None, q_RJ: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        positions_RN = _position_scores(p_RI, q_RJ)
        size, (scratch,) = _scratch(x_BCN, a_RC, 1)
        results = []
        for x_bCN, g_bN in _blocks(size, x_BCN, g_BN):
            block = _Block(x_bCN, g_bN)
            weights_bRN = block.softmax(a_RC, positions_RN, scratch)
            results.append((*block.sums(weights_bRN, p_RI, q_RJ), block.factor(weights_bRN)))
        *sums, factor_BR1 = _joined(results)
        if factor_BR1 is not None:
            sums = [None if part is None else part.mul_(factor_BR1) for part in sums]
        ctx.save_for_backward(x_BCN, g_BN, a_RC, p_RI, q_RJ, factor_BR1, *sums)
        return tuple(sums)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *d_sums: Tensor | None) -> tuple[Tensor | None, ...]:
        x_BCN, g_BN, a_RC, p_RI, q_RJ, factor_BR1, *sums = ctx.saved_tensors
        wants_x, wants_g = ctx.needs_input_grad[:2]
        maps = _gradient_maps(d_sums, sums, factor_BR1)
        positions_RN = _position_scores(p_RI, q_RJ)
        d_maps = [None if part is None else torch.zeros_like(part) for part in (a_RC, p_RI, q_RJ)]
        size, (scratch, gradient_scratch) = _scratch(x_BCN, a_RC, 2)
        d_tokens = []
        for x_bCN, g_bN, *block_maps in _blocks(size, x_BCN, g_BN, *maps):
            block = _Block(x_bCN, g_bN)
            weights_bRN = block.softmax(a_RC, positions_RN, scratch)
            d_t_bRN = block.gradient(gradient_scratch, *block_maps).mul_(weights_bRN)
            for total, part in zip(d_maps, block.sums(d_t_bRN, p_RI, q_RJ), strict=True):
                if total is not None and part is not None:
                    total += part.sum(0)
            if wants_x or wants_g:
                d_tokens.append(block.token_gradients(weights_bRN, d_t_bRN, block_maps, a_RC, positions_RN))
        d_x, d_g = _joined(d_tokens) if d_tokens else (None, None)
        return d_x if wants_x else None, d_g if wants_g else None, *d_maps


class _Block:
    """A few examples' tokens, laid out as the products of the forward and the backward pass read them.

    ``features_bFN`` holds g x, then log g, then ones (without g: x, then ones), so that whatever every score is shifted
    by rides along in a product.
    """

    def __init__(self, x_bCN: Tensor, g_bN: Tensor | None) -> None:
        self.g_bN = g_bN
        self.x_bCN = x_bCN
        b, channels, num_tokens = x_bCN.shape
        self.features_bFN = x_bCN.new_empty(b, channels + (1 if g_bN is None else 2), num_tokens)
        if g_bN is None:
            self.features_bFN[:, :channels] = self.x_bCN
        else:
            torch.mul(self.x_bCN, g_bN[:, None], out=self.features_bFN[:, :channels])
            torch.log(g_bN, out=self.features_bFN[:, channels])
        self.features_bFN[:, -1] = 1.0

    def softmax(self, a_RC: Tensor, positions_RN: Tensor | None, scratch: Tensor) -> Tensor:
        """Softmax over tokens of g t + log g, or of t; written to scratch."""
        if self.g_bN is not None:
            a_RC = torch.cat([a_RC, torch.ones_like(a_RC[:, :1])], dim=1)
        scores_bRN = scratch[: len(self.x_bCN)]
        if positions_RN is not None:
            self._scaled(positions_RN, scores_bRN)
        self._add_product(scores_bRN, a_RC.expand(len(self.x_bCN), -1, -1), positions_RN is not None)
        return torch.softmax(scores_bRN, dim=-1, out=scores_bRN)

    def factor(self, weights_bRN: Tensor) -> Tensor | None:
        """What the softmax's result lacks to e, per row."""
        return None if self.g_bN is None else (weights_bRN @ self.g_bN.reciprocal()[..., None]).reciprocal_()

    def sums(
        self, weights_bRN: Tensor, p_RI: Tensor | None, q_RJ: Tensor | None
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Weighted sums over tokens: of contents, and where there are maps, per grid row and per grid column."""
        content_bRC = (self.x_bCN @ weights_bRN.transpose(1, 2)).transpose(1, 2)
        if q_RJ is None or p_RI is None:
            return content_bRC, None, None if q_RJ is None else weights_bRN.clone()
        on_grid = weights_bRN.unflatten(2, (p_RI.shape[1], q_RJ.shape[1]))
        return content_bRC, on_grid.sum(3), on_grid.sum(2)

    def gradient(
        self,
        scratch: Tensor,
        content_bRC: Tensor,
        rows_bRI: Tensor | None,
        columns_bRJ: Tensor | None,
        inner_bR1: Tensor,
    ) -> Tensor:
        """g w - d: the maps applied to content and positions, times g, less the inner product; written to scratch."""
        scores_bRN = scratch[: len(content_bRC)]
        if columns_bRJ is not None:
            if rows_bRI is not None:
                grid = scores_bRN.unflatten(2, (rows_bRI.shape[2], columns_bRJ.shape[2]))
                torch.add(rows_bRI[..., None], columns_bRJ[:, :, None], out=grid)
            self._scaled(columns_bRJ if rows_bRI is None else scores_bRN, scores_bRN)
        maps = [content_bRC, -inner_bR1]
        if self.g_bN is not None:
            maps.insert(1, torch.zeros_like(inner_bR1))
        return self._add_product(scores_bRN, torch.cat(maps, dim=-1), columns_bRJ is not None)

    def token_gradients(
        self,
        weights_bRN: Tensor,
        d_t_bRN: Tensor,
        maps: list[Tensor | None],
        a_RC: Tensor,
        positions_RN: Tensor | None,
    ) -> tuple[Tensor, Tensor | None]:
        """Gradients of content and scale: what only saliency and learned inputs need."""
        content_bRC, *_, inner_bR1 = maps
        assert content_bRC is not None
        assert inner_bR1 is not None
        d_scores_bCN = a_RC.T @ d_t_bRN
        d_x_bCN = d_scores_bCN + content_bRC.transpose(1, 2) @ weights_bRN
        if self.g_bN is None:
            return d_x_bCN, None
        # sum_r of d_t t, and of e w = (d_t + e d) / g.
        d_g_bN = (d_scores_bCN * self.x_bCN).sum(1) + (d_t_bRN + weights_bRN * inner_bR1).sum(1) / self.g_bN
        if positions_RN is not None:
            d_g_bN += (d_t_bRN * positions_RN).sum(1)
        return d_x_bCN, d_g_bN / self.g_bN

    def _scaled(self, scores: Tensor, out_bRN: Tensor) -> None:
        if self.g_bN is None:
            out_bRN.copy_(scores)
        else:
            torch.mul(scores, self.g_bN[:, None], out=out_bRN)

    def _add_product(self, scores_bRN: Tensor, maps_bRF: Tensor, has_scores: bool) -> Tensor:
        """Adds maps of the features (the first ones, as many as there are maps) to scores, or to nothing."""
        features_bFN = self.features_bFN[:, : maps_bRF.shape[2]]
        if has_scores:
            return scores_bRN.baddbmm_(maps_bRF, features_bFN)
        return torch.bmm(maps_bRF, features_bFN, out=scores_bRN)


def _gradient_maps(d_sums: tuple[Tensor | None, ...], sums: list[Tensor | None], factor: Tensor | None) -> list[Any]:
    """Gradients of the outputs, then the inner product with the outputs, all times what the softmax lacks to e."""
    pairs = [(grad, part) for grad, part in zip(d_sums, sums, strict=True) if grad is not None and part is not None]
    inner_BR1 = torch.cat([(grad * part).sum(-1, keepdim=True) for grad, part in pairs], dim=-1).sum(-1, keepdim=True)
    return [part if part is None or factor is None else part * factor for part in (*d_sums, inner_BR1)]


def _scratch(x_BCN: Tensor, a_RC: Tensor, count: int) -> tuple[int, list[Tensor]]:
    """Number of examples to a block, and memory for a block's scores, taken once: fresh memory costs page faults."""
    limit = CPU_BLOCK_SCORES if x_BCN.device.type == "cpu" else ACCELERATOR_BLOCK_SCORES
    num_examples, _, num_tokens = x_BCN.shape
    size = min(num_examples, max(1, limit // (len(a_RC) * num_tokens)))
    return size, [x_BCN.new_empty(size, len(a_RC), num_tokens) for _ in range(count)]


def _blocks(size: int, *parts: Tensor | None) -> Iterator[tuple[Any, ...]]:
    assert parts[0] is not None
    for start in range(0, len(parts[0]), size):
        yield tuple(None if part is None else part[start : start + size] for part in parts)


def _joined(blocks: Sequence[tuple[Tensor | None, ...]]) -> list[Tensor | None]:
    return [None if parts[0] is None else torch.cat(parts) for parts in zip(*blocks, strict=True)]


def _position_scores(rows: Tensor | None, columns: Tensor | None) -> Tensor | None:
    """(..., I) and (..., J) to (..., I J)."""
    if rows is None or columns is None:
        return columns
    return (rows[..., :, None] + columns[..., None, :]).flatten(-2)
