"""The rungs that are computed: what differs between the examples of a ladder data set, before background noise.

Every rung is a function of the config and a generator, which it uses for what one seed fixes (where a token stands,
which textures there are); what is random for each example is drawn later, by :attr:`Rung.draw`.

Axes: K classes, B examples, N tokens, C channels, A target coordinates, T frames, H rows, W columns.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import fft

from smidgen.runtime.errors import UserError
from studies.synthetic.config import LadderConfig

Array = np.ndarray[Any, np.dtype[Any]]
# Largest difference between two classes in one token.
DELTA = 1.0
# Deviation of a texture's pixels, about that of a photograph whose grey levels fill 0 to 1.
TEXTURE_SD = 0.2
# A smooth spot with an edge: the rows of Pascal's triangle are Gaussian but for their finite support.
_BLOB_PROFILE = np.array([1.0, 4.0, 6.0, 4.0, 1.0]) / 6.0


@dataclass(frozen=True, eq=False)
class Rung:
    """A rung at one size, under one seed.

    Attributes:
        values_KA: float64, what a policy must tell of each class, in the rung's own unit.
        draw: From labels (B,) and a generator to float32 tokens (B, N, C) without noise.
        splits: Labels to train on and held out where the rung decides them; None: every class in turn.
    """

    values_KA: Array
    draw: Callable[[Array, np.random.Generator], Array]
    splits: tuple[Array, Array] | None = None


def tokens_that_change(config: LadderConfig, layout: np.random.Generator) -> Rung:
    """``one_token`` and ``k_tokens``: k tokens take their class's value, all others the background's.

    The values are spread evenly over ``level - DELTA / 2 .. level + DELTA / 2``, so that the extreme classes differ by
    ``DELTA`` in each of the k tokens, and the background lies in the middle.
    """
    k, num_tokens = config.num_changed, config.num_tokens
    if k >= num_tokens:
        raise UserError(f"num_changed={k} should be below the number of tokens, {num_tokens} on grid {config.grid}")
    places = np.arange(k) if config.position == "first" else 1 + layout.choice(num_tokens - 1, size=k, replace=False)
    values_K = config.level + DELTA * np.linspace(-0.5, 0.5, config.num_classes)
    x_KNC = np.full((config.num_classes, num_tokens, 1), config.level)
    x_KNC[:, places, 0] = values_K[:, None]
    return _fixed(x_KNC, values_K[:, None])


def moving_blob(config: LadderConfig, layout: np.random.Generator) -> Rung:
    """``moving_blob``: a spot of 5 x 5 pixels, moved by one pixel from class to class, the same in every frame.

    The classes fill a rectangle of rows and columns as square as K allows (4: 2 x 2); the target is the spot's row and
    column, or its column alone where K is prime. The spot's peak is ``DELTA / 2`` above the background.
    """
    num_frames, height, width = config.grid
    num_rows, num_columns = _nearly_square(config.num_classes)
    size = len(_BLOB_PROFILE)
    slack = np.array([height - size - num_rows + 1, width - size - num_columns + 1])
    if slack.min() < 0:
        needed = f"{size + num_rows - 1} x {size + num_columns - 1}"
        raise UserError(
            f"moving_blob with {config.num_classes} classes needs {needed} pixels, the grid is {config.grid}"
        )
    corner = np.zeros(2, int) if config.position == "first" else layout.integers(0, slack, endpoint=True)
    spot = DELTA / 2 * np.outer(_BLOB_PROFILE, _BLOB_PROFILE)
    x_KHW = np.full((config.num_classes, height, width), config.level)
    shifts_K2 = np.stack(np.divmod(np.arange(config.num_classes), num_columns), axis=1)
    for x_HW, (row, column) in zip(x_KHW, corner + shifts_K2, strict=True):
        x_HW[row : row + size, column : column + size] += spot
    centres_K2 = (corner + shifts_K2 + size // 2).astype(np.float64)
    return _fixed(_in_every_frame(x_KHW, num_frames), centres_K2 if num_rows > 1 else centres_K2[:, 1:])


def periodic(config: LadderConfig, layout: np.random.Generator) -> Rung:
    """``periodic``: upright gratings; class c has ``W // 4 + c * frequency_shift`` cycles over the picture's width.

    Peak to peak a grating measures ``DELTA``; the target is its frequency. One seed has one phase (0 with
    ``position=first``), or every example one of its own with ``random_phase``.
    """
    num_frames, height, width = config.grid
    cycles_K = width // 4 + config.frequency_shift * np.arange(config.num_classes)
    if config.frequency_shift <= 0 or cycles_K[-1] >= width / 2:
        raise UserError(
            f"periodic: {config.num_classes} classes of {cycles_K[0]:g} to {cycles_K[-1]:g} cycles should rise and "
            f"stay below {width / 2:g}, half the {width} columns; change frequency_shift, num_classes or grid"
        )
    phase = 0.0 if config.position == "first" else layout.uniform(0, 2 * np.pi)

    def draw(labels: Array, examples: np.random.Generator) -> Array:
        phases_B = examples.uniform(0, 2 * np.pi, len(labels)) if config.random_phase else np.full(len(labels), phase)
        angles_BW = 2 * np.pi * cycles_K[labels, None] * np.arange(width) / width + phases_B[:, None]
        x_BW = (config.level + DELTA / 2 * np.sin(angles_BW)).astype(np.float32)
        return np.repeat(x_BW, num_frames * height, axis=0).reshape(len(labels), config.num_tokens, 1)

    return Rung(cycles_K[:, None], draw)


def texture(config: LadderConfig, layout: np.random.Generator) -> Rung:
    """``texture``: K pictures whose power spectrum falls as 1/f^2, as that of natural images does.

    All have the same mean and the same deviation, ``TEXTURE_SD``: they differ everywhere, and in nothing that an
    average over the picture shows. Each is cut from one of twice the side, so that opposite edges do not match. The
    target is the class.

    Source: D. J. Field, Relations between the statistics of natural images and the response properties of cortical
    cells, J. Opt. Soc. Am. A 4 (1987).
    """
    num_frames, height, width = config.grid
    if height * width < 2:
        raise UserError(f"texture needs more than one pixel, the grid is {config.grid}")
    shape = (2 * height, 2 * width)
    frequency_HW = np.hypot(fft.fftfreq(shape[0])[:, None], fft.rfftfreq(shape[1])[None, :])
    frequency_HW[0, 0] = np.inf
    spectrum_KHW = fft.rfft2(layout.standard_normal((config.num_classes, *shape))) / frequency_HW
    x_KHW = fft.irfft2(spectrum_KHW, s=shape)[:, :height, :width]
    x_KHW -= x_KHW.mean(axis=(1, 2), keepdims=True)
    x_KHW *= TEXTURE_SD / x_KHW.std(axis=(1, 2), keepdims=True)
    classes_K = np.arange(config.num_classes, dtype=np.float64)
    return _fixed(_in_every_frame(config.level + x_KHW, num_frames), classes_K[:, None])


def _nearly_square(count: int) -> tuple[int, int]:
    """Rows and columns of the most square full rectangle, wider than high."""
    num_rows = next(rows for rows in range(int(count**0.5), 0, -1) if count % rows == 0)
    return num_rows, count // num_rows


def _in_every_frame(x_KHW: Array, num_frames: int) -> Array:
    return np.tile(x_KHW.reshape(len(x_KHW), -1), num_frames)[:, :, None]


def _fixed(x_KNC: Array, values_KA: Array) -> Rung:
    """A rung in which all examples of a class are the same."""
    x_KNC = x_KNC.astype(np.float32)
    return Rung(values_KA, lambda labels, examples: x_KNC[labels])
