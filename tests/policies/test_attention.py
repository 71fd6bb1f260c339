"""The folded cross-attention against the plain form that it replaces, which stays here."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from smidgen.policies import folded_attention as folded
from smidgen.policies.attention import ByteCrossAttention
from smidgen.policies.positions import POSITION_ENCODINGS, PositionEncoding
from smidgen.runtime.errors import UserError

Case = tuple[ByteCrossAttention, Tensor, Tensor]


def plain_attention(attention: ByteCrossAttention, queries: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """Tokens with all their position features, LayerNorm, keys, values, softmax: output and attention weights."""
    positions = attention.positions.features(x).expand(x.shape[0], -1, -1)
    tokens = torch.cat([x, positions], dim=-1)
    if attention.norm is not None:
        tokens = attention.norm(tokens)
    heads = (attention.num_heads, -1)
    query = attention.to_query(queries).unflatten(-1, heads).transpose(-3, -2)
    key = attention.to_key(tokens).unflatten(-1, heads).transpose(1, 2)
    value = attention.to_value(tokens).unflatten(-1, heads).transpose(1, 2)
    weights = torch.softmax(query @ key.transpose(2, 3) / math.sqrt(query.shape[-1]), dim=-1)
    return attention.to_output((weights @ value).transpose(1, 2).flatten(2)), weights


@st.composite
def cases(draw: st.DrawFn) -> Case:
    grid = tuple(draw(st.lists(st.integers(1, 5), min_size=1, max_size=4)))
    channels, heads = draw(st.integers(1, 4)), draw(st.sampled_from([1, 2, 3]))
    encoding = draw(st.sampled_from(POSITION_ENCODINGS))
    bands = draw(st.sampled_from([None, 1, 3]))
    torch.manual_seed(draw(st.integers(0, 10**6)))
    positions = PositionEncoding(encoding, grid, bands)
    attention = ByteCrossAttention(6, channels, positions, num_heads=heads, layer_norm=draw(st.booleans()))
    randomise(attention)
    batch, num_queries = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    queries = torch.randn(*draw(st.sampled_from([(), (batch,)])), num_queries, 6)
    scale, offset = draw(st.sampled_from([(1.0, 0.0), (0.1, 0.5), (3.0, -2.0)]))
    x = torch.randn(batch, math.prod(grid), channels) * scale + offset
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
    direction = torch.randn(output.shape, generator=torch.manual_seed(1), dtype=torch.float64)
    loss = (output * direction.to(output.dtype)).sum()
    gradients = torch.autograd.grad(loss, [queries, x, *parameters], allow_unused=True)
    found = dict(zip(["queries", "x", *names], gradients, strict=True))
    return {"output": output.detach()} | {name: part for name, part in found.items() if part is not None}


def assert_same(case: Case, dtype: torch.dtype, tolerance: float) -> None:
    attention, queries, x = case[0].to(dtype), case[1].to(dtype).requires_grad_(), case[2].to(dtype).requires_grad_()
    got = output_and_gradients(attention(queries, x), attention, queries, x)
    want = output_and_gradients(plain_attention(attention, queries, x)[0], attention, queries, x)
    for name, reference in want.items():
        scale = reference.abs().max() + want["output"].abs().max()
        error = (got[name] - reference).abs().max()
        assert error <= tolerance * scale, (name, float(error), float(scale))


@settings(deadline=None, max_examples=100)
@given(cases(), st.sampled_from([1, 2**19]), st.sampled_from([1, 2, 8]), st.sampled_from([1, 2]))
def test_equals_plain_form_in_float64(case: Case, block_scores: int, group_rows: int, num_threads: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(folded, "CPU_BLOCK_SCORES", block_scores)
        patch.setattr(folded, "GROUP_ROWS", group_rows)
        # How many there are decides which products are cut into groups.
        patch.setattr(torch, "get_num_threads", lambda: num_threads)
        assert_same(case, torch.float64, 1e-10)


@settings(deadline=None, max_examples=50)
@given(cases())
def test_is_as_exact_as_the_plain_form_in_float32(case: Case) -> None:
    """Two features that are nearly the same cost a LayerNorm digits, in either form."""
    single = [parts_in(case, torch.float32, form) for form in (ByteCrossAttention.__call__, plain_output)]
    exact = parts_in(case, torch.float64, plain_output)
    for name, reference in exact.items():
        scale = reference.abs().max() + exact["output"].abs().max()
        error, plain_error = ((found[name].double() - reference).abs().max() for found in single)
        assert error <= 1e-4 * scale + 10 * plain_error, (name, float(error), float(plain_error), float(scale))


def parts_in(case: Case, dtype: torch.dtype, form: Callable[..., Tensor]) -> dict[str, Tensor]:
    attention, queries, x = copy.deepcopy(case[0]).to(dtype), case[1].to(dtype), case[2].to(dtype)
    queries, x = queries.requires_grad_(), x.requires_grad_()
    return output_and_gradients(form(attention, queries, x), attention, queries, x)


@settings(deadline=None, max_examples=50)
@given(cases())
def test_attention_map_equals_plain_form(case: Case) -> None:
    attention, queries, x = case[0].double(), case[1].double(), case[2].double()
    got, want = attention.attention_map(queries, x), plain_attention(attention, queries, x)[1]
    torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-12)


def pixels_case(grid: tuple[int, ...] = (3, 64, 64), batch: int = 2, encoding: str = "per_axis") -> Case:
    torch.manual_seed(0)
    attention = ByteCrossAttention(32, 3, PositionEncoding(encoding, grid, 6), num_heads=2)
    randomise(attention)
    return attention, torch.randn(8, 32), torch.randint(0, 256, (batch, math.prod(grid), 3)) / 255


def test_float32_on_a_whole_frame_stack_is_close_to_the_plain_form_in_float64() -> None:
    attention, queries, x = pixels_case()
    results = []
    for dtype, form in ((torch.float32, ByteCrossAttention.__call__), (torch.float64, plain_output)):
        module, q, tokens = copy.deepcopy(attention).to(dtype), queries.to(dtype), x.to(dtype)
        q, tokens = q.requires_grad_(), tokens.requires_grad_()
        results.append(output_and_gradients(form(module, q, tokens), module, q, tokens))
    for name, reference in results[1].items():
        error = (results[0][name].double() - reference).abs().max() / reference.abs().max()
        assert error < 1e-4, (name, float(error))


def plain_output(attention: ByteCrossAttention, queries: Tensor, x: Tensor) -> Tensor:
    return plain_attention(attention, queries, x)[0]


@pytest.mark.parametrize("layer_norm", [True, False])
@pytest.mark.parametrize("encoding", POSITION_ENCODINGS)
def test_gradcheck(encoding: str, layer_norm: bool) -> None:
    torch.manual_seed(0)
    attention = ByteCrossAttention(4, 2, PositionEncoding(encoding, (2, 3, 2)), num_heads=2, layer_norm=layer_norm)
    randomise(attention)
    attention.double()
    queries, x = torch.randn(2, 4).double().requires_grad_(), torch.randn(2, 12, 2).double().requires_grad_()
    assert torch.autograd.gradcheck(attention, (queries, x))


@pytest.mark.parametrize("encoding", POSITION_ENCODINGS)
def test_bit_for_bit_deterministic_and_the_same_without_gradients(encoding: str) -> None:
    attention, queries, x = pixels_case((3, 16, 16), 5, encoding)
    queries.requires_grad_()
    x.requires_grad_()
    first, second = (output_and_gradients(attention(queries, x), attention, queries, x) for _ in range(2))
    for name, value in first.items():
        assert torch.equal(value, second[name])
    with torch.inference_mode():
        assert torch.equal(attention(queries, x), first["output"])


def test_content_gets_no_gradient_unless_asked() -> None:
    attention, queries, x = pixels_case((2, 4, 4))
    loss = attention(queries, x).sum()
    loss.backward()
    assert x.grad is None
    assert attention.to_key.weight.grad is not None


@pytest.mark.parametrize("layer_norm", [True, False])
def test_large_scores_and_large_offsets_stay_finite_and_right(layer_norm: bool) -> None:
    torch.manual_seed(0)
    attention = ByteCrossAttention(8, 3, PositionEncoding("per_axis", (2, 3, 4)), layer_norm=layer_norm).double()
    x = torch.randn(2, 24, 3).double() * 1e3 + 6e3
    queries = torch.randn(4, 8).double() * 1e3
    torch.testing.assert_close(attention(queries, x), plain_attention(attention, queries, x)[0])
    single = attention.float()(queries.float(), x.float())
    assert single.isfinite().all()


def test_any_memory_layout_and_precision_of_the_tokens() -> None:
    attention, queries, x = pixels_case((2, 4, 4))
    want = attention(queries, x)
    assert torch.equal(attention(queries, x.transpose(1, 2).contiguous().transpose(1, 2)), want)
    assert torch.equal(attention(queries, x.double()), want)
    torch.testing.assert_close(attention(queries, x.half()), want, rtol=1e-2, atol=1e-2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert attention(queries, x).dtype == torch.float32


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(UserError, match="divides 6, got 4"):
        ByteCrossAttention(6, 3, PositionEncoding("none", (4,)), num_heads=4)


def prepared_output(attention: ByteCrossAttention, queries: Tensor, x: Tensor) -> Tensor:
    return attention(queries, attention.prepare(x))


@settings(deadline=None, max_examples=100)
@given(cases(), st.sampled_from([1, 40, 2**20]))
def test_prepared_tokens_give_the_same_in_float64(case: Case, block_scores: int) -> None:
    attention, queries, x = case[0].double(), case[1].double().requires_grad_(), case[2].double().requires_grad_()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(folded, "CPU_BLOCK_SCORES", block_scores)
        got = output_and_gradients(prepared_output(attention, queries, x), attention, queries, x)
    want = output_and_gradients(plain_output(attention, queries, x), attention, queries, x)
    for name, reference in want.items():
        scale = reference.abs().max() + want["output"].abs().max()
        assert (got[name] - reference).abs().max() <= 1e-10 * scale, name
    torch.testing.assert_close(
        attention.attention_map(queries, attention.prepare(x)), attention.attention_map(queries, x)
    )


@settings(deadline=None, max_examples=30)
@given(cases(), st.sampled_from([1, 40, 2**20]), st.booleans())
def test_several_networks_side_by_side_give_what_each_gives_alone(
    case: Case, block_scores: int, same_tokens: bool
) -> None:
    attention, queries, x = case[0].double(), case[1].double(), case[2].double()
    several = {
        name: torch.stack([p.detach() * scale for scale in (1.0, 0.5, 2.0)]).requires_grad_()
        for name, p in attention.named_parameters()
    }
    tokens = attention.prepare(x if same_tokens else torch.cat([x, x + 1, 2 * x]))
    if not same_tokens:
        tokens = folded.PreparedTokens(*(None if p is None else p.unflatten(0, (3, -1)) for p in tokens))
    axes = folded.PreparedTokens(*(None if p is None or same_tokens else 0 for p in tokens))

    def one(parameters: dict[str, Tensor], own: folded.PreparedTokens) -> Tensor:
        return torch.func.functional_call(attention, parameters, (queries, own))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(folded, "CPU_BLOCK_SCORES", block_scores)
        outputs = torch.vmap(one, in_dims=(0, axes))(several, tokens)
    names = list(several)
    gradients = torch.autograd.grad(outputs.square().sum(), [several[name] for name in names])
    for row in range(3):
        alone = {name: several[name][row].detach().requires_grad_() for name in names}
        own = (x, x, x) if same_tokens else (x, x + 1, 2 * x)
        output = torch.func.functional_call(attention, alone, (queries, own[row]))
        torch.testing.assert_close(outputs[row], output)
        wanted = torch.autograd.grad(output.square().sum(), [alone[name] for name in names])
        for got, want in zip(gradients, wanted, strict=True):
            torch.testing.assert_close(got[row], want, rtol=1e-7, atol=1e-9)
