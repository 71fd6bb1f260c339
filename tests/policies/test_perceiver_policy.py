from __future__ import annotations

import numpy as np
import pytest
import torch

from smidgen.policies.learned_policy import Interface, LearnedPolicy, cameras_to_channels, flushed_denormals, one_thread
from smidgen.policies.perceiver_policy import PerceiverPolicyConfig
from smidgen.policies.policy import Policy, check_policy
from smidgen.runtime.action_spec import ActionSpec
from smidgen.runtime.errors import UserError

ACTION = ActionSpec(
    ("x", "y", "z", "grip"), ("position",) * 3 + ("gripper",), (-0.1, -0.1, 0.9, -1.0), (0.1, 0.1, 1.1, 1.0)
)
SIZE = 8


def interface(num_cameras: int = 1) -> Interface:
    return Interface("dot", ACTION, ("front", "side")[:num_cameras], SIZE, ("x", "y", "z", "opening"))


def build(num_cameras: int = 1, **options) -> LearnedPolicy:
    options = {"num_latents": 4, "latent_dim": 8, "num_heads": 2, "num_layers": 1, **options}
    torch.manual_seed(0)
    policy = LearnedPolicy(PerceiverPolicyConfig.from_flat(**options), interface(num_cameras))
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (6, policy.config.num_frames, SIZE, SIZE, 3 * num_cameras), dtype=np.uint8)
    actions = torch.from_numpy(rng.normal(size=(40, 4)) * 0.05)
    policy.fit([torch.from_numpy(frames)], actions, torch.from_numpy(rng.normal(size=(40, 4))))
    return policy.eval()


def frames_at(step: int, num_episodes: int, num_cameras: int = 1) -> np.ndarray:
    rng = np.random.default_rng(step)
    return rng.integers(0, 256, (num_episodes, num_cameras, SIZE, SIZE, 3), dtype=np.uint8)


def test_it_speaks_the_protocol_and_its_name_tells_what_it_sees():
    assert isinstance(build(), Policy)
    assert check_policy(build(transform="dft3d"), "x").name == "perceiver-dft3d"
    assert build().observes == ("frames",)
    seeing = build(use_eef_state=True)
    assert seeing.name == "perceiver-raw+eef_state"
    assert seeing.observes == ("frames", "eef_state")


@pytest.mark.parametrize("num_cameras", [1, 2])
@pytest.mark.parametrize("use_eef_state", [False, True])
def test_act_equals_the_plain_loop(num_cameras, use_eef_state):
    """History padded with the first frame; a chunk is predicted every num_executed steps, each episode by itself."""
    policy = build(num_cameras, use_eef_state=use_eef_state, num_frames=3, horizon=4, num_executed=3)
    num_episodes, num_steps = 2, 8
    policy.reset(num_episodes)
    seen = [frames_at(step, num_episodes, num_cameras) for step in range(num_steps)]
    states = [np.random.default_rng(100 + step).normal(size=(num_episodes, 4)) for step in range(num_steps)]
    for step in range(num_steps):
        actions = policy.act({"frames": seen[step], "eef_state": states[step]})
        assert actions.shape == (num_episodes, 4)
        planned = step - step % 3
        for row in range(num_episodes):
            past = [np.concatenate(list(seen[max(planned - back, 0)][row]), axis=-1) for back in (2, 1, 0)]
            state = states[planned][row : row + 1] if use_eef_state else None
            with one_thread():
                chunk = policy.predict_chunk(np.stack(past)[None], state)
            np.testing.assert_array_equal(actions[row], chunk[0, step - planned])


def test_new_weights_count_from_the_next_episode_on():
    policy = build()
    old = policy.act({"frames": frames_at(0, 1)})
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.add_(torch.randn_like(parameter))
    with one_thread():
        new = policy.predict_chunk(np.repeat(cameras_to_channels(frames_at(0, 1))[:, None], 3, axis=1))[:, 0]
    assert not np.array_equal(old, new)
    policy.reset()
    np.testing.assert_array_equal(policy.act({"frames": frames_at(0, 1)}), new)


def test_reset_forgets():
    policy = build()
    first = policy.act({"frames": frames_at(0, 1)})
    policy.act({"frames": frames_at(1, 1)})
    policy.reset()
    np.testing.assert_array_equal(policy.act({"frames": frames_at(0, 1)}), first)


def test_an_episode_does_not_depend_on_its_neighbours():
    policy = build()
    policy.reset(3)
    together = [policy.act({"frames": frames_at(step, 3)}) for step in range(4)]
    for row in range(3):
        policy.reset(1)
        alone = [policy.act({"frames": frames_at(step, 3)[row : row + 1]}) for step in range(4)]
        np.testing.assert_array_equal(np.stack(together)[:, row], np.concatenate(alone))


def test_batched_inference_is_close_and_off_by_default():
    policy = build()
    assert not policy.batched_inference
    policy.reset(3)
    plain = policy.act({"frames": frames_at(0, 3)})
    policy.batched_inference = True
    policy.reset(3)
    np.testing.assert_allclose(policy.act({"frames": frames_at(0, 3)}), plain, atol=1e-6)


def test_actions_stay_in_the_box():
    policy = build()
    with torch.no_grad():
        policy.network.decoder.head.bias.fill_(1e3)
    chunk = policy.predict_chunk(np.zeros((2, 3, SIZE, SIZE, 3), np.uint8))
    assert chunk.shape == (2, 8, 4)
    assert chunk.dtype == np.float64
    np.testing.assert_array_equal(chunk, np.broadcast_to(ACTION.high, chunk.shape))


@pytest.mark.parametrize("frames", [np.zeros((2, 1, SIZE, SIZE, 3), np.uint8), np.zeros((1, 1, SIZE, SIZE, 3))])
def test_other_frames_are_refused(frames):
    with pytest.raises(ValueError, match=r"expected uint8 frames of shape \(1, 1, 8, 8, 3\)"):
        build().act({"frames": frames})


def test_a_missing_state_is_refused():
    with pytest.raises(ValueError, match="pass eef_state"):
        build(use_eef_state=True).act({"frames": frames_at(0, 1)})


@pytest.mark.parametrize(
    "options", [{"num_frames": 0}, {"num_executed": 0}, {"num_executed": 9}, {"horizon": 0}, {"transform": "fft"}]
)
def test_impossible_choices_are_the_users_error(options):
    with pytest.raises(UserError):
        build(**options)


def test_cameras_stand_side_by_side_in_the_channels():
    frames = np.random.default_rng(0).integers(0, 256, (5, 2, 4, 4, 3), dtype=np.uint8)
    joined = cameras_to_channels(frames)
    assert joined.shape == (5, 4, 4, 6)
    np.testing.assert_array_equal(joined[..., :3], frames[:, 0])
    np.testing.assert_array_equal(joined[..., 3:], frames[:, 1])


def test_one_thread_restores_the_number():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with one_thread():
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def is_flushed() -> bool:
    return not torch.tensor(1e-40).mul(2.0).item()


def test_denormals_are_flushed_inside_the_block_alone():
    assert not is_flushed()
    with flushed_denormals():
        assert is_flushed()
        with flushed_denormals():
            assert is_flushed()
        assert is_flushed()
    assert not is_flushed()


def test_a_sharp_attention_predicts_the_same_without_its_denormals():
    policy = build(query_gain=500.0)
    frames = torch.from_numpy(frames_at(0, 3)).expand(3, 3, SIZE, SIZE, 3)
    weights = policy.network.attention_map(frames)
    assert ((weights > 0) & (weights < torch.finfo(torch.float32).tiny)).any()
    with torch.no_grad():
        np.testing.assert_array_equal(policy.predict_chunk(frames.numpy()), policy.decode(policy(frames)))
