"""The Perceiver as a whole: shapes, options, determinism, and that it learns from its input."""

from __future__ import annotations

import dataclasses
import io
import itertools
from collections.abc import Callable

import pytest
import torch
from omegaconf import OmegaConf

from smidgen.policies.perceiver import Perceiver, PerceiverConfig
from smidgen.policies.transforms import TRANSFORMS
from smidgen.runtime.errors import UserError

SHAPE = (2, 6, 8, 3)
SMALL = {"num_latents": 4, "latent_dim": 16, "num_layers": 1, "num_heads": 2, "horizon": 5}
OPTIONS = [
    {},
    {"byte_tokens": True},
    {"byte_tokens": True, "transform": "dft3d", "standardise_after": "token"},
    {"position_encoding": "one_d", "num_bands": 4},
    {"position_encoding": "none"},
    {"input_layer_norm": False},
    {"latent_scale": 1.0, "num_cross_heads": 2},
    {"num_layers": 0},
    {"full_spectrum": True, "transform": "dft1d", "transform_scale": "none"},
    # Patches do not fill frames of 6 rows; test_transforms_fitted.py has every transform with every encoding.
    *(
        {"transform": name, "standardise_before": "example", "standardise_after": "centre"}
        for name in TRANSFORMS
        if name != "patches"
    ),
]


def build(**options: object) -> Perceiver:
    torch.manual_seed(0)
    options = SMALL | options
    sizes = {name: options.pop(name) for name in ("horizon", "state_dim") if name in options}
    return Perceiver(PerceiverConfig(**options), grid=SHAPE[:3], channels=3, action_features=4, **sizes)


def frames(batch: int = 3, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 256, (batch, *SHAPE), dtype=torch.uint8, generator=torch.manual_seed(seed))


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_every_option_predicts_trains_and_travels_in_the_state_dict(options: dict[str, object]) -> None:
    network, copy = build(**options), build(**options)
    network.fit_input([frames(4), frames(2, seed=1)])
    output = network(frames())
    assert output.shape == (3, 5, 4)
    assert output.dtype == torch.float32
    output.square().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    buffer = io.BytesIO()
    torch.save(network.state_dict(), buffer)
    buffer.seek(0)
    copy.load_state_dict(torch.load(buffer, weights_only=True))
    assert torch.equal(copy(frames()), output)
    with torch.inference_mode():
        assert torch.equal(network(frames()), output)
    torch.testing.assert_close(network(frames()[1:2]), output[1:2])


def test_bytes_and_floats_in_the_unit_interval_are_the_same_input() -> None:
    network = build()
    assert torch.equal(network(frames()), network(frames().float() / 255))
    assert torch.equal(network(frames()), network(frames()[:, :, :, :, [2, 1, 0]].flip(-1)))


def test_tokens_are_in_the_order_time_row_column_byte() -> None:
    x = frames()
    pixels = build().tokens(x)
    assert pixels.shape == (3, 96, 3)
    for t, row, column in itertools.product(range(2), range(6), range(8)):
        assert torch.equal(pixels[:, (t * 6 + row) * 8 + column], x[:, t, row, column] / 255)
    single = build(byte_tokens=True).tokens(x)
    assert torch.equal(single.flatten(), pixels.flatten())
    assert single.shape == (3, 288, 1)


def test_default_reads_12288_tokens() -> None:
    network = Perceiver(PerceiverConfig(), grid=(3, 64, 64), channels=3, action_features=4, horizon=8)
    assert network.num_tokens == 12288
    assert network(torch.zeros(1, 3, 64, 64, 3, dtype=torch.uint8)).shape == (1, 8, 4)
    fourier = Perceiver(PerceiverConfig(transform="dft3d"), grid=(3, 64, 64), channels=3, action_features=4)
    assert fourier.num_tokens == 3 * 64 * 33


def test_state_enters_as_one_more_latent() -> None:
    network = build(state_dim=4)
    state = torch.randn(3, 4, generator=torch.manual_seed(0))
    assert network(frames(), state).shape == (3, 5, 4)
    assert not torch.equal(network(frames(), state), network(frames(), state + 1))
    assert network(frames(), state.double()).dtype == torch.float32


def test_the_same_seed_trains_to_the_same_bits() -> None:
    assert all(torch.equal(a, b) for a, b in zip(*(trained_weights() for _ in range(2)), strict=True))


def trained_weights() -> list[torch.Tensor]:
    network = build(transform="dft3d", standardise_after="centre")
    network.fit_input(frames(8))
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3)
    for step in range(3):
        optimiser.zero_grad()
        network(frames(4, seed=step)).square().mean().backward()
        optimiser.step()
    return list(network.parameters())


def test_learns_where_a_bright_block_is() -> None:
    torch.manual_seed(0)
    network = build(standardise_after="centre", horizon=1)
    rows, columns = torch.meshgrid(torch.arange(5), torch.arange(7), indexing="ij")
    positions = torch.stack([rows.flatten(), columns.flatten()], 1)
    x = torch.full((35, *SHAPE), 60, dtype=torch.uint8)
    for example, (row, column) in enumerate(positions):
        x[example, :, row : row + 2, column : column + 2] = 220
    target = torch.cat([positions / positions.max(0).values, torch.zeros(35, 2)], 1)
    target = target - target.mean(0)
    network.fit_input(x)
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3)
    for _ in range(200):
        optimiser.zero_grad()
        loss = (network(x)[:, 0] - target).square().mean()
        loss.backward()
        optimiser.step()
    assert float(loss.detach()) < 0.3 * float(target.square().mean())


def test_attention_map_sums_to_one_over_tokens() -> None:
    network = build(num_cross_heads=2, transform="dft3d")
    weights = network.attention_map(frames())
    assert weights.shape == (3, 2, 4, network.num_tokens)
    torch.testing.assert_close(weights.sum(-1), torch.ones(3, 2, 4))


def test_saliency_reaches_the_pixels() -> None:
    network = build(transform="dft3d", standardise_before="example")
    network.fit_input(frames(6))
    x = (frames().float() / 255).requires_grad_()
    network(x)[0].sum().backward()
    assert x.grad is not None
    assert x.grad[0].abs().min() > 0
    assert not x.grad[1:].any()


def test_latent_scale_sets_the_initial_latents() -> None:
    for scale in (0.02, 1.0):
        latents = build(num_latents=64, latent_scale=scale).encoder.latents
        assert float(latents.detach().std()) == pytest.approx(scale, rel=0.1)


def test_config_is_a_frozen_schema_with_help() -> None:
    for part in dataclasses.fields(PerceiverConfig):
        assert part.metadata["help"], part.name
        assert "\n" not in part.metadata["help"]
    with pytest.raises(dataclasses.FrozenInstanceError):
        PerceiverConfig().transform = "dft3d"  # type: ignore[misc]
    schema = OmegaConf.structured(PerceiverConfig)
    assert OmegaConf.to_object(OmegaConf.merge(schema, {"num_bands": 6})) == PerceiverConfig(num_bands=6)


class Again:
    """Frames that can be gone through again."""

    def __iter__(self) -> object:
        return iter([frames(4), frames(2, seed=1)])


def test_fit_input_takes_a_tensor_a_list_or_anything_that_starts_afresh() -> None:
    options = {"standardise_before": "global", "standardise_after": "token"}
    whole, parts, again = (build(**options) for _ in range(3))
    whole.fit_input(torch.cat(list(Again())))
    parts.fit_input([frames(4), frames(2, seed=1)])
    again.fit_input(Again())
    torch.testing.assert_close(whole.state_dict(), parts.state_dict())
    torch.testing.assert_close(again.state_dict(), parts.state_dict(), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: build(transform="fft"), "unknown transform 'fft'"),
        (lambda: build(full_spectrum=True), "unknown option of transform 'raw' 'full'"),
        (lambda: build(standardise_after="mean"), "unknown standardisation 'mean'"),
        (lambda: build(position_encoding="rotary"), "unknown position encoding 'rotary'"),
        (lambda: build(num_heads=3), "num_heads that divides latent_dim 16, got 3"),
        (lambda: build(num_cross_heads=3), "num_cross_heads that divides 16, got 3"),
        (lambda: build(horizon=0), "horizon of at least 1, got 0"),
        (lambda: build(state_dim=-1), "state_dim of at least 0, got -1"),
        (lambda: build()(frames()[:, :1]), r"shape \(batch, 2, 6, 8, 3\), got \(3, 1, 6, 8, 3\)"),
        (lambda: build()(frames(0)), "got .0, 2, 6, 8, 3."),
        (lambda: build()(frames(), torch.zeros(3, 4)), "state of 0 coordinates"),
        (lambda: build(state_dim=4)(frames()), "state of 4 coordinates, got None"),
        (
            lambda: build(standardise_before="global", standardise_after="token").fit_input(iter([frames()])),
            "2 passes over the training tokens",
        ),
    ],
)
def test_mistakes_are_named(call: Callable[[], object], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
