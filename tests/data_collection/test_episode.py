import numpy as np
import pytest
from collection_fakes import fake_config, open_fake_collector, tree
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from smidgen.data_collection.episode import (
    COUNTERFACTUALS_LAYOUT,
    Episode,
    empty_counterfactuals,
    read_counterfactuals,
    read_episode,
    write_episode,
)
from smidgen.data_collection.manifest import read_sidecar
from smidgen.runtime.errors import UserError


@pytest.fixture(scope="module")
def header(tmp_path_factory):
    return open_fake_collector(fake_config(tmp_path_factory.mktemp("header"))).header


def random_episode(rng, seed, num_steps, cameras, size, num_states):
    is_success = rng.integers(0, 2, num_steps).astype(bool)
    return Episode(
        seed=seed,
        # One that was never seen would be refused.
        success=bool(is_success.any() and rng.integers(2)),
        success_at_reset=bool(rng.integers(2)),
        error=None,
        frames=rng.integers(0, 256, (num_steps, cameras, size, size, 3), dtype=np.uint8),
        actions=rng.normal(size=(num_steps, 4)),
        eef_state=rng.normal(size=(num_steps, 4)),
        states=rng.normal(size=(num_steps, num_states)),
        phase=rng.integers(0, 2, num_steps).astype(np.int16),
        is_success=is_success,
    )


def random_pairs(rng, num_pairs, num_steps, sizes):
    pairs = {}
    for name, (dtype, axes) in COUNTERFACTUALS_LAYOUT.items():
        shape = tuple(sizes.get(axis, num_pairs) if isinstance(axis, str) else axis for axis in axes)
        pairs[name] = rng.integers(0, num_steps if name == "step" else 256, shape).astype(dtype)
    return pairs


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 999_999_999),
    num_steps=st.integers(1, 6),
    num_pairs=st.integers(0, 3),
    cameras=st.integers(1, 3),
    size=st.integers(1, 5),
    history=st.integers(1, 4),
    num_states=st.integers(0, 7),
)
def test_episodes_of_any_layout_come_back_as_they_were(
    header, tmp_path_factory, seed, num_steps, num_pairs, cameras, size, history, num_states
):
    rng = np.random.default_rng(seed)
    header = {**header, "cameras": [f"camera{i}" for i in range(cameras)], "image_size": size, "history": history}
    episode = random_episode(rng, seed, num_steps, cameras, size, num_states)
    sizes = {"history": history, "cameras": cameras, "height": size, "width": size}
    sizes |= {"action": 4, "eef_state": 4, "pose": 7}
    pairs = random_pairs(rng, num_pairs, num_steps, sizes)
    first, second = tmp_path_factory.mktemp("first"), tmp_path_factory.mktemp("second")
    row = write_episode(first, header, episode, pairs)
    write_episode(second, header, episode, dict(reversed(pairs.items())))
    assert tree(first) == tree(second)
    assert read_sidecar(first, seed) == (header, row)
    back = read_episode(first, header, row)
    for name in ("frames", "actions", "eef_state", "states", "phase", "is_success"):
        np.testing.assert_array_equal(getattr(back, name), getattr(episode, name))
    assert back.outcome == episode.outcome == {name: row[name] for name in back.outcome}
    assert back.error == episode.error == row["error"]
    for name, array in read_counterfactuals(first, header, row).items():
        np.testing.assert_array_equal(array, pairs[name])


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("actions", np.zeros((5, 3))),
        ("actions", np.zeros((4, 4))),
        ("actions", np.zeros((5, 4), np.float32)),
        ("frames", np.zeros((5, 1, 8, 9, 3), np.uint8)),
        ("phase", np.zeros(5, np.int64)),
    ],
)
def test_arrays_that_do_not_fit_are_not_written(header, tmp_path, name, array):
    good = random_episode(np.random.default_rng(0), 0, 5, 1, 8, 2)
    bad = Episode(**{**vars(good), name: array})
    with pytest.raises(UserError, match="expected"):
        write_episode(tmp_path, header, bad, empty_counterfactuals(header))
    assert tree(tmp_path) == {}


@pytest.mark.parametrize(
    ("at_reset", "is_success", "first"),
    [(False, [0, 0, 1, 0, 1], 3), (False, [0, 0], None), (True, [0, 0], 0), (False, [1], 1), (False, [], None)],
)
def test_first_success_is_counted_in_steps_taken(at_reset, is_success, first):
    arrays = random_episode(np.random.default_rng(0), 0, len(is_success), 1, 2, 1)
    outcome = {"success_at_reset": at_reset, "is_success": np.array(is_success, bool)}
    episode = Episode(**{**vars(arrays), **outcome})
    assert episode.outcome["first_success_step"] == first
    assert episode.outcome["success_once"] == (first is not None)


@pytest.mark.parametrize("name", ["actions", "states"])
def test_values_that_are_not_finite_are_refused(header, tmp_path, name):
    good = random_episode(np.random.default_rng(0), 0, 5, 1, 8, 2)
    getattr(good, name)[2, 1] = np.nan
    row = write_episode(tmp_path, header, good, empty_counterfactuals(header))
    with pytest.raises(UserError, match=rf"arrays\.npz: array '{name}' contains NaN or infinity"):
        read_episode(tmp_path, header, row)
