"""Temporal ensembling against its definition, step by step."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from smidgen.policies.cnn import CnnConfig
from smidgen.policies.ensembling import ChunkEnsemble
from smidgen.policies.learned_policy import Interface, LearnedPolicy, cameras_to_channels, one_thread
from smidgen.runtime.action_spec import ActionSpec
from smidgen.runtime.errors import UserError

SIZE = 8
ACTION = ActionSpec(("x", "yaw", "grip"), ("position", "yaw", "gripper"), (-9.0, -2.0, -1.0), (9.0, 2.0, 1.0))
STEPS = 11


def build(**options: object) -> LearnedPolicy:
    torch.manual_seed(0)
    config = CnnConfig.from_flat(width=4, hidden_dim=8, num_frames=2, **options)
    return LearnedPolicy(config, Interface("dot", ACTION, ("front",), SIZE, ("x",))).eval()


def frames(step: int, episodes: int = 2) -> np.ndarray:
    return np.random.default_rng(step).integers(0, 256, (episodes, 1, SIZE, SIZE, 3), dtype=np.uint8)


@pytest.mark.parametrize(("rate", "num_executed", "horizon"), [(0.01, 1, 4), (0.7, 2, 5), (-0.5, 3, 4)])
def test_the_mean_is_the_weighted_one_of_all_chunks_that_hold_a_step(rate, num_executed, horizon) -> None:
    ensemble = ChunkEnsemble(rate, num_executed)
    generator = torch.Generator().manual_seed(0)
    chunks = [torch.randn(2, horizon, 3, generator=generator) for _ in range(5)]
    for newest, chunk in enumerate(chunks):
        mean = ensemble.add(chunk)
        for step in range(horizon):
            now = newest * num_executed + step
            held = [each[:, now - start * num_executed] for start, each in enumerate(chunks[: newest + 1])
                    if now - start * num_executed < horizon]  # fmt: skip
            weights = [math.exp(-rate * order) for order in range(len(held))]
            expected = sum(weight * part for weight, part in zip(weights, held, strict=True)) / sum(weights)
            torch.testing.assert_close(mean[:, step], expected)


def test_a_policy_acts_on_the_mean_of_features_of_chunks_that_overlap() -> None:
    policy = build(horizon=4, num_executed=2, temporal_ensembling=0.3)
    policy.reset(2)
    seen = [frames(step) for step in range(STEPS)]
    acted = [policy.act({"frames": each}) for each in seen]
    chunks: dict[int, torch.Tensor] = {}
    for step in range(STEPS):
        if step % 2 == 0:
            window = np.stack([cameras_to_channels(seen[max(step - back, 0)]) for back in (1, 0)], axis=1)
            with one_thread(), torch.no_grad():
                chunks[step] = torch.cat([policy(torch.from_numpy(window[row : row + 1])) for row in range(2)])
        held = [chunks[start][:, step - start] for start in chunks if step - start < 4]
        weights = torch.softmax(-0.3 * torch.arange(len(held)).double(), 0)
        mean = sum(weight * part.double() for weight, part in zip(weights, held, strict=True)).float()
        np.testing.assert_allclose(acted[step], policy.decode(mean[:, None])[:, 0], atol=1e-6)
    # Later than the first chunk, it is not the newest chunk that is executed.
    assert not np.allclose(acted[2], policy.decode(chunks[2])[:, 0])


def test_a_new_episode_forgets_the_chunks() -> None:
    policy = build(temporal_ensembling=0.0)
    first = [policy.act({"frames": frames(step, 1)}) for step in range(5)]
    policy.reset()
    np.testing.assert_array_equal([policy.act({"frames": frames(step, 1)}) for step in range(5)], first)


def test_one_chunk_is_its_own_mean() -> None:
    plain, ensembled = build(), build(temporal_ensembling=0.01)
    for step in range(2):
        np.testing.assert_allclose(ensembled.act({"frames": frames(step, 1)}), plain.act({"frames": frames(step, 1)}))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temporal_ensembling": math.inf}, "finite temporal_ensembling"),
        ({"temporal_ensembling": 0.0, "horizon": 4, "num_executed": 4}, "lower num_executed"),
    ],
)
def test_an_ensemble_of_nothing_is_the_users_error(options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        build(**options)


def test_strided_frames_are_those_of_some_steps_ago() -> None:
    """A policy that acts, one that is asked for a chunk, and a window say the same."""
    policy = build(frame_stride=3, num_executed=1)
    seen = [frames(step, 1) for step in range(6)]
    acted = [policy.act({"frames": each}) for each in seen]
    assert policy.num_frames == 4
    for step in range(6):
        two = np.stack([cameras_to_channels(seen[max(step - 3, 0)]), cameras_to_channels(seen[step])], axis=1)
        with one_thread():
            np.testing.assert_array_equal(acted[step], policy.predict_chunk(two)[:, 0])
        history = np.stack([seen[max(step - back, 0)] for back in (3, 2, 1, 0)], axis=1)
        np.testing.assert_allclose(policy.chunk({"frames": history})[:, 0], acted[step], atol=1e-6)
