"""The folded cross-attention against the plain form that it replaces, which stays here."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from smidgen.policies import folded_attention as folded
from smidgen.policies.attention import ByteCrossAttention
from smidgen.policies.positions import PositionEncoding
from torch import Tensor, nn

Case = tuple[ByteCrossAttention, Tensor, Tensor]


def plain_attention(attention: ByteCrossAttention, queries: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """Tokens with all their position features, LayerNorm, keys, values, softmax: output and attention weights."""
    positions = attention.positions.features(x).expand(x.shape[0], -1, -1)
    tokens = torch.cat([x, positions], dim=-1)
    if attention.norm is not None:
        tokens = attention.norm(tokens)
    heads = (attention.num_heads, -1)
    query = attention.to_query(queries).unflatten(-1, heads).transpose(0, 1)
    key = attention.to_key(tokens).unflatten(-1, heads).transpose(1, 2)
    value = attention.to_value(tokens).unflatten(-1, heads).transpose(1, 2)
    weights = torch.softmax(query @ key.transpose(2, 3) / math.sqrt(query.shape[-1]), dim=-1)
    return attention.to_output((weights @ value).transpose(1, 2).flatten(2)), weights


@st.composite
def cases(draw: st.DrawFn) -> Case:
    grid = tuple(draw(st.lists(st.integers(1, 5), min_size=1, max_size=4)))
    channels, heads = draw(st.integers(1, 4)), draw(st.sampled_from([1, 2, 3]))
    encoding = draw(st.sampled_from(["per_axis", "one_d", "none"]))
    bands = draw(st.sampled_from([None, 1, 3]))
    torch.manual_seed(draw(st.integers(0, 10**6)))
    positions = PositionEncoding(encoding, grid, bands)
    attention = ByteCrossAttention(6, channels, positions, num_heads=heads, layer_norm=draw(st.booleans()))
    randomise(attention)
    queries = torch.randn(draw(st.integers(1, 4)), 6)
    scale, offset = draw(st.sampled_from([(1.0, 0.0), (0.1, 0.5), (3.0, -2.0)]))
    x = torch.randn(draw(st.integers(1, 4)), math.prod(grid), channels) * scale + offset
    return attention, queries, x


def randomise(attention: ByteCrossAttention) -> None:
    """A LayerNorm starts as gain 1 and bias 0, which would hide a wrong fold."""
    if attention.norm is not None:
        nn.init.normal_(attention.norm.weight, 1.0, 0.5)
        nn.init.normal_(attention.norm.bias)


def output_and_gradients(
    output: Tensor, attention: ByteCrossAttention, queries: Tensor, x: Tensor
) -> dict[str, Tensor]:
    names, parameters = zip(*attention.named_parameters(), strict=True)
    torch.manual_seed(1)
    loss = (output * torch.randn_like(output)).sum()
    gradients = torch.autograd.grad(loss, [queries, x, *parameters], allow_unused=True)
    found = dict(zip(["queries", "x", *names], gradients, strict=True))
    return {"output": output.detach()} | {name: part for name, part in found.items() if part is not None}


def assert_same(case: Case, dtype: torch.dtype, tolerance: float) -> None:
    attention, queries, x = case[0].to(dtype), case[1].to(dtype).requires_grad_(), case[2].to(dtype).requires_grad_()
    got = output_and_gradients(attention(queries, x), attention, queries, x)
    want = output_and_gradients(plain_attention(attention, queries, x)[0], attention, queries, x)
    for name, reference in want.items():
        # The key's bias shifts all scores alike: its gradient is 0, and rounding noise in the plain form.
        scale = reference.abs().max() + want["output"].abs().max()
        error = (got.get(name, torch.zeros_like(reference)) - reference).abs().max()
        assert error <= tolerance * scale, (name, float(error), float(scale))


@settings(deadline=None, max_examples=100)
@given(cases(), st.sampled_from([1, 2**19]))
def test_equals_plain_form_in_float64(case: Case, block_scores: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(folded, "CPU_BLOCK_SCORES", block_scores)
        assert_same(case, torch.float64, 1e-10)


@settings(deadline=None, max_examples=50)
@given(cases())
def test_equals_plain_form_in_float32(case: Case) -> None:
    assert_same(case, torch.float32, 1e-4)
