"""Every transform by one contract, and the Fourier transforms against SciPy and NumPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.fft
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from smidgen.policies.transforms import TRANSFORMS, InputTransform, build_transform
from smidgen.runtime.errors import UserError

WAVELETS = ("haar", "daubechies")
WAVELET_GRIDS = [(1, 8, 8), (3, 12, 6), (2, 6, 10, 3), (12,), (6, 8)]
GRIDS = [(1, 1, 1), (3, 8, 8), (2, 5, 7), (3, 6, 5, 3), (12,), (9,), (4, 3), (1, 2, 2, 1)]
grids = st.lists(st.integers(1, 7), min_size=1, max_size=4).map(tuple)
VARIANTS = [(name, {}) for name in TRANSFORMS]
VARIANTS += [(name, {"full": True}) for name in ("dft1d", "dft2d", "dft3d")]
on_grids = [
    (name, options, grid) for name, options in VARIANTS for grid in (WAVELET_GRIDS if name in WAVELETS else GRIDS)
]
every_variant = pytest.mark.parametrize(("name", "options"), VARIANTS)


def tokens(
    grid: tuple[int, ...], channels: int = 2, batch: int = 3, dtype: torch.dtype = torch.float64
) -> torch.Tensor:
    return torch.rand(batch, math.prod(grid), channels, generator=torch.manual_seed(0), dtype=dtype)


def complex_of(transform: InputTransform, z: torch.Tensor) -> np.ndarray:
    """(B, M, 2C) to complex (B, grid, C)."""
    real, imaginary = z.chunk(2, dim=-1)
    return torch.complex(real, imaginary).reshape(z.shape[0], *transform.grid, -1).numpy()


def paired(length: int) -> np.ndarray:
    """sqrt 2 for the bins of a half spectrum that stand for two."""
    return np.array([1.0 if k in (0, length / 2) else math.sqrt(2) for k in range(length // 2 + 1)])


@pytest.mark.parametrize(("name", "options", "grid"), on_grids, ids=str)
@pytest.mark.parametrize("scale", ["ortho", "none"])
def test_contract(name: str, options: dict[str, bool], grid: tuple[int, ...], scale: str) -> None:
    transform = build_transform(name, grid=grid, channels=2, scale=scale, **options)
    x = tokens(grid)
    transform.fit(x)
    z = transform(x)
    assert z.shape == (3, transform.num_tokens, transform.channels)
    assert transform.num_tokens == math.prod(transform.grid)
    assert transform.axes == transform.grid
    torch.testing.assert_close(transform.inverse(z), x, rtol=0, atol=1e-12)
    single = transform(x.float())
    assert single.dtype == torch.float32
    torch.testing.assert_close(transform.inverse(single), x.float(), rtol=0, atol=1e-5)
    assert torch.equal(transform(x), z)
    strided = x.transpose(0, 1).contiguous().transpose(0, 1)
    torch.testing.assert_close(transform(strided), z)


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(VARIANTS), grids, st.integers(1, 3))
def test_ortho_is_a_linear_isometry(variant: tuple[str, dict[str, bool]], grid: tuple[int, ...], channels: int) -> None:
    if variant[0] in WAVELETS:
        grid = tuple(2 * max(3, length) for length in grid)[:3]
    transform = build_transform(variant[0], grid=grid, channels=channels, **variant[1])
    x, y = tokens(grid, channels, 2).split(1)
    torch.testing.assert_close(transform(x).norm(), x.norm())
    torch.testing.assert_close((transform(x) * transform(y)).sum(), (x * y).sum())
    torch.testing.assert_close(transform(x - 2 * y), transform(x) - 2 * transform(y))


@every_variant
def test_gradients(name: str, options: dict[str, bool]) -> None:
    transform = build_transform(name, grid=(2, 6, 8), channels=1, **options)
    assert torch.autograd.gradcheck(transform, tokens((2, 6, 8), 1, 2).requires_grad_())


@every_variant
def test_gain_is_what_happens_to_white_noise(name: str, options: dict[str, bool]) -> None:
    grid = (3, 16, 16)
    noise = torch.randn(8, math.prod(grid), 2, generator=torch.manual_seed(0))
    for scale in ("ortho", "none"):
        transform = build_transform(name, grid=grid, channels=2, scale=scale, **options)
        power = transform(noise).square().sum() / noise.square().sum()
        assert math.sqrt(power) == pytest.approx(transform.gain, rel=1e-4)


@pytest.mark.parametrize("grid", [(3, 64, 64), (2, 5, 7), (9,), (3, 4, 4, 3)], ids=str)
@pytest.mark.parametrize("scale", ["ortho", "none"])
def test_dft1d_equals_scipy(grid: tuple[int, ...], scale: str) -> None:
    x = tokens(grid)
    num_tokens = math.prod(grid)
    norm = "ortho" if scale == "ortho" else "backward"
    half = build_transform("dft1d", grid=grid, channels=2, scale=scale)
    assert half.grid == (num_tokens // 2 + 1,)
    want = scipy.fft.rfft(x.numpy(), axis=1, norm=norm) * paired(num_tokens)[:, None]
    np.testing.assert_allclose(complex_of(half, half(x)), want, atol=1e-9)
    full = build_transform("dft1d", grid=grid, channels=2, scale=scale, full=True)
    assert full.grid == (num_tokens,)
    np.testing.assert_allclose(complex_of(full, full(x)), np.fft.fft(x.numpy(), axis=1, norm=norm), atol=1e-9)


@pytest.mark.parametrize("grid", [(3, 64, 64), (2, 5, 7), (3, 4, 6, 3), (4, 5), (6,)], ids=str)
@pytest.mark.parametrize("scale", ["ortho", "none"])
def test_dft3d_equals_scipy(grid: tuple[int, ...], scale: str) -> None:
    x = tokens(grid)
    on_grid = x.reshape(3, *grid, 2).numpy()
    axes = tuple(range(1, 1 + min(3, len(grid))))
    norm = "ortho" if scale == "ortho" else "backward"
    half = build_transform("dft3d", grid=grid, channels=2, scale=scale)
    last = grid[len(axes) - 1]
    assert half.grid == (*grid[: len(axes) - 1], last // 2 + 1, *grid[len(axes) :])
    weights = paired(last).reshape(-1, *(1,) * (len(grid) - len(axes) + 1))
    want = scipy.fft.rfftn(on_grid, axes=axes, norm=norm) * weights
    np.testing.assert_allclose(complex_of(half, half(x)), want, atol=1e-9)
    full = build_transform("dft3d", grid=grid, channels=2, scale=scale, full=True)
    assert full.grid == grid
    np.testing.assert_allclose(complex_of(full, full(x)), np.fft.fftn(on_grid, axes=axes, norm=norm), atol=1e-9)


@pytest.mark.parametrize("name", ["dft1d", "dft3d"])
def test_scale_none_differs_by_a_factor_alone(name: str) -> None:
    x = tokens((3, 4, 5))
    ortho, none = (build_transform(name, grid=(3, 4, 5), channels=2, scale=scale)(x) for scale in ("ortho", "none"))
    torch.testing.assert_close(none, ortho * math.sqrt(60))


def test_one_changed_token_on_a_constant_background_spreads_evenly() -> None:
    transform = build_transform("dft1d", grid=(4, 8, 8), channels=1, scale="none", full=True)
    x = torch.full((1, 256, 1), 0.3, dtype=torch.float64)
    x[0, 0] = 0.9
    spectrum = complex_of(transform, transform(x))[0, :, 0]
    np.testing.assert_allclose(spectrum[0], 0.9 + 255 * 0.3)
    np.testing.assert_allclose(spectrum[1:], 0.9 - 0.3, atol=1e-12)


@pytest.mark.parametrize("name", TRANSFORMS)
def test_runs_in_float32_under_autocast_and_on_half_precision(name: str) -> None:
    transform = build_transform(name, grid=(3, 6, 10), channels=2)
    x = tokens((3, 6, 10), dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(transform(x), transform(x).float())
        torch.testing.assert_close(transform.inverse(transform(x)), x, rtol=0, atol=1e-5)
    torch.testing.assert_close(transform(x.half()).float(), transform(x), rtol=1e-2, atol=1e-2)


def test_holds_nothing_to_save_or_to_train() -> None:
    for name in TRANSFORMS:
        transform = build_transform(name, grid=(3, 8, 8), channels=3)
        assert not list(transform.parameters())
        assert list(transform.state_dict()) == (["signs"] if name == "random_orthogonal" else [])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: build_transform("dft4d", grid=(3, 4, 4), channels=3), "unknown transform 'dft4d'.*dft1d, dft2d, dft3d"),
        (lambda: build_transform("raw", grid=(3, 4, 4), channels=3, full=True), "option of transform 'raw'.*scale"),
        (lambda: build_transform("dft3d", grid=(3, 4, 4), channels=3, scale="unit"), "scale 'unit'.*none, ortho"),
        (lambda: build_transform("dft3d", grid=(3, 0, 4), channels=3), "at least 1; got grid"),
        (lambda: build_transform("raw", grid=(), channels=3), "at least one axis"),
        (lambda: build_transform("raw", grid=(3, 4, 4), channels=0), "0 channels"),
    ],
)
def test_mistakes_are_named(call: object, message: str) -> None:
    assert callable(call)
    with pytest.raises(UserError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
