"""Transforms against independent references: SciPy, NumPy and PyWavelets, on random shapes and on 12,288 tokens."""

from __future__ import annotations

import math

import numpy as np
import pytest
import pywt
import scipy.fft
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from smidgen.policies.transforms import InputTransform, build_transform

WHOLE = (3, 64, 64)
grids = st.lists(st.integers(1, 9), min_size=1, max_size=4).map(tuple)
scales = st.sampled_from(["ortho", "none"])


def tokens(grid: tuple[int, ...], channels: int = 2, batch: int = 2) -> torch.Tensor:
    return torch.rand(batch, math.prod(grid), channels, generator=torch.manual_seed(0), dtype=torch.float64)


def on_grid(z: torch.Tensor, grid: tuple[int, ...]) -> np.ndarray:
    """(B, M, D) to (B, *grid, D)."""
    return z.reshape(z.shape[0], *grid, z.shape[2]).numpy()


def complex_of(transform: InputTransform, z: torch.Tensor) -> np.ndarray:
    """(B, M, 2C) to complex (B, grid, C)."""
    real, imaginary = z.chunk(2, dim=-1)
    return on_grid(torch.complex(real, imaginary), transform.grid)


def paired(length: int) -> np.ndarray:
    """sqrt 2 for the bins of a half spectrum that stand for two."""
    return np.array([1.0 if k in (0, length / 2) else math.sqrt(2) for k in range(length // 2 + 1)])


def mixed_axes(name: str, grid: tuple[int, ...]) -> tuple[int, ...]:
    """Axes of (B, *grid, D) that a transform mixes."""
    if name in ("dft2d", "haar", "daubechies") and len(grid) > 2:
        return (2, 3)
    return tuple(range(1, 1 + min(3, len(grid))))


def check_fourier(name: str, grid: tuple[int, ...], scale: str) -> None:
    x = tokens(grid)
    norm = "ortho" if scale == "ortho" else "backward"
    working, axes = ((math.prod(grid),), (1,)) if name == "dft1d" else (grid, mixed_axes(name, grid))
    half = build_transform(name, grid=grid, channels=2, scale=scale)
    last = working[axes[-1] - 1]
    assert half.grid == (*working[: axes[-1] - 1], last // 2 + 1, *working[axes[-1] :])
    weights = paired(last).reshape(-1, *(1,) * (len(working) - axes[-1] + 1))
    want = scipy.fft.rfftn(on_grid(x, working), axes=axes, norm=norm) * weights
    np.testing.assert_allclose(complex_of(half, half(x)), want, atol=1e-9)
    full = build_transform(name, grid=grid, channels=2, scale=scale, full=True)
    assert full.grid == working
    want = np.fft.fftn(on_grid(x, working), axes=axes, norm=norm)
    np.testing.assert_allclose(complex_of(full, full(x)), want, atol=1e-9)


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(["dft1d", "dft2d", "dft3d"]), grids, scales)
def test_fourier_equals_scipy_and_numpy(name: str, grid: tuple[int, ...], scale: str) -> None:
    check_fourier(name, grid, scale)


@pytest.mark.parametrize("name", ["dft1d", "dft2d", "dft3d"])
def test_fourier_of_12288_tokens(name: str) -> None:
    check_fourier(name, WHOLE, "ortho")


def check_dct(grid: tuple[int, ...]) -> None:
    x = tokens(grid)
    axes = mixed_axes("dct", grid)
    transform = build_transform("dct", grid=grid, channels=2)
    want = scipy.fft.dctn(on_grid(x, grid), axes=axes, norm="ortho")
    np.testing.assert_allclose(on_grid(transform(x), grid), want, atol=1e-11)
    np.testing.assert_allclose(transform.inverse(torch.from_numpy(want).flatten(1, -2)), x, atol=1e-11)


@settings(deadline=None, max_examples=40)
@given(grids)
def test_dct_equals_scipy(grid: tuple[int, ...]) -> None:
    check_dct(grid)


@pytest.mark.parametrize("grid", [WHOLE, (12288,), (513,), (2, 514), (1025, 2)], ids=str)
def test_dct_of_many_tokens_and_of_axes_that_take_the_fft(grid: tuple[int, ...]) -> None:
    check_dct(grid)


def check_hartley(grid: tuple[int, ...]) -> None:
    x = tokens(grid)
    spectrum = np.fft.fftn(on_grid(x, grid), axes=mixed_axes("hartley", grid), norm="ortho")
    got = on_grid(build_transform("hartley", grid=grid, channels=2)(x), grid)
    np.testing.assert_allclose(got, spectrum.real - spectrum.imag, atol=1e-11)


@settings(deadline=None, max_examples=40)
@given(grids)
def test_hartley_is_real_less_imaginary_part_of_the_full_fourier_transform(grid: tuple[int, ...]) -> None:
    check_hartley(grid)


def test_hartley_of_12288_tokens_and_by_its_definition() -> None:
    check_hartley(WHOLE)
    rows, columns = np.meshgrid(np.arange(4), np.arange(5), indexing="ij")
    phase = 2 * np.pi * (np.outer(rows, rows) / 4 + np.outer(columns, columns) / 5)
    kernel = (np.cos(phase) + np.sin(phase)) / math.sqrt(20)
    transform = build_transform("hartley", grid=(4, 5), channels=1)
    np.testing.assert_allclose(transform(torch.eye(20, dtype=torch.float64)[..., None])[..., 0], kernel, atol=1e-12)


def hadamard_matrix(length: int) -> np.ndarray:
    """Orthonormal: SciPy's Hadamard matrix; with an odd factor m, the Hartley matrix of order m (x) SciPy's."""
    power = length & -length
    odd = length // power
    spectrum = np.fft.fft(np.eye(odd), norm="ortho")
    return np.kron(spectrum.real - spectrum.imag, scipy.linalg.hadamard(power) / math.sqrt(power))


def check_hadamard(grid: tuple[int, ...]) -> None:
    x = tokens(grid)
    want = on_grid(x, grid)
    for axis in mixed_axes("hadamard", grid):
        want = np.moveaxis(np.tensordot(hadamard_matrix(grid[axis - 1]), want, axes=(1, axis)), 0, axis)
    got = on_grid(build_transform("hadamard", grid=grid, channels=2)(x), grid)
    np.testing.assert_allclose(got, want, atol=1e-11)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.sampled_from([1, 2, 3, 4, 6, 7, 8, 12, 16, 20]), min_size=1, max_size=4).map(tuple))
def test_hadamard_equals_scipy_per_axis(grid: tuple[int, ...]) -> None:
    check_hadamard(grid)


@pytest.mark.parametrize("grid", [WHOLE, (1024, 3), (1, 512, 2), (521 * 2,)], ids=str)
def test_hadamard_of_many_tokens(grid: tuple[int, ...]) -> None:
    check_hadamard(grid)


def test_hadamard_is_its_own_inverse_spreads_over_all_tokens_and_is_flat_where_it_can_be() -> None:
    for grid, is_flat in (((4, 8, 8), True), ((3, 8, 8), False)):
        num_tokens = math.prod(grid)
        kernel = build_transform("hadamard", grid=grid, channels=1)(torch.eye(num_tokens).double()[..., None])[..., 0]
        torch.testing.assert_close(kernel, kernel.T)
        assert kernel.abs().min() > 0.1 / math.sqrt(num_tokens)
        torch.testing.assert_close(kernel[0], torch.full_like(kernel[0], num_tokens**-0.5))
        assert (float(kernel.abs().std()) < 1e-12) == is_flat


@pytest.mark.parametrize("grid", [(8, 8), (3, 4, 8), WHOLE, (5, 7)], ids=str)
def test_random_orthogonal_is_hadamard_of_signs_twice(grid: tuple[int, ...]) -> None:
    num_tokens = math.prod(grid)
    transform = build_transform("random_orthogonal", grid=grid, channels=2, seed=5)
    first, second = transform.signs.double().numpy()
    assert set(np.unique(transform.signs)) == {-1.0, 1.0}
    x = tokens(grid).numpy()
    # Sylvester's matrix of order 4,096 is that of order 64 (x) itself.
    power = num_tokens & -num_tokens
    sizes = [num_tokens // power, *([64, 64] if power == 4096 else [1, power])]
    factors = [hadamard_matrix(size) for size in sizes]

    def mix(z: np.ndarray) -> np.ndarray:
        blocks = z.reshape(len(z), *sizes, -1)
        return np.einsum("ij,kl,mn,bjlnc->bikmc", *factors, blocks, optimize=True).reshape(z.shape)

    want = mix(second[:, None] * mix(first[:, None] * x))
    np.testing.assert_allclose(transform(torch.from_numpy(x)), want, atol=1e-11)


def test_random_orthogonal_spreads_without_structure_and_by_its_seed() -> None:
    """Entries of a Haar-random rotation of N axes are nearly normal with variance 1 / N."""
    num_tokens = 3 * 16 * 16
    kernels = [
        build_transform("random_orthogonal", grid=(3, 16, 16), channels=1, seed=seed)(
            torch.eye(num_tokens).double()[..., None]
        )[..., 0]
        for seed in (0, 0, 1)
    ]
    assert torch.equal(kernels[0], kernels[1])
    assert not torch.allclose(kernels[0], kernels[2])
    entries = kernels[0].flatten() * math.sqrt(num_tokens)
    assert float(entries.square().mean()) == pytest.approx(1)
    assert 2.7 < float(entries.pow(4).mean()) < 3.3
    assert float((kernels[0] * kernels[2]).sum()) == pytest.approx(0, abs=0.2 * num_tokens)


WAVELETS = {"haar": "haar", "daubechies": "db2"}


def check_wavelet(name: str, grid: tuple[int, ...]) -> None:
    x = tokens(grid)
    axes = mixed_axes(name, grid)
    transform = build_transform(name, grid=grid, channels=2)
    sides = [grid[axis - 1] for axis in axes]
    halvings = min((side & -side).bit_length() - 1 for side in sides)
    filter_length = pywt.Wavelet(WAVELETS[name]).dec_len
    levels = min(halvings, pywt.dwt_max_level(min(sides), filter_length))
    coefficients = pywt.wavedecn(on_grid(x, grid), WAVELETS[name], mode="periodization", level=levels, axes=axes)
    want, _ = pywt.coeffs_to_array(coefficients, axes=axes)
    np.testing.assert_allclose(on_grid(transform(x), grid), want, atol=1e-11)


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from(sorted(WAVELETS)),
    st.integers(1, 3),
    st.lists(st.sampled_from([6, 8, 10, 12, 16, 20, 24, 32]), min_size=2, max_size=2),
    st.sampled_from([(), (3,)]),
)
def test_wavelets_equal_pywavelets(name: str, num_frames: int, sides: list[int], rest: tuple[int, ...]) -> None:
    check_wavelet(name, (num_frames, *sides, *rest))


@pytest.mark.parametrize("name", WAVELETS)
@pytest.mark.parametrize("grid", [WHOLE, (64,), (16, 48)], ids=str)
def test_wavelets_of_12288_tokens_and_of_single_frames(name: str, grid: tuple[int, ...]) -> None:
    check_wavelet(name, grid)


def test_daubechies_has_no_details_where_brightness_is_linear() -> None:
    ramp = torch.arange(32, dtype=torch.float64)[None, :, None]
    details = build_transform("daubechies", grid=(32,), channels=1)(ramp)[0, 16:, 0]
    assert details.abs().sort().values[:-2].max() < 1e-12


def test_one_changed_token_on_a_constant_background_spreads_evenly() -> None:
    transform = build_transform("dft1d", grid=(4, 8, 8), channels=1, scale="none", full=True)
    x = torch.full((1, 256, 1), 0.3, dtype=torch.float64)
    x[0, 0] = 0.9
    spectrum = complex_of(transform, transform(x)).flatten()
    np.testing.assert_allclose(spectrum[0], 0.9 + 255 * 0.3)
    np.testing.assert_allclose(spectrum[1:], 0.9 - 0.3, atol=1e-12)
