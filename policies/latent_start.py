"""Where a Perceiver's latents look before they have learned anything, and how often they look.

A plateau is uniform attention: thousands of tokens averaged. ``located`` latents start with a window each. Position
scores are a sum over axes, so a bump per axis in the exponent is a window in the image; the keys' position columns are
set, by a pseudo-inverse of the queries, such that each latent's query scores its own bumps.

Shape suffixes: L latents, E their width, H heads, W width of a head, P position features, K bands of an axis.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from smidgen.policies.attention import ByteCrossAttention
from smidgen.policies.positions import AxisFeatures, PositionEncoding
from smidgen.runtime.errors import UserError, unknown_name
from smidgen.runtime.flat_config import later

RANDOM, LOCATED = STARTS = ("random", "located")
# Position encodings in which tokens near one another have features near one another.
LOCAL_ENCODINGS = ("per_axis", "one_d")


@dataclass(frozen=True)
class LookConfig:
    """How latents look at the byte array: where they start, and how often they look."""

    latent_start: str = later(RANDOM, "random, or located: each latent's first attention is a window of its own")
    window_sd: float = later(
        0.15, "located: sd of the first head's window in half-lengths of an axis; next ones double"
    )
    window_nats: float = later(6.0, "located: score at a latent's place above the mean over all tokens")
    query_gain: float = later(1.0, "first gain of the LayerNorm before the queries; above 1: a sharper first attention")
    content_gain: float = later(
        1.0, "initial gain of the byte array's LayerNorm on a token's content; on its position it is 1"
    )
    num_cross_attentions: int = later(1, "times that latents attend to the byte array, spread over the layers")

    def check(
        self, *, position_encoding: str, layer_norm: bool, num_latents: int, head_width: int, num_layers: int
    ) -> None:
        """Refuses what no Perceiver can be built from.

        Args:
            position_encoding: One of ``POSITION_ENCODINGS``.
            layer_norm: Whether there is a LayerNorm over the byte array's tokens.
            num_latents: Number L of latents.
            head_width: Width W of a head of the cross-attention.
            num_layers: Latent self-attention layers.

        Raises:
            UserError: If a name is unknown, a number is out of range, or the latents cannot be located.
        """
        if self.latent_start not in STARTS:
            raise unknown_name("latent_start", self.latent_start, STARTS)
        for name in ("window_sd", "window_nats", "query_gain", "content_gain"):
            if not 0 < getattr(self, name) < math.inf:
                raise UserError(f"expected a positive {name}, got {getattr(self, name)}")
        if self.content_gain != 1.0 and not layer_norm:
            raise UserError("content_gain is the gain of the LayerNorm over the byte array; set input_layer_norm=true")
        if not 1 <= self.num_cross_attentions <= max(1, num_layers):
            raise UserError(
                f"expected num_cross_attentions in 1..num_layers ({num_layers}), got {self.num_cross_attentions}"
            )
        if self.latent_start != LOCATED:
            return
        if position_encoding not in LOCAL_ENCODINGS:
            raise UserError(
                f"latent_start=located needs position_encoding={' or '.join(LOCAL_ENCODINGS)}, got {position_encoding}"
            )
        if num_latents > head_width:
            raise UserError(
                f"latent_start=located needs heads at least num_latents={num_latents} wide, got {head_width} "
                "(latent_dim / num_cross_heads); lower num_latents or num_cross_heads"
            )


PLAIN_LOOK = LookConfig()


@torch.no_grad()
def locate(attention: ByteCrossAttention, queries_LE: Float[Tensor, "latents width"], config: LookConfig) -> None:
    """Adds to an attention's keys what gives each query its window; draws nothing at random.

    Args:
        attention: Its keys' position columns are changed.
        queries_LE: What it is going to be asked with, before its map of the queries.
        config: Height and deviation of the windows; each head's is twice as wide as the one's before it.
    """
    keys_EF, positions = attention.to_key.weight, attention.positions
    if keys_EF.is_meta:
        return
    heads = attention.num_heads
    queries_HLW = attention.to_query(queries_LE).unflatten(1, (heads, -1)).transpose(0, 1)
    nats = config.window_nats * (1.0 if attention.norm is None else position_deviation(attention))
    for head, queries_LW in enumerate(queries_HLW):
        maps_LP = window_maps(positions, len(queries_LE), config.window_sd * 2.0 ** min(head, 64), nats).to(queries_LW)
        width = queries_LW.shape[1]
        wanted_WP = torch.linalg.pinv(queries_LW) @ maps_LP * math.sqrt(width)
        keys_EF[head * width : (head + 1) * width, attention.channels :] += wanted_WP


def position_deviation(attention: ByteCrossAttention) -> float:
    """What a LayerNorm divides a token by if its content is small: the root mean square of its features."""
    squares = sum(float(axis.moments()[1].mean()) for axis in attention.positions.axes)
    return math.sqrt(squares / (attention.channels + attention.positions.num_features))


def window_maps(positions: PositionEncoding, num_latents: int, sd: float, nats: float) -> Float[Tensor, "L P"]:
    """Maps of the position features whose score is a window around each latent's place.

    Args:
        positions: The encoding.
        num_latents: Number L of windows.
        sd: Deviation of a window's bumps, in half-lengths of an axis.
        nats: Score at the middle of a window above the mean over all tokens.
    """
    places = latent_places(positions.axis_lengths, num_latents)
    maps = [
        bump_maps(axis, places[index], sd, nats / len(places)) if index in places else torch.zeros(1, axis.num_features)
        for index, axis in enumerate(positions.axes)
    ]
    return torch.cat([each.expand(num_latents, -1) for each in maps], dim=1)


def latent_places(axis_lengths: tuple[int, ...], num_latents: int) -> Mapping[int, Float[Tensor, " L"]]:
    """Each latent's place, from -1 to 1 on each of the two longest axes (on the one axis where there is one).

    Rows and columns of places are as near as can be to the axes' own proportion; of two equally near, fewer rows.

    Returns:
        Places (L,) by the axis's index.
    """
    longest = sorted(range(len(axis_lengths)), key=lambda index: (-axis_lengths[index], -index))[:2]
    if len(longest) == 1:
        return {longest[0]: _spread(num_latents)}
    first, second = sorted(longest)
    shapes = [(rows, num_latents // rows) for rows in range(1, num_latents + 1) if num_latents % rows == 0]
    proportion = axis_lengths[first] / axis_lengths[second]
    rows, columns = min(shapes, key=lambda shape: round(abs(math.log(shape[0] / shape[1] / proportion)), 9))
    return {first: _spread(rows).repeat_interleave(columns), second: _spread(columns).repeat(rows)}


def _spread(count: int) -> Tensor:
    """Middles of so many equal parts of -1..1."""
    return (2 * torch.arange(count, dtype=torch.float64) + 1) / count - 1


def bump_maps(axis: AxisFeatures, places_L: Float[Tensor, " L"], sd: float, nats: float) -> Float[Tensor, "L P"]:
    """Maps of one axis's features to a bump around each place: a Gaussian's Fourier series without its mean.

    The features repeat after the axis, so a bump at one end shows at the other end too.
    """
    frequency_K = torch.linspace(1.0, float(axis.nyquist), axis.num_bands, dtype=torch.float64)
    weight_K = torch.softmax(-((math.pi * frequency_K * sd) ** 2) / 2, dim=0) * nats
    angle_LK = math.pi * places_L[:, None] * frequency_K
    slope_L1 = torch.zeros(len(places_L), 1, dtype=torch.float64)
    return torch.cat([weight_K * angle_LK.sin(), weight_K * angle_LK.cos(), slope_L1], dim=1)
