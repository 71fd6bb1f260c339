"""Transforms that learn, from statistics or by gradients; every transform in the network with every encoding."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from smidgen.policies.checkpoint import load_checkpoint, save_checkpoint
from smidgen.policies.input_pipeline import InputPipeline
from smidgen.policies.learned_policy import Interface, LearnedPolicy
from smidgen.policies.perceiver import Perceiver, PerceiverConfig
from smidgen.policies.perceiver_policy import PerceiverPolicyConfig
from smidgen.policies.positions import POSITION_ENCODINGS
from smidgen.policies.standardise import QUANTISATION_NOISE
from smidgen.policies.transforms import TRANSFORMS, build_transform
from smidgen.runtime.action_spec import ActionSpec
from smidgen.runtime.errors import UserError

GRID = (3, 4, 6)


def correlated(num_examples: int, grid: tuple[int, ...] = GRID, channels: int = 2, seed: int = 0) -> torch.Tensor:
    """Tokens with a mean and a Kronecker covariance: a random mix of every axis."""
    generator = torch.manual_seed(seed)
    x = torch.randn(num_examples, channels, *grid, generator=generator, dtype=torch.float64)
    generator = torch.manual_seed(99)
    for axis, length in enumerate(grid):
        mix = torch.randn(length, length, generator=generator, dtype=torch.float64)
        x = torch.tensordot(x, mix, dims=([axis + 2], [1])).movedim(-1, axis + 2)
    mean = torch.randn(1, channels, *grid, generator=generator, dtype=torch.float64)
    return (x + 10 * mean).flatten(2).transpose(1, 2)


def fibres(x: torch.Tensor, grid: tuple[int, ...], axis: int) -> np.ndarray:
    """All values along an axis, as rows of its length."""
    return x.transpose(1, 2).unflatten(2, grid).movedim(axis + 2, -1).reshape(-1, grid[axis]).numpy()


def test_pca_rotations_are_principal_axes_of_the_fibres_about_the_mean_example() -> None:
    x = correlated(40)
    transform = build_transform("pca", grid=GRID, channels=2)
    transform.fit(x)
    centred = x - x.mean(0)
    for axis in range(3):
        rows = fibres(centred, GRID, axis)
        values, vectors = np.linalg.eigh(rows.T @ rows / len(rows))
        rotation = transform.get_buffer(f"rotation_{axis}").numpy()
        np.testing.assert_allclose(np.abs(rotation @ vectors[:, ::-1]), np.eye(GRID[axis]), atol=1e-8)
        largest = rotation[np.arange(len(rotation)), np.abs(rotation).argmax(1)]
        assert (largest > 0).all()
        variances = (fibres(transform(centred), GRID, axis) ** 2).mean(0)
        np.testing.assert_allclose(variances, values[::-1], rtol=1e-8)


def test_pca_of_batches_is_pca_of_the_whole_and_a_constant_data_set_has_one() -> None:
    x = correlated(40)
    whole, parts, constant = (build_transform("pca", grid=GRID, channels=2) for _ in range(3))
    whole.fit(x)
    parts.fit(iter([x[:7], x[7:8], x[8:]]))
    for axis in range(3):
        name = f"rotation_{axis}"
        torch.testing.assert_close(whole.get_buffer(name), parts.get_buffer(name), rtol=0, atol=1e-9)
    constant.fit(torch.full((4, 72, 2), 0.3))
    torch.testing.assert_close(constant.inverse(constant(x)), x)


def test_zca_whitens_what_a_kronecker_product_describes() -> None:
    x = correlated(4000, (2, 3, 4), 1)
    transform = build_transform("zca", grid=(2, 3, 4), channels=1)
    transform.fit(x)
    white = transform(x)[..., 0].numpy()
    # 24 x 24 covariances of 4,000 samples stray from the identity by a few hundredths.
    assert np.abs(np.cov(white.T) - np.eye(24)).max() < 0.15
    assert np.abs(np.cov(x[..., 0].numpy().T) - np.eye(24)).max() > 1


def test_zca_is_closer_to_the_input_than_its_rotation() -> None:
    x = correlated(400, (2, 3, 4), 1)
    x = (x - x.mean(0)) / x.std()
    zca, pca = (build_transform(name, grid=(2, 3, 4), channels=1) for name in ("zca", "pca"))
    zca.fit(x)
    pca.fit(x)
    rotated = pca(x) / pca(x).std(0, correction=0)
    assert (zca(x) - x).square().mean() < (rotated - x).square().mean()
    # Symmetric: white = U^T D U, the defining property of zero-phase whitening.
    kernel = zca(torch.eye(24, dtype=torch.float64)[..., None])[..., 0]
    torch.testing.assert_close(kernel, kernel.T)


@pytest.mark.parametrize("floor_scale", [1.0, 10.0])
def test_zca_divides_by_the_floor_of_the_slot_before_it(floor_scale: float) -> None:
    x = torch.rand(20, 16, 1, generator=torch.manual_seed(0)).double().repeat_interleave(4, 1)[:, :16]
    transform = build_transform("zca", grid=(4, 4), channels=1)
    pipeline = InputPipeline(transform, before="global", floor_scale=floor_scale).double()
    pipeline.fit([x[:10], x[10:]])
    floor = floor_scale * QUANTISATION_NOISE * pipeline.before.gain
    assert transform.floor == pytest.approx(floor)
    assert float(transform.get_buffer("deviation").min()) == pytest.approx(floor)
    torch.testing.assert_close(pipeline.inverse(pipeline(x)), x)
    with pytest.raises(UserError, match="3 passes"):
        pipeline.fit(iter([x]))


def test_learned_orthogonal_stays_orthonormal_and_starts_where_it_should() -> None:
    x = correlated(3).float()
    assert torch.equal(build_transform("learned_orthogonal", grid=GRID, channels=2)(x), x)
    first, again, other = (build_transform("learned_orthogonal", grid=GRID, channels=2, seed=s)(x) for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.allclose(first, other)
    assert not torch.allclose(first, x)
    transform = build_transform("learned_orthogonal", grid=GRID, channels=2)
    optimiser = torch.optim.Adam(transform.parameters(), lr=0.1)
    # As far as a rotation can go: all energy of every example into token 0.
    energies = []
    for _ in range(60):
        loss = -transform(x)[:, 0].square().sum() / x.square().sum()
        energies.append(-float(loss.detach()))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert energies[-1] > 3 * energies[0]
    for axis, length in enumerate(GRID):
        rotation = transform.rotation(axis)
        torch.testing.assert_close(rotation @ rotation.T, torch.eye(length), rtol=0, atol=1e-5)
    torch.testing.assert_close(transform(x).norm(), x.norm())


def test_patches_hold_the_pixels_of_their_own_frame_and_place() -> None:
    grid = (2, 8, 12)
    x = torch.rand(1, math.prod(grid), 3, generator=torch.manual_seed(0)).requires_grad_()
    transform = build_transform("patches", grid=grid, channels=3)
    z = transform(x).unflatten(1, transform.grid)
    assert z.shape == (1, 2, 2, 3, 48)
    z[0, 1, 0, 2].square().sum().backward()
    inside = x.grad.unflatten(1, grid)[0].abs().sum(-1) > 0
    assert inside[1, :4, 8:].all()
    assert int(inside.sum()) == 16
    weight = transform.weight.detach()
    torch.testing.assert_close(weight @ weight.T, torch.eye(48), rtol=0, atol=1e-5)


def test_conv_stem_sees_neighbours_within_a_frame_only() -> None:
    grid = (2, 16, 16)
    x = torch.rand(1, math.prod(grid), 3, generator=torch.manual_seed(0)).requires_grad_()
    transform = build_transform("conv_stem", grid=grid, channels=3)
    z = transform(x).unflatten(1, transform.grid)
    assert z.shape == (1, 2, 4, 4, 16)
    z[0, 1, 1, 1].sum().backward()
    seen = x.grad.unflatten(1, grid)[0].abs().sum(-1) > 0
    assert not seen[0].any()
    rows, columns = seen[1].nonzero().T
    assert (int(rows.min()), int(rows.max()), int(columns.min()), int(columns.max())) == (1, 7, 1, 7)


@pytest.mark.parametrize("input_layer_norm", [True, False])
@pytest.mark.parametrize("encoding", POSITION_ENCODINGS)
@pytest.mark.parametrize("transform", TRANSFORMS)
def test_every_encoding_crosses_with_every_transform(transform: str, encoding: str, input_layer_norm: bool) -> None:
    torch.manual_seed(0)
    config = PerceiverConfig(
        transform=transform,
        position_encoding=encoding,
        input_layer_norm=input_layer_norm,
        num_latents=2,
        latent_dim=8,
        num_layers=0,
        latent_scale=1.0,
    )
    network = Perceiver(config, grid=(2, 8, 8), channels=3, action_features=2)
    frames = torch.randint(0, 256, (5, 2, 8, 8, 3), dtype=torch.uint8, generator=torch.manual_seed(1))
    network.fit_input(frames)
    positions = network.encoder.attention.positions
    assert positions.num_tokens == network.num_tokens
    output = network(frames)
    assert output.shape == (5, 1, 2)
    output.square().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


@pytest.mark.parametrize(
    "options",
    [
        {"transform": "random_orthogonal", "transform_seed": 4, "position_encoding": "permuted"},
        {"transform": "zca", "standardise_before": "centre", "standardise_after": "token"},
        {"transform": "learned_orthogonal", "transform_seed": 2, "position_encoding": "aliased"},
        {"transform": "conv_stem"},
        {"transform": "patches"},
        {"transform": "dct", "drop_dc": True, "transform_scale": "none"},
    ],
    ids=str,
)
def test_checkpoints_hold_what_a_transform_learned(options: dict[str, object], tmp_path: Path) -> None:
    torch.manual_seed(1)
    config = PerceiverPolicyConfig.from_flat(num_latents=2, latent_dim=8, num_heads=2, num_layers=0, **options)
    action_spec = ActionSpec(("x", "y", "z", "grip"), ("position",) * 3 + ("gripper",), (-1.0,) * 4, (1.0,) * 4)
    policy = LearnedPolicy(config, Interface("dot", action_spec, ("front",), 8, ("x", "y", "z", "opening")))
    frames = torch.randint(0, 256, (6, 3, 8, 8, 3), dtype=torch.uint8)
    policy.fit([frames], torch.rand(20, 4), torch.rand(20, 4))
    with torch.no_grad():
        for parameter in policy.network.input_pipeline.parameters():
            parameter += 0.1
    save_checkpoint(tmp_path / "final", policy.eval(), {})
    loaded = load_checkpoint(tmp_path / "final")
    np.testing.assert_array_equal(loaded.predict_chunk(frames.numpy()), policy.predict_chunk(frames.numpy()))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"full_spectrum": True, "transform": "dct"}, "option of transform 'dct' 'full'"),
        ({"drop_dc": True, "transform": "haar"}, "option of transform 'haar' 'drop_dc'"),
        ({"drop_dc": True}, "option of transform 'raw' 'drop_dc'"),
        ({"transform_seed": 3, "transform": "dft3d"}, "option of transform 'dft3d' 'seed'"),
        ({"transform_seed": -1, "transform": "random_orthogonal"}, "transform_seed of at least 0, got -1"),
    ],
)
def test_options_that_a_transform_does_not_have_are_refused(options: dict[str, object], message: str) -> None:
    config = PerceiverConfig(**options)
    with pytest.raises(UserError, match=message):
        Perceiver(config, grid=(2, 8, 8), channels=3, action_features=2)
