"""The ladder: data sets without a simulator, each of which asks one question about what an input transform does.

    data = make_ladder(LadderConfig(kind="one_token", grid=(3, 64, 64)), seed=0)
    data.x_BNC, data.y_BA                # float32 tokens (4, 12288, 1), standardised targets (4, 1)

A data set is a function of config and seed alone. Two configs under one seed share their draws wherever they draw the
same thing, so that arms which differ in one field are compared on the same places and the same noise.

Axes: B examples, N tokens (frames, rows, columns, in this order), C channels, A target coordinates, K classes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from studies.synthetic.config import LadderConfig
from studies.synthetic.pictures import robot_pictures
from studies.synthetic.rungs import (
    Array,
    Rung,
    moving_blob,
    periodic,
    texture,
    tokens_that_change,
)

LADDERS: dict[str, Callable[[LadderConfig, np.random.Generator], Rung]] = {
    "one_token": tokens_that_change,
    "k_tokens": tokens_that_change,
    "moving_blob": moving_blob,
    "periodic": periodic,
    "texture": texture,
    "frames": robot_pictures,
}

_LAYOUT_STREAM, _TRAIN_STREAM, _HELD_OUT_STREAM = range(3)


@dataclass(frozen=True, eq=False)
class LadderData:
    """A pool of examples and their targets.

    Attributes:
        x_BNC: Tokens of the pool.
        y_BA: Their targets; every column has mean 0 and variance 1 over the classes.
        x_held_out_BNC: Tokens held out; where nothing is random per example, the pool itself.
        y_held_out_BA: Their targets, in the pool's units.
        labels: Class of each example of the pool.
        labels_held_out: Class of each held-out example.
    """

    x_BNC: Float[Tensor, "B N C"]
    y_BA: Float[Tensor, "B A"]
    x_held_out_BNC: Float[Tensor, "D N C"]
    y_held_out_BA: Float[Tensor, "D A"]
    labels: Int[Tensor, " B"]
    labels_held_out: Int[Tensor, " D"]

    @property
    def held_out_is_pool(self) -> bool:
        """Whether nothing is random per example, so that the held-out examples are those of the pool."""
        return self.x_held_out_BNC is self.x_BNC


def make_ladder(config: LadderConfig, seed: int) -> LadderData:
    """Makes the data set of a config and a seed.

    Raises:
        UserError: If the rung does not fit on the grid.
    """
    rung = make_rung(config, seed)
    num_train, num_held_out = config.pool_sizes
    every_class_in_turn = np.arange(num_train) % config.num_classes, np.arange(num_held_out) % config.num_classes
    labels, labels_held_out = rung.splits or every_class_in_turn
    y_KA = standardised_values(rung.values_KA, labels)
    x_BNC = _pool(config, rung, labels, seed, _TRAIN_STREAM)
    x_held_out_BNC = _pool(config, rung, labels_held_out, seed, _HELD_OUT_STREAM) if config.is_random else x_BNC
    return LadderData(
        x_BNC=x_BNC,
        y_BA=torch.from_numpy(y_KA[labels]),
        x_held_out_BNC=x_held_out_BNC,
        y_held_out_BA=torch.from_numpy(y_KA[labels_held_out]),
        labels=torch.from_numpy(labels),
        labels_held_out=torch.from_numpy(labels_held_out),
    )


def make_rung(config: LadderConfig, seed: int) -> Rung:
    """The parts of a data set that a seed fixes, without its examples.

    Raises:
        UserError: If the rung does not fit on the grid.
    """
    return LADDERS[config.kind](config, _generator(seed, _LAYOUT_STREAM))


def standardised_values(values_KA: Array, labels: Array) -> Array:
    """Values in units in which the classes of the pool, each counted once, have mean 0 and variance 1."""
    values_KA = values_KA - values_KA[np.unique(labels)].mean(axis=0)
    return (values_KA / values_KA[np.unique(labels)].std(axis=0)).astype(np.float32)


def _pool(config: LadderConfig, rung: Rung, labels: Array, seed: int, stream: int) -> Tensor:
    # Examples and noise have streams of their own, in the examples' order: a larger pool begins with the smaller one.
    x_BNC = rung.draw(labels, _generator(seed, stream, 0))
    if config.background == "noise":
        noise = _generator(seed, stream, 1)
        for x_NC in x_BNC:
            x_NC += np.float32(config.noise_sd) * noise.standard_normal(x_NC.shape, dtype=np.float32)
    x_BNC *= np.float32(config.scale)
    return torch.from_numpy(x_BNC)


def _generator(seed: int, *stream: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=stream))
