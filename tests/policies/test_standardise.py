"""The five standardisations against NumPy's formulas, and the pipeline around a transform."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from smidgen.policies.input_pipeline import InputPipeline
from smidgen.policies.standardise import (
    QUANTISATION_NOISE,
    STANDARDISERS,
    RunningMoments,
    build_standardiser,
)
from smidgen.policies.transforms import TRANSFORMS, build_transform
from smidgen.runtime.errors import UserError

GRID, CHANNELS = (2, 8, 8), 3
every_standardiser = pytest.mark.parametrize("name", STANDARDISERS)


def training_tokens(num_examples: int = 40, constant_token: bool = True) -> torch.Tensor:
    x = torch.rand(num_examples, math.prod(GRID), CHANNELS, generator=torch.manual_seed(0))
    x = x * torch.linspace(0.2, 1.0, CHANNELS)
    if constant_token:
        x[:, 7] = 0.5
    return x


def expected(name: str, x: np.ndarray, train: np.ndarray, floor: float) -> np.ndarray:
    if name == "global":
        return (x - train.mean((0, 1))) / np.maximum(train.std((0, 1)), floor)
    if name == "example":
        return x - x.mean(1, keepdims=True)
    if name == "centre":
        scale = math.sqrt(np.mean((train - train.mean(0)) ** 2))
        return (x - train.mean(0)) / max(scale, floor)
    if name == "token":
        return (x - train.mean(0)) / np.maximum(train.std(0), floor)
    return x


@every_standardiser
def test_formula(name: str) -> None:
    train, test = training_tokens().split([30, 10])
    standardiser = build_standardiser(name, train.shape[1], CHANNELS)
    standardiser.fit(train)
    want = expected(name, test.double().numpy(), train.double().numpy(), QUANTISATION_NOISE)
    np.testing.assert_allclose(standardiser(test).numpy(), want, rtol=2e-4, atol=2e-5)


@every_standardiser
def test_inverse(name: str) -> None:
    train = training_tokens()
    standardiser = build_standardiser(name, train.shape[1], CHANNELS)
    standardiser.fit(train)
    difference = standardiser.inverse(standardiser(train)) - train
    if name == "example":
        difference = difference - difference.mean(1, keepdim=True)
        torch.testing.assert_close(standardiser.inverse(standardiser(train)).mean((0, 1)), train.mean((0, 1)))
    assert difference.abs().max() < 1e-5


@every_standardiser
def test_batches_give_the_statistics_of_the_whole(name: str) -> None:
    train = training_tokens()
    whole, parts, again = (build_standardiser(name, train.shape[1], CHANNELS) for _ in range(3))
    whole.fit(train)
    parts.fit(train.split([1, 0, 7, 32]))
    again.fit(iter(train.split([1, 0, 7, 32])))
    torch.testing.assert_close(parts.state_dict(), whole.state_dict(), rtol=1e-6, atol=1e-7)
    for key, value in parts.state_dict().items():
        assert torch.equal(value, again.state_dict()[key])


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=6), st.floats(-1e4, 1e4), st.integers(0, 1000))
def test_running_moments(sizes: list[int], offset: float, seed: int) -> None:
    sizes = [1, *sizes]
    x = torch.randn(sum(sizes), 3, generator=torch.manual_seed(seed), dtype=torch.float64) + offset
    moments = RunningMoments()
    for part in x.split(sizes):
        moments.update(part)
    np.testing.assert_allclose(moments.mean, x.numpy().mean(0), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(moments.variance, x.numpy().var(0), rtol=1e-9, atol=1e-12)


@every_standardiser
def test_state_dict_carries_the_statistics(name: str) -> None:
    train = training_tokens()
    fitted, fresh = (build_standardiser(name, train.shape[1], CHANNELS) for _ in range(2))
    fitted.fit(train)
    fresh.load_state_dict(fitted.state_dict())
    assert torch.equal(fresh(train), fitted(train))
    assert torch.equal(fresh.inverse(train), fitted.inverse(train))
    assert not list(fitted.parameters())


@pytest.mark.parametrize("name", ["global", "centre", "token"])
def test_without_statistics_it_refuses(name: str) -> None:
    with pytest.raises(RuntimeError, match="call fit"):
        build_standardiser(name, 40, CHANNELS)(training_tokens())


@pytest.mark.parametrize(("transform", "scale"), [("raw", "ortho"), ("dft1d", "none"), ("dft3d", "ortho")])
@pytest.mark.parametrize("floor_scale", [0.1, 1.0, 10.0])
def test_floor_is_the_quantisation_noise_at_that_place(transform: str, scale: str, floor_scale: float) -> None:
    """Bytes that never change but by rounding: nothing may be blown up beyond unit size."""
    pipeline = InputPipeline(
        build_transform(transform, GRID, CHANNELS, scale=scale), after="token", floor_scale=floor_scale
    )
    pipeline.fit(torch.full((20, math.prod(GRID), CHANNELS), 0.5))
    gain = math.sqrt(math.prod(GRID)) if scale == "none" else 1.0
    deviation = pipeline.state_dict()["after.deviation"]
    torch.testing.assert_close(deviation, torch.full_like(deviation, floor_scale * gain / (255 * math.sqrt(12))))


@pytest.mark.parametrize("before", ["none", "global", "example", "centre"])
def test_floor_after_the_transform_follows_the_first_slot(before: str) -> None:
    """Rounding noise in one example of many, sent through the pipeline, has about the deviation of the floor."""
    train = training_tokens(constant_token=False) * 0.2
    pipeline = InputPipeline(build_transform("dft3d", GRID, CHANNELS), before=before, after="token")
    pipeline.fit(train)
    noise = torch.randn(train.shape, generator=torch.manual_seed(1)) * QUANTISATION_NOISE
    noise = noise - noise.mean(1, keepdim=True)
    through = pipeline.transform(pipeline.before(train + noise)) - pipeline.transform(pipeline.before(train))
    # Half of the imaginary channels of a half spectrum's edge bins are empty, and 'global' weighs channels by its own.
    power = through.square().sum() / noise.numel()
    assert math.sqrt(power) == pytest.approx(pipeline.after.floor, rel=0.1)


@every_standardiser
@pytest.mark.parametrize("after", STANDARDISERS)
@pytest.mark.parametrize("transform", TRANSFORMS)
@torch.no_grad()
def test_pipeline_fits_each_part_on_what_enters_it(name: str, after: str, transform: str) -> None:
    train, test = training_tokens(constant_token=False).split([30, 10])
    pipeline = InputPipeline(build_transform(transform, GRID, CHANNELS), before=name, after=after)
    pipeline.fit([train[:11], train[11:]])
    entering = torch.from_numpy(expected(name, train.double().numpy(), train.double().numpy(), QUANTISATION_NOISE))
    between = pipeline.transform(entering).numpy()
    entering_test = torch.from_numpy(expected(name, test.double().numpy(), train.double().numpy(), QUANTISATION_NOISE))
    want = expected(after, pipeline.transform(entering_test).numpy(), between, pipeline.after.floor)
    np.testing.assert_allclose(pipeline(test).numpy(), want, rtol=1e-3, atol=1e-3)
    assert (pipeline.num_tokens, pipeline.channels) == want.shape[1:]
    if "example" not in (name, after) and pipeline.transform.is_bijection:
        torch.testing.assert_close(pipeline.inverse(pipeline(test)), test, rtol=0, atol=1e-5)


def test_pipeline_travels_in_the_state_dict() -> None:
    train = training_tokens()
    fitted, fresh = (
        InputPipeline(build_transform("dft3d", GRID, CHANNELS), before="global", after="token") for _ in range(2)
    )
    fitted.fit(train)
    fresh.load_state_dict(fitted.state_dict())
    assert torch.equal(fresh(train), fitted(train))


def test_gradients_flow_through_to_the_tokens() -> None:
    pipeline = InputPipeline(build_transform("dft3d", GRID, CHANNELS), before="example", after="centre")
    pipeline.fit(training_tokens())
    assert torch.autograd.gradcheck(pipeline.double(), training_tokens(2).double().requires_grad_())


def pipeline_of(**slots: str) -> InputPipeline:
    return InputPipeline(build_transform("raw", GRID, CHANNELS), **slots)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: pipeline_of(before="batch"), "unknown standardisation 'batch'.*centre, example, global, none, token"),
        (lambda: pipeline_of(after="token").fit(torch.rand(4, 127, 3)), r"\(batch, 128, 3\), got \(4, 127, 3\)"),
        (lambda: pipeline_of(after="token").fit(torch.rand(0, 128, 3)), "got none"),
        (lambda: pipeline_of(after="token").fit([]), "got none"),
        (lambda: pipeline_of(before="global", after="token").fit(iter([torch.rand(2, 128, 3)])), "2 passes"),
        (lambda: InputPipeline(build_transform("raw", GRID, CHANNELS), floor_scale=0.0), "floor_scale"),
    ],
)
def test_mistakes_are_named(call: Callable[[], object], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
