"""One episode of an environment, whoever acts in it: an expert that demonstrates, or a policy that is evaluated."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, eq=False)
class Moment:
    """A state that an episode has reached, at reset or by a control step.

    Attributes:
        observation: What the environment gave.
        is_success: Whether the task is solved in it.
        reward: Of the step that led to it; 0 at reset.
        terminated: Whether success has held for as long as the task asks.
        truncated: Whether the horizon is reached.
    """

    observation: dict[str, Any]
    is_success: bool
    reward: float = 0.0
    terminated: bool = False
    truncated: bool = False


def play(env: Any, seed: int, act: Callable[[], np.ndarray]) -> Iterator[Moment]:
    """Resets an environment and steps it until the episode ends.

    Args:
        env: A smidgen environment.
        seed: The episode's seed.
        act: The action (A,) for the state that was yielded last.

    Yields:
        Every state, that at reset first. Whoever stops asking ends the episode there.
    """
    observation, info = env.reset(seed=seed)
    moment = Moment(observation, bool(info["is_success"]))
    yield moment
    while not (moment.terminated or moment.truncated):
        observation, reward, terminated, truncated, info = env.step(act())
        moment = Moment(observation, bool(info["is_success"]), float(reward), bool(terminated), bool(truncated))
        yield moment
