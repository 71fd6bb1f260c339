"""The rungs: what differs between the examples of a ladder data set, before background noise.

Every rung is a function of the config and a generator, which it may use for what one seed fixes (where a token stands,
which textures there are); what is random for each example is drawn later, by :attr:`Rung.draw`.

Axes: K classes, B examples, N tokens, C channels, A target coordinates, T frames, H rows, W columns.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from smidgen.data_collection.synthetic.config import LadderConfig
from smidgen.runtime.errors import UserError

Array = np.ndarray[Any, np.dtype[Any]]
# Largest difference between two classes in one token.
DELTA = 1.0


@dataclass(frozen=True, eq=False)
class Rung:
    """A rung at one size, under one seed.

    Attributes:
        values_KA: float64, what a policy must tell of each class, in the rung's own unit.
        draw: From labels (B,) and a generator to float32 tokens (B, N, C) without noise.
    """

    values_KA: Array
    draw: Callable[[Array, np.random.Generator], Array]


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


def _fixed(x_KNC: Array, values_KA: Array) -> Rung:
    """A rung in which all examples of a class are the same."""
    x_KNC = x_KNC.astype(np.float32)
    return Rung(values_KA, lambda labels, examples: x_KNC[labels])
