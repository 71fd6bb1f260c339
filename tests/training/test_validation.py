from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from smidgen.data_collection.store import EpisodeStore
from smidgen.evaluation.collapse import CollapseMonitor
from smidgen.runtime.errors import UserError
from smidgen.training.preparation import prepare
from smidgen.training.validation import CuePairs
from smidgen.training.windows import Windows


@pytest.fixture(scope="module")
def prepared(tmp_path_factory, tiny_config):
    made = prepare(tiny_config(tmp_path_factory.mktemp("run"), validation_fraction=0.3, validation_windows=1000))
    made.fit()
    made.policy.eval()
    return made


def test_every_measure_equals_its_definition(prepared):
    policy, split = prepared.policy, prepared.split
    row = prepared.validation.measure(policy, CollapseMonitor(), step=0)
    store = split.validation_store
    windows = Windows(store, split.validation_seeds, 3, 8)
    statistics = split.store.statistics(split.seeds)
    predicted, targets, time_mean, persistence, losses = [], [], [], [], []
    for index in range(len(windows)):
        one = windows.gather(np.array([index]))
        chunk = policy.predict_chunk(one.frames_BTHWC)[0]
        predicted.append(chunk[:, :3])
        targets.append(one.targets_BHA[0, :, :3])
        steps = [min(one.step_B[0] + ahead, len(statistics.time_mean_SA) - 1) for ahead in range(8)]
        time_mean.append(statistics.time_mean_SA[steps, :3])
        persistence.append(np.tile(one.eef_state_BE[0, :3], (8, 1)))
        with torch.no_grad():
            difference = policy(torch.from_numpy(one.frames_BTHWC)) - policy.normaliser.encode(
                torch.from_numpy(one.targets_BHA)
            )
        losses.append(difference.square().mean())
    predicted, targets, time_mean, persistence = (
        np.concatenate(part) for part in (predicted, targets, time_mean, persistence)
    )
    variance = targets.var(axis=0)

    def error(guess):
        return (((guess - targets) ** 2).mean(axis=0) / variance).sum()

    assert row["loss"] == pytest.approx(float(torch.stack(losses).mean()), rel=1e-5)
    np.testing.assert_allclose(row["r2"], 1 - ((predicted - targets) ** 2).mean(axis=0) / variance, atol=1e-5)
    assert row["skill_time_mean"] == pytest.approx(1 - error(predicted) / error(time_mean), rel=1e-5)
    assert row["skill_persistence"] == pytest.approx(1 - error(predicted) / error(persistence), rel=1e-5)
    assert (row["split"], row["step"], row["escape_step"]) == ("validation", 0, None)


def test_the_cue_slope_is_that_of_the_stored_pairs(prepared):
    policy, split = prepared.policy, prepared.split
    row = prepared.validation.measure(policy, CollapseMonitor(), step=0)
    pairs = split.validation_store.counterfactuals(split.validation_seeds)
    assert len(pairs["step"]) == 4, "the tiny run measures on all of them"
    dot_product = power = 0.0
    for index in range(4):
        seen, moved = (pairs[name][index, -3:, 0][None] for name in ("frames", "frames_moved"))
        change = policy.predict_chunk(moved)[0, 0, :3] - policy.predict_chunk(seen)[0, 0, :3]
        wanted = (pairs["target_moved"] - pairs["target"])[index, :3]
        dot_product, power = dot_product + change @ wanted, power + wanted @ wanted
    assert row["cue_slope"] == pytest.approx(dot_product / power, abs=1e-5)


def test_without_pairs_the_cue_slope_is_none(tmp_path, tiny_config):
    prepared = prepare(tiny_config(tmp_path, counterfactual_pairs=0))
    prepared.fit()
    assert prepared.validation.measure(prepared.policy, CollapseMonitor(), step=0)["cue_slope"] is None


def test_held_out_episodes_are_the_last_successful_ones(prepared, data_set):
    assert EpisodeStore.open(data_set).training_seeds == (0, 1, 2, 4, 5, 6, 7)
    assert prepared.split.seeds == (0, 1, 2, 4, 5)
    assert prepared.split.validation_seeds == (6, 7)


def test_pairs_with_too_short_a_history_are_refused(data_set, prepared):
    store = EpisodeStore.open(data_set)
    layout = prepared.policy.interface.action
    assert len(CuePairs.load(store, [0, 1], layout, num_frames=4, count=3)) == 3
    with pytest.raises(UserError, match="pairs have 4 frames, but the policy sees num_frames=5"):
        CuePairs.load(store, [0, 1], layout, num_frames=5, count=3)
    with pytest.raises(UserError, match="num_frames=3 at frame_stride=2, 5 in all; lower num_frames"):
        CuePairs.load(store, [0, 1], layout, num_frames=3, count=3, frame_stride=2)


def test_pairs_are_seen_at_the_policys_stride(data_set, prepared):
    store = EpisodeStore.open(data_set)
    layout = prepared.policy.interface.action
    whole = CuePairs.load(store, [0, 1], layout, num_frames=4, count=3)
    strided = CuePairs.load(store, [0, 1], layout, num_frames=2, count=3, frame_stride=3)
    np.testing.assert_array_equal(strided.frames_KTHWC, whole.frames_KTHWC[:, [0, 3]])
    np.testing.assert_array_equal(strided.frames_moved_KTHWC, whole.frames_moved_KTHWC[:, [0, 3]])


def test_an_own_validation_set(tmp_path, tiny_config, write_data_set):
    other = write_data_set(tmp_path / "other", num_episodes=3, first_seed=100)
    split = prepare(tiny_config(tmp_path / "run", validation=str(other))).split
    assert split.seeds == (0, 1, 2, 4, 5, 6, 7)
    assert split.validation_seeds == (100, 101, 102)
    assert split.provenance()["validation_sha256"] == EpisodeStore.open(other).sha256


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"first_seed": 7}, "shares seed 7"),
        ({"task": "stack"}, "task is stack, but dot in"),
        ({"eef_state_names": ["x_m", "y_m", "z_m", "yaw_rad"]}, "eef_state_names is .*yaw_rad.*, but .*opening_m"),
        ({"cameras": ["side"]}, "other has no frames of camera 'front', only of side"),
    ],
)
def test_a_validation_set_that_does_not_fit_is_refused(tmp_path, tiny_config, write_data_set, options, message):
    other = write_data_set(tmp_path / "other", num_episodes=2, **{"first_seed": 100, **options})
    with pytest.raises(UserError, match=message):
        prepare(tiny_config(tmp_path / "run", validation=str(other)))


def test_one_episode_is_too_few(tmp_path, tiny_config, write_data_set):
    lone = write_data_set(tmp_path / "lone", num_episodes=1)
    with pytest.raises(UserError, match="collect at least 2"):
        prepare(tiny_config(tmp_path / "run", demos=str(lone)))


def test_a_row_holds_no_nan(prepared):
    row = prepared.validation.measure(prepared.policy, CollapseMonitor(), step=0)
    for value in row.values():
        for entry in value if isinstance(value, list) else [value]:
            assert entry is None or isinstance(entry, str) or math.isfinite(entry)


@pytest.mark.parametrize("count", [1, 5, 9, 100])
def test_cue_pairs_are_spread_over_all_episodes_and_only_theirs_are_read(prepared, count):
    store, seeds = prepared.split.store, prepared.split.seeds
    action = prepared.policy.interface.action
    pairs = CuePairs.load(store, seeds, action, num_frames=3, count=count)
    every = store.counterfactuals(seeds)
    total = len(every["step"])
    assert total == 2 * len(seeds)
    chosen = np.unique(np.linspace(0, total - 1, min(count, total)).round().astype(int))
    np.testing.assert_array_equal(pairs.frames_KTHWC, every["frames"][chosen, 1:, 0])
    np.testing.assert_array_equal(pairs.frames_moved_KTHWC, every["frames_moved"][chosen, 1:, 0])
    np.testing.assert_array_equal(pairs.eef_state_KE, every["eef_state"][chosen])
    delta = (every["target_moved"] - every["target"])[chosen][:, action.measured_indices]
    np.testing.assert_array_equal(pairs.delta_target_KP, delta)
