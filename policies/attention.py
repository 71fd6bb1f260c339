"""Cross-attention from a few latents to a long array of tokens, with all linear maps folded together.

The plain form (tokens with their position features, LayerNorm, keys, values, softmax) is what ``ByteCrossAttention``
computes, without building any of these arrays. With q a query, W the keys' weights, D the LayerNorm's gain, and f a
token's features of mean m and deviation 1 / g, the score is q W D g (f - m), linear in f, and the mean is removed
by subtracting the mean from the map q W D itself. A constant added to all tokens (the LayerNorm's bias, through the
keys) leaves the softmax unchanged. The value side is folded in the same way from the left.

Shape suffixes: B batch, L queries, H heads, R = L H rows, M tokens, C content channels, P position features, F = C + P,
I and J rows and columns of the grid folded to two axes, E width of the latents.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from smidgen.policies.folded_attention import PreparedTokens, attention_map, folded_attention
from smidgen.policies.positions import PositionEncoding
from smidgen.runtime.errors import UserError


class CrossAttentionWeights(NamedTuple):
    """Weights of a ``ByteCrossAttention``, read out once, and what it computes from them before seeing a token.

    Attributes:
        content_RC: Maps of a token's content to its scores.
        rows_RI: Scores of the grid's rows; None if positions lie on one axis only, or there are none.
        columns_RJ: Scores of the grid's columns; None without positions.
        norm_F: The LayerNorm's gain; None without a LayerNorm, or where the maps of the values contain it.
        value_HFE: Maps of the values, a matrix per head; only the content's rows where ``position_HME`` is given.
        value_bias_E: Bias added to the sums of values.
        output_EE: Map of the result.
        output_bias_E: Its bias.
        position_HME: Values of every token's position, where there are about as many features as tokens; else None.
    """

    content_RC: Float[Tensor, "rows channels"]
    rows_RI: Float[Tensor, "rows grid_rows"] | None
    columns_RJ: Float[Tensor, "rows grid_columns"] | None
    norm_F: Float[Tensor, " features"] | None
    value_HFE: Float[Tensor, "heads features head_width"]
    value_bias_E: Float[Tensor, " width"]
    output_EE: Float[Tensor, "width width"]
    output_bias_E: Float[Tensor, " width"]
    position_HME: Float[Tensor, "heads tokens head_width"] | None = None

    @property
    def score_maps(self) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """The maps of content, grid rows and grid columns, as arguments of the attention functions."""
        return self.content_RC, self.rows_RI, self.columns_RJ


class ByteCrossAttention(nn.Module):
    """Multi-head attention over tokens of content and position features; its queries are cheapest when all examples
    share them.

    Equal to LayerNorm over the concatenated features, linear keys and values, softmax of q k / sqrt(width of a head), a
    weighted sum of values, and a linear output. Has the parameters ``to_query``, ``to_key``, ``to_value`` and
    ``to_output`` of the plain form, so that optimisers behave the same.

    Args:
        width: Width E of the queries and of the output.
        channels: Content channels C of a token.
        positions: Position features of the tokens.
        num_heads: Number H of heads; must divide ``width``.
        layer_norm: Whether to apply a LayerNorm before keys and values.
        content_gain: Initial gain of the LayerNorm on content; on position features it is 1.
    """

    def __init__(
        self,
        width: int,
        channels: int,
        positions: PositionEncoding,
        *,
        num_heads: int = 1,
        layer_norm: bool = True,
        content_gain: float = 1.0,
    ) -> None:
        super().__init__()
        if width % num_heads:
            raise UserError(f"expected num_cross_heads that divides {width}, got {num_heads}")
        self.channels = channels
        self.num_heads = num_heads
        self.positions = positions
        features = channels + positions.num_features
        self.norm = nn.LayerNorm(features) if layer_norm else None
        if self.norm is not None:
            with torch.no_grad():
                self.norm.weight[:channels] = content_gain
        self.to_query = nn.Linear(width, width)
        # No bias: it would shift all tokens' scores equally, which the softmax ignores.
        self.to_key = nn.Linear(features, width, bias=False)
        self.to_value = nn.Linear(features, width)
        self.to_output = nn.Linear(width, width)
        self.split = _balanced_split(positions.axis_lengths)

    def forward(
        self,
        queries: Float[Tensor, "*batch queries width"] | CrossAttentionWeights,
        x_BMC: Float[Tensor, "batch tokens channels"] | PreparedTokens,
    ) -> Float[Tensor, "batch queries width"]:
        """Attends to tokens.

        Args:
            queries: Queries, the same for every example or each example's own, or the result of ``fold``.
            x_BMC: Content of the tokens, or the result of ``prepare``.
        """
        with torch.autocast(self.to_key.weight.device.type, enabled=False):
            weights = queries if isinstance(queries, CrossAttentionWeights) else self.fold(queries)
            tokens = x_BMC if isinstance(x_BMC, PreparedTokens) else self.prepare(x_BMC)
            sums = folded_attention(tokens.x_BCN, tokens.g_BN, *weights.score_maps)
            return functional.linear(self._values(*sums, weights), weights.output_EE, weights.output_bias_E)

    def fold(self, queries_LE: Float[Tensor, "*batch queries width"]) -> CrossAttentionWeights:
        """Precomputes what ``forward`` needs from fixed queries and weights."""
        value, output, norm = self.to_value, self.to_output, self.norm
        with torch.autocast(value.weight.device.type, enabled=False):
            bias_E = value.bias if norm is None else value.bias + value.weight @ norm.bias
            gain_F = None if norm is None else norm.weight
            value_HFE = value.weight.unflatten(0, (self.num_heads, -1)).transpose(1, 2)
            maps = self._score_maps(queries_LE)
            if not self.positions.has_many_features:
                return CrossAttentionWeights(*maps, gain_F, value_HFE, bias_E, output.weight, output.bias)
            if gain_F is not None:
                value_HFE = value_HFE * gain_F[:, None]
                value_HFE = value_HFE - value_HFE.mean(1, keepdim=True)
            content_HCE, features_HPE = value_HFE.split([self.channels, self.positions.num_features], dim=1)
            (position_HEM,) = self.positions.project(features_HPE.mT)
            return CrossAttentionWeights(
                *maps, None, content_HCE, bias_E, output.weight, output.bias, position_HEM.mT.contiguous()
            )

    def prepare(self, x_BMC: Float[Tensor, "batch tokens channels"]) -> PreparedTokens:
        """Precomputes what ``forward`` needs from fixed tokens; depends on no weights."""
        x_BCM = self._content(x_BMC)
        return PreparedTokens(x_BCM, self._scale(x_BCM))

    def attention_map(
        self, queries_LE: Float[Tensor, "queries width"], x_BMC: Float[Tensor, "batch tokens channels"] | PreparedTokens
    ) -> Float[Tensor, "batch heads queries tokens"]:
        """The attention weights, which sum to 1 over tokens; for maps and entropies, B H L M numbers."""
        tokens = x_BMC if isinstance(x_BMC, PreparedTokens) else self.prepare(x_BMC)
        weights_BRM = attention_map(tokens.x_BCN, tokens.g_BN, *self._score_maps(queries_LE))
        return self.positions.restore(weights_BRM).unflatten(1, (self.num_heads, -1))

    def _content(self, x_BMC: Tensor) -> Tensor:
        """Content with channels first and tokens in the order of their places on the grid."""
        return self.positions.arrange(x_BMC.to(self.to_key.weight.dtype).transpose(1, 2)).contiguous()

    def _score_maps(self, queries_LE: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Folds queries, keys and LayerNorm into maps of the content and of the grid's rows and columns."""
        head_width = queries_LE.shape[-1] // self.num_heads
        queries_HLE = self.to_query(queries_LE).unflatten(-1, (self.num_heads, head_width)).transpose(-3, -2)
        keys_HEF = self.to_key.weight.unflatten(0, (self.num_heads, head_width))
        maps_RF = (queries_HLE @ keys_HEF).flatten(-3, -2) / math.sqrt(head_width)
        if self.norm is not None:
            maps_RF = maps_RF * self.norm.weight
            maps_RF = maps_RF - maps_RF.mean(-1, keepdim=True)
        content_RC, position_RP = maps_RF.split([self.channels, self.positions.num_features], dim=-1)
        tables = self.positions.project(position_RP)
        return content_RC, _joint_table(tables[: self.split]), _joint_table(tables[self.split :])

    def _values(
        self,
        content_BRC: Tensor,
        rows_BRI: Tensor | None,
        columns_BRJ: Tensor | None,
        weights: CrossAttentionWeights,
    ) -> Tensor:
        """Folds LayerNorm and values onto the weighted sums of tokens."""
        if weights.position_HME is not None and columns_BRJ is not None:
            content_BLE = self._mapped(content_BRC, weights.value_HFE)
            return content_BLE + self._mapped(columns_BRJ, weights.position_HME) + weights.value_bias_E
        lengths = self.positions.axis_lengths
        marginals = _marginals(rows_BRI, lengths[: self.split]) + _marginals(columns_BRJ, lengths[self.split :])
        sums_BRF = torch.cat([content_BRC, self.positions.collect(marginals)], -1) if marginals else content_BRC
        if weights.norm_F is not None:
            sums_BRF = (sums_BRF - sums_BRF.mean(-1, keepdim=True)) * weights.norm_F
        return self._mapped(sums_BRF, weights.value_HFE) + weights.value_bias_E

    def _mapped(self, sums_BRF: Tensor, maps_HFE: Tensor) -> Tensor:
        """Applies each head's map to its rows: one product per head for all examples, without repeating the maps."""
        sums_HBLF = sums_BRF.unflatten(1, (self.num_heads, -1)).transpose(0, 1)
        values_HBLE = (sums_HBLF.flatten(1, 2) @ maps_HFE).unflatten(1, sums_HBLF.shape[1:3])
        return values_HBLE.permute(1, 2, 0, 3).flatten(2)

    def _scale(self, x_BCM: Tensor) -> Tensor | None:
        """Inverse of each token's deviation, merged from those of content and positions without cancellation."""
        if self.norm is None:
            return None
        channels, features = self.channels, self.channels + self.positions.num_features
        position_mean_M, position_squares_M = self.positions.token_moments(x_BCM)
        mean_BM = x_BCM.mean(1)
        squares_BM = (x_BCM - mean_BM[:, None]).square().sum(1) + position_squares_M
        between_BM = (mean_BM - position_mean_M).square()
        squares_BM = squares_BM + between_BM * (channels * self.positions.num_features / features)
        return (squares_BM / features + self.norm.eps).rsqrt()


def _balanced_split(lengths: tuple[int, ...]) -> int:
    """Number of leading axes that form the grid's rows, so that rows and columns are about equal in number."""
    sides = [max(math.prod(lengths[:k]), math.prod(lengths[k:])) for k in range(len(lengths))]
    return sides.index(min(sides)) if sides else 0


def _joint_table(tables: list[Tensor]) -> Tensor | None:
    """Combines the tables of neighbouring axes into one over their product; None without axes."""
    total = None
    for table in tables:
        total = table if total is None else (total[..., :, None] + table[..., None, :]).flatten(-2)
    return total


def _marginals(weights: Tensor | None, lengths: tuple[int, ...]) -> list[Tensor]:
    """Marginals over each axis of weights over the product of neighbouring axes."""
    if weights is None or len(lengths) == 1:
        return [] if weights is None else [weights]
    on_grid = weights.unflatten(-1, lengths)
    axes = range(-len(lengths), 0)
    return [on_grid.sum([other for other in axes if other != axis]) for axis in axes]
