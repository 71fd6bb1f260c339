"""Every setting of a recipe does what its help says, and none leaves a trace where it is not used."""

from __future__ import annotations

import json
import math
import signal

import numpy as np
import pytest
import torch
from torch.nn import functional
from training_runs import hashed_files, stop_at

from smidgen.data_collection.store import EpisodeStore
from smidgen.policies.checkpoint import load_checkpoint, read_checkpoint_card
from smidgen.policies.normaliser import ActionNormaliser
from smidgen.policies.registry import TRAINED
from smidgen.runtime.action_spec import ActionSpec
from smidgen.runtime.errors import UserError
from smidgen.training.config import command_line_schema
from smidgen.training.loop import Trainer, TrainingStopped, train
from smidgen.training.optimiser import WeightAverage
from smidgen.training.recipe import Augmentation, Objective, Recipe, shifted
from smidgen.training.train import read_config
from smidgen.training.windows import Windows

ACTION = ActionSpec(("x", "yaw", "grip"), ("position", "yaw", "gripper"), (-1.0, -2.0, -1.0), (1.0, 2.0, 1.0))
EVERYTHING = {
    "ema_decay": 0.5,
    "random_shift_px": 2,
    "eef_state_dropout": 0.5,
    "history_dropout": 0.5,
    "use_eef_state": True,
    "gripper_loss": "classification",
    "frame_stride": 2,
    "num_frames": 2,
    "temporal_ensembling": 0.01,
    "latent_start": "located",
    "num_latents": 4,
    "latent_dim": 8,
    "num_layers": 2,
    "num_cross_attentions": 2,
    "content_gain": 8.0,
}


@pytest.fixture(scope="module")
def windows(data_set) -> Windows:
    store = EpisodeStore.open(data_set)
    return Windows(store, store.training_seeds, num_frames=2, horizon=3)


def test_defaults_leave_no_trace_in_files(finished_run):
    card = read_checkpoint_card(finished_run)
    settings = json.loads((finished_run / "config.json").read_text())["settings"]
    for kind in TRAINED:
        schema = command_line_schema(kind)
        later = {name for name, each in schema.__dataclass_fields__.items() if each.metadata.get("is_later")}
        assert later >= {"frame_stride", "temporal_ensembling"}
        assert not later & (card["config"].keys() | settings.keys() | card["provenance"]["training_config"].keys())


def test_a_run_with_everything_resumes_exactly_and_its_checkpoint_says_so(tmp_path, tiny_config, monkeypatch):
    train(tiny_config(tmp_path / "straight", **EVERYTHING))
    config = tiny_config(tmp_path / "stopped", **EVERYTHING)
    with monkeypatch.context() as patch:
        stop_at(patch, 5, signal.SIGTERM)
        with pytest.raises(TrainingStopped):
            train(config)
    train(config)
    assert hashed_files(tmp_path / "stopped") == hashed_files(tmp_path / "straight")
    card = read_checkpoint_card(tmp_path / "straight")
    stored = card["provenance"]["training_config"]
    assert {name: stored[name] for name in EVERYTHING} == EVERYTHING
    policy = load_checkpoint(tmp_path / "straight")
    assert (policy.config.frame_stride, policy.config.look.num_cross_attentions) == (2, 2)


def test_a_damaged_average_is_refused(tmp_path, tiny_config, monkeypatch):
    config = tiny_config(tmp_path / "run", ema_decay=0.9)
    with monkeypatch.context() as patch:
        stop_at(patch, 5, signal.SIGTERM)
        with pytest.raises(TrainingStopped):
            train(config)
    next((tmp_path / "run" / "resume").glob("*/average.safetensors")).unlink()
    with pytest.raises(UserError, match=r"average\.safetensors is missing, truncated or altered"):
        train(config)


def test_the_checkpoint_holds_the_weights_average_and_the_metrics_are_its(tmp_path, tiny_config, monkeypatch):
    """The average of a run's weights, by its closed form: the plain mean first, then the moving average."""
    decay, seen = 0.75, []
    take_step = Trainer._take_step

    def take_step_and_remember(self, *rest):
        loss = take_step(self, *rest)
        seen.append([parameter.detach().clone() for parameter in self.stepper.parameters])
        return loss

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_take_step", take_step_and_remember)
        train(tiny_config(tmp_path / "run", ema_decay=decay, steps=7))
    kept = [min(decay, (step - 1) / step) for step in range(1, 8)]
    shares = [(1 - kept[index]) * math.prod(kept[index + 1 :]) for index in range(7)]
    assert shares[:4] == pytest.approx([0.25 * decay**3] * 4)
    assert math.fsum(shares) == pytest.approx(1)
    averaged = load_checkpoint(tmp_path / "run")
    for index, parameter in enumerate(averaged.network.parameters()):
        expected = sum(share * weights[index] for share, weights in zip(shares, seen, strict=True))
        torch.testing.assert_close(parameter.detach(), expected, rtol=1e-4, atol=1e-6)
        if parameter.numel() > 8:
            assert not torch.allclose(parameter, seen[-1][index])
    # The steps themselves are those of a run without an average.
    train(tiny_config(tmp_path / "plain", steps=7))
    for parameter, last in zip(load_checkpoint(tmp_path / "plain").network.parameters(), seen[-1], strict=True):
        assert torch.equal(parameter, last)
    losses = [read_checkpoint_card(tmp_path / name)["provenance"]["metrics"]["loss"] for name in ("run", "plain")]
    assert losses[0] != losses[1]


def test_inside_its_block_the_parameters_hold_the_average():
    parameter = torch.nn.Parameter(torch.tensor([1.0]))
    average = WeightAverage([parameter], 0.5)
    for step, value in enumerate([1.0, 2.0, 4.0], start=1):
        parameter.data.fill_(value)
        average.update(step)
    with average.in_place():
        assert parameter.item() == pytest.approx(0.5 * 1.5 + 0.5 * 4.0)
    assert parameter.item() == 4.0
    with pytest.raises(ValueError, match="average"):
        average.load({"0": torch.zeros(2)})


def test_frames_shift_whole_and_repeat_their_edge():
    frames = np.arange(2 * 4 * 5 * 3, dtype=np.uint8).reshape(2, 4, 5, 3)
    moved = shifted(frames, 1, -2)
    np.testing.assert_array_equal(moved[:, 1:, :3], frames[:, :3, 2:])
    np.testing.assert_array_equal(moved[:, 0], moved[:, 1])
    np.testing.assert_array_equal(moved[:, :, 3], moved[:, :, 2])
    np.testing.assert_array_equal(shifted(frames, 0, 0), frames)


def test_shifts_follow_from_seed_and_step_and_reach_as_far_as_asked(windows):
    indices = np.zeros(400, int)
    batch = windows.gather(indices)
    mean = windows.eef_state_NE.mean(0)
    augmentation = Augmentation(Recipe(random_shift_px=2), 3, mean)
    one, again = augmentation.apply(batch, 7), Augmentation(Recipe(random_shift_px=2), 3, mean).apply(batch, 7)
    np.testing.assert_array_equal(one.frames_BTHWC, again.frames_BTHWC)
    for other in (augmentation.apply(batch, 8), Augmentation(Recipe(random_shift_px=2), 4, mean).apply(batch, 7)):
        assert not np.array_equal(one.frames_BTHWC, other.frames_BTHWC)
    possible = {
        shifted(batch.frames_BTHWC[0], down, right).tobytes() for down in range(-2, 3) for right in range(-2, 3)
    }
    assert {frames.tobytes() for frames in one.frames_BTHWC} == possible
    assert one.eef_state_BE is not batch.eef_state_BE
    np.testing.assert_array_equal(one.eef_state_BE, batch.eef_state_BE)
    np.testing.assert_array_equal(one.targets_BHA, batch.targets_BHA)
    assert Augmentation(Recipe(), 3, mean).apply(batch, 7) is batch


def test_a_dropped_state_is_the_mean(windows):
    batch = windows.gather(np.zeros(2000, int))
    mean = windows.eef_state_NE.mean(0)
    seen = Augmentation(Recipe(eef_state_dropout=0.25), 0, mean).apply(batch, 0)
    is_dropped = (seen.eef_state_BE == mean).all(1)
    assert is_dropped.mean() == pytest.approx(0.25, abs=0.04)
    np.testing.assert_array_equal(seen.eef_state_BE[~is_dropped], batch.eef_state_BE[~is_dropped])
    np.testing.assert_array_equal(seen.frames_BTHWC, batch.frames_BTHWC)


def test_a_dropped_history_is_the_newest_frame_again(windows):
    batch = windows.gather(np.arange(2000) % len(windows))
    seen = Augmentation(Recipe(history_dropout=0.25), 0, windows.eef_state_NE.mean(0)).apply(batch, 0)
    moves = (batch.frames_BTHWC[:, 0] != batch.frames_BTHWC[:, -1]).any((1, 2, 3))
    is_still = (seen.frames_BTHWC == seen.frames_BTHWC[:, -1:]).all((1, 2, 3, 4))
    assert is_still[moves].mean() == pytest.approx(0.25, abs=0.04)
    np.testing.assert_array_equal(seen.frames_BTHWC[~is_still], batch.frames_BTHWC[~is_still])
    np.testing.assert_array_equal(seen.frames_BTHWC[:, -1], batch.frames_BTHWC[:, -1])
    np.testing.assert_array_equal(seen.eef_state_BE, batch.eef_state_BE)


def features(seed: int) -> torch.Tensor:
    return torch.randn(4, 3, 4, generator=torch.Generator().manual_seed(seed)).requires_grad_()


def test_the_plain_loss_is_the_mean_square(windows):
    objective = Objective(Recipe(), ActionNormaliser(ACTION), windows)
    predicted, target = features(0), features(1)
    assert torch.equal(objective(predicted, target, np.arange(4)), functional.mse_loss(predicted, target))


def test_a_gripper_is_classified_by_its_log_odds(windows):
    objective = Objective(Recipe(gripper_loss="classification"), ActionNormaliser(ACTION), windows)
    predicted, target = features(0), features(1).detach()
    target[..., 3] = target[..., 3].sign()
    loss = objective(predicted, target)
    is_closed = (target[..., 3] > 0).float()
    chance = torch.sigmoid(4 * predicted[..., 3])
    entropy = -(is_closed * chance.log() + (1 - is_closed) * (1 - chance).log())
    squares = (predicted[..., :3] - target[..., :3]).square().sum(-1)
    torch.testing.assert_close(loss, ((entropy + squares) / 4).mean())
    (gradient,) = torch.autograd.grad(loss, predicted)
    torch.testing.assert_close(gradient[..., 3], 4 * (chance - is_closed) / predicted.numel())


def test_targets_near_a_change_of_phase_weigh_more(windows, monkeypatch):
    phase = np.zeros(len(windows), int)
    first = np.flatnonzero(windows.gather(np.arange(len(windows))).step_B == 0)
    phase[first[1] - 1] = 1  # the last step of the first episode
    phase[first[2] + 3 : first[3]] = 1
    monkeypatch.setattr(windows, "_phase_N", phase)
    near = np.flatnonzero(windows.near_phase_change(1))
    # Not over the border of an episode, and where it begins no phase changes.
    assert near.tolist() == [first[1] - 2, first[1] - 1, first[2] + 2, first[2] + 3, first[2] + 4]
    objective = Objective(Recipe(border_weight=3.0, border_steps=1), ActionNormaliser(ACTION), windows)
    weights = np.ones(len(windows))
    weights[near] = 3
    weights /= weights.mean()
    indices = np.array([0, first[1] - 3, first[2], first[2] + 4])
    predicted, target = features(0), features(1)
    expected = ((predicted - target).square().mean(-1) * torch.from_numpy(weights[windows.future(indices)])).mean()
    torch.testing.assert_close(objective(predicted, target, indices).double(), expected)
    # What is held out weighs the same.
    assert torch.equal(objective(predicted, target), functional.mse_loss(predicted, target))


def test_what_the_data_cannot_give_is_the_users_error(windows):
    no_gripper = ActionNormaliser(ActionSpec(("x",), ("position",), (-1.0,), (1.0,)))
    with pytest.raises(UserError, match="the task's action has no gripper"):
        Objective(Recipe(gripper_loss="classification"), no_gripper, windows)
    with pytest.raises(UserError, match="no change of phase"):
        Objective(Recipe(border_weight=2.0), no_gripper, windows)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("ema_decay=1", r"ema_decay in \[0, 1\)"),
        ("random_shift_px=-1", "random_shift_px of at least 0"),
        ("eef_state_dropout=0.5", "add use_eef_state=true"),
        ("history_dropout=1", r"history_dropout in \[0, 1\)"),
        (["history_dropout=0.5", "num_frames=1"], "raise num_frames"),
        ("gripper_loss=l1", "unknown gripper_loss 'l1'; valid: classification, mse"),
        ("border_weight=0", "positive border_weight"),
        ("frame_stride=0", "frame_stride of at least 1"),
        ("temporal_ensembling=much", "expected a number or null"),
        ("num_cross_attentions=9", "num_cross_attentions in 1..num_layers"),
        ("latent_start=centre", "unknown latent_start"),
    ],
)
def test_mistakes_are_the_users_and_named(change, message):
    with pytest.raises(UserError, match=message):
        read_config(["demos=data", "out=run", *([change] if isinstance(change, str) else change)])


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("nearest", "ema_decay=0.9"),
        ("nearest", "random_shift_px=2"),
        ("cnn", "latent_start=located"),
        ("vit", "num_cross_attentions=2"),
    ],
)
def test_a_policy_without_what_a_key_changes_has_no_such_key(kind, change):
    with pytest.raises(UserError, match=f"unknown key '{change.partition('=')[0]}'"):
        read_config(["demos=data", "out=run", f"policy={kind}", change])
