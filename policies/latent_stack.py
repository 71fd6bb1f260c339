"""The network after the cross-attention: layers over the latents, and output queries that read them.

Every block is a module with weights, and a function of these weights and the latents. ``weights`` reads a block's
weights out once, so that a policy that predicts one observation after another need not look them up each time: for a
single observation, the lookup costs as much as the arithmetic.

Shape suffixes: B batch, L latents, E their width, O output steps, A action features.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional


class Affine(NamedTuple):
    """Weight and bias of a linear map or of a LayerNorm."""

    weight: Tensor
    bias: Tensor


class MLPWeights(NamedTuple):
    """Weights of an ``MLP``."""

    norm: Affine
    expand: Affine
    contract: Affine


class LayerWeights(NamedTuple):
    """Weights of a ``SelfAttentionBlock``, and its number of heads."""

    num_heads: int
    norm: Affine
    to_query_key_value: Affine
    to_output: Affine
    mlp: MLPWeights


class DecoderWeights(NamedTuple):
    """Weights of a ``Decoder``, with its queries also in projected form."""

    queries_OE: Tensor
    projected_queries_OE: Tensor
    latent_norm: Affine
    to_key_value: Affine
    to_output: Affine
    mlp: MLPWeights
    norm: Affine
    head: Affine


def affine(module: nn.Linear | nn.LayerNorm) -> Affine:
    """Reads out the weights of a linear map or a LayerNorm."""
    return Affine(module.weight, module.bias)


def linear(x: Tensor, weights: Affine) -> Tensor:
    """A linear map of the last dimension."""
    return functional.linear(x, weights.weight, weights.bias)


def layer_norm(x: Tensor, weights: Affine) -> Tensor:
    """LayerNorm over the last dimension."""
    return torch.layer_norm(x, weights.weight.shape, weights.weight, weights.bias)


def mlp(x_BLE: Float[Tensor, "*batch latents width"], weights: MLPWeights) -> Float[Tensor, "*batch latents width"]:
    """x + MLP(LayerNorm(x)), GELU inside."""
    hidden = functional.gelu(linear(layer_norm(x_BLE, weights.norm), weights.expand))
    return x_BLE + linear(hidden, weights.contract)


def self_attention_block(
    x_BLE: Float[Tensor, "batch latents width"], weights: LayerWeights
) -> Float[Tensor, "batch latents width"]:
    """Pre-norm self-attention and MLP, both residual."""
    joint = linear(layer_norm(x_BLE, weights.norm), weights.to_query_key_value)
    query, key, value = joint.unflatten(2, (3, weights.num_heads, -1)).permute(2, 0, 3, 1, 4)
    mixed = functional.scaled_dot_product_attention(query, key, value)
    return mlp(x_BLE + linear(mixed.transpose(1, 2).flatten(2), weights.to_output), weights.mlp)


def decode(
    latents_BLE: Float[Tensor, "batch latents width"], weights: DecoderWeights
) -> Float[Tensor, "batch steps features"]:
    """Output queries cross-attend to the latents; then an MLP and a linear head."""
    query = weights.projected_queries_OE.expand(latents_BLE.shape[0], -1, -1)
    key, value = linear(layer_norm(latents_BLE, weights.latent_norm), weights.to_key_value).chunk(2, dim=-1)
    mixed = functional.scaled_dot_product_attention(query[:, None], key[:, None], value[:, None])[:, 0]
    outputs_BOE = mlp(weights.queries_OE + linear(mixed, weights.to_output), weights.mlp)
    return linear(layer_norm(outputs_BOE, weights.norm), weights.head)


class MLP(nn.Module):
    """Holds the weights of ``mlp``.

    Args:
        width: Width E of a latent.
        ratio: Width of the hidden layer, as a multiple of ``width``.
    """

    def __init__(self, width: int, ratio: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.expand = nn.Linear(width, ratio * width)
        self.contract = nn.Linear(ratio * width, width)

    def weights(self) -> MLPWeights:
        """Reads the weights out."""
        return MLPWeights(affine(self.norm), affine(self.expand), affine(self.contract))

    def forward(self, x_BLE: Float[Tensor, "*batch latents width"]) -> Float[Tensor, "*batch latents width"]:
        """Maps every latent separately."""
        return mlp(x_BLE, self.weights())


class SelfAttentionBlock(nn.Module):
    """Holds the weights of ``self_attention_block``.

    Args:
        width: Width E of a latent.
        num_heads: Number of heads; must divide ``width``.
        mlp_ratio: Width of the MLP's hidden layer, as a multiple of ``width``.
    """

    def __init__(self, width: int, num_heads: int, mlp_ratio: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.norm = nn.LayerNorm(width)
        self.to_query_key_value = nn.Linear(width, 3 * width)
        self.to_output = nn.Linear(width, width)
        self.mlp = MLP(width, mlp_ratio)

    def weights(self) -> LayerWeights:
        """Reads the weights out."""
        to_joint, to_output = affine(self.to_query_key_value), affine(self.to_output)
        return LayerWeights(self.num_heads, affine(self.norm), to_joint, to_output, self.mlp.weights())

    def forward(self, x_BLE: Float[Tensor, "batch latents width"]) -> Float[Tensor, "batch latents width"]:
        """Self-attention between latents."""
        return self_attention_block(x_BLE, self.weights())


class Decoder(nn.Module):
    """Holds the weights of ``decode``.

    Args:
        width: Width E of a latent.
        mlp_ratio: Width of the MLP's hidden layer, as a multiple of ``width``.
        latent_scale: Deviation of the queries' initial values.
        horizon: Number O of output steps.
        action_features: Number A of outputs per step.
    """

    def __init__(self, width: int, *, mlp_ratio: int, latent_scale: float, horizon: int, action_features: int) -> None:
        super().__init__()
        self.queries = nn.Parameter(torch.randn(horizon, width) * latent_scale)
        self.query_norm = nn.LayerNorm(width)
        self.latent_norm = nn.LayerNorm(width)
        self.to_query = nn.Linear(width, width)
        self.to_key_value = nn.Linear(width, 2 * width)
        self.to_output = nn.Linear(width, width)
        self.mlp = MLP(width, mlp_ratio)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, action_features)

    def weights(self) -> DecoderWeights:
        """Reads the weights out, and projects the queries."""
        return DecoderWeights(
            queries_OE=self.queries,
            projected_queries_OE=self.to_query(self.query_norm(self.queries)),
            latent_norm=affine(self.latent_norm),
            to_key_value=affine(self.to_key_value),
            to_output=affine(self.to_output),
            mlp=self.mlp.weights(),
            norm=affine(self.norm),
            head=affine(self.head),
        )

    def forward(self, latents_BLE: Float[Tensor, "batch latents width"]) -> Float[Tensor, "batch steps features"]:
        """Reads the latents."""
        return decode(latents_BLE, self.weights())
