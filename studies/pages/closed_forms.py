"""How far theory says a change spreads: participation ratios of a change's power over the tokens of a transform.

The changes are those of the synthetic ladder (one token, a spot that moves by a pixel, a grating whose frequency rises,
two 1/f pictures) on a grid of T frames, H rows, W columns, W even. ``exact`` ones are sums of closed forms, which a
measurement must meet; the others are expectations that treat coefficients as independent Gaussians, or the picture as
periodic. Where no form is known there is no entry, and the table shows what was measured alone.

Axes: F frequencies, N tokens.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

Grid = tuple[int, int, int]
Array = np.ndarray[Any, np.dtype[Any]]

# Profile of the ladder's spot, up to its height: a row of Pascal's triangle.
SPOT = np.array([1.0, 4.0, 6.0, 4.0, 1.0])
# Cycles per picture width between the two gratings.
FREQUENCY_SHIFT = 0.25


@dataclass(frozen=True)
class Prediction:
    """A predicted participation ratio.

    Attributes:
        value: The number of tokens that carry the change.
        exact: Whether it holds for every draw, or for the expectation of an idealised one.
    """

    value: float
    exact: bool


def participation(power: Array) -> float:
    """(sum s)^2 / sum s^2."""
    return float(power.sum() ** 2 / (power**2).sum())


def half_weights(length: int) -> Array:
    """The factors by which the half spectrum of an even axis multiplies powers: 2 for a bin that represents a pair."""
    weights = np.full(length // 2 + 1, 2.0)
    weights[[0, -1]] = 1.0
    return weights


# One token. Every coefficient of a Fourier transform has the same modulus; only the pairs of the half spectrum differ.


def _one_token_half_spectrum(num_mixed: int, length: int) -> float:
    """num_mixed coefficients, of which those of the last axis (of even length) are halved."""
    return num_mixed * length / (2 * length - 2)


def _one_token_haar(grid: Grid, place: Grid) -> float:
    """Level j holds 4^-j of the power in each of three details, and the average the rest."""
    levels = min((side & -side).bit_length() - 1 for side in grid[1:])
    return 1 / (3 * sum(16.0**-level for level in range(1, levels + 1)) + 16.0**-levels)


def _one_token_dct(grid: Grid, place: Grid) -> float:
    """Per axis L^2 / (3 L / 2 - 1), or L^2 / (2 L - 1) in the middle of an odd one; all cos^4 but coefficient 0's."""
    ratios = [
        length**2 / (2 * length - 1 if 2 * index + 1 == length else 1.5 * length - 1)
        for length, index in zip(grid, place, strict=True)
    ]
    return math.prod(ratios)


def _one_token_hadamard(grid: Grid, place: Grid) -> float:
    """All tokens; two thirds of the odd factor of an axis, a Hartley matrix, unless it is entered at 0."""
    ratio = 1.0
    for length, index in zip(grid, place, strict=True):
        power_of_two = length & -length
        ratio *= length if index < power_of_two else 2 * length / 3
    return ratio


def _one_token_hartley(grid: Grid, place: Grid) -> float:
    """Powers 1 + sin(2 phase): mean square 3/2, unless the phase's double is a multiple of pi everywhere."""
    is_special = all(4 * index % length == 0 for length, index in zip(grid, place, strict=True))
    return math.prod(grid) * (1.0 if is_special else 2 / 3)


_ONE_TOKEN: dict[str, Callable[[Grid, Grid], float]] = {
    "raw": lambda grid, place: 1.0,
    "dft1d": lambda grid, place: _one_token_half_spectrum(math.prod(grid), math.prod(grid)),
    "dft2d": lambda grid, place: _one_token_half_spectrum(math.prod(grid[1:]), grid[2]),
    "dft3d": lambda grid, place: _one_token_half_spectrum(math.prod(grid), grid[2]),
    "dct": _one_token_dct,
    "hartley": _one_token_hartley,
    "hadamard": _one_token_hadamard,
    "haar": _one_token_haar,
    "learned_orthogonal": lambda grid, place: 1.0,
    "patches": lambda grid, place: 1.0,
}


# A spot that moves by one column, the same in every frame.


def _spot_powers(grid: Grid) -> dict[str, float]:
    num_frames, height, width = grid
    step = np.diff(SPOT, prepend=0, append=0)
    raw = num_frames * participation(SPOT**2) * participation(step**2)
    rows = participation(_spot(np.arange(height) / height))
    cycles = np.arange(width // 2 + 1) / width
    columns = participation(half_weights(width) * _spot(cycles) * _moved_by_one(cycles))
    cycles = np.arange(math.prod(grid) // 2 + 1) / math.prod(grid)
    repeats = _dirichlet(height * width * cycles, num_frames) ** 2
    power = _spot(cycles) * _spot(width * cycles) * repeats * _moved_by_one(cycles)
    flat = participation(half_weights(math.prod(grid)) * power)
    return {
        "raw": raw,
        "learned_orthogonal": raw,
        "dft1d": flat,
        "dft2d": num_frames * rows * columns,
        "dft3d": rows * columns,
    }


def _spot(cycles: Array) -> Array:
    """Power spectrum of the spot's profile, (2 cos(pi f))^8: Pascal's triangle is a product of (1 + shift)."""
    return np.cos(math.pi * cycles) ** 8


def _moved_by_one(cycles: Array) -> Array:
    """|exp(-2 pi i f) - 1|^2 = 4 sin^2(pi f): the shift theorem."""
    return 4 * np.sin(math.pi * cycles) ** 2


def _dirichlet(cycles: Array, count: int) -> Array:
    """Modulus of the sum of ``count`` unit phasors: sin(pi count f) / sin(pi f), and ``count`` at whole f."""
    below = np.sin(math.pi * cycles)
    is_whole = np.abs(below) < 1e-9
    return np.where(is_whole, count, np.abs(np.sin(math.pi * count * cycles)) / np.where(is_whole, 1.0, np.abs(below)))


# An upright grating of phase 0 whose frequency rises by a part of a cycle per width.


def _grating_powers(grid: Grid) -> dict[str, float]:
    num_frames, height, width = grid
    before, after = width // 4, width // 4 + FREQUENCY_SHIFT
    angle_N = 2 * math.pi * np.arange(width) / width
    change_N = 2 * np.cos((after + before) / 2 * angle_N) * np.sin((after - before) / 2 * angle_N)
    change_F = _sine_spectrum(after, width) - _sine_spectrum(before, width)
    raw = num_frames * height * participation(change_N**2)
    columns = participation(half_weights(width) * np.abs(change_F[: width // 2 + 1]) ** 2)
    return {
        "raw": raw,
        "learned_orthogonal": raw,
        # Rows and frames repeat: of the flat spectrum every T H-th coefficient is left, the row's own.
        "dft1d": columns,
        "dft2d": num_frames * columns,
        "dft3d": columns,
        "hartley": participation((change_F.real - change_F.imag) ** 2),
    }


def _sine_spectrum(cycles: float, length: int) -> Array:
    """All coefficients of sin(2 pi c n / L): two geometric sums, whose leakage decays as 1 / (f - c)."""
    f = np.arange(length)

    def phasors(u: Array) -> Array:
        below = 1 - np.exp(2j * math.pi * u / length)
        is_whole = np.abs(below) < 1e-12
        return np.where(is_whole, length, (1 - np.exp(2j * math.pi * u)) / np.where(is_whole, 1, below))

    return (phasors(cycles - f) - phasors(-cycles - f)) / 2j


# Two independent pictures of power 1 / f^2, the same in every frame: expectations over Gaussian coefficients.


def _texture_powers(grid: Grid) -> dict[str, float]:
    num_frames, height, width = grid
    rows = np.fft.fftfreq(height)[:, None]
    columns = np.fft.rfftfreq(width)[None, :]
    squared = rows**2 + columns**2
    power = np.where(squared > 0, 1 / np.where(squared > 0, squared, 1), 0) * half_weights(width)
    # E s^2 of |Gaussian|^2: twice the square of its mean where it is complex (the few real bins are neglected).
    spectrum = float(power.sum() ** 2 / (2 * (power**2).sum()))
    raw = math.prod(grid) / 3
    return {"raw": raw, "learned_orthogonal": raw, "dft2d": num_frames * spectrum, "dft3d": spectrum}


_EXACT = {"moved_spot": _spot_powers, "higher_frequency": _grating_powers}


def predict(change: str, transform: str, grid: Grid, place: Grid) -> Prediction | None:
    """The theoretical result for a change under a transform of scale ``ortho``, half spectra and one channel.

    Args:
        change: ``one_token``, ``moved_spot``, ``higher_frequency`` or ``pictures``.
        transform: A name of ``TRANSFORMS``; learned ones as they start.
        grid: Frames, rows, columns (even).
        place: The position of the one token.

    Returns:
        None where no form is known.
    """
    if transform == "random_orthogonal":
        # E z^4 = 3 (E z^2)^2 of a Gaussian, whatever was rotated.
        return Prediction(math.prod(grid) / 3, exact=False)
    if change == "one_token":
        form = _ONE_TOKEN.get(transform)
        return None if form is None else Prediction(form(grid, place), exact=True)
    values = _EXACT[change](grid) if change in _EXACT else _texture_powers(grid)
    return Prediction(values[transform], change in _EXACT) if transform in values else None
