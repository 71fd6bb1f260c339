"""Softmax attention with queries shared by all examples, over content and per-axis positions, without keys or values.

With keys linear in a token, a query's score is one linear map of the token, and with values linear in it, the
attention needs only the weighted sum of tokens. Let row r be one query of one head, A its map of the content x, P and Q
its maps of the positions (row and column of the grid), and g the token's own scale (one over its deviation):

    t[r, n] = A[r] x[n] + P[r, i] + Q[r, j]              with token n at row i, column j of the grid
    e[r, n] = g[n] softmax_n(g[n] t[r, n])
    content[r] = sum_n e[r, n] x[n]     rows[r, i] = sum_j e[r, i, j]     columns[r, j] = sum_i e[r, i, j]

Backwards, let w be the gradient of e, which has the form of t with the outputs' gradients as maps, and d[r] =
sum_n e w, which is the inner product of the outputs and their gradients. Then the gradient of t is e (g w - d), and
its sums over tokens are those of the forward pass. Scores are recomputed instead of stored, a few examples at
a time, so that they stay in cache. One softmax gives e up to a factor per row, of scores g t + log g; the factor is
the sum of that softmax over g.

Under ``torch.vmap``, several networks become examples of one batch, each with its own maps: maps then have a leading
axis of examples, (B, R, ...) instead of (R, ...).

Shape suffixes: B batch, b examples of a block, R rows (queries times heads), N tokens, C channels, I grid rows, J grid
columns.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

# Scores processed at a time: on a CPU as many as stay in cache, on an accelerator as many as fit in memory.
CPU_BLOCK_SCORES = 2**19
ACCELERATOR_BLOCK_SCORES = 2**28

# A product of many rows and few features is faster when split into groups of rows: for scores up to this many features,
# for weighted sums up to this many channels, and only with several threads to share the groups.
GROUP_ROWS = 8
MAX_GROUPED_FEATURES = 5
MAX_GROUPED_CHANNELS = 3

_kept = threading.local()


class PreparedTokens(NamedTuple):
    """The tokens as the attention reads them.

    Attributes:
        x_BCN: Their content, in the order of the grid.
        g_BN: Positive scale of each token; None means 1.
    """

    x_BCN: Float[Tensor, "batch channels tokens"]
    g_BN: Float[Tensor, "batch tokens"] | None

    def map(self, function: Callable[[Tensor], Any]) -> PreparedTokens:
        """Applies a function to each of the tensors, in order."""
        return PreparedTokens(function(self.x_BCN), None if self.g_BN is None else function(self.g_BN))


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
        g_BN: Positive scale of each token; None means 1.
        a_RC: Content's part in the scores.
        p_RI: Scores of the grid's rows; None if positions use only one axis, or there are none.
        q_RJ: Scores of the grid's columns; None if there are no positions.

    Returns:
        The weighted sum of contents, and the weights' marginals over grid rows and columns (None if the maps are None).
    """
    if not torch.is_grad_enabled() and (_is_compiling() or torch.is_inference_mode_enabled()):
        # No gradient is needed here, and a call through autograd costs latency.
        sums, _ = _weighted_sums(x_BCN, g_BN, a_RC, p_RI, q_RJ)
        return sums
    content, rows, columns, _ = _FoldedAttention.apply(x_BCN, g_BN, a_RC, p_RI, q_RJ)
    return content, rows, columns


def attention_map(
    x_BCN: Float[Tensor, "batch channels tokens"],
    g_BN: Float[Tensor, "batch tokens"] | None,
    a_RC: Float[Tensor, "rows channels"],
    p_RI: Float[Tensor, "rows grid_rows"] | None,
    q_RJ: Float[Tensor, "rows grid_columns"] | None,
) -> Float[Tensor, "batch rows tokens"]:
    """The softmax over tokens, differentiable: B R N numbers. Arguments as for ``folded_attention``."""
    scores_BRN = a_RC @ x_BCN
    positions_RN = _position_scores(p_RI, q_RJ)
    if positions_RN is not None:
        scores_BRN = scores_BRN + positions_RN
    return torch.softmax(scores_BRN if g_BN is None else scores_BRN * g_BN[:, None], dim=-1)


class _FoldedAttention(torch.autograd.Function):
    """Returns the three sums and the factor per row from the softmax to e, which the backward pass uses again."""

    @staticmethod
    def forward(
        x_BCN: Tensor, g_BN: Tensor | None, a_RC: Tensor, p_RI: Tensor | None, q_RJ: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        sums, factor_BR1 = _weighted_sums(x_BCN, g_BN, a_RC, p_RI, q_RJ)
        return *sums, factor_BR1

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor | None, ...], output: tuple[Tensor | None, ...]) -> None:
        *sums, factor_BR1 = output
        if factor_BR1 is not None:
            ctx.mark_non_differentiable(factor_BR1)
        ctx.save_for_backward(*inputs, factor_BR1, *sums)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *d_output: Tensor | None) -> tuple[Tensor | None, ...]:
        x_BCN, g_BN, a_RC, p_RI, q_RJ, factor_BR1, *sums = ctx.saved_tensors
        wants_x, wants_g = ctx.needs_input_grad[:2]
        tokens = _Tokens(x_BCN, g_BN)
        score_maps_RF = tokens.score_maps(a_RC)
        d_content, d_rows, d_columns, inner_BR1 = _gradient_maps(d_output[:3], sums, factor_BR1)
        gradient_maps_BRF = tokens.gradient_maps(d_content, inner_BR1)
        d_maps = [None if part is None else torch.zeros_like(part) for part in (a_RC, p_RI, q_RJ)]
        blocks, (scratch, gradient_scratch) = _blocks_and_scratch(x_BCN, a_RC, 2)
        d_tokens = []
        for block in blocks:
            a, p, q, score_maps = (_maps_of(block, part) for part in (a_RC, p_RI, q_RJ, score_maps_RF))
            weights_bRN = tokens.softmax(block, score_maps, p, q, scratch)
            columns, rows = (None if part is None else part[block] for part in (d_columns, d_rows))
            d_t_bRN = tokens.scores(block, gradient_maps_BRF[block], rows, columns, gradient_scratch).mul_(weights_bRN)
            for total, part in zip(d_maps, tokens.sums(block, d_t_bRN, p, q), strict=True):
                if total is not None and part is not None:
                    _add_maps(total, block, part)
            if wants_x or wants_g:
                maps = (a, _position_scores(p, q) if wants_g else None, d_content[block], inner_BR1[block])
                d_tokens.append(tokens.gradients(block, weights_bRN, d_t_bRN, *maps))
        d_x, d_g = _joined(d_tokens) if d_tokens else (None, None)
        return d_x if wants_x else None, d_g if wants_g else None, *d_maps

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *inputs: Tensor | None) -> tuple[Any, Any]:
        networks = [
            part if part is None else part.expand(info.batch_size, *part.shape) if dim is None else part.movedim(dim, 0)
            for part, dim in zip(inputs, in_dims, strict=True)
        ]
        x_SBCN, g_SBN, *maps = networks
        assert x_SBCN is not None
        batch = x_SBCN.shape[1]
        own = (None if part is None else _maps_of_examples(part, batch) for part in maps)
        output = _FoldedAttention.apply(x_SBCN.flatten(0, 1), None if g_SBN is None else g_SBN.flatten(0, 1), *own)
        output = tuple(None if part is None else part.unflatten(0, (-1, batch)) for part in output)
        return output, tuple(None if part is None else 0 for part in output)


def _weighted_sums(
    x_BCN: Tensor, g_BN: Tensor | None, a_RC: Tensor, p_RI: Tensor | None, q_RJ: Tensor | None
) -> tuple[Sums, Tensor | None]:
    """The result of ``folded_attention``, and the factor per row from the softmax to e."""
    tokens = _Tokens(x_BCN, g_BN)
    score_maps_RF = tokens.score_maps(a_RC)
    blocks, (scratch,) = _blocks_and_scratch(x_BCN, a_RC, 1)
    results = []
    for block in blocks:
        score_maps, p, q = (_maps_of(block, part) for part in (score_maps_RF, p_RI, q_RJ))
        weights_bRN = tokens.softmax(block, score_maps, p, q, scratch)
        results.append((*tokens.sums(block, weights_bRN, p, q), tokens.factor(block, weights_bRN)))
    content_BRC, rows_BRI, columns_BRJ, factor_BR1 = _joined(results)
    for part in (content_BRC, rows_BRI, columns_BRJ):
        if part is not None and factor_BR1 is not None:
            part.mul_(factor_BR1)
    return (content_BRC, rows_BRI, columns_BRJ), factor_BR1


class _Tokens:
    """A batch of tokens, laid out for the products of the forward and backward passes.

    ``features_BFN`` holds g x, then log g, then ones (without g: x, then ones), so that a shift of the scores is part
    of the product.
    """

    def __init__(self, x_BCN: Tensor, g_BN: Tensor | None) -> None:
        batch, channels, num_tokens = x_BCN.shape
        self.x_BCN = x_BCN
        self.g_B1N = None if g_BN is None else g_BN[:, None]
        self.inverse_g_BN1 = None if g_BN is None else g_BN.reciprocal()[..., None]
        self.features_BFN = x_BCN.new_empty(batch, channels + (1 if g_BN is None else 2), num_tokens)
        if self.g_B1N is None:
            self.features_BFN[:, :channels] = x_BCN
        else:
            torch.mul(x_BCN, self.g_B1N, out=self.features_BFN[:, :channels])
            torch.log(self.g_B1N, out=self.features_BFN[:, channels : channels + 1])
        self.features_BFN[:, -1] = 1.0

    def score_maps(self, a_RC: Tensor) -> Tensor:
        """Maps of the features to g A x + log g, or A x."""
        return a_RC if self.g_B1N is None else torch.cat([a_RC, torch.ones_like(a_RC[..., :1])], dim=-1)

    def gradient_maps(self, content_BRC: Tensor, inner_BR1: Tensor) -> Tensor:
        """Maps of the features to g times a map of x, minus the inner product."""
        log_g = [] if self.g_B1N is None else [torch.zeros_like(inner_BR1)]
        return torch.cat([content_BRC, *log_g, -inner_BR1], dim=-1)

    def scores(
        self, block: slice, maps: Tensor, rows: Tensor | None, columns: Tensor | None, scratch: Tensor
    ) -> Tensor:
        """g times the positions' scores, plus maps of the first features (as many as there are maps); in scratch."""
        features_bFN = self.features_BFN[block, : maps.shape[-1]]
        scores_bRN = scratch[: len(features_bFN)]
        positions = _position_scores(rows, columns, out=scores_bRN)
        groups = _num_groups(scores_bRN) if maps.shape[-1] <= MAX_GROUPED_FEATURES else 1
        maps_bRF = _in_groups(maps.expand(len(features_bFN), -1, -1), groups)
        factors, grouped = (maps_bRF, features_bFN.expand(len(maps_bRF), -1, -1)), _in_groups(scores_bRN, groups)
        if positions is None:
            torch.bmm(*factors, out=grouped)
            return scores_bRN
        if self.g_B1N is not None:
            torch.mul(positions, self.g_B1N[block], out=scores_bRN)
        elif positions is not scores_bRN:
            scores_bRN.copy_(positions)
        grouped.baddbmm_(*factors)
        return scores_bRN

    def softmax(
        self, block: slice, maps_RF: Tensor, p_RI: Tensor | None, q_RJ: Tensor | None, scratch: Tensor
    ) -> Tensor:
        """Softmax over tokens of g t + log g, or of t; in scratch."""
        scores_bRN = self.scores(block, maps_RF, p_RI, q_RJ, scratch)
        return torch.softmax(scores_bRN, dim=-1, out=scores_bRN)

    def factor(self, block: slice, weights_bRN: Tensor) -> Tensor | None:
        """The factor per row from the softmax to e."""
        return None if self.inverse_g_BN1 is None else (weights_bRN @ self.inverse_g_BN1[block]).reciprocal_()

    def sums(
        self, block: slice, weights_bRN: Tensor, p_RI: Tensor | None, q_RJ: Tensor | None
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Weighted sums over tokens: of contents, and, if there are maps, per grid row and per grid column."""
        x_bCN = self.x_BCN[block]
        is_grouped = x_bCN.shape[1] <= MAX_GROUPED_CHANNELS and not _is_compiling() and torch.get_num_threads() > 1
        groups = _num_groups(weights_bRN) if is_grouped else 1
        grouped = _in_groups(weights_bRN, groups)
        content_bRC = (x_bCN.expand(len(grouped), -1, -1) @ grouped.mT).mT.reshape(*weights_bRN.shape[:2], -1)
        if q_RJ is None or p_RI is None:
            return content_bRC, None, None if q_RJ is None else weights_bRN.clone()
        on_grid = weights_bRN.unflatten(2, (p_RI.shape[-1], q_RJ.shape[-1]))
        return content_bRC, on_grid.sum(3), on_grid.sum(2)

    def gradients(
        self,
        block: slice,
        weights_bRN: Tensor,
        d_t_bRN: Tensor,
        a_RC: Tensor,
        positions_RN: Tensor | None,
        content_bRC: Tensor,
        inner_bR1: Tensor,
    ) -> tuple[Tensor, Tensor | None]:
        """Gradients of content and scale, needed only by saliency and learned inputs."""
        d_scores_bCN = a_RC.mT @ d_t_bRN
        d_x_bCN = d_scores_bCN + content_bRC.transpose(1, 2) @ weights_bRN
        if self.g_B1N is None:
            return d_x_bCN, None
        g_bN = self.g_B1N[block, 0]
        # sum_r of d_t t, and of e w = (d_t + e d) / g.
        d_g_bN = (d_scores_bCN * self.x_BCN[block]).sum(1) + (d_t_bRN + weights_bRN * inner_bR1).sum(1) / g_bN
        if positions_RN is not None:
            d_g_bN += (d_t_bRN * positions_RN).sum(1)
        return d_x_bCN, d_g_bN / g_bN


def _gradient_maps(
    d_sums: tuple[Tensor | None, ...], sums: list[Tensor | None], factor: Tensor | None
) -> tuple[Any, ...]:
    """Gradients of the outputs, then the inner product with the outputs, all times the factor from the softmax to e."""
    pairs = [(grad, part) for grad, part in zip(d_sums, sums, strict=True) if grad is not None and part is not None]
    inner_BR1 = torch.cat([(grad * part).sum(-1, keepdim=True) for grad, part in pairs], dim=-1).sum(-1, keepdim=True)
    return tuple(part if part is None or factor is None else part * factor for part in (*d_sums, inner_BR1))


def _maps_of(block: slice, maps: Tensor | None) -> Any:
    """The maps of a block's examples; shared maps are returned whole."""
    return maps if maps is None or maps.dim() == 2 else maps[block]


def _maps_of_examples(maps: Tensor, batch: int) -> Tensor:
    """Each network's maps, (S, R, F), or (S, B, R, F) where its examples have their own, as (S B, R, F)."""
    own = maps if maps.dim() == 4 else maps[:, None].expand(-1, batch, -1, -1)
    return own.flatten(0, 1)


def _add_maps(total: Tensor, block: slice, part_bRF: Tensor) -> None:
    """Adds a block's gradients to those of the maps, per example or shared."""
    if total.dim() == 2:
        total += part_bRF.sum(0)
    else:
        total[block] = part_bRF


def _num_groups(rows_bRN: Tensor) -> int:
    """Number of groups of rows that a product of one example on a CPU can be split into; else 1."""
    batch, num_rows, _ = rows_bRN.shape
    return num_rows // GROUP_ROWS if batch == 1 and num_rows % GROUP_ROWS == 0 and rows_bRN.device.type == "cpu" else 1


def _in_groups(rows_bRF: Tensor, groups: int) -> Tensor:
    return rows_bRF if groups == 1 else rows_bRF[0].unflatten(0, (groups, -1))


def _blocks_and_scratch(x_BCN: Tensor, a_RC: Tensor, count: int) -> tuple[list[slice], list[Tensor]]:
    """Blocks of examples whose scores fit the limit, and scratch memory for one block."""
    limit = CPU_BLOCK_SCORES if x_BCN.device.type == "cpu" else ACCELERATOR_BLOCK_SCORES
    num_examples, _, num_tokens = x_BCN.shape
    size = min(num_examples, max(1, limit // (a_RC.shape[-2] * num_tokens)))
    blocks = [slice(start, start + size) for start in range(0, num_examples, size)]
    return blocks, [_scratch(x_BCN, index, (size, a_RC.shape[-2], num_tokens)) for index in range(count)]


def _scratch(like: Tensor, index: int, shape: tuple[int, ...]) -> Tensor:
    """Memory that a thread reuses between calls on a CPU, where new memory costs a page fault every 4 KiB."""
    size = math.prod(shape)
    key = (index, like.dtype, like.device)
    kept: dict[Any, Tensor] = _kept.__dict__
    # The autograd mode may be any; cached memory must not depend on it.
    if like.device.type != "cpu" or _is_compiling():
        return like.new_empty(shape)
    if key not in kept or kept[key].numel() < size:
        with torch.inference_mode(False):
            kept[key] = torch.empty(size, dtype=like.dtype, device=like.device)
    return kept[key][:size].view(shape)


def _is_compiling() -> bool:
    """Whether ``torch.compile`` is tracing: it plans memory itself, and cannot query the number of threads."""
    return torch.compiler.is_compiling()


def _joined(blocks: Sequence[tuple[Tensor | None, ...]]) -> list[Any]:
    if len(blocks) == 1:
        return [None if part is None else part.contiguous() for part in blocks[0]]
    return [None if parts[0] is None else torch.cat(parts) for parts in zip(*blocks, strict=True)]


def _position_scores(rows: Tensor | None, columns: Tensor | None, out: Tensor | None = None) -> Tensor | None:
    """(..., I) and (..., J) to (..., I J), into ``out`` if given; columns alone are returned unchanged."""
    if rows is None or columns is None:
        return columns
    if out is None:
        return torch.add(rows[..., :, None], columns[..., None, :]).flatten(-2)
    num_rows, num_columns = rows.shape[-1], columns.shape[-1]
    on_grid = out.unflatten(-1, (num_rows, num_columns))
    rows, columns = rows.expand(*out.shape[:-1], num_rows), columns.expand(*out.shape[:-1], num_columns)
    torch.add(rows[..., :, None], columns[..., None, :], out=on_grid)
    return out
