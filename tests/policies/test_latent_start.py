"""Where latents start looking: ``located`` ones each at a place of its own; and second looks."""

from __future__ import annotations

import math

import pytest
import torch

from smidgen.policies.latent_start import PLAIN_LOOK, LookConfig, latent_places
from smidgen.policies.perceiver import Perceiver, PerceiverConfig
from smidgen.runtime.errors import UserError

SIZES = {"num_latents": 8, "latent_dim": 32, "num_layers": 2, "num_heads": 2}
GRID = (3, 16, 24)
FINE = (1, 48, 48)


def build(look: LookConfig, grid: tuple[int, int, int] = GRID, **options: object) -> Perceiver:
    torch.manual_seed(0)
    return Perceiver(PerceiverConfig(**{**SIZES, **options}), grid=grid, channels=3, action_features=4, look=look)


def grey_frames(grid: tuple[int, int, int] = GRID) -> torch.Tensor:
    return torch.full((1, *grid, 3), 128, dtype=torch.uint8)


def first_maps(network: Perceiver, grid: tuple[int, ...] = GRID) -> torch.Tensor:
    """The first attention of every head and latent to an even picture, on the grid."""
    with torch.no_grad():
        return network.attention_map(grey_frames(network.frame_shape[:3]))[0].unflatten(-1, grid).double()


def circular_mean_and_spread(weights: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Of an axis whose ends, -1 and 1, have the same features: middle and standard deviation in half-lengths."""
    x = torch.linspace(-1, 1, weights.shape[-1], dtype=torch.float64)
    sums = (weights * torch.exp(1j * math.pi * x)).sum(-1)
    return sums.angle() / math.pi, (-2 * sums.abs().log()).sqrt() / math.pi


@pytest.mark.parametrize("layer_norm", [True, False])
def test_located_latents_look_at_places_of_their_own(layer_norm: bool) -> None:
    maps = first_maps(build(LookConfig(latent_start="located"), input_layer_norm=layer_norm))[0]
    assert latent_places(GRID, 8)[1].tolist() == [-0.5] * 4 + [0.5] * 4
    assert latent_places(GRID, 8)[2].tolist() == [-0.75, -0.25, 0.25, 0.75] * 2
    for axis, other in ((1, 2), (2, 1)):
        middle, spread = circular_mean_and_spread(maps.sum((1, other + 1)))
        assert (middle - latent_places(GRID, 8)[axis]).abs().max() < 0.06
        assert 0.08 < spread.min() < spread.max() < 0.3
    # Time stays flat but for what chance adds.
    assert (maps.sum((2, 3)) - 1 / 3).abs().max() < 0.15


def test_random_latents_look_everywhere() -> None:
    maps = first_maps(build(LookConfig()))[0].flatten(1)
    assert maps.max() < 20 / math.prod(GRID)


def added_scores(look: LookConfig, **options: object) -> torch.Tensor:
    """What windows add to every head's and latent's scores, above its mean: against the same weights without them."""
    with_windows, without = (first_maps(build(each, FINE, **options), FINE).log() for each in (look, PLAIN_LOOK))
    added = (with_windows - without).flatten(2)
    return added - added.mean(2, keepdim=True)


def test_a_place_has_the_height_that_was_asked_for() -> None:
    heights = added_scores(LookConfig(latent_start="located", window_nats=5.0)).amax(2)
    assert heights[0].tolist() == pytest.approx([5.0] * 8, rel=0.2)


def test_each_heads_window_is_twice_as_wide_as_the_one_before() -> None:
    look = LookConfig(latent_start="located", window_sd=0.1)
    added = added_scores(look, num_cross_heads=2, latent_dim=64)
    num_inside = (added > 0.75 * added.amax(2, keepdim=True)).sum(2).double().mean(1)
    # Twice as wide is four times the area.
    assert 3 < num_inside[1] / num_inside[0] < 5


def test_positions_on_one_axis_are_windows_along_it() -> None:
    grid = (1, 8, 8)
    network = build(LookConfig(latent_start="located"), grid, position_encoding="one_d")
    middle, _ = circular_mean_and_spread(first_maps(network, (64,))[0])
    assert (middle - latent_places((64,), 8)[0]).abs().max() < 0.1


def test_windows_draw_nothing_and_change_the_keys_positions_alone() -> None:
    plain, located = build(LookConfig()), build(LookConfig(latent_start="located"))
    for (name, one), other in zip(plain.named_parameters(), located.parameters(), strict=True):
        if name == "encoder.attention.to_key.weight":
            assert torch.equal(one[:, :3], other[:, :3])
            assert not torch.equal(one[:, 3:], other[:, 3:])
        else:
            assert torch.equal(one, other), name


def test_the_latents_scale_does_not_sharpen_the_first_attention_and_the_querys_gain_does() -> None:
    """A LayerNorm stands between the latents and their queries."""

    def sharpness(look: LookConfig, **options: object) -> float:
        return float(first_maps(build(look, **options))[0].flatten(1).amax(1).mean())

    plain = sharpness(LookConfig())
    assert sharpness(LookConfig(), latent_scale=1.0) == pytest.approx(plain, rel=0.05)
    assert sharpness(LookConfig(query_gain=8.0)) > 3 * plain


def test_the_contents_gain_is_a_layer_norms_and_is_asked_of_every_look() -> None:
    """Content as large as its gain says beside positions of gain 1, and no other weight or draw changes."""
    plain, loud = build(LookConfig(num_cross_attentions=2)), build(LookConfig(content_gain=8.0, num_cross_attentions=2))
    changed = set()
    for (name, one), other in zip(plain.named_parameters(), loud.parameters(), strict=True):
        if not torch.equal(one, other):
            changed.add(name)
            assert torch.equal(other[:3], 8.0 * one[:3])
            assert torch.equal(other[3:], one[3:])
    assert changed == {"encoder.attention.norm.weight", "later_looks.1.attention.norm.weight"}


def test_a_louder_content_is_the_plain_attention_with_larger_columns() -> None:
    """The same as keys and values whose columns of content are eight times as large."""
    loud, scaled = (build(LookConfig(latent_start="located", content_gain=gain)) for gain in (8.0, 1.0))
    attention = scaled.encoder.attention
    with torch.no_grad():
        for weight in (attention.to_key.weight, attention.to_value.weight):
            weight[:, :3] *= 8.0
    frames = torch.randint(0, 256, (2, *GRID, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(loud(frames), scaled(frames))


def test_a_second_look_sees_what_the_first_did_not_ask_for() -> None:
    look = LookConfig(num_cross_attentions=2)
    network = build(look)
    assert list(network.later_looks) == ["1"]
    # A first look that sees nothing: what reaches the output came by the second.
    with torch.no_grad():
        network.encoder.attention.to_output.weight.zero_()
    frames = torch.randint(0, 256, (2, *GRID, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    output = network(frames)
    assert not torch.equal(output[0], output[1])
    output.square().sum().backward()
    for name, parameter in network.later_looks.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    with torch.inference_mode():
        torch.testing.assert_close(network(frames, weights=network.weights()), output)
        torch.testing.assert_close(network(network.prepare(frames)), output)


@pytest.mark.parametrize(
    ("look", "options", "message"),
    [
        ({"latent_start": "here"}, {}, "unknown latent_start 'here'; valid: located, random"),
        ({"latent_start": "located"}, {"position_encoding": "none"}, "needs position_encoding=per_axis or one_d"),
        ({"latent_start": "located"}, {"num_cross_heads": 8}, "heads at least num_latents=8 wide, got 4"),
        ({"window_sd": 0.0}, {}, "positive window_sd"),
        ({"query_gain": -1.0}, {}, "positive query_gain"),
        ({"content_gain": 0.0}, {}, "positive content_gain"),
        ({"content_gain": 8.0}, {"input_layer_norm": False}, "set input_layer_norm=true"),
        ({"num_cross_attentions": 3}, {}, r"num_cross_attentions in 1..num_layers \(2\)"),
    ],
)
def test_impossible_looks_are_the_users_error(look: dict, options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        build(LookConfig(**look), **options)


def test_places_follow_the_pictures_proportion() -> None:
    assert {axis: len(set(places.tolist())) for axis, places in latent_places((3, 64, 64), 32).items()} == {1: 4, 2: 8}
    assert {axis: len(set(places.tolist())) for axis, places in latent_places((3, 64, 33), 8).items()} == {1: 4, 2: 2}
    assert {axis: len(set(places.tolist())) for axis, places in latent_places((64, 64, 3), 6).items()} == {0: 2, 1: 3}
