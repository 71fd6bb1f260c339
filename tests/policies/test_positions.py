"""Position features against their formula, and their separable use against the plain table of all tokens."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from smidgen.policies import positions as positions_module
from smidgen.policies.positions import POSITION_ENCODINGS, AxisFeatures, PositionEncoding
from smidgen.runtime.errors import UserError

FLOAT64 = torch.zeros((), dtype=torch.float64)
grids = st.lists(st.integers(1, 6), min_size=1, max_size=4).map(tuple)
names = st.sampled_from([name for name in POSITION_ENCODINGS if name != "none"])
encodings = st.builds(PositionEncoding, names, grids, st.sampled_from([None, 1, 2, 6]))


def random(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize(("length", "num_bands"), [(64, None), (64, 6), (7, 3), (3, None), (2, 1), (1, None)])
def test_axis_features_are_sines_cosines_and_the_coordinate(length: int, num_bands: int | None) -> None:
    axis = AxisFeatures(length, num_bands)
    x = np.linspace(-1, 1, length) if length > 1 else np.zeros(1)
    frequencies = np.linspace(1, max(1, length // 2), num_bands or max(1, length // 2))
    angle = math.pi * np.outer(x, frequencies)
    np.testing.assert_allclose(axis.table(FLOAT64), np.hstack([np.sin(angle), np.cos(angle), x[:, None]]), atol=1e-12)
    assert axis.num_features == 2 * len(frequencies) + 1


def test_tokens_are_in_the_order_of_the_grid() -> None:
    encoding = PositionEncoding("per_axis", (2, 3, 4), 2)
    features = encoding.features(FLOAT64).reshape(2, 3, 4, 15)
    for index, axis in enumerate(encoding.axes):
        for k in range(axis.length):
            part = features.select(index, k)[..., 5 * index : 5 * index + 5]
            assert (part == axis.table(FLOAT64)[k]).all()


def test_one_d_encodes_the_flat_index() -> None:
    one_d, flat = PositionEncoding("one_d", (2, 3, 4), 5), PositionEncoding("per_axis", (24,), 5)
    assert one_d.axis_lengths == (24,)
    assert torch.equal(one_d.features(FLOAT64), flat.features(FLOAT64))


def test_permuted_hands_out_the_same_features_to_other_tokens() -> None:
    grid = (3, 8, 8)
    plain, permuted = PositionEncoding("per_axis", grid), PositionEncoding("permuted", grid)
    places = permuted.restore(torch.arange(192))
    assert sorted(places.tolist()) == list(range(192))
    assert int((places == torch.arange(192)).sum()) < 10
    assert torch.equal(permuted.features(FLOAT64), plain.features(FLOAT64)[places])
    assert torch.equal(PositionEncoding("permuted", grid).restore(torch.arange(192)), places)
    x = random(2, 3, 192)
    assert torch.equal(permuted.restore(permuted.arrange(x)), x)
    assert torch.equal(permuted.arrange(x)[..., places], x)
    assert plain.arrange(x) is plain.restore(x) is x


def test_aliased_is_one_d_with_few_bands_so_that_features_repeat() -> None:
    grid = (3, 16, 16)
    aliased = PositionEncoding("aliased", grid)
    assert torch.equal(aliased.features(FLOAT64), PositionEncoding("one_d", grid, 16).features(FLOAT64))
    assert PositionEncoding("aliased", grid, 5).num_features == 11
    waves = aliased.features(FLOAT64)[:, :-1]
    distance = torch.cdist(waves[100:101], waves)[0]
    # 16 frequencies from 1 to 384 over 767 intervals: apart from the lowest's own phase, they are back after 30 tokens.
    assert all(distance[n] < 0.5 * distance.median() for n in (40, 70, 130, 160))
    assert all(distance[n] > 0.9 * distance.median() for n in (55, 85, 115, 145))
    assert torch.cdist(*[PositionEncoding("one_d", grid).features(FLOAT64)[1:, :-1]] * 2).fill_diagonal_(99).min() > 10


def test_none_has_no_features() -> None:
    encoding = PositionEncoding("none", (2, 3, 4))
    assert encoding.num_features == 0
    assert encoding.features(FLOAT64).shape == (24, 0)
    mean, sum_squares = encoding.token_moments(FLOAT64)
    assert mean.shape == sum_squares.shape == (24,)
    assert not mean.any()
    assert not sum_squares.any()


@settings(deadline=None, max_examples=60)
@given(encodings)
def test_separable_use_equals_the_plain_table(encoding: PositionEncoding) -> None:
    table = encoding.arrange(encoding.features(FLOAT64).T).T
    maps = random(3, encoding.num_features)
    scores = torch.zeros(3, *encoding.axis_lengths, dtype=torch.float64)
    for index, part in enumerate(encoding.project(maps)):
        scores += part.reshape(3, *[-1 if axis == index else 1 for axis in range(len(encoding.axes))])
    torch.testing.assert_close(scores.flatten(1), maps @ table.T)
    weights = random(2, 3, encoding.num_tokens)
    on_grid = weights.reshape(2, 3, *encoding.axis_lengths)
    axes = range(2, on_grid.ndim)
    marginals = [on_grid.sum([a for a in axes if a != axis]) if len(axes) > 1 else on_grid for axis in axes]
    torch.testing.assert_close(encoding.collect(marginals), weights @ table)


@settings(deadline=None, max_examples=60)
@given(encodings)
def test_token_moments(encoding: PositionEncoding) -> None:
    table = encoding.arrange(encoding.features(FLOAT64).T).T
    mean, sum_squares = encoding.token_moments(FLOAT64)
    torch.testing.assert_close(mean, table.mean(1))
    torch.testing.assert_close(sum_squares, table.var(1, correction=0) * encoding.num_features)


@pytest.mark.parametrize("length", [3, 4, 5, 6, 7, 16, 33, 64, 101])
def test_fft_equals_the_table(length: int, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = AxisFeatures(length)
    assert not plain.uses_fft
    monkeypatch.setattr(positions_module, "MIN_FFT_LENGTH", 3)
    fast = AxisFeatures(length)
    assert fast.uses_fft
    maps, weights = random(4, plain.num_features), random(2, 4, length)
    torch.testing.assert_close(fast.project(maps), plain.project(maps))
    torch.testing.assert_close(fast.collect(weights), plain.collect(weights))
    for got, want in zip(fast.moments(), plain.moments(), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-9)
    if length < 9:
        assert torch.autograd.gradcheck(fast.project, maps.requires_grad_())
        assert torch.autograd.gradcheck(fast.collect, weights.requires_grad_())


def test_a_long_axis_takes_the_fft_and_no_table() -> None:
    axis = AxisFeatures(12288)
    assert axis.uses_fft
    assert not AxisFeatures(12288, 64).uses_fft
    weights = torch.zeros(1, 12288)
    weights[0, 5000] = 1.0
    angle = math.pi * (-1 + 2 * 5000 / 12287) * np.arange(1, 6145)
    want = np.concatenate([np.sin(angle), np.cos(angle), [-1 + 2 * 5000 / 12287]])
    np.testing.assert_allclose(axis.collect(weights)[0], want, atol=1e-4)


def test_enough_bands_tell_indices_apart_and_few_repeat() -> None:
    """With K bands spread over N indices, features come back about every 2 (K - 1) indices."""
    few = AxisFeatures(512, 9).table(FLOAT64)[:, :-1]
    distance = torch.cdist(few[100:101], few)[0]
    assert distance[116] < 0.3 * distance[108]
    # The two ends of an axis share their waves, as in the published encoding; the coordinate tells them apart.
    enough = AxisFeatures(512).table(FLOAT64)[1:]
    distances = torch.cdist(enough, enough) + torch.eye(511) * 1e9
    assert distances.min() > 0.5 * distances.median()


def test_constants_come_in_the_type_asked_for_and_can_be_pickled() -> None:
    encoding = PositionEncoding("per_axis", (3, 4))
    with torch.inference_mode():
        single = encoding.features(torch.zeros(()))
    assert single.dtype == torch.float32
    double = encoding.features(FLOAT64)
    assert (double.float() == single).all()
    assert (double != single.double()).any()
    assert not encoding.axes[0].table(torch.zeros(())).is_inference()
    assert torch.equal(pickle.loads(pickle.dumps(encoding)).features(FLOAT64), double)


def test_mistakes_are_named() -> None:
    with pytest.raises(UserError, match=f"unknown position encoding 'sine'.*{', '.join(sorted(POSITION_ENCODINGS))}"):
        PositionEncoding("sine", (3, 4))
    with pytest.raises(UserError, match="at least 1 frequency band, got 0"):
        PositionEncoding("per_axis", (3, 4), 0)
