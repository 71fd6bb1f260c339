"""The Perceiver: camera frames as one long byte array in, a chunk of normalised actions out.

As in Perceiver IO (Jaegle et al., 2021), learned latents cross-attend to the byte array and attend to each other in a
few layers, and learned output queries, one per future step, cross-attend to them.

Shape suffixes: B batch, T frames, H rows, W columns, C channels, N tokens of the array, M tokens after the input
transform, L latents, E their width, S state coordinates, O output steps, A action features.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from smidgen.policies.attention import ByteCrossAttention, CrossAttentionWeights
from smidgen.policies.folded_attention import PreparedTokens
from smidgen.policies.frame_network import FrameNetwork, require_frames
from smidgen.policies.input_pipeline import InputPipeline
from smidgen.policies.latent_stack import (
    MLP,
    Affine,
    Decoder,
    DecoderWeights,
    LayerWeights,
    MLPWeights,
    SelfAttentionBlock,
    affine,
    decode,
    linear,
    mlp,
    self_attention_block,
)
from smidgen.policies.latent_start import LOCATED, PLAIN_LOOK, LookConfig, locate
from smidgen.policies.positions import POSITION_ENCODINGS, PositionEncoding
from smidgen.policies.transforms import build_transform
from smidgen.runtime.errors import UserError


@dataclass(frozen=True)
class PerceiverConfig:
    """The settings of a Perceiver, apart from the shapes of its input and output."""

    transform: str = field(default="raw", metadata={"help": "input transform, see the list above"})
    transform_scale: str = field(default="ortho", metadata={"help": "ortho (isometry) or none (unnormalised)"})
    full_spectrum: bool = field(default=False, metadata={"help": "Fourier transforms: all coefficients, not half"})
    drop_dc: bool = field(default=False, metadata={"help": "Fourier and related: set coefficient 0 (the mean) to 0"})
    transform_seed: int = field(
        default=0,
        metadata={"help": "random_orthogonal, learned_orthogonal: seed of the rotation (learned, 0: identity)"},
    )
    standardise_before: str = field(
        default="none", metadata={"help": "before the transform: none, global, example, centre, token"}
    )
    standardise_after: str = field(
        default="none", metadata={"help": "after the transform: none, global, example, centre, token"}
    )
    floor_scale: float = field(default=1.0, metadata={"help": "floor under deviations, in units of quantisation noise"})
    byte_tokens: bool = field(default=False, metadata={"help": "one token per byte instead of one per pixel"})
    position_encoding: str = field(default="per_axis", metadata={"help": f"positions: {', '.join(POSITION_ENCODINGS)}"})
    num_bands: int | None = field(
        default=None, metadata={"help": "Fourier bands per axis; null: half of each axis's length"}
    )
    input_layer_norm: bool = field(default=True, metadata={"help": "LayerNorm over the byte array's tokens"})
    num_latents: int = field(default=32, metadata={"help": "number of latents"})
    latent_dim: int = field(default=128, metadata={"help": "width of a latent"})
    latent_scale: float = field(default=0.02, metadata={"help": "standard deviation of the latents' initial values"})
    num_cross_heads: int = field(default=1, metadata={"help": "heads of the cross-attention to the byte array"})
    num_layers: int = field(default=4, metadata={"help": "latent self-attention layers"})
    num_heads: int = field(default=4, metadata={"help": "heads of the latent self-attention"})
    mlp_ratio: int = field(default=4, metadata={"help": "width of an MLP's hidden layer, as a multiple of latent_dim"})


def transform_settings(config: PerceiverConfig) -> dict[str, Any]:
    """The transform's options; those at their default are omitted, so that any transform can be built."""
    given = {"full": config.full_spectrum, "drop_dc": config.drop_dc, "seed": config.transform_seed}
    return {"scale": config.transform_scale} | {name: value for name, value in given.items() if value}


class EncoderWeights(NamedTuple):
    """Weights of the cross-attention to the byte array and of the MLP after it."""

    latents_LE: Tensor
    attention: CrossAttentionWeights
    mlp: MLPWeights


class PerceiverWeights(NamedTuple):
    """All weights of a Perceiver after its input transform, read out once, and values computed from them alone."""

    encoder: EncoderWeights
    state_token: Affine | None
    layers: tuple[LayerWeights, ...]
    decoder: DecoderWeights


class Perceiver(FrameNetwork):
    """Maps frames to normalised actions.

    Args:
        config: The architecture.
        grid: Number of frames, rows and columns (T, H, W) of the input.
        channels: Number C of bytes per pixel.
        action_features: Number A of outputs per future step.
        horizon: Number O of future steps predicted at once.
        state_dim: Number S of coordinates of the state input; 0: frames only.
        look: Where the latents start looking, and how often they look.

    Raises:
        UserError: An unknown name or an impossible size in ``config`` or ``look``.
    """

    def __init__(
        self,
        config: PerceiverConfig,
        *,
        grid: tuple[int, int, int],
        channels: int,
        action_features: int,
        horizon: int = 1,
        state_dim: int = 0,
        look: LookConfig = PLAIN_LOOK,
    ) -> None:
        super().__init__()
        _check_sizes({**vars(config), "horizon": horizon, "state_dim": state_dim})
        check_look(look, config)
        self.config = config
        self.state_dim = state_dim
        self.frame_shape = (*grid, channels)
        token_grid, token_channels = (self.frame_shape, 1) if config.byte_tokens else (tuple(grid), channels)
        self.input_pipeline = InputPipeline(
            build_transform(config.transform, token_grid, token_channels, **transform_settings(config)),
            before=config.standardise_before,
            after=config.standardise_after,
            floor_scale=config.floor_scale,
        )
        self.encoder = _Encoder(config, self.input_pipeline, look)
        self.state_token = nn.Linear(state_dim, config.latent_dim) if state_dim else None
        self.layers = nn.ModuleList(
            SelfAttentionBlock(config.latent_dim, config.num_heads, config.mlp_ratio) for _ in range(config.num_layers)
        )
        self.decoder = Decoder(
            config.latent_dim,
            mlp_ratio=config.mlp_ratio,
            latent_scale=config.latent_scale,
            horizon=horizon,
            action_features=action_features,
        )
        # By the layer that each stands before.
        later_looks = range(1, look.num_cross_attentions)
        self.later_looks = nn.ModuleDict(
            {
                str(k * config.num_layers // look.num_cross_attentions): _Look(config, self.encoder, look)
                for k in later_looks
            }
        )

    @property
    def num_tokens(self) -> int:
        """Number M of tokens that the latents attend to."""
        return self.input_pipeline.num_tokens

    @property
    def size_note(self) -> str:
        """The number of tokens."""
        return f", {self.num_tokens:,} tokens"

    def fit_input(self, batches: Tensor | Iterable[Tensor]) -> None:
        """Fits the input pipeline's statistics on training frames.

        Args:
            batches: Frames as for ``forward``: one tensor, or batches that can be iterated several times (a list, or an
                object whose ``__iter__`` restarts).

        Raises:
            UserError: No frames, frames of the wrong shape, or an iterator if several passes are needed.
        """
        if self.input_pipeline.needs_fit:
            single_use = isinstance(batches, Iterator)
            tokens = _Tokens(self, batches)
            self.input_pipeline.fit(iter(tokens) if single_use else tokens)

    def check_transform(self, frames_BTHWC: UInt8[Tensor, "b t h w c"]) -> None:
        """As `InputPipeline.check_transform`, which names the transform."""
        self.input_pipeline.check_transform(self.tokens(frames_BTHWC), self.config.transform)

    def tokens(self, frames_BTHWC: UInt8[Tensor, "b t h w c"] | Float[Tensor, "b t h w c"]) -> Float[Tensor, "b n c"]:
        """Flattens frames to tokens in [0, 1], in the order time, row, column[, byte].

        Raises:
            UserError: If the frames' shape does not match the network's.
        """
        require_frames(frames_BTHWC, self.frame_shape)
        if not frames_BTHWC.is_floating_point():
            frames_BTHWC = frames_BTHWC.to(torch.float32).div_(255.0)
        return frames_BTHWC.flatten(1).unflatten(1, (-1, self.input_pipeline.transform.input_channels))

    def forward(
        self,
        frames_BTHWC: UInt8[Tensor, "b t h w c"] | Float[Tensor, "b t h w c"] | PreparedTokens,
        state_BS: Float[Tensor, "b s"] | None = None,
        *,
        weights: PerceiverWeights | None = None,
    ) -> Float[Tensor, "b o a"]:
        """Predicts the next steps' normalised actions.

        Args:
            frames_BTHWC: Frames, oldest first: bytes, or floats in [0, 1]; or the result of ``prepare``.
            state_BS: Low-dimensional state (normalised), if ``state_dim`` is above 0.
            weights: The result of ``weights()``, if the weights have not changed since.

        Raises:
            UserError: If the shape of frames or state does not match the network's.
        """
        weights = self.weights() if weights is None else weights
        tokens = frames_BTHWC if isinstance(frames_BTHWC, PreparedTokens) else self.prepare(frames_BTHWC)
        latents_BLE = self.encoder(tokens, weights.encoder)
        if weights.state_token is not None or state_BS is not None:
            latents_BLE = torch.cat([latents_BLE, self._state_latent(state_BS, weights.state_token)], dim=1)
        for index, layer in enumerate(weights.layers):
            if str(index) in self.later_looks:
                latents_BLE = self.later_looks[str(index)](latents_BLE, tokens)
            latents_BLE = self_attention_block(latents_BLE, layer)
        return decode(latents_BLE, weights.decoder)

    def weights(self) -> PerceiverWeights:
        """Reads out all weights after the input transform, and precomputes values that depend on them alone."""
        return PerceiverWeights(
            self.encoder.weights(),
            None if self.state_token is None else affine(self.state_token),
            tuple(cast(SelfAttentionBlock, layer).weights() for layer in self.layers),
            self.decoder.weights(),
        )

    def prepare(self, frames_BTHWC: UInt8[Tensor, "b t h w c"] | Float[Tensor, "b t h w c"]) -> PreparedTokens:
        """Precomputes what ``forward`` needs from fixed frames, before the first weight."""
        return self.encoder.attention.prepare(self.input_pipeline(self.tokens(frames_BTHWC)))

    def attention_map(
        self, frames_BTHWC: UInt8[Tensor, "b t h w c"] | Float[Tensor, "b t h w c"]
    ) -> Float[Tensor, "b heads latents m"]:
        """Attention weights of every latent over the transform's output tokens (they sum to 1)."""
        return self.encoder.attention_map(self.input_pipeline(self.tokens(frames_BTHWC)))

    def _state_latent(self, state_BS: Tensor | None, weights: Affine | None) -> Tensor:
        got = None if state_BS is None else tuple(state_BS.shape)
        if weights is None or state_BS is None or state_BS.shape[-1] != self.state_dim:
            raise UserError(f"expected a state of {self.state_dim} coordinates, got {got}; check state_dim")
        return linear(state_BS.to(weights.weight.dtype), weights)[:, None]


class _Tokens:
    """Training frames as tokens; can be iterated again if the frames can."""

    def __init__(self, network: Perceiver, batches: Tensor | Iterable[Tensor]) -> None:
        self.network = network
        self.batches = batches

    def __iter__(self) -> Iterator[Tensor]:
        for frames in self.batches.split(64) if isinstance(self.batches, Tensor) else self.batches:
            yield self.network.tokens(frames)


class _Encoder(nn.Module):
    """Latents that cross-attend to the byte array, and an MLP."""

    def __init__(self, config: PerceiverConfig, pipeline: InputPipeline, look: LookConfig) -> None:
        super().__init__()
        width = config.latent_dim
        self.latents = nn.Parameter(torch.randn(config.num_latents, width) * config.latent_scale)
        self.query_norm = nn.LayerNorm(width)
        self.attention = ByteCrossAttention(
            width,
            pipeline.channels,
            PositionEncoding(config.position_encoding, pipeline.grid, config.num_bands),
            num_heads=config.num_cross_heads,
            layer_norm=config.input_layer_norm,
            content_gain=look.content_gain,
        )
        self.mlp = MLP(width, config.mlp_ratio)
        nn.init.constant_(self.query_norm.weight, look.query_gain)
        if look.latent_start == LOCATED:
            locate(self.attention, self.query_norm(self.latents), look)

    def weights(self) -> EncoderWeights:
        return EncoderWeights(self.latents, self.attention.fold(self.query_norm(self.latents)), self.mlp.weights())

    def forward(self, x_BMD: Tensor | PreparedTokens, weights: EncoderWeights | None = None) -> Tensor:
        weights = self.weights() if weights is None else weights
        return mlp(weights.latents_LE + self.attention(weights.attention, x_BMD), weights.mlp)

    def attention_map(self, x_BMD: Tensor | PreparedTokens) -> Tensor:
        return self.attention.attention_map(self.query_norm(self.latents), x_BMD)


class _Look(nn.Module):
    """Another look at the byte array, by latents that have seen it: cross-attention and MLP, both residual."""

    def __init__(self, config: PerceiverConfig, encoder: _Encoder, look: LookConfig) -> None:
        super().__init__()
        self.query_norm = nn.LayerNorm(config.latent_dim)
        self.attention = ByteCrossAttention(
            config.latent_dim,
            encoder.attention.channels,
            encoder.attention.positions,
            num_heads=config.num_cross_heads,
            layer_norm=config.input_layer_norm,
            content_gain=look.content_gain,
        )
        self.mlp = MLP(config.latent_dim, config.mlp_ratio)

    def forward(self, latents_BLE: Tensor, tokens: PreparedTokens) -> Tensor:
        return cast(Tensor, self.mlp(latents_BLE + self.attention(self.query_norm(latents_BLE), tokens)))


def check_look(look: LookConfig, config: PerceiverConfig) -> None:
    """Refuses a look that does not fit the rest of a Perceiver.

    Raises:
        UserError: If a name is unknown, a number is out of range, or the latents cannot be located.
    """
    look.check(
        position_encoding=config.position_encoding,
        layer_norm=config.input_layer_norm,
        num_latents=config.num_latents,
        head_width=config.latent_dim // max(1, config.num_cross_heads),
        num_layers=config.num_layers,
    )


def _check_sizes(sizes: Mapping[str, Any]) -> None:
    for name in ("num_latents", "latent_dim", "num_cross_heads", "num_heads", "mlp_ratio", "horizon"):
        if sizes[name] < 1:
            raise UserError(f"expected {name} of at least 1, got {sizes[name]}")
    for name in ("num_layers", "state_dim", "transform_seed"):
        if sizes[name] < 0:
            raise UserError(f"expected {name} of at least 0, got {sizes[name]}")
    if sizes["latent_dim"] % sizes["num_heads"]:
        raise UserError(f"expected num_heads that divides latent_dim {sizes['latent_dim']}, got {sizes['num_heads']}")
