from __future__ import annotations

import numpy as np
import pytest

from smidgen.data_collection.store import EpisodeStore
from smidgen.policies.learned_policy import cameras_to_channels
from smidgen.runtime.errors import UserError
from smidgen.training import windows as windows_module
from smidgen.training.windows import EpochSampler, Windows


def reference_windows(store, seeds, num_frames, horizon, stride=1):
    """The definition, step by step: what :class:`Windows` gathers must equal this."""
    for seed in seeds:
        episode = store.episode(seed)
        for step in range(episode.num_steps):
            frames = [episode.frames[max(step - stride * back, 0)] for back in reversed(range(num_frames))]
            frames = [np.concatenate(list(cameras), axis=-1) for cameras in frames]
            targets = [episode.actions[min(step + ahead, episode.num_steps - 1)] for ahead in range(horizon)]
            yield np.stack(frames), episode.eef_state[step], np.stack(targets), step


@pytest.mark.parametrize(
    ("num_cameras", "num_frames", "horizon", "stride"), [(1, 3, 8, 1), (2, 1, 1, 1), (1, 15, 20, 1), (1, 3, 2, 4)]
)
def test_windows_equal_the_plain_loop(tmp_path, write_data_set, num_cameras, num_frames, horizon, stride):
    store = EpisodeStore.open(write_data_set(tmp_path / "set", num_episodes=3, num_cameras=num_cameras))
    windows = Windows(store, store.training_seeds, num_frames, horizon, stride)
    expected = list(reference_windows(store, store.training_seeds, num_frames, horizon, stride))
    assert len(windows) == len(expected)
    order = np.random.default_rng(0).permutation(len(windows))
    batch = windows.gather(order)
    assert batch.frames_BTHWC.dtype == np.uint8
    for row, index in enumerate(order):
        frames, eef_state, targets, step = expected[index]
        np.testing.assert_array_equal(batch.frames_BTHWC[row], frames)
        np.testing.assert_array_equal(batch.eef_state_BE[row], eef_state)
        np.testing.assert_array_equal(batch.targets_BHA[row], targets)
        assert batch.step_B[row] == step


@pytest.mark.parametrize("cameras", [["front", "side"], ["side", "front"], ["side"]])
@pytest.mark.parametrize("stride", [1, 3])
def test_episodes_that_are_not_mapped_are_read(tmp_path, write_data_set, cameras, stride, monkeypatch):
    store = EpisodeStore.open(write_data_set(tmp_path / "set", num_episodes=4, num_cameras=2)).with_cameras(cameras)
    settings = (store, store.training_seeds, 3, 8, stride)
    everything = np.arange(len(Windows(*settings)))
    mapped = Windows(*settings).gather(everything)
    monkeypatch.setattr(windows_module, "MAX_MAPPED_EPISODES", 2)
    windows = Windows(*settings)
    windows.prefetch(everything)
    np.testing.assert_array_equal(windows.gather(everything).frames_BTHWC, mapped.frames_BTHWC)
    first = store.episode(0)
    newest_SHWC = cameras_to_channels(first.frames)
    np.testing.assert_array_equal(mapped.frames_BTHWC[: first.num_steps, -1], newest_SHWC)


def test_a_file_that_shrinks_meanwhile_is_named(tmp_path, write_data_set, monkeypatch):
    monkeypatch.setattr(windows_module, "MAX_MAPPED_EPISODES", 0)
    directory = write_data_set(tmp_path / "set", num_episodes=2)
    store = EpisodeStore.open(directory)
    windows = Windows(store, store.training_seeds, 3, 8)
    path = directory / "episodes" / "000000000" / "frames.npy"
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(UserError, match=r"000000000/frames\.npy was truncated while it was in use"):
        windows.gather(np.array([5]))


def test_no_episode_is_the_users_error(data_set):
    with pytest.raises(UserError, match="no successful episodes"):
        Windows(EpisodeStore.open(data_set), [], num_frames=3, horizon=8)


def test_evenly_spaced_positions_cover_both_ends(data_set):
    store = EpisodeStore.open(data_set)
    windows = Windows(store, store.training_seeds, num_frames=3, horizon=8)
    assert windows.evenly_spaced(5).tolist()[0] == 0
    assert windows.evenly_spaced(5).tolist()[-1] == len(windows) - 1
    assert windows.evenly_spaced(10_000).tolist() == list(range(len(windows)))


@pytest.mark.parametrize("batch_size", [1, 4, 23])
def test_batches_are_a_pure_function_of_seed_and_step(batch_size):
    straight = EpochSampler(10, batch_size, seed=3)
    drawn = [straight.indices(step) for step in range(20)]
    for step in (19, 0, 7, 7):
        np.testing.assert_array_equal(EpochSampler(10, batch_size, seed=3).indices(step), drawn[step])
    assert not np.array_equal(
        np.concatenate(drawn), np.concatenate([EpochSampler(10, batch_size, 4).indices(step) for step in range(20)])
    )


def test_every_epoch_visits_every_window_once():
    sampler = EpochSampler(10, 4, seed=0)
    drawn = np.concatenate([sampler.indices(step) for step in range(10)]).reshape(4, 10)
    assert (np.sort(drawn, axis=1) == np.arange(10)).all()
    assert len({tuple(epoch) for epoch in drawn}) == 4
