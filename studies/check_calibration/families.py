"""Policies whose truth follows from how they are made, without training: they know what a frame shows, or they do not.

Letters: ``B`` rows, ``T`` frames of history, ``N H W`` cameras, rows, columns, ``K`` chunk steps, ``A`` action
coordinates, ``E`` state.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.spatial import cKDTree

from smidgen.data_collection.array_files import Array
from smidgen.evaluation.check.decision import IGNORED, USED
from smidgen.evaluation.collapse.labels import BLIND, BLIND_TO, PARTLY_BLIND, SEES, SEES_FROM
from studies.check_calibration.known_sets import KnownSet

HORIZONS = (1, 8)
# In deviations of the actions around their mean at each step.
MAX_NOISE = 0.3
NEIGHBOURS = 5

# Answers (K, A) to one row: the newest frames (N, H, W, 3), and the state (E,).
Answer = Callable[[Array, Array], Array]


class MadePolicy:
    """A policy from a function of one row, with noise from the generators that ``reset`` seeds.

    Args:
        name: Its name.
        answer: What it answers to one row.
        noise_A: Deviation of the noise of each coordinate.
        observes: What it observes.
    """

    num_frames = 1

    def __init__(self, name: str, answer: Answer, noise_A: Array, observes: tuple[str, ...]) -> None:
        self.name, self.observes, self._answer, self._noise_A = name, observes, answer, noise_A

    def reset(self, num_episodes: int = 1, seed: int = 0) -> None:
        """Starts episodes."""
        self._rng = np.random.default_rng(seed)

    def chunk(self, observations: dict[str, Any]) -> Array:
        """The actions that it would take from now on, (B, K, A)."""
        frames_BNHWC, state_BE = observations["frames"][:, -1], observations["eef_state"]
        chunks_BKA = np.stack([self._answer(*row) for row in zip(frames_BNHWC, state_BE, strict=True)])
        return chunks_BKA + self._rng.normal(size=chunks_BKA.shape) * self._noise_A

    def act(self, observations: dict[str, Any]) -> Array:
        """The first of them."""
        return self.chunk({**observations, "frames": observations["frames"][:, None]})[:, 0]


@dataclass(frozen=True, eq=False)
class Draw:
    """One policy of a family on one set: its random numbers, its noise and its horizon."""

    known: KnownSet
    family: str
    number: int

    def rng(self, purpose: str) -> np.random.Generator:
        """The same numbers for the same policy and purpose; those of two purposes are independent."""
        return np.random.default_rng((zlib.crc32(f"{self.known.name} {self.family} {purpose}".encode()), self.number))

    @property
    def horizon(self) -> int:
        """Steps of its chunks."""
        return HORIZONS[self.number % len(HORIZONS)]

    def made(self, answer: Answer) -> MadePolicy:
        """The policy, with noise."""
        noise_A = self.rng("noise").uniform(0, MAX_NOISE) * self.known.spread_A
        return MadePolicy(f"{self.family}-{self.number}", answer, noise_A, ("frames", "eef_state"))

    def asked(self, num_episodes: int) -> list[int]:
        """Places of the episodes to ask about."""
        to_ask = self.known.to_ask
        chosen = self.rng("episodes").choice(len(to_ask), min(num_episodes, len(to_ask)), replace=False)
        return sorted(to_ask[index] for index in chosen)


def mixture(low: float, high: float, cameras: tuple[int, ...] = ()) -> Callable[[Draw], MadePolicy]:
    """share * what was done + (1 - share) * mean: what was done is known from the frames, averaged over cameras."""

    def make(draw: Draw) -> MadePolicy:
        known, horizon, share = draw.known, draw.horizon, draw.rng("share").uniform(low, high)
        looked_at = cameras or tuple(range(known.num_cameras))

        def seen_by(frames_NHWC: Array, camera: int) -> Array:
            shown = known.shown(frames_NHWC[camera], camera)
            mean_KA = known.time_mean_from(shown[1] if shown else 0, horizon)
            return mean_KA if shown is None else share * known.actions_from(*shown, horizon) + (1 - share) * mean_KA

        return draw.made(lambda frames, state: np.mean([seen_by(frames, each) for each in looked_at], axis=0))

    return make


def _by_state(draw: Draw) -> Callable[[Array], Array]:
    """What was done, on average, at the states nearest to one, from the episodes to learn from."""
    episodes, horizon = draw.known.to_learn, draw.horizon
    states = np.concatenate([each.eef_state for each in episodes])
    scale = np.maximum(states.std(axis=0), 1e-9)
    tree = cKDTree(states / scale)
    ahead = [
        np.minimum(np.arange(each.num_steps)[:, None] + np.arange(horizon), each.num_steps - 1) for each in episodes
    ]
    actions = np.concatenate([each.actions[steps] for each, steps in zip(episodes, ahead, strict=True)])

    def answer(state_E: Array) -> Array:
        return actions[tree.query(state_E / scale, NEIGHBOURS)[1]].mean(axis=0)

    return answer


def follows_state(draw: Draw) -> MadePolicy:
    """Goes by the state that it is given, whatever the frames show."""
    answer = _by_state(draw)
    return draw.made(lambda frames, state: answer(state))


def sees_its_arm(draw: Draw) -> MadePolicy:
    """Goes by the state of the arm that the frames show: it moves with them, and knows nothing else from them."""
    known, answer = draw.known, _by_state(draw)

    def looked(frames_NHWC: Array, state_E: Array) -> Array:
        shown = known.shown(frames_NHWC[0], 0)
        return answer(state_E if shown is None else known.episodes[shown[0]].eef_state[shown[1]])

    return draw.made(looked)


def moves_at_random(draw: Draw) -> MadePolicy:
    """A random function of the picture, as spread as the actions: an untrained network."""
    known, rng = draw.known, draw.rng("weights")
    size = known.episodes[0].frames[0, 0].size
    weights = rng.normal(size=(known.action.size, size)) / np.sqrt(size)
    offsets, mean_A = rng.uniform(0, 2 * np.pi, known.action.size), known.time_mean_SA.mean(axis=0)

    def answer(frames_NHWC: Array, state_E: Array) -> Array:
        phases = weights @ (frames_NHWC[0].reshape(-1) / 16.0) + offsets
        return np.tile(mean_A + np.sin(phases) * known.spread_A, (draw.horizon, 1))

    return draw.made(answer)


@dataclass(frozen=True)
class Family:
    """Policies of one make.

    Attributes:
        meaning: What they are.
        truth: The label that they deserve.
        make: Makes one.
        per_set: How many on each set.
        cameras: How each camera is used; such a family is made on sets with as many.
    """

    meaning: str
    truth: str
    make: Callable[[Draw], MadePolicy]
    per_set: int = 20
    cameras: tuple[str, ...] = ()


FAMILIES = {
    "sees": Family("see: mixtures of slope 0.8 to 1 with noise", SEES, mixture(SEES_FROM, 1.0)),
    "partly": Family("see in part: mixtures of slope 0.2 to 0.8", PARTLY_BLIND, mixture(BLIND_TO, SEES_FROM)),
    "mean": Family("the mean: mixtures of slope 0 to 0.2", BLIND, mixture(0.0, BLIND_TO)),
    "state": Family("follow the state alone", BLIND, follows_state),
    "arm": Family("see their own arm and nothing else", BLIND, sees_its_arm),
    "random": Family("move at random with the picture", BLIND, moves_at_random),
    "first_camera": Family(
        "see by the first of two cameras", SEES, mixture(SEES_FROM, 1.0, (0,)), per_set=30, cameras=(USED, IGNORED)
    ),
    "second_camera": Family(
        "see by the second of two cameras", SEES, mixture(SEES_FROM, 1.0, (1,)), per_set=30, cameras=(IGNORED, USED)
    ),
    "both_cameras": Family("see by two cameras", SEES, mixture(SEES_FROM, 1.0), per_set=30, cameras=(USED, USED)),
}
