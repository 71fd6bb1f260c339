"""What never varies (a channel, a data set, the one example): outputs stay finite, and the inverse inverts."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import pytest
import torch

from smidgen.policies.choose_transform import (
    between_token_variance,
    class_distance,
    participation_ratio,
    token_alignment,
)
from smidgen.policies.input_pipeline import InputPipeline
from smidgen.policies.normaliser import ActionNormaliser
from smidgen.policies.perceiver import PerceiverConfig
from smidgen.policies.standardise import STANDARDISERS, build_standardiser
from smidgen.policies.transforms import TRANSFORMS, InputTransform, build_transform
from smidgen.runtime.action_spec import ActionSpec
from smidgen.runtime.errors import UserError
from tests.long_form import long_form

GRID = (2, 8, 8)
ACTION = ActionSpec(("x", "y", "gripper"), ("position", "position", "gripper"), (-1.0,) * 3, (1.0,) * 3)


def still(kind: str) -> tuple[tuple[int, ...], torch.Tensor]:
    """A grid, and training tokens in [0, 1] of which something never varies."""
    grid = {"one token": (1, 1, 1), "one token in patches": (1, 4, 4)}.get(kind, GRID)
    channels, num_examples = (1 if kind == "one channel" else 3), (1 if kind == "one example" else 6)
    generator = torch.Generator().manual_seed(0)
    x_BNC = torch.rand(num_examples, math.prod(grid), channels, generator=generator)
    if kind == "constant channel":
        x_BNC[..., 1] = 0.3
    elif kind == "constant token":
        x_BNC[:, 5] = 0.7
    elif kind == "constant frame":
        x_BNC[:, : len(x_BNC[0]) // 2] = x_BNC[0, : len(x_BNC[0]) // 2]
    elif kind == "constant data set":
        x_BNC[:] = x_BNC[0]
    elif kind == "one grey":
        x_BNC[:] = 0.1
    elif kind == "black":
        x_BNC[:] = 0.0
    return grid, x_BNC


KINDS = (
    "constant channel",
    "constant token",
    "constant frame",
    "constant data set",
    "one grey",
    "black",
    "one example",
    "one channel",
    "one token",
    "one token in patches",
)

# Each standardisation in each slot; the long form combines them.
SLOTS = long_form(
    list(itertools.product(STANDARDISERS, STANDARDISERS)),
    [("none", after) for after in STANDARDISERS] + [(before, "token") for before in STANDARDISERS if before != "none"],
)


def build(name: str, grid: tuple[int, ...], channels: int) -> InputTransform:
    torch.manual_seed(0)
    try:
        return build_transform(name, grid, channels)
    except UserError:
        pytest.skip(f"{name} refuses the grid {grid} by itself")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", TRANSFORMS)
def test_every_transform_and_pipeline_stays_finite_and_inverts(name: str, kind: str) -> None:
    grid, x_BNC = still(kind)
    transform = build(name, grid, x_BNC.shape[2])
    if transform.needs_fit:
        transform.fit(x_BNC)
    z_BMD = transform(x_BNC)
    assert bool(z_BMD.isfinite().all())
    assert math.isfinite(transform.gain)
    if transform.is_bijection:
        torch.testing.assert_close(transform.inverse(z_BMD), x_BNC, atol=2e-5, rtol=1e-4)
    for before, after in SLOTS:
        pipeline = InputPipeline(transform, before=before, after=after)
        if pipeline.needs_fit:
            pipeline.fit(x_BNC)
        for seen in (x_BNC, torch.rand_like(x_BNC)):
            z_BMD = pipeline(seen)
            assert bool(z_BMD.isfinite().all()), (before, after)
            # The slot "example" loses each example's mean.
            if transform.is_bijection and "example" not in (before, after):
                torch.testing.assert_close(pipeline.inverse(z_BMD), seen, atol=2e-3, rtol=1e-3)


@pytest.mark.parametrize("floor", [0.0, -1.0, math.nan, math.inf])
def test_no_floor_is_refused(floor: float) -> None:
    with pytest.raises(UserError, match="floor above 0"):
        build_standardiser("token", 4, 1, floor)
    with pytest.raises(UserError, match="expected a finite floor_scale above 0"):
        InputPipeline(build_transform("raw", GRID, 1), floor_scale=floor)


@pytest.mark.parametrize("rule", [between_token_variance, participation_ratio, class_distance, token_alignment])
@pytest.mark.parametrize("kind", KINDS)
def test_the_rules_score_what_never_varies(kind: str, rule: Callable[..., dict[str, float]]) -> None:
    grid, x_BNC = still(kind)
    generator = torch.Generator().manual_seed(1)
    varied = torch.rand(len(x_BNC), 2, generator=generator)
    for labels_BA in (varied, torch.ones_like(varied)):
        for after in STANDARDISERS:
            network = PerceiverConfig(transform="raw", standardise_after=after)
            assert all(map(math.isfinite, rule(x_BNC, labels_BA, grid, network).values()))


@pytest.mark.parametrize("num_targets", [1, 5])
def test_targets_that_never_vary_come_back(num_targets: int) -> None:
    normaliser = ActionNormaliser(ACTION)
    targets_NA = torch.tensor([[0.25, -0.5, 1.0]], dtype=torch.float64).repeat(num_targets, 1)
    normaliser.fit(targets_NA)
    features = normaliser.encode(targets_NA)
    assert bool(features.isfinite().all())
    torch.testing.assert_close(normaliser.decode(features), targets_NA)


def test_no_targets_at_all_are_refused() -> None:
    with pytest.raises(ValueError, match="N at least 1"):
        ActionNormaliser(ACTION).fit(torch.zeros(0, 3))
