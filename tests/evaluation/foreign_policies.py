"""Policies as strangers write them: most see the cube; each does one thing that has to be borne, or refused."""

from __future__ import annotations

import os
import random
import sys
from typing import Any

import numpy as np
import torch
from fake_lift import ScriptedPolicy, SeesCube


class OneBuffer(SeesCube):
    """Writes into one buffer and returns it, as captured graphs do."""

    def act(self, observations: dict[str, Any]) -> np.ndarray:
        actions = super().act(observations)
        if getattr(self, "buffer", np.empty(0)).shape != actions.shape:
            self.buffer = np.empty_like(actions)
        self.buffer[:] = actions
        return self.buffer


class InPlace(SeesCube):
    """Normalises what it was given where it stands, changes its type, and writes zeros over all it was given before."""

    def reset(self, num_episodes: int = 1, seed: int = 0) -> None:
        super().reset(num_episodes, seed)
        self.kept: list[np.ndarray] = []

    def act(self, observations: dict[str, Any]) -> np.ndarray:
        frames = observations["frames"]
        actions = super().act(observations)
        frames //= 2
        frames.flags.writeable = True
        observations["frames"] = frames.astype(np.float32) / 255
        for old in self.kept:
            old[:] = 0
        self.kept.append(frames)
        return actions


class TensorAnswers(SeesCube):
    """Answers with a bfloat16 tensor that has a gradient."""

    def act(self, observations: dict[str, Any]) -> Any:
        return torch.tensor(super().act(observations), dtype=torch.bfloat16, requires_grad=True)


class ChangesSettings(SeesCube):
    """Leaves the process set as it likes, and relies on it."""

    def __init__(self) -> None:
        torch.set_default_dtype(torch.float64)
        torch.set_grad_enabled(False)
        np.seterr(all="raise")
        os.chdir("/")

    def act(self, observations: dict[str, Any]) -> np.ndarray:
        assert torch.zeros(1).dtype == torch.float64
        assert not torch.is_grad_enabled()
        assert os.getcwd() == "/"
        torch.set_num_threads(2)
        return super().act(observations)


class Unseeded(ScriptedPolicy):
    """Draws from the three global generators, when it is made and in every step, and seeds none."""

    name = "unseeded"

    def __init__(self) -> None:
        self.place = np.random.rand(3) + random.random() + torch.rand(3).numpy()  # noqa: NPY002

    def command(self, observations: dict[str, Any]) -> np.ndarray:
        rows = np.random.rand(self.num_episodes, 3) + torch.rand(self.num_episodes, 1).numpy() + random.random()  # noqa: NPY002
        return np.column_stack([0.01 * (rows + self.place) + [0, 0, 0.9], -np.ones(self.num_episodes)])


class DrawsFromTheSystem(ScriptedPolicy):
    """Its generator has no seed, so that no episode of it can be run again."""

    def command(self, observations: dict[str, Any]) -> np.ndarray:
        return super().command(observations) + np.random.default_rng().normal(size=(self.num_episodes, 1))


class OtherEachTime(ScriptedPolicy):
    """Its weights are drawn without a seed: every worker would have another policy."""

    def __init__(self) -> None:
        self.offset = np.random.default_rng().normal()

    def command(self, observations: dict[str, Any]) -> np.ndarray:
        return super().command(observations) + self.offset


class Remembers(ScriptedPolicy):
    """Its reset forgets nothing."""

    total = 0.0

    def command(self, observations: dict[str, Any]) -> np.ndarray:
        self.total += 0.1
        return super().command(observations) + self.total


class FirstRowForAll(SeesCube):
    """Answers every row with what the first one calls for."""

    def command(self, observations: dict[str, Any]) -> np.ndarray:
        return np.repeat(super().command(observations)[:1], self.num_episodes, axis=0)


class OverTheBatch(SeesCube):
    """Takes the batch's mean off, as BatchNorm does in training mode."""

    def command(self, observations: dict[str, Any]) -> np.ndarray:
        actions = super().command(observations)
        return actions - actions.mean(axis=0)


class OneAtATime(SeesCube):
    """Knows no batches."""

    def command(self, observations: dict[str, Any]) -> np.ndarray:
        return super().command({"frames": observations["frames"][:1]})


class OneTooMany(SeesCube):
    """One coordinate too many."""

    def command(self, observations: dict[str, Any]) -> np.ndarray:
        return np.pad(super().command(observations), ((0, 0), (0, 1)))


class Flat(SeesCube):
    """Forgets the axis of the batch."""

    def command(self, observations: dict[str, Any]) -> np.ndarray:
        return super().command(observations)[0]


class WholeChunk(SeesCube):
    """Answers with a chunk of five actions."""

    def command(self, observations: dict[str, Any]) -> np.ndarray:
        return np.repeat(super().command(observations)[:, None], 5, axis=1)


class Raises(SeesCube):
    """Has a bug that shows in every call."""

    def command(self, observations: dict[str, Any]) -> np.ndarray:
        return self.no_such_network(observations)  # type: ignore[attr-defined, no-any-return]


class RaisesLate(SeesCube):
    """Has a bug that shows at step 5 of seed 3000001."""

    name = "raises_late"

    def command(self, observations: dict[str, Any]) -> np.ndarray:
        if (self.seed, self.step) == (3_000_001, 5):
            raise ValueError("a late bug")
        return super().command(observations)


class BreaksReset(SeesCube):
    """Cannot be reset as the protocol has it."""

    def reset(self) -> None:  # type: ignore[override]
        pass


class Leaves(SeesCube):
    """Ends the process, as far as that goes in Python."""

    def command(self, observations: dict[str, Any]) -> np.ndarray:
        sys.exit(3)


class PredictsChunks(SeesCube):
    """Sees the cube and says where it would go for three steps; it reads two frames."""

    name, num_frames = "predicts_chunks", 2

    def chunk(self, observations: dict[str, Any]) -> np.ndarray:
        frames = observations["frames"]
        assert frames.shape[1] == 2, frames.shape
        actions = self.command({"frames": frames[:, -1]})
        frames[:] = 0
        return np.repeat(actions[:, None], 3, axis=1)


class FlatChunks(PredictsChunks):
    """Forgets the axis of the steps."""

    def chunk(self, observations: dict[str, Any]) -> np.ndarray:
        return super().chunk(observations)[:, 0]


class ChunksOverTheBatch(PredictsChunks):
    """Answers a row alone otherwise than beside others, in its chunks alone."""

    def chunk(self, observations: dict[str, Any]) -> np.ndarray:
        chunks = super().chunk(observations)
        return chunks - chunks.mean(axis=0)
