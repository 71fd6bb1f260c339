"""robomimic's layout, read by plain h5py, and back into the store that it came from."""

import errno
import json

import h5py
import numpy as np
import pytest
from foreign_sets import WIDTH, imported, robomimic_demo, write_demos, write_foreign_robomimic

from smidgen.data_collection.data import main
from smidgen.data_collection.formats import hdf5_files
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
    del file["data/demo_0/actions"]
    file["data/demo_0"].create_dataset("actions", shape=(2**31, 7), dtype="f8", chunks=(9, 7))


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
        (_claim_terabytes, "bytes that the file does not hold"),
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


def refused(path, capsys, *settings):
    """The one line that an import ends in."""
    assert main(["import", str(path), f"out={path.with_name('store')}", *settings]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    assert ".partial-" not in lines[0]
    return lines[0]


def outcomes(store):
    return [(row["success"], row["first_success_step"]) for row in store.manifest["episodes"]]


def lacks(store):
    return "; ".join(store.manifest["config"]["lacks"])


NOTHING, LAST = np.zeros(3), np.array([0, 0, 1.0])


class TestSuccess:
    @pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0)])
    def test_without_a_reward_where_others_have_one_a_demonstration_failed(self, order, tmp_path):
        rewards = [LAST, NOTHING, NOTHING]
        path = write_demos(tmp_path / "theirs.hdf5", *(robomimic_demo(rewards=rewards[place]) for place in order))
        store = imported(path, tmp_path)
        assert outcomes(store) == [[(True, 3), (False, None), (False, None)][place] for place in order]
        assert "success" not in lacks(store)

    @pytest.mark.parametrize(
        ("rewards", "words"),
        [
            (NOTHING, "success of 2 of 2 demonstrations, which count as successful: rewards are all 0"),
            (np.array([0.01, 0.02, 0.03]), "rewards are not 0 and 1"),
            (-np.ones(3), "rewards are not 0 and 1"),
            (None, "there are no rewards"),
        ],
    )
    def test_rewards_that_tell_nothing(self, rewards, words, tmp_path, capsys):
        demo = robomimic_demo(rewards=rewards)
        store = imported(write_demos(tmp_path / "theirs.hdf5", demo, demo), tmp_path)
        assert outcomes(store) == [(True, 3), (True, 3)]
        assert words in lacks(store)
        assert (
            "2 of 2 episodes succeed at no step that the set names: at their last one here" in capsys.readouterr().out
        )

    @pytest.mark.parametrize(
        ("attributes", "arrays", "found"),
        [
            ({"success": False}, {"rewards": LAST}, (False, 3)),
            ({"success": 1}, {"is_success": NOTHING > 0}, (True, 3)),
            ({"success": "False"}, {"is_success": NOTHING > 0}, (False, None)),
            ({"success": np.array([1, 2])}, {"is_success": np.array([0, 1, 1])}, (True, 2)),
            ({}, {"is_success": np.zeros((3, 2)), "rewards": LAST}, (True, 3)),
        ],
    )
    def test_what_is_stated_comes_first(self, attributes, arrays, found, tmp_path):
        path = write_demos(tmp_path / "theirs.hdf5", robomimic_demo(attributes=attributes, **arrays))
        assert outcomes(imported(path, tmp_path)) == [found]


class TestWhatIsTaken:
    def test_what_nobody_needs_is_left_out_and_named(self, tmp_path):
        path = write_demos(
            tmp_path / "theirs.hdf5",
            robomimic_demo(
                src_demo_inds=np.zeros(2),
                names=np.array([b"a", b"b", b"c"]),
                states=np.array([b"text"] * 3),
                obs__depth=np.zeros((3, 8, 8, 1), np.float32),
                obs__cloud=np.zeros((3, 2048)),
            ),
            env_args="no JSON",
        )
        with h5py.File(path, "a") as file:
            file["data/demo_0/next_obs"] = h5py.SoftLink("/data/demo_0/obs")
            file["mask/train"] = np.array([b"demo_0"])
        store = imported(path, tmp_path, "control_hz=20")
        assert "left out: mask/train, names, obs/cloud, obs/depth, src_demo_inds, states" in lacks(store)
        assert store.manifest["eef_state_names"] == [f"joint_pos_{n}" for n in range(7)]

    def test_only_observations_are_the_state(self, tmp_path):
        path = write_demos(tmp_path / "theirs.hdf5", robomimic_demo(eef_state=np.full((3, 7), 9.0)))
        assert not (imported(path, tmp_path).episode(0).eef_state == 9).any()

    def test_a_vector_called_eef_state_stands_among_the_others(self, tmp_path):
        path = write_demos(tmp_path / "theirs.hdf5", robomimic_demo(obs__eef_state=np.arange(3.0)))
        store = imported(path, tmp_path)
        assert store.manifest["eef_state_names"] == ["eef_state_0", *(f"joint_pos_{n}" for n in range(7))]
        np.testing.assert_array_equal(store.episode(0).eef_state[:, 0], np.arange(3.0))

    def test_cameras_that_would_be_called_alike_keep_their_names(self, tmp_path):
        frames = np.full((3, 8, 8, 3), 7, np.uint8)
        store = imported(write_demos(tmp_path / "theirs.hdf5", robomimic_demo(obs__agentview=frames)), tmp_path)
        assert store.manifest["cameras"] == ["agentview", "agentview_image"]
        assert (store.episode(0).frames[:, 0] == 7).all()

    def test_a_camera_that_is_not_chosen_does_not_matter(self, tmp_path):
        path = write_demos(
            tmp_path / "theirs.hdf5", robomimic_demo(obs__wrist_image=np.zeros((2, 99, 50, 3), np.uint8))
        )
        assert imported(path, tmp_path, "cameras=[agentview]").manifest["cameras"] == ["agentview"]

    @pytest.mark.parametrize("options", [{"scaleoffset": 0}, {"compression": "lzf"}, {"compression": "gzip"}])
    def test_filters_of_hdf5_itself(self, options, tmp_path):
        path = write_demos(tmp_path / "theirs.hdf5", robomimic_demo(obs__agentview_image=None))
        frames = np.arange(576, dtype=np.uint8).reshape(3, 8, 8, 3)
        with h5py.File(path, "a") as file:
            file["data/demo_0/obs"].create_dataset("agentview_image", data=frames, chunks=(1, 8, 8, 3), **options)
        np.testing.assert_array_equal(imported(path, tmp_path).episode(0).frames[:, 0], frames)


class TestEpisodesThatDiffer:
    def test_another_size_is_refused_and_scaled_on_request(self, tmp_path, capsys):
        path = write_demos(tmp_path / "theirs.hdf5", robomimic_demo(), robomimic_demo(rows=12, columns=16))
        assert "episode 1: frames of agentview are 12 x 16, those of the first 8 x 8" in refused(path, capsys)
        assert imported(path, tmp_path, "image_size=4").episode(1).frames.shape == (3, 1, 4, 4, 3)

    def test_vectors_of_other_names_are_refused(self, tmp_path, capsys):
        other = robomimic_demo(obs__joint_pos=None, obs__zz=np.full((3, 7), 9.0))
        line = refused(write_demos(tmp_path / "theirs.hdf5", robomimic_demo(), other), capsys)
        assert "observations of /data/demo_1: expected those of the first episode, joint_pos (7); got zz (7)" in line

    def test_the_set_and_the_episode_are_named(self, tmp_path, capsys):
        other = robomimic_demo(actions=np.zeros((3, 6)))
        path = write_demos(tmp_path / "theirs.hdf5", robomimic_demo(), other)
        assert f"{path}: episode 1: expected finite actions of 7 coordinates" in refused(path, capsys)


def test_seeds_that_are_not_kept_are_said(tmp_path):
    path = write_demos(tmp_path / "theirs.hdf5", *(robomimic_demo(attributes={"seed": seed}) for seed in (77, 78)))
    store = imported(path, tmp_path, "seed_start=100")
    assert store.seeds == (100, 101)
    assert "seeds: episodes are numbered from 100; seeds of the set, if any, are not kept" in lacks(store)


def test_a_name_that_cannot_be_printed_is_shown_as_far_as_it_can(tmp_path):
    env_args = json.dumps({"env_name": "pick\tthe\u200bcube\r\n" + "x" * 300, "env_kwargs": {"control_freq": 20}})
    store = imported(write_demos(tmp_path / "theirs.hdf5", robomimic_demo(), env_args=env_args), tmp_path)
    assert store.manifest["task"] == ("pick the cube " + "x" * 300)[:200]
    assert "the rest of a task of 314 characters" in lacks(store)


def test_one_array_under_many_names_is_counted_as_often(tmp_path, capsys):
    path = write_demos(tmp_path / "theirs.hdf5", robomimic_demo(obs__agentview_image=None))
    with h5py.File(path, "a") as file:
        obs = file["data/demo_0/obs"]
        frames = obs.create_dataset("a_image", (3, 4096, 4096, 3), "u1", chunks=(1, 4096, 4096, 3), compression="gzip")
        for step in range(3):
            frames[step, 0, 0] = step
        for index in range(20):
            obs[f"a{index}_image"] = frames
    assert "more than an episode may have" in refused(path, capsys)


def test_a_full_disk_ends_in_one_line_and_leaves_nothing(finished_set, tmp_path, capsys, monkeypatch):
    class Full(hdf5_files._Sink):
        def write(self, data):
            if self._file.tell() > 10_000 and self.error is None:
                self.error = OSError(errno.ENOSPC, "No space left on device")
            return super().write(data)

    monkeypatch.setattr(hdf5_files, "_Sink", Full)
    out = tmp_path / "out"
    assert main(["export", str(finished_set), "format=robomimic", f"out={out}"]) == 2
    assert f"no space left on disk for {out}" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


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
