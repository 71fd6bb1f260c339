"""Tiny networks: one that learns to see in seconds, its twin trained with the cue hidden, and an untrained one.

Letters: ``K`` pictures, ``C H W`` channels, rows, columns, ``F`` feature maps, ``P`` position coordinates.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from studies.calibration.episodes import CalibrationEpisodes

NUM_MAPS = 12
NUM_STEPS = 500
BATCH = 32
LEARNING_RATE = 3e-3
_SHARPNESS = 10.0


class TinyNetwork(nn.Module):
    """Two convolutions, the expected place of each feature map, one hidden layer.

    Source: spatial softmax, S. Levine et al., "End-to-end training of deep visuomotor policies", JMLR 17, 2016.
    """

    def __init__(self, num_outputs: int) -> None:
        super().__init__()
        self.maps = nn.Sequential(
            nn.Conv2d(3, NUM_MAPS, 5, padding=2), nn.ReLU(), nn.Conv2d(NUM_MAPS, NUM_MAPS, 3, padding=1)
        )
        self.head = nn.Sequential(nn.Linear(2 * NUM_MAPS, 32), nn.ReLU(), nn.Linear(32, num_outputs))

    def forward(self, pictures_KCHW: Tensor) -> Tensor:
        """Outputs (K, P) in units of the target's deviation."""
        maps_KFHW = self.maps(pictures_KCHW - 0.5)
        height, width = maps_KFHW.shape[-2:]
        weights_KFN = functional.softmax(_SHARPNESS * maps_KFHW.flatten(2), dim=-1)
        rows_N = torch.linspace(-1, 1, height).repeat_interleave(width)
        columns_N = torch.linspace(-1, 1, width).repeat(height)
        return self.head(torch.cat([weights_KFN @ rows_N, weights_KFN @ columns_N], dim=1))


class TrainedNetwork:
    """A tiny network fitted to one task's pairs, in metres.

    Args:
        data: The task's demonstrations; only those to learn from are used.
        hides_cue: Whether it is shown every state without the cue.
        seed: Of weights and batches.
        num_steps: Optimiser steps.
    """

    def __init__(self, data: CalibrationEpisodes, hides_cue: bool, seed: int, num_steps: int = NUM_STEPS) -> None:
        generator = torch.Generator().manual_seed(seed)
        pairs = data.train
        shown = (pairs.hidden_KCHW, pairs.hidden_KCHW) if hides_cue else (pairs.pictures_KCHW, pairs.moved_KCHW)
        pictures_KCHW = torch.cat(shown)
        target_KP = torch.cat([pairs.target_KP, pairs.target_moved_KP])
        self._mean_P = target_KP.mean(dim=0)
        # A coordinate that never varies stays at its mean.
        self._deviation_P = target_KP.std(dim=0).clamp_min(1e-6)
        wanted_KP = ((target_KP - self._mean_P) / self._deviation_P).float()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self._network = TinyNetwork(target_KP.shape[1])
        optimiser = torch.optim.Adam(self._network.parameters(), lr=LEARNING_RATE)
        for step in range(num_steps):
            optimiser.param_groups[0]["lr"] = LEARNING_RATE * (1 - step / num_steps)
            chosen = torch.randint(len(pictures_KCHW), (BATCH,), generator=generator)
            loss = functional.mse_loss(self._network(pictures_KCHW[chosen]), wanted_KP[chosen])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()

    @torch.no_grad()
    def __call__(self, pictures_KCHW: Tensor) -> Tensor:
        """Predicted targets (K, P) in metres, float64."""
        return self._network(pictures_KCHW).double() * self._deviation_P + self._mean_P


class RandomNetwork:
    """An untrained tiny network whose outputs are spread over the action's box.

    Args:
        data: The task's demonstrations, for the box.
        seed: Of the weights.
    """

    def __init__(self, data: CalibrationEpisodes, seed: int) -> None:
        low_P, high_P = (torch.tensor(bound)[data.positions] for bound in (data.action.low, data.action.high))
        self._centre_P, self._half_P = (low_P + high_P) / 2, (high_P - low_P) / 2
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self._network = TinyNetwork(len(data.positions))
            self._offset_P = torch.randn(len(data.positions))

    @torch.no_grad()
    def __call__(self, pictures_KCHW: Tensor) -> Tensor:
        """Outputs (K, P) inside the box, float64."""
        return self._centre_P + self._half_P * torch.tanh(self._network(pictures_KCHW) + self._offset_P).double()
