"""Inputs at the edges, through the whole network under every input transform: right, or a clear error."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from smidgen.policies.perceiver import Perceiver, PerceiverConfig
from smidgen.policies.transforms import TRANSFORMS
from smidgen.runtime.errors import UserError

# Wavelets halve rows and columns, patches tile them.
NEED_FITTING_SIDES = ("haar", "daubechies", "patches")
EVERY_TRANSFORM = pytest.mark.parametrize("transform", TRANSFORMS)


def _network(transform: str, grid: tuple[int, int, int], channels: int = 3, **changes: object) -> Perceiver:
    torch.manual_seed(0)
    sizes = {"num_latents": 4, "latent_dim": 16, "num_layers": 1, "num_heads": 2}
    config = PerceiverConfig(transform=transform, **(sizes | changes))  # type: ignore[arg-type]
    network = Perceiver(config, grid=grid, channels=channels, action_features=4, horizon=2)
    network.fit_input(_frames(8, grid, channels))
    return network.eval()


def _frames(batch: int, grid: tuple[int, int, int], channels: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (batch, *grid, channels), dtype=torch.uint8, generator=generator)


@EVERY_TRANSFORM
def test_a_batch_of_one_equals_its_row_in_a_larger_batch(transform: str) -> None:
    network, frames = _network(transform, (3, 8, 8)), _frames(5, (3, 8, 8))
    with torch.no_grad():
        torch.testing.assert_close(network(frames[2:3]), network(frames)[2:3], atol=1e-5, rtol=1e-4)


@EVERY_TRANSFORM
def test_a_non_contiguous_batch_equals_its_copy(transform: str) -> None:
    network, frames = _network(transform, (3, 8, 8)), _frames(4, (3, 8, 8))
    strided = frames.permute(4, 0, 3, 2, 1).contiguous().permute(1, 4, 3, 2, 0)
    assert not strided.is_contiguous()
    with torch.no_grad():
        torch.testing.assert_close(network(strided), network(frames), atol=1e-6, rtol=1e-5)


@EVERY_TRANSFORM
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_frames_of_another_precision_come_out_as_float32_ones_do(transform: str, dtype: torch.dtype) -> None:
    network = _network(transform, (3, 8, 8))
    frames = (_frames(2, (3, 8, 8)) / 255).to(dtype)
    with torch.no_grad():
        torch.testing.assert_close(network(frames).float(), network(frames.float()), atol=1e-5, rtol=1e-4)


@EVERY_TRANSFORM
@pytest.mark.parametrize("grid", [(1, 1, 1), (3, 1, 1), (2, 5, 7), (1, 9, 4)])
def test_odd_grids_down_to_one_token_give_numbers_or_a_clear_error(transform: str, grid: tuple[int, int, int]) -> None:
    if transform in NEED_FITTING_SIDES:
        with pytest.raises(UserError, match=r"grid|got"):
            _network(transform, grid)
        return
    network = _network(transform, grid)
    output = network(_frames(2, grid))
    assert output.shape == (2, 2, 4)
    assert output.isfinite().all()
    output.square().sum().backward()
    gradients = [p.grad for p in network.parameters() if p.grad is not None]
    assert gradients
    assert all(gradient.isfinite().all() for gradient in gradients)


@EVERY_TRANSFORM
def test_no_cameras_are_refused(transform: str) -> None:
    with pytest.raises(UserError, match="channels"):
        _network(transform, (3, 8, 8), channels=0)


@EVERY_TRANSFORM
def test_no_examples_are_refused(transform: str) -> None:
    network = _network(transform, (3, 8, 8))
    with pytest.raises(UserError, match="expected frames"):
        network(_frames(0, (3, 8, 8)))
