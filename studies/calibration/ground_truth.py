"""Policies whose true verdict is known by construction.

Each is a function of (task, family, number): what it answers at the pairs of 50 episodes, drawn from those to evaluate
on, and the paths on which it would lead an arm that follows its command. Noise is independent for every answer, so that
a moved cue and noise cannot be told apart by luck.

Letters: ``K`` counterfactual pairs, ``P`` position coordinates, ``S`` control steps.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from smidgen.evaluation.collapse.labels import BLIND, BLIND_TO, PARTLY_BLIND, SEES, SEES_FROM
from studies.calibration.episodes import CalibrationEpisodes
from studies.calibration.networks import RandomNetwork, TrainedNetwork

# In units of the targets' spread around the time-mean.
MAX_NOISE = 0.5
MAX_NOISE_AT_THE_MEAN = 0.4
LEAST_DISPLACEMENT = 1.0
_JITTER_MEMORY = 0.9


@dataclass(frozen=True, eq=False)
class Answers:
    """What one calibration policy answers, beside the truth.

    Attributes:
        slope: Its true cue slope, if it is a single number.
        prediction_KP: At the pairs as seen.
        moved_KP: With the cue moved.
        pair_K: Which pairs of the episodes to evaluate on.
        episode_K: Each pair's episode, by its place among those drawn.
        paths: Its closed-loop paths (S, 3), one per drawn episode; None where only a simulator could tell.
        expert_paths: The expert's on the same episodes.
    """

    slope: float | None
    prediction_KP: Tensor
    moved_KP: Tensor
    pair_K: Tensor
    episode_K: Tensor
    paths: list[Tensor] | None
    expert_paths: list[Tensor]


class Draw:
    """The episodes and the random numbers of one calibration policy.

    Args:
        data: The task's demonstrations.
        family: Name of the policy's family.
        number: Which of them, from 0.
        num_episodes: Episodes to evaluate it on.
    """

    def __init__(self, data: CalibrationEpisodes, family: str, number: int, num_episodes: int) -> None:
        self.data, self.number = data, number
        self.rng = np.random.default_rng((zlib.crc32(f"{data.task} {family}".encode()), number))
        chosen = np.sort(self.rng.choice(len(data.expert_paths), num_episodes, replace=False))
        self.pair_K, self.episode_K = data.held_out.of_episodes(chosen)
        self.expert_paths = [data.expert_paths[index] for index in chosen]
        pairs = data.held_out
        self.seen_KP, self.moved_KP = pairs.target_KP[self.pair_K], pairs.target_moved_KP[self.pair_K]
        self.time_mean_KP = data.time_mean_at(pairs.step_K[self.pair_K])

    def noise(self, deviation_m: float) -> Tensor:
        """Independent noise for one answer at each pair: (K, P), with a root mean square length of ``deviation_m``."""
        shape = self.seen_KP.shape
        return torch.as_tensor(self.rng.normal(0.0, deviation_m / math.sqrt(shape[1]), shape))

    def answers(
        self, slope: float | None, prediction_KP: Tensor, moved_KP: Tensor, paths: list[Tensor] | None
    ) -> Answers:
        """The answers, beside what they are compared with."""
        return Answers(slope, prediction_KP, moved_KP, self.pair_K, self.episode_K, paths, self.expert_paths)

    def mixture(self, share: float, noise: float) -> Answers:
        """share * expert + (1 - share) * time-mean, plus noise in units of the targets' spread."""
        deviation_m = noise * self.data.spread_m
        seen_KP, moved_KP = (
            share * target_KP + (1 - share) * self.time_mean_KP + self.noise(deviation_m)
            for target_KP in (self.seen_KP, self.moved_KP)
        )
        return self.answers(share, seen_KP, moved_KP, self._mixed_paths(share, deviation_m / 2))

    def _mixed_paths(self, share: float, jitter_m: float) -> list[Tensor]:
        """Paths between the expert's and their mean, with slow jitter: the arm follows its command, not its noise."""
        num_steps = max(len(path) for path in self.data.expert_paths)
        padded = [torch.cat([path, path[-1:].expand(num_steps - len(path), 3)]) for path in self.data.expert_paths]
        mean_S3 = torch.stack(padded).mean(dim=0)
        return [
            share * path_S3 + (1 - share) * mean_S3[: len(path_S3)] + self._jitter(len(path_S3), jitter_m)
            for path_S3 in self.expert_paths
        ]

    def _jitter(self, num_steps: int, deviation_m: float) -> Tensor:
        steps_S3 = self.rng.normal(0.0, deviation_m / math.sqrt(3), (num_steps, 3))
        for step in range(1, num_steps):
            steps_S3[step] *= math.sqrt(1 - _JITTER_MEMORY**2)
            steps_S3[step] += _JITTER_MEMORY * steps_S3[step - 1]
        return torch.as_tensor(steps_S3)

    def constant(self, place_P: Tensor, noise: float) -> Answers:
        """The same place whatever is seen, plus noise in units of the targets' spread."""
        deviation_m = noise * self.data.spread_m
        seen_KP, moved_KP = (place_P.expand_as(self.seen_KP) + self.noise(deviation_m) for _ in range(2))
        return self.answers(0.0, seen_KP, moved_KP, self._paths_to(place_P, deviation_m / 2))

    def _paths_to(self, place_P: Tensor, jitter_m: float) -> list[Tensor]:
        """Straight ways from each episode's start to one place."""
        paths = []
        for path_S3 in self.expert_paths:
            share_S1 = torch.linspace(0, 1, len(path_S3), dtype=torch.float64)[:, None]
            straight_S3 = path_S3[:1] * (1 - share_S1) + place_P * share_S1
            paths.append(straight_S3 + self._jitter(len(path_S3), jitter_m))
        return paths

    def answers_of(self, network: Callable[[Tensor], Tensor], slope: float | None = None) -> Answers:
        """A network's answers to the pictures; in closed loop only a simulator could tell."""
        pairs = self.data.held_out
        seen, moved = (network(pictures[self.pair_K]) for pictures in (pairs.pictures_KCHW, pairs.moved_KCHW))
        return self.answers(slope, seen, moved, None)

    def displaced(self, place: Callable[[], Tensor]) -> Tensor:
        """Draws places until one lies farther from the mean than the targets' spread."""
        while True:
            place_P = place()
            if (place_P - self.time_mean_KP).norm(dim=1).min() > LEAST_DISPLACEMENT * self.data.spread_m:
                return place_P


@dataclass(frozen=True)
class Family:
    """Calibration policies of one make.

    Attributes:
        meaning: What they are, for the page.
        truth: The verdict that they deserve.
        at_the_mean: Whether they have collapsed to a mean; None for those that are not blind.
        per_task: How many for each task.
        make: Makes one.
        tasks: The tasks that it is made for; empty: all.
    """

    meaning: str
    truth: str
    at_the_mean: bool | None
    per_task: int
    make: Callable[[Draw], Answers]
    tasks: tuple[str, ...] = ()


def _mixture(low: float, high: float, max_noise: float) -> Callable[[Draw], Answers]:
    return lambda draw: draw.mixture(draw.rng.uniform(low, high), draw.rng.uniform(0, max_noise))


def _noisy_mean(draw: Draw) -> Answers:
    return draw.mixture(0.0, draw.rng.uniform(0, MAX_NOISE_AT_THE_MEAN))


def _mean_constant(draw: Draw) -> Answers:
    direction_P = draw.rng.normal(size=draw.seen_KP.shape[1])
    offset_m = draw.rng.uniform(0, MAX_NOISE_AT_THE_MEAN) * draw.data.spread_m
    place_P = draw.time_mean_KP.mean(dim=0) + offset_m * torch.as_tensor(direction_P / np.linalg.norm(direction_P))
    return draw.constant(place_P, 0.0)


def _box(draw: Draw) -> Tensor:
    low_P, high_P = (np.asarray(bound)[draw.data.positions] for bound in (draw.data.action.low, draw.data.action.high))
    return torch.as_tensor(draw.rng.uniform(low_P, high_P))


def _lost_constant(draw: Draw) -> Answers:
    return draw.constant(draw.displaced(lambda: _box(draw)), draw.rng.uniform(0, MAX_NOISE))


def _random_network(draw: Draw) -> Answers:
    networks = (RandomNetwork(draw.data, 1000 * draw.number + attempt) for attempt in range(1000))
    for network in networks:
        answers = draw.answers_of(network)
        offset_KP = answers.prediction_KP - draw.time_mean_KP
        if offset_KP.norm(dim=1).min() > LEAST_DISPLACEMENT * draw.data.spread_m:
            return answers
    raise AssertionError("no random network misses the mean")


def _persistence(draw: Draw) -> Answers:
    offset_P = torch.as_tensor(draw.rng.normal(0.0, 0.01, draw.seen_KP.shape[1]))
    held_KP = draw.data.held_out.eef_KP[draw.pair_K] + offset_P
    paths = [path_S3[:1] + offset_P + draw._jitter(len(path_S3), 0.002) for path_S3 in draw.expert_paths]
    return draw.answers(0.0, held_KP, held_KP, paths)


def _random_actions(draw: Draw) -> Answers:
    """Uniform in the box, drawn anew for every answer; in closed loop a slow random walk of the arm."""
    seen, moved = (torch.stack([_box(draw) for _ in range(len(draw.pair_K))]) for _ in range(2))
    walks = [path_S3[:1] + draw._jitter(len(path_S3), 0.1) for path_S3 in draw.expert_paths]
    return draw.answers(0.0, seen, moved, walks)


def trained(hides_cue: bool, num_steps: int) -> Callable[[Draw], Answers]:
    """Makes a tiny network that was trained with the cue in view, or hidden."""
    return lambda draw: draw.answers_of(TrainedNetwork(draw.data, hides_cue, draw.number, num_steps))


def families(num_steps: int) -> dict[str, Family]:
    """Every family of calibration policies.

    Args:
        num_steps: Optimiser steps of the networks.
    """
    return {
        "expert with noise": Family(
            "mixtures of slope 0.8 to 1 with noise", SEES, None, 100, _mixture(SEES_FROM, 1.0, MAX_NOISE)
        ),
        "network": Family(
            "networks trained with the cue in view, more than 80 % of unseen goals hit",
            SEES,
            None,
            20,
            trained(False, num_steps),
            ("speck_16",),
        ),
        "half-blind mixture": Family(
            "mixtures of slope 0.2 to 0.8 with noise",
            PARTLY_BLIND,
            None,
            100,
            _mixture(BLIND_TO, SEES_FROM, MAX_NOISE),
        ),
        "nearly the mean": Family(
            "mixtures of slope 0 to 0.2 with noise", BLIND, True, 60, _mixture(0.0, BLIND_TO, MAX_NOISE_AT_THE_MEAN)
        ),
        "time-mean with noise": Family("the mean trajectory with noise", BLIND, True, 20, _noisy_mean),
        "constant at the mean": Family("one place at or near the mean", BLIND, True, 20, _mean_constant),
        "network, cue hidden": Family(
            "networks trained with the cue hidden, asked with the cue in view",
            BLIND,
            True,
            10,
            trained(True, num_steps),
        ),
        "random network": Family("untrained networks, far from the mean", BLIND, False, 30, _random_network),
        "persistence": Family("stay where the arm is, up to a centimetre beside", BLIND, False, 20, _persistence),
        "constant elsewhere": Family("one place far from the mean, with noise", BLIND, False, 20, _lost_constant),
        "random actions": Family(
            "uniform in the action's box, anew for every answer", BLIND, False, 20, _random_actions
        ),
    }
