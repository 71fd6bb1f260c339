"""Every kind of policy that is trained: one contract, whatever its network."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from smidgen.policies.checkpoint import load_checkpoint, save_checkpoint
from smidgen.policies.cnn import spatial_softmax
from smidgen.policies.frame_network import NetworkShapes
from smidgen.policies.learned_policy import Interface, LearnedPolicy
from smidgen.policies.nearest import NearestConfig
from smidgen.policies.policy import check_policy
from smidgen.policies.registry import TRAINED, architecture, policy_from_json, policy_to_json
from smidgen.runtime.action_spec import ActionSpec
from smidgen.runtime.errors import UserError

SIZE = 16
ACTION = ActionSpec(("x", "y", "grip"), ("position", "position", "gripper"), (-1.0,) * 3, (1.0,) * 3)
INTERFACE = Interface("dot", ACTION, ("front", "side"), SIZE, ("x", "y"))
SMALL = {
    "perceiver": {"num_latents": 4, "latent_dim": 8, "num_heads": 2, "num_layers": 1},
    "perceiver_conv_stem": {"num_latents": 4, "latent_dim": 8, "num_heads": 2, "num_layers": 1},
    "cnn": {"width": 4, "hidden_dim": 8},
    "cnn_rnn": {"width": 4, "hidden_dim": 8, "num_frames": 2},
    "vit": {"width": 8, "num_heads": 2, "num_layers": 1},
    "linear": {},
    "nearest": {"num_examples": 7, "num_features": 16},
}
SEES_STATE = [kind for kind in TRAINED if kind != "nearest"]


def build(kind: str, **keys: object) -> LearnedPolicy:
    """A small policy with fitted statistics, and the training examples that it remembers if it does."""
    torch.manual_seed(0)
    policy = LearnedPolicy(architecture(kind).from_flat(**SMALL[kind], **keys), INTERFACE)
    frames, actions = examples(policy)
    policy.fit([frames], actions[:, 0], torch.randn(40, 2, dtype=torch.float64))
    policy.network.memorise([(frames, policy.normaliser.encode(actions))])
    return policy.eval()


def examples(policy: LearnedPolicy, count: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    shape = (count, policy.config.num_frames, SIZE, SIZE, 6)
    frames = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    actions = torch.rand(count, policy.config.horizon, 3, dtype=torch.float64, generator=generator)
    return frames, 2 * actions - 1


def observation(step: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(step)
    frames = rng.integers(0, 256, (2, 2, SIZE, SIZE, 3), dtype=np.uint8)
    return {"frames": frames, "eef_state": rng.normal(size=(2, 2))}


@pytest.mark.parametrize("kind", TRAINED)
def test_it_acts_and_a_checkpoint_of_it_acts_alike(kind, tmp_path):
    policy = build(kind)
    check_policy(policy, kind)
    assert policy.name.startswith(kind.split("_")[0])
    save_checkpoint(tmp_path / "final", policy, {})
    loaded = load_checkpoint(tmp_path / "final")
    assert loaded.config == policy.config
    for each in (policy, loaded):
        each.reset(2)
    for step in range(3):
        actions = policy.act(observation(step))
        assert actions.shape == (2, 3)
        np.testing.assert_array_equal(actions, loaded.act(observation(step)))


@pytest.mark.parametrize("kind", TRAINED)
def test_every_frame_and_both_cameras_count(kind):
    policy = build(kind)
    frames, _ = examples(policy, 1)
    changed = frames.repeat(policy.config.num_frames * 2, 1, 1, 1, 1)
    for time in range(policy.config.num_frames):
        for camera in range(2):
            changed[2 * time + camera, time, :, :, 3 * camera : 3 * camera + 3] = 0
    with torch.no_grad():
        if kind == "nearest":
            answer, others = policy.network.project(frames), policy.network.project(changed)
        else:
            answer, others = policy(frames), policy(changed)
    assert (answer - others).abs().flatten(1).amax(1).min() > 0


@pytest.mark.parametrize("kind", SEES_STATE)
def test_the_state_is_seen_where_asked_for_and_the_name_says_so(kind):
    policy = build(kind, use_eef_state=True)
    frames, _ = examples(policy)
    state = torch.randn(5, 2, dtype=torch.float64)
    with torch.no_grad():
        assert not torch.equal(policy(frames, state), policy(frames, state + 1))
    assert policy.name.endswith("+eef_state")
    assert policy.observes == ("frames", "eef_state")


@pytest.mark.parametrize("kind", SEES_STATE)
def test_every_weight_gets_a_gradient(kind):
    policy = build(kind, use_eef_state=True).train()
    frames, actions = examples(policy)
    loss = (policy(frames, torch.randn(5, 2)) - policy.normaliser.encode(actions)).square().mean()
    loss.backward()
    for name, parameter in policy.network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


@pytest.mark.parametrize("kind", TRAINED)
def test_settings_survive_json(kind):
    config = architecture(kind).from_flat(**SMALL[kind])
    assert policy_from_json(policy_to_json(config)) == config
    settings = policy_to_json(config)
    with pytest.raises(UserError, match="field num_frames: expected a value"):
        policy_from_json({key: value for key, value in settings.items() if key != "num_frames"})
    with pytest.raises(UserError, match="field num_frames: expected an integer"):
        policy_from_json(settings | {"num_frames": True})


def test_a_kind_that_does_not_exist_lists_those_that_do():
    with pytest.raises(UserError, match=r"unknown policy to train 'resnet'.*; valid: cnn, cnn_rnn"):
        policy_from_json({"policy": "resnet"})
    with pytest.raises(UserError, match="field policy: expected a string, got 3"):
        policy_from_json({"policy": 3})


@pytest.mark.parametrize(
    ("kind", "keys", "message"),
    [
        ("cnn", {"width": 0}, "width of at least 1"),
        ("vit", {"num_heads": 3}, "divides width 8"),
        ("vit", {"patch_size": 5}, "divides the frames' 16"),
        ("nearest", {"num_features": 10**9}, "num_features in 1..4096"),
        ("nearest", {"use_eef_state": True}, "compares only frames"),
        ("linear", {"horizon": 0}, "horizon"),
    ],
)
def test_impossible_choices_are_the_users_error(kind, keys, message):
    with pytest.raises(UserError, match=message):
        LearnedPolicy(architecture(kind).from_flat(**(SMALL[kind] | keys)), INTERFACE)


def test_frames_of_another_shape_are_refused():
    for kind in TRAINED:
        with pytest.raises(UserError, match="expected frames of shape"):
            build(kind)(torch.zeros(1, 1, SIZE, SIZE, 6, dtype=torch.uint8))


def test_the_nearest_policy_plays_the_chunk_of_the_window_that_it_sees():
    policy = build("nearest", num_frames=2)
    frames, actions = examples(policy)
    noisy = (frames.int() + torch.randint(-2, 3, frames.shape)).clamp(0, 255).to(torch.uint8)
    expected = policy.decode(policy.normaliser.encode(actions))
    np.testing.assert_allclose(policy.decode(policy(noisy)), expected, atol=1e-6)


def test_projections_keep_distances():
    shapes = NetworkShapes(1, SIZE, 3, 0, 1, 1)
    network = NearestConfig(num_features=512).build(shapes)
    frames = torch.randint(0, 256, (9, 1, SIZE, SIZE, 3), dtype=torch.uint8, generator=torch.manual_seed(0))
    kept = torch.pdist(network.project(frames))
    true = torch.pdist(2 * frames.flatten(1).float() / 255)
    assert ((kept / true - 1).abs() < 4 * (2 * 512) ** -0.5).all()


def test_spatial_softmax_finds_where_a_map_is_largest():
    maps = torch.zeros(1, 2, 5, 9)
    maps[0, 0, 1, 8] = 50.0
    maps[0, 1, 4, 0] = 50.0
    x0, x1, y0, y1, value0, value1 = spatial_softmax(maps)[0].tolist()
    assert (x0, y0, x1, y1) == pytest.approx((1.0, -0.5, -1.0, 1.0), abs=1e-5)
    assert (value0, value1) == pytest.approx((50.0, 50.0), abs=1e-3)


def test_kinds_are_frozen_dataclasses_named_by_themselves():
    for kind, config in ((kind, architecture(kind)) for kind in TRAINED):
        assert config.kind == kind
        with pytest.raises(dataclasses.FrozenInstanceError):
            config().num_frames = 4
