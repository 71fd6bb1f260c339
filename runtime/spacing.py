"""Samples spread evenly over a sequence."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int


def evenly_spaced(length: int, max_count: int) -> Int[np.ndarray, " count"]:
    """At most ``max_count`` different indices of a sequence of a given length, from the first to the last, ascending.

    Where there are more than two, neighbours are equally far apart, but for rounding (half to even).
    """
    return np.unique(np.linspace(0, length - 1, min(length, max_count)).round().astype(np.int64))
