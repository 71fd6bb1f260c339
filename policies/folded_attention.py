"""Softmax attention whose queries all examples share, over content and per-axis positions, without keys or values.

With keys linear in a token, a query's score is one linear map of the token, and with values linear in it, the
attention needs the weighted sum of tokens only. Let row r be one query of one head, A its map of the content x, P and Q
its maps of the positions (row and column of the grid), and g the token's own scale (one over its deviation):

    s[r, n] = g[n] (A[r] x[n] + P[r, i] + Q[r, j])       with token n at row i, column j of the grid
    e[r, n] = g[n] softmax_n(s[r])[n]
    content[r] = sum_n e[r, n] x[n]     rows[r, i] = sum_j e[r, i, j]     columns[r, j] = sum_i e[r, i, j]

Backwards, let u = dcontent x + drows + dcolumns (the same form as s / g) and d[r] = sum_n e u, which is the inner
product of the outputs and their gradients. Then the gradient of s / g is e (g u - d), and the sums of it over tokens
are those of the forward pass. The scores are computed again instead of kept, a few examples at a time, so that they
stay in cache.

Shape suffixes: B batch, R rows (queries times heads), N tokens, C channels, I grid rows, J grid columns.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

# Scores that are worked on at a time: on a CPU what stays in cache, on an accelerator what fits in memory.
CPU_BLOCK_SCORES = 2**19
ACCELERATOR_BLOCK_SCORES = 2**28


def folded_attention(
    x_BNC: Float[Tensor, "batch tokens channels"],
    g_BN: Float[Tensor, "batch tokens"] | None,
    a_RC: Float[Tensor, "rows channels"],
    p_RI: Float[Tensor, "rows grid_rows"],
    q_RJ: Float[Tensor, "rows grid_columns"],
) -> tuple[
    Float[Tensor, "batch rows channels"],
    Float[Tensor, "batch rows grid_rows"],
    Float[Tensor, "batch rows grid_columns"],
]:
    """Attends to tokens on an I x J grid, N = I J in row-major order (see the module's docstring for the formulas).

    Args:
        x_BNC: Content of the tokens.
        g_BN: Positive scale of each token; None stands for ones.
        a_RC: Content's part in the scores.
        p_RI: Scores of the grid's rows.
        q_RJ: Scores of the grid's columns.

    Returns:
        The weighted sum of contents, and the weights' marginals over grid rows and columns.
    """
    return _FoldedAttention.apply(x_BNC, g_BN, a_RC, p_RI, q_RJ)


def attention_map(
    x_BNC: Float[Tensor, "batch tokens channels"],
    g_BN: Float[Tensor, "batch tokens"] | None,
    a_RC: Float[Tensor, "rows channels"],
    p_RI: Float[Tensor, "rows grid_rows"],
    q_RJ: Float[Tensor, "rows grid_columns"],
) -> Float[Tensor, "batch rows tokens"]:
    """The softmax over tokens itself, differentiable: B R N numbers."""
    positions_RN = (p_RI[:, :, None] + q_RJ[:, None, :]).flatten(1)
    scores_BRN = a_RC @ x_BNC.transpose(1, 2) + positions_RN
    return torch.softmax(scores_BRN if g_BN is None else scores_BRN * g_BN[:, None], dim=-1)


class _FoldedAttention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x_BNC: Tensor, g_BN: Tensor | None, a_RC: Tensor, p_RI: Tensor, q_RJ: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        batch, _, channels = x_BNC.shape
        num_rows, grid_rows = p_RI.shape
        content = x_BNC.new_empty(batch, num_rows, channels)
        rows = x_BNC.new_empty(batch, num_rows, grid_rows)
        columns = x_BNC.new_empty(batch, num_rows, q_RJ.shape[1])
        log_sums = x_BNC.new_empty(batch, num_rows, 1)
        positions_RN = _position_scores(p_RI, q_RJ)
        for block in _blocks(x_BNC, num_rows):
            x, g = x_BNC[block], _scale(g_BN, block)
            scores = _scores(x, g, a_RC, positions_RN)
            log_sums[block] = torch.logsumexp(scores, -1, keepdim=True)
            e = scores.sub_(log_sums[block]).exp_()
            if g is not None:
                e *= g
            content[block], rows[block], columns[block] = _sums(e, x, grid_rows)
        ctx.save_for_backward(x_BNC, g_BN, a_RC, p_RI, q_RJ, log_sums, content, rows, columns)
        return content, rows, columns

    @staticmethod
    def backward(ctx: Any, d_content: Tensor, d_rows: Tensor, d_columns: Tensor) -> tuple[Tensor | None, ...]:
        x_BNC, g_BN, a_RC, p_RI, q_RJ, log_sums, content, rows, columns = ctx.saved_tensors
        inner = (d_content * content).sum(-1) + (d_rows * rows).sum(-1) + (d_columns * columns).sum(-1)
        d_a, d_p, d_q = torch.zeros_like(a_RC), torch.zeros_like(p_RI), torch.zeros_like(q_RJ)
        d_x = torch.empty_like(x_BNC) if ctx.needs_input_grad[0] else None
        d_g = torch.empty_like(g_BN) if ctx.needs_input_grad[1] else None
        positions_RN = _position_scores(p_RI, q_RJ)
        for block in _blocks(x_BNC, a_RC.shape[0]):
            x, g = x_BNC[block], _scale(g_BN, block)
            scores = _scores(x, g, a_RC, positions_RN)
            e = (scores - log_sums[block]).exp_()
            if g is not None:
                e *= g
            u = (d_rows[block][..., None] + d_columns[block][:, :, None]).flatten(2)
            u.baddbmm_(d_content[block], x.transpose(1, 2))
            ds = u * g if g is not None else u.clone()
            ds.sub_(inner[block][..., None]).mul_(e)
            block_a, block_p, block_q = _sums(ds, x, p_RI.shape[1])
            d_a += block_a.sum(0)
            d_p += block_p.sum(0)
            d_q += block_q.sum(0)
            if d_x is not None:
                d_x[block] = ds.transpose(1, 2) @ a_RC + e.transpose(1, 2) @ d_content[block]
            if d_g is not None:
                assert g is not None
                d_g[block] = ((ds * scores / g + e * u) / g).sum(1)
        return d_x, d_g, d_a, d_p, d_q


def _blocks(x_BNC: Tensor, num_rows: int) -> list[slice]:
    limit = CPU_BLOCK_SCORES if x_BNC.device.type == "cpu" else ACCELERATOR_BLOCK_SCORES
    size = max(1, limit // (num_rows * x_BNC.shape[1]))
    return [slice(start, start + size) for start in range(0, x_BNC.shape[0], size)]


def _scale(g_BN: Tensor | None, block: slice) -> Tensor | None:
    return None if g_BN is None else g_BN[block][:, None]


def _position_scores(p_RI: Tensor, q_RJ: Tensor) -> Tensor:
    return (p_RI[:, :, None] + q_RJ[:, None, :]).flatten(1)


def _scores(x: Tensor, g: Tensor | None, a_RC: Tensor, positions_RN: Tensor) -> Tensor:
    scores = torch.baddbmm(positions_RN.expand(x.shape[0], -1, -1), a_RC.expand(x.shape[0], -1, -1), x.transpose(1, 2))
    return scores if g is None else scores.mul_(g)


def _sums(weights: Tensor, x: Tensor, grid_rows: int) -> tuple[Tensor, Tensor, Tensor]:
    """Sums over tokens: times content, per grid row, per grid column."""
    on_grid = weights.unflatten(2, (grid_rows, -1))
    return weights @ x, on_grid.sum(3), on_grid.sum(2)
