"""robomimic's layout, read by plain h5py, and back into the store that it came from."""

import json

import h5py
import numpy as np
import pytest
from foreign_sets import WIDTH, imported, write_foreign_robomimic

from smidgen.data_collection.data import main
from smidgen.data_collection.store import EpisodeStore


@pytest.fixture(scope="module")
def exported(finished_set, tmp_path_factory):
    out = tmp_path_factory.mktemp("robomimic") / "out"
    assert main(["export", str(finished_set), "format=robomimic", f"out={out}"]) == 0
    return out


def test_a_demonstration_is_where_robomimic_looks(finished_set, exported):
    store = EpisodeStore.open(finished_set)
    attempts = [row for row in store.manifest["episodes"] if row["num_steps"]]
    with h5py.File(exported / "demonstrations.hdf5") as file:
        data = file["data"]
        assert sorted(data) == sorted(f"demo_{index}" for index in range(len(attempts)))
        assert data.attrs["total"] == sum(row["num_steps"] for row in attempts)
        assert json.loads(data.attrs["env_args"]).keys() == {"env_name", "env_version", "type", "env_kwargs"}
        for index, row in enumerate(attempts):
            demo, episode = data[f"demo_{index}"], store.episode(row["seed"])
            assert demo.attrs["num_samples"] == row["num_steps"]
            assert (demo.attrs["seed"], demo.attrs["success"]) == (row["seed"], row["success"])
            np.testing.assert_array_equal(demo["obs/agentview_image"], episode.frames[:, 0])
            assert demo["obs/agentview_image"].chunks == (1, 8, 8, 3)
            np.testing.assert_array_equal(demo["obs/eef_state"], episode.eef_state)
            np.testing.assert_array_equal(demo["actions"], episode.actions)
            np.testing.assert_array_equal(demo["states"], episode.states)
            np.testing.assert_array_equal(demo["rewards"], episode.is_success.astype(float))
            assert demo["dones"][:].tolist() == [0] * (row["num_steps"] - 1) + [1]
        successful = {name.decode() for name in file["mask/successful"]}
        assert successful == {f"demo_{index}" for index, row in enumerate(attempts) if row["success"]}


def test_a_pair_shows_one_state_with_the_cue_elsewhere(finished_set, exported):
    store = EpisodeStore.open(finished_set)
    seed = store.training_seeds[0]
    pairs = store.counterfactuals([seed])
    with h5py.File(exported / "pairs.hdf5") as file:
        demo = file["data/demo_0"]
        assert demo.attrs["seed"] == seed
        np.testing.assert_array_equal(demo["obs/agentview_image"], pairs["frames"][:, -1, 0])
        np.testing.assert_array_equal(demo["obs/agentview_moved_image"], pairs["frames_moved"][:, -1, 0])
        np.testing.assert_array_equal(demo["obs/agentview_hidden_past2_image"], pairs["frames_hidden"][:, -3, 0])
        np.testing.assert_array_equal(demo["actions"], pairs["target"])
        np.testing.assert_array_equal(demo["target_moved"], pairs["target_moved"])


def test_it_comes_back_to_the_byte(finished_set, exported, tmp_path):
    assert imported(exported, tmp_path).sha256 == EpisodeStore.open(finished_set).sha256


def test_a_foreign_file_keeps_its_actions_and_says_what_it_lacks(tmp_path, capsys):
    path = tmp_path / "theirs.hdf5"
    frames, actions = write_foreign_robomimic(path)
    store = imported(path, tmp_path, "control_hz=20")
    out = capsys.readouterr().out
    assert "seeds" in out
    assert "counterfactual pairs" in out
    episode = store.episode(1)
    np.testing.assert_array_equal(episode.frames[:, 0], frames[1])
    np.testing.assert_array_equal(episode.actions, actions[1])
    assert store.manifest["action_spec"]["kinds"] == ["other"] * 7
    assert store.manifest["eef_state_names"] == [*(f"joint_pos_{n}" for n in range(7)), "robot0_eef_pos_0"]
    assert store.manifest["cameras"] == ["agentview"]
    assert store.manifest["config"]["lacks"][0] == "counterfactual pairs: no cue slope"


def _link_away(file):
    file["data/demo_0/obs/other_image"] = h5py.ExternalLink("/etc/passwd", "/data")


def _store_away(file):
    file["data/demo_0"].create_dataset("states", shape=(3, 8), dtype="u1", external=[("/etc/passwd", 0, 24)])


def _claim_terabytes(file):
    del file["data/demo_0/obs/agentview_image"]
    file["data/demo_0/obs"].create_dataset(
        "agentview_image", shape=(3, 99999, 9999, 3), dtype="u1", chunks=(1, 9, 9, 3)
    )


def _hold_objects(file):
    file["data/demo_0"].create_dataset("states", data=["text"] * 3)


def _shorten(file):
    del file["data/demo_0/actions"]
    file["data/demo_0/actions"] = np.zeros((2, 7))


def _forget_the_actions(file):
    del file["data/demo_0/actions"]


def _go_blind(file):
    for demo in file["data"].values():
        del demo["obs/agentview_image"]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_link_away, "is a link"),
        (_store_away, "lies in other files"),
        (_claim_terabytes, "more than an episode may have"),
        (_hold_objects, "array of numbers"),
        (_shorten, "expected 2 steps as in actions"),
        (_forget_the_actions, "has no actions"),
        (_go_blind, "has no camera"),
    ],
)
def test_a_file_that_cannot_be_read_safely_is_refused_by_name(spoil, message, tmp_path, capsys):
    path = tmp_path / "theirs.hdf5"
    write_foreign_robomimic(path)
    with h5py.File(path, "a") as file:
        spoil(file)
    assert main(["import", str(path), f"out={tmp_path / 'store'}", "control_hz=20"]) == 2
    error = capsys.readouterr().err
    assert str(path) in error
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ([], "add control_hz"),
        (["control_hz=20", "cameras=[nowhere]"], "it has agentview 8 x 8"),
        (["control_hz=20", "out=theirs.hdf5"], "already exists"),
    ],
)
def test_what_is_missing_is_asked_for(settings, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_foreign_robomimic(tmp_path / "theirs.hdf5")
    assert main(["import", "theirs.hdf5", "out=store", *settings]) == 2
    assert message in capsys.readouterr().err


def test_frames_that_are_no_squares_are_cropped_and_scaled_on_request(tmp_path, capsys):
    path = tmp_path / "theirs.hdf5"
    write_foreign_robomimic(path, columns=12)
    assert main(["import", str(path), f"out={tmp_path / 'store'}", "control_hz=20"]) == 2
    assert "image_size=N" in capsys.readouterr().err
    store = imported(path, tmp_path, "control_hz=20", "image_size=4")
    assert store.episode(0).frames.shape[2:] == (4, 4, 3)


def test_a_thousand_episodes_pass_one_at_a_time(tmp_path):
    """Memory is that of an episode, not that of the set."""
    path = tmp_path / "theirs.hdf5"
    write_foreign_robomimic(path, num_demos=24, rows=WIDTH, columns=WIDTH)
    peak = imported(path, tmp_path, "control_hz=20", measured=True)
    assert peak < 0.4 * path.stat().st_size
