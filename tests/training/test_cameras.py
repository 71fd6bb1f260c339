"""Training on some of a data set's cameras."""

import json

import numpy as np
import pytest

from smidgen.data_collection.store import EpisodeStore
from smidgen.policies.checkpoint import load_checkpoint
from smidgen.runtime.errors import UserError
from smidgen.runtime.files import sha256_file
from smidgen.training.loop import train
from smidgen.training.preparation import prepare, split_episodes

WEIGHTS = "checkpoints/final/model.safetensors"


@pytest.fixture(scope="session")
def two_cameras(tmp_path_factory, write_data_set):
    return write_data_set(tmp_path_factory.mktemp("data") / "two", num_cameras=2)


def test_a_policy_sees_the_chosen_cameras_in_their_order(tmp_path, tiny_config, two_cameras):
    def windows(*cameras):
        config = tiny_config(tmp_path / "run", demos=str(two_cameras), cameras=cameras)
        return prepare(config).windows.gather(np.arange(3)).frames_BTHWC

    front, side = windows("front"), windows("side")
    np.testing.assert_array_equal(front // 2, side)
    assert (front > side).any()
    np.testing.assert_array_equal(windows(), np.concatenate([front, side], axis=-1))
    np.testing.assert_array_equal(windows("side", "front"), np.concatenate([side, front], axis=-1))


def test_one_of_two_cameras_is_as_good_as_the_only_one(tmp_path, tiny_config, two_cameras, finished_run):
    run = tmp_path / "run"
    train(tiny_config(run, demos=str(two_cameras), cameras=["front"], steps=2))
    only = tmp_path / "only"
    train(tiny_config(only, demos=str(two_cameras), cameras=["side"], steps=2))
    policy = load_checkpoint(run)
    assert policy.interface.cameras == ("front",)
    assert sha256_file(run / WEIGHTS) != sha256_file(only / WEIGHTS)
    assert json.loads((run / "config.json").read_text())["settings"]["cameras"] == ["front"]
    assert "cameras" not in json.loads((finished_run / "config.json").read_text())["settings"]


def test_held_out_demonstrations_may_have_more_cameras_but_none_less(
    tmp_path, tiny_config, two_cameras, write_data_set
):
    one = write_data_set(tmp_path / "one", first_seed=20)
    split = split_episodes(tiny_config(tmp_path / "run", demos=str(one), validation=str(two_cameras)))
    assert split.validation_store.cameras == ("front",)
    pairs = split.validation_store.counterfactuals([0])
    np.testing.assert_array_equal(
        pairs["frames"], EpisodeStore.open(two_cameras).counterfactuals([0])["frames"][:, :, :1]
    )
    with pytest.raises(UserError, match="one has no frames of camera 'side'"):
        split_episodes(tiny_config(tmp_path / "run", demos=str(two_cameras), validation=str(one)))
    fewer = tiny_config(tmp_path / "run", demos=str(two_cameras), validation=str(one), cameras=["front"])
    assert split_episodes(fewer).validation_store.cameras == ("front",)
