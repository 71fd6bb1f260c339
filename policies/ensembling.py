"""Temporal ensembling: each step is acted on by the mean of all chunks that predict it (Zhao et al., Learning
fine-grained bimanual manipulation with low-cost hardware, 2023, algorithm 2).

Features are averaged, not actions: a yaw is a direction there, and the mean of two neighbouring ones lies between them.

Letters: ``B`` episodes, ``H`` steps of a chunk, ``F`` action features.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


class ChunkEnsemble:
    """The chunks of running episodes that still predict a step to come.

    Args:
        rate: Of n chunks that predict a step, the i-th oldest (from 0) has weight exp(-rate i); ACT takes 0.01.
        num_executed: Steps from one chunk to the next.
    """

    def __init__(self, rate: float, num_executed: int) -> None:
        self._rate = rate
        self._num_executed = num_executed
        self._oldest_first: list[Tensor] = []

    def add(self, chunk_BHF: Float[Tensor, "B H F"]) -> Float[Tensor, "B H F"]:
        """Takes the newest chunk, and gives the mean of all chunks at each of its steps."""
        horizon = chunk_BHF.shape[1]
        most = -(-horizon // self._num_executed)
        self._oldest_first = [*self._oldest_first, chunk_BHF][-most:]
        return torch.stack([self._mean_at(step) for step in range(horizon)], dim=1)

    def _mean_at(self, step: int) -> Float[Tensor, "B F"]:
        """The mean at a step of the newest chunk."""
        newest = len(self._oldest_first) - 1
        places = [step + (newest - index) * self._num_executed for index in range(newest + 1)]
        predicted = [
            chunk_BHF[:, place]
            for chunk_BHF, place in zip(self._oldest_first, places, strict=True)
            if place < chunk_BHF.shape[1]
        ]
        order_n = torch.arange(len(predicted), dtype=torch.float64, device=predicted[0].device)
        weight_n = torch.softmax(-self._rate * order_n, dim=0)
        return (torch.stack(predicted, dim=-1).double() @ weight_n).to(predicted[0].dtype)
