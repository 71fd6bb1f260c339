"""Statistics of features as LeRobot stores them, for an episode and for the whole set: exact, over every value.

A picture's are per channel, of pixel values divided by 255, from a histogram of its 256 levels.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from smidgen.data_collection.array_files import Array

QUANTILES = {"q01": 0.01, "q10": 0.1, "q50": 0.5, "q90": 0.9, "q99": 0.99}
_LEVELS = 256
Statistics = dict[str, list[Any]]


def histogram(frames: Array) -> Array:
    """How often each level occurs in each channel: frames uint8 (S, H, W, 3) -> int64 (3, 256)."""
    counts = np.zeros((3, _LEVELS), np.int64)
    # Frame by frame, since NumPy counts in integers of eight bytes.
    for frame in frames:
        counts += [np.bincount(frame[..., channel].ravel(), minlength=_LEVELS) for channel in range(3)]
    return counts


def picture_statistics(counts: Array, num_frames: int) -> Statistics:
    """Statistics of pictures from the histogram of their channels, nested 3 x 1 x 1."""
    levels = np.arange(_LEVELS) / (_LEVELS - 1)
    total = counts.sum(axis=1)
    mean = counts @ levels / total
    below = counts.cumsum(axis=1)
    present = [np.flatnonzero(channel) for channel in counts]
    found = {
        "min": np.array([levels[each[0]] for each in present]),
        "max": np.array([levels[each[-1]] for each in present]),
        "mean": mean,
        "std": np.sqrt(np.maximum(counts @ levels**2 / total - mean**2, 0)),
    }
    for name, share in QUANTILES.items():
        found[name] = levels[(below >= share * total[:, None]).argmax(axis=1)]
    return {name: values.reshape(3, 1, 1).tolist() for name, values in found.items()} | {"count": [num_frames]}


def vector_statistics(parts: Iterable[Array]) -> Statistics:
    """Statistics of the rows of some arrays (S, D)."""
    values = np.concatenate(list(parts)).astype(np.float64)
    found = {
        "min": values.min(axis=0),
        "max": values.max(axis=0),
        "mean": values.mean(axis=0),
        "std": values.std(axis=0),
        **{name: np.quantile(values, share, axis=0) for name, share in QUANTILES.items()},
    }
    return {name: each.tolist() for name, each in found.items()} | {"count": [len(values)]}
