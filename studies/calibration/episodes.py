"""The stored demonstrations that calibration policies are made of and evaluated on: nothing is rendered or simulated.

Letters: ``K`` counterfactual pairs, ``E`` episodes, ``S`` control steps, ``P`` position coordinates, ``C H
W`` channels, rows and columns of small pictures.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from smidgen.data_collection.store import EpisodeStore
from smidgen.policies.baselines import DemoStatistics
from smidgen.runtime.action_spec import ActionSpec
from smidgen.runtime.errors import UserError

PICTURE_SIZE = 32


@dataclass(frozen=True, eq=False)
class Pairs:
    """K states where the cue decides: as seen, with the cue moved, and with the cue hidden.

    Attributes:
        pictures_KCHW: Newest frame as seen, small, in [0, 1].
        moved_KCHW: The same with the cue moved.
        hidden_KCHW: The same with the cue hidden.
        target_KP: The expert's target as seen, in metres.
        target_moved_KP: Its target with the cue moved.
        eef_KP: Where the end effector is.
        step_K: Control step.
        episode_K: Index of the pair's episode, from 0.
    """

    pictures_KCHW: Tensor
    moved_KCHW: Tensor
    hidden_KCHW: Tensor
    target_KP: Tensor
    target_moved_KP: Tensor
    eef_KP: Tensor
    step_K: Tensor
    episode_K: Tensor

    def of_episodes(self, chosen: np.ndarray) -> tuple[Tensor, Tensor]:
        """Pairs (indices) of some episodes, and each one's place in ``chosen``."""
        places = {int(episode): place for place, episode in enumerate(chosen)}
        kept = [index for index, episode in enumerate(self.episode_K.tolist()) if episode in places]
        return torch.tensor(kept), torch.tensor([places[int(self.episode_K[index])] for index in kept])


@dataclass(frozen=True, eq=False)
class CalibrationEpisodes:
    """One task's demonstrations, split into those that policies may learn from and those that they are evaluated on.

    Attributes:
        task: The task's name.
        sha256: Of the data set.
        action: The task's action.
        statistics: Of the episodes to learn from.
        train: Pairs of the episodes to learn from.
        held_out: Pairs of the episodes to evaluate on.
        expert_paths: The expert's end-effector paths (S, 3) in the episodes to evaluate on.
        seeds: Seeds to learn from, and seeds to evaluate on.
    """

    task: str
    sha256: str
    action: ActionSpec
    statistics: DemoStatistics
    train: Pairs
    held_out: Pairs
    expert_paths: list[Tensor]
    seeds: tuple[tuple[int, ...], tuple[int, ...]]

    @classmethod
    def load(cls, store: EpisodeStore, num_train: int, num_held_out: int) -> CalibrationEpisodes:
        """Takes the first successful episodes to learn from and the next ones to evaluate on.

        Raises:
            UserError: If there are fewer.
        """
        seeds = store.training_seeds[: num_train + num_held_out]
        if len(seeds) < num_train + num_held_out:
            needed = num_train + num_held_out
            raise UserError(f"{store.directory}: expected {needed} successful episodes, got {len(seeds)}; collect more")
        action = ActionSpec.from_json(store.manifest["action_spec"])
        train, held_out = seeds[:num_train], seeds[num_train:]
        episodes = [store.episode(seed) for seed in held_out]
        positions = action.position_indices
        return cls(
            task=store.manifest["task"],
            sha256=store.sha256,
            action=action,
            statistics=store.statistics(train),
            train=_pairs(store, train, positions),
            held_out=_pairs(store, held_out, positions),
            expert_paths=[torch.tensor(episode.eef_state[:, :3]) for episode in episodes],
            seeds=(tuple(train), tuple(held_out)),
        )

    @property
    def positions(self) -> list[int]:
        """The action's position coordinates."""
        return self.action.position_indices

    def time_mean_at(self, step_K: Tensor) -> Tensor:
        """The mean target at some control steps: (K, P)."""
        return torch.as_tensor(self.statistics.time_mean_at(step_K.numpy()))[:, self.positions]

    @property
    def mean_P(self) -> Tensor:
        """The mean target of all steps."""
        return torch.as_tensor(self.statistics.mean_action)[self.positions]

    @property
    def spread_m(self) -> float:
        """Root mean square distance of the targets to the time-mean, where the cue decides."""
        offset_KP = self.train.target_KP - self.time_mean_at(self.train.step_K)
        return float(offset_KP.square().sum(dim=1).mean().sqrt())


def _pairs(store: EpisodeStore, seeds: tuple[int, ...], positions: list[int]) -> Pairs:
    stored = store.counterfactuals(seeds)
    place = {seed: index for index, seed in enumerate(seeds)}
    return Pairs(
        pictures_KCHW=_pictures(stored["frames"]),
        moved_KCHW=_pictures(stored["frames_moved"]),
        hidden_KCHW=_pictures(stored["frames_hidden"]),
        target_KP=torch.tensor(stored["target"][:, positions]),
        target_moved_KP=torch.tensor(stored["target_moved"][:, positions]),
        eef_KP=torch.tensor(stored["eef_state"][:, : len(positions)]),
        step_K=torch.tensor(stored["step"]),
        episode_K=torch.tensor([place[int(seed)] for seed in stored["seed"]]),
    )


def _pictures(frames_KTNHWC: np.ndarray) -> Tensor:
    """The newest frame of the first camera, averaged down: (K, 3, 32, 32) or as small as it was."""
    newest_KCHW = torch.tensor(frames_KTNHWC[:, -1, 0]).permute(0, 3, 1, 2).float() / 255
    size = min(PICTURE_SIZE, newest_KCHW.shape[-1])
    return functional.adaptive_avg_pool2d(newest_KCHW, size) if len(newest_KCHW) else newest_KCHW
