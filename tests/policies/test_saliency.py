"""Saliency against finite differences, dense matrices, and policies whose answer is known by construction."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from smidgen.policies.perceiver import Perceiver, PerceiverConfig
from smidgen.policies.saliency import (
    METHODS,
    attention_saliency,
    attention_to_pixels,
    chunk_jacobian,
    gradient_saliency,
    input_saliency,
    mean_frames,
    policy_saliency,
    smooth_saliency,
    unit_floats,
)
from smidgen.policies.transforms import TRANSFORMS, InputTransform, build_transform
from smidgen.runtime.errors import UserError
from tests.policies.test_perceiver_policy import build as build_policy

GRID, CHANNELS = (2, 8, 8), 3
ORTHONORMAL = [name for name, transform in TRANSFORMS.items() if transform.is_orthonormal]


def frames(seed: int = 0, num_cameras: int = 1) -> Tensor:
    shape = (*GRID, CHANNELS * num_cameras)
    return torch.rand(shape, dtype=torch.float64, generator=torch.manual_seed(seed))


def network(transform: str, num_cameras: int = 1, **options: object) -> Perceiver:
    torch.manual_seed(0)
    config = PerceiverConfig(transform=transform, num_latents=3, latent_dim=8, num_heads=2, num_layers=1, **options)
    built = Perceiver(config, grid=GRID, channels=CHANNELS * num_cameras, action_features=2, horizon=2).double()
    built.fit_input(torch.stack([frames(seed, num_cameras) for seed in range(1, 9)]))
    return built.eval()


def fitted(name: str, **options: object) -> InputTransform:
    torch.manual_seed(0)
    transform = build_transform(name, GRID, CHANNELS, **options).double()
    transform.fit(torch.stack([as_tokens(frames(seed)) for seed in range(1, 9)]))
    return transform


def as_tokens(frames_THWC: Tensor) -> Tensor:
    return frames_THWC.reshape(-1, CHANNELS)


@pytest.mark.parametrize("transform", ["raw", "dft1d", "dft3d"])
@pytest.mark.parametrize("slots", [{}, {"standardise_before": "example", "standardise_after": "token"}])
def test_gradients_are_the_finite_differences(transform: str, slots: dict[str, str]) -> None:
    net, x, step = network(transform, **slots), frames(), 1e-5
    moves = step * torch.eye(x.numel(), dtype=torch.float64).view(-1, *x.shape)
    with torch.no_grad():
        differences_PK = (net(x + moves) - net(x - moves)).flatten(1) / (2 * step)
    numeric = differences_PK.T.reshape(-1, *x.shape)
    assert numeric.abs().max() > 1e-4
    torch.testing.assert_close(chunk_jacobian(net, x), numeric, rtol=1e-5, atol=1e-9)
    expected = numeric.square().sum((0, -1)).sqrt()[..., None]
    torch.testing.assert_close(gradient_saliency(net, x), expected, rtol=1e-5, atol=1e-9)
    for baseline in (None, frames(9)):
        offset = x if baseline is None else x - baseline
        products = (numeric * offset).sum(-1).square().sum(0).sqrt()[..., None]
        torch.testing.assert_close(input_saliency(net, x, 1, baseline), products, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("transform", ORTHONORMAL)
@pytest.mark.parametrize("saliency", [gradient_saliency, input_saliency, smooth_saliency])
def test_a_policy_that_reads_one_pixel_lights_it_up(transform: str, saliency: Callable[..., Tensor]) -> None:
    """It reads it as a weighted sum of all coefficients, and says it loudly, softly and squashed."""
    mapped, place = fitted(transform), (1, 2, 5)
    pixel = torch.zeros(*GRID, CHANNELS, dtype=torch.float64)
    pixel[place] = torch.tensor([1.0, -0.5, 2.0])
    readout_MD = mapped(as_tokens(pixel)[None])[0].detach()

    def predict(frames_BTHWC: Tensor) -> Tensor:
        value_B = (mapped(frames_BTHWC.flatten(1, 3)) * readout_MD).sum((1, 2))
        return torch.stack([value_B, 0.1 * value_B, value_B.tanh()], 1)

    lit = saliency(predict, frames())[..., 0]
    assert lit[place] > 0.1
    dark = lit.clone()
    dark[place] = 0.0
    assert dark.max() < 1e-9 * lit[place]


@pytest.mark.parametrize("transform", ["raw", "dft3d"])
def test_a_blind_policy_lights_up_nothing(transform: str) -> None:
    net = network(transform)
    net.decoder.head.weight.data.zero_()
    for saliency in (gradient_saliency, input_saliency, smooth_saliency):
        assert torch.count_nonzero(saliency(net, frames())) == 0
        assert torch.count_nonzero(saliency(lambda x: net.decoder.head.bias.expand(len(x), -1), frames())) == 0
        assert torch.count_nonzero(saliency(lambda x: torch.ones(len(x), 2), frames())) == 0


@pytest.mark.parametrize("transform", ["raw", "dft3d", "zca", "conv_stem"])
def test_mean_frames_are_the_training_mean_where_there_is_one(transform: str) -> None:
    training_mean = torch.stack([frames(seed) for seed in range(1, 9)]).mean(0)
    standardised = mean_frames(network(transform, standardise_after="centre"))
    expected = torch.zeros_like(training_mean) if transform == "conv_stem" else training_mean
    torch.testing.assert_close(standardised, expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(mean_frames(network(transform)), torch.zeros_like(training_mean))


def test_what_is_as_on_average_has_no_input_saliency() -> None:
    net = network("dft3d", standardise_after="centre")
    mean = mean_frames(net)
    assert torch.count_nonzero(gradient_saliency(net, mean)) == math.prod(GRID)
    assert torch.count_nonzero(input_saliency(net, mean, 1, mean)) == 0


def test_smooth_is_the_gradient_where_that_is_the_same_everywhere_and_less_where_it_alternates() -> None:
    weights = frames(7)
    torch.testing.assert_close(
        smooth_saliency(lambda x: (x * weights).sum((1, 2, 3, 4)), frames()),
        gradient_saliency(lambda x: (x * weights).sum((1, 2, 3, 4)), frames()),
    )

    def wiggly(x: Tensor) -> Tensor:
        return (100 * x).sin().sum((1, 2, 3, 4))

    assert smooth_saliency(wiggly, frames(), num_samples=32).mean() < 0.5 * gradient_saliency(wiggly, frames()).mean()
    assert torch.equal(smooth_saliency(wiggly, frames()), smooth_saliency(wiggly, frames()))


@pytest.mark.parametrize("byte_tokens", [False, True])
def test_raw_attention_is_the_weights_themselves(byte_tokens: bool) -> None:
    net = network("raw", byte_tokens=byte_tokens)
    weights = net.attention_map(frames()[None])[0].flatten(0, 1).detach()
    if byte_tokens:
        expected = weights.view(-1, *GRID, CHANNELS).square().mean(-1).sqrt().mean(0)
    else:
        expected = weights.mean(0).view(GRID)
    torch.testing.assert_close(attention_saliency(net, frames())[..., 0], expected)


@pytest.mark.parametrize("transform", [name for name in TRANSFORMS if name not in ("raw", "conv_stem")])
@pytest.mark.parametrize("after", ["none", "token"])
def test_attention_comes_back_through_the_transposed_matrix(transform: str, after: str) -> None:
    net = network(transform, standardise_after=after)
    pipeline = net.input_pipeline
    size = math.prod(GRID) * CHANNELS
    basis = torch.eye(size, dtype=torch.float64).view(size, -1, CHANNELS)
    matrix_PMD = (pipeline(basis) - pipeline(torch.zeros_like(basis[:1]))).detach()
    weights_RM = torch.rand(2, pipeline.num_tokens, dtype=torch.float64, generator=torch.manual_seed(3))
    functionals_RPD = torch.einsum("rm,pmd->rpd", weights_RM, matrix_PMD)
    expected = functionals_RPD.square().sum(-1).view(2, *GRID, CHANNELS).mean(-1).sqrt()
    got = attention_to_pixels(net, weights_RM, frames())[..., 0]
    torch.testing.assert_close(got, expected, rtol=1e-6, atol=1e-9 * float(expected.max()))


@pytest.mark.parametrize("name", TRANSFORMS)
def test_is_linear_tells_the_truth(name: str) -> None:
    transform = fitted(name)
    x, y = (as_tokens(frames(seed) - 0.5)[None] for seed in (1, 2))
    zero = transform(torch.zeros_like(x))
    gap = (transform(2 * x + y) - 2 * transform(x) - transform(y) + 2 * zero).abs().max()
    assert (gap < 1e-8 * transform(x).abs().max()) == transform.is_linear


def test_attention_over_tokens_of_a_nonlinear_transform_is_refused() -> None:
    with pytest.raises(UserError, match="'conv_stem' cannot be mapped to pixels: expected a"):
        attention_saliency(network("conv_stem"), frames())


@pytest.mark.parametrize("saliency", [gradient_saliency, input_saliency, smooth_saliency])
def test_cameras_have_a_map_each(saliency: Callable[..., Tensor]) -> None:
    lit = saliency(lambda x: x[..., CHANNELS:].square().sum(), frames(num_cameras=2), 2)
    assert lit.shape == (*GRID, 2)
    assert torch.count_nonzero(lit[..., 0]) == 0
    assert lit[..., 1].min() > 0


def test_channels_that_no_camera_count_divides_are_refused() -> None:
    with pytest.raises(UserError, match="divides the 3 channels, got 2"):
        gradient_saliency(network("raw"), frames(), 2)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("options", [{}, {"use_eef_state": True, "transform": "dft3d"}])
def test_policies_have_every_method(method: str, options: dict[str, object]) -> None:
    policy = build_policy(num_cameras=2, **options)
    shape = policy.network.frame_shape
    bytes_THWC = torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.manual_seed(0))
    state = torch.rand(4, dtype=torch.float64) if policy.config.use_eef_state else None
    maps = policy_saliency(policy, bytes_THWC, state, method)
    assert maps.shape == (*shape[:3], 2)
    assert not maps.requires_grad
    assert maps.isfinite().all()
    assert maps.min() >= 0 < maps.max()
    assert torch.equal(maps, policy_saliency(policy, bytes_THWC, state, method))
    assert all(parameter.grad is None for parameter in policy.parameters())


def test_bytes_become_the_floats_that_the_network_sees() -> None:
    policy = build_policy()
    bytes_BTHWC = torch.randint(0, 256, (1, *policy.network.frame_shape), dtype=torch.uint8)
    assert torch.equal(policy.network.tokens(unit_floats(bytes_BTHWC)), policy.network.tokens(bytes_BTHWC))


def test_unknown_method_is_named() -> None:
    policy = build_policy()
    with pytest.raises(UserError, match=r"saliency method 'gaze'.*attention, gradient, input, smooth"):
        policy_saliency(policy, torch.zeros(policy.network.frame_shape), method="gaze")
