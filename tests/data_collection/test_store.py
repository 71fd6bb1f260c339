import contextlib
import json
import os
import shutil

import numpy as np
import pytest
from collection_fakes import breaks_off, fails, fake_config, open_fake_collector, tree
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from smidgen.data_collection.collect import collect
from smidgen.data_collection.episode import COUNTERFACTUALS_LAYOUT
from smidgen.data_collection.store import EpisodeStore
from smidgen.runtime.errors import UserError
from smidgen.runtime.files import canonical_json, sha256_file

FILES = ("frames.npy", "arrays.npz", "counterfactuals.npz", "episode.json")


@pytest.fixture
def data_set(finished_set, tmp_path):
    """A copy to spoil."""
    return shutil.copytree(finished_set, tmp_path / "set")


def test_failed_attempts_are_kept_and_stay_out_of_training(finished_set):
    store = EpisodeStore.open(finished_set)
    assert store.seeds == tuple(range(10))
    assert store.training_seeds == tuple(seed for seed in range(10) if not fails(seed) and not breaks_off(seed))
    assert store.manifest["num_successes"] == len(store.training_seeds) == 6
    failed, broken = store.episode(3), store.episode(4)
    assert (failed.success, failed.outcome["success_once"], failed.error) == (False, False, None)
    assert failed.num_steps == 14
    assert (broken.success, broken.error, broken.num_steps) == (False, "SimulatorError", 0)
    assert broken.frames.shape == (0, 1, 8, 8, 3)


def test_an_episode_holds_what_was_seen_and_commanded(finished_set):
    episode = EpisodeStore.open(finished_set).episode(0)
    assert isinstance(episode.frames, np.memmap)
    assert episode.frames.shape == (episode.num_steps, 1, 8, 8, 3)
    # Frame s is seen before action s: the arm starts at the origin and then goes a third of the way each step.
    np.testing.assert_allclose(episode.eef_state[0, :3], [0.0, 0.0, 1.0])
    start, target = episode.eef_state[0, :3], episode.actions[0, :3]
    np.testing.assert_allclose(episode.eef_state[1, :3], start + (target - start) / 3)
    np.testing.assert_array_equal(episode.states[:, :3], episode.eef_state[:, :3])
    assert episode.is_success[-3:].all()
    assert episode.outcome["first_success_step"] == int(np.argmax(episode.is_success)) + 1
    assert set(episode.phase) == {0, 1}


def test_some_cameras_are_a_view_of_the_files(tmp_path):
    config = fake_config(tmp_path / "set", episodes=1, cameras=("agentview", "sideview", "frontview"))
    store = collect(config, open_fake_collector).store
    frames = store.episode(0).frames
    for cameras, places in (
        (["sideview"], [1]),
        (["agentview", "frontview"], [0, 2]),
        (["frontview", "sideview", "agentview"], [2, 1, 0]),
        (["sideview", "agentview"], [1, 0]),
    ):
        seen = store.with_cameras(cameras)
        assert seen.cameras == tuple(cameras)
        assert isinstance(seen.episode(0).frames, np.memmap)
        np.testing.assert_array_equal(seen.episode(0).frames, frames[:, places])
        for name in ("frames", "frames_moved", "frames_hidden"):
            np.testing.assert_array_equal(
                seen.counterfactuals([0])[name], store.counterfactuals([0])[name][:, :, places]
            )
    with pytest.raises(
        UserError, match="set has no frames of camera 'birdview', only of agentview, sideview, frontview"
    ):
        store.with_cameras(["birdview"])


def test_statistics_pad_shorter_episodes_with_their_last_action(finished_set):
    store = EpisodeStore.open(finished_set)
    actions = [store.episode(seed).actions for seed in store.training_seeds]
    lengths = [len(one) for one in actions]
    assert min(lengths) < max(lengths)
    statistics = store.statistics(store.training_seeds)
    assert statistics.time_mean_SA.shape == (max(lengths), 4)
    np.testing.assert_allclose(statistics.time_mean_SA[-1], np.mean([one[-1] for one in actions], axis=0))
    np.testing.assert_allclose(statistics.time_mean_SA[0], np.mean([one[0] for one in actions], axis=0))
    np.testing.assert_allclose(statistics.mean_action, np.concatenate(actions).mean(axis=0))
    with pytest.raises(UserError, match="no steps to average"):
        store.statistics([4])


def test_counterfactuals_are_joined_over_episodes(finished_set):
    store = EpisodeStore.open(finished_set)
    pairs = store.counterfactuals(store.seeds)
    assert pairs["frames"].shape == (len(pairs["step"]), 4, 1, 8, 8, 3)
    assert set(pairs) == {*COUNTERFACTUALS_LAYOUT, "seed"}
    for index, (seed, step) in enumerate(zip(pairs["seed"], pairs["step"], strict=True)):
        episode = store.episode(int(seed))
        np.testing.assert_array_equal(
            pairs["frames"][index], episode.frames[np.maximum(np.arange(step - 3, step + 1), 0)]
        )
        np.testing.assert_array_equal(pairs["target"][index], episode.actions[step])
    assert len(store.counterfactuals([4])["step"]) == 0
    with pytest.raises(UserError, match="no episode of seed 77"):
        store.counterfactuals([77])


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", ["altered", "truncated", "longer", "missing", "link", "pipe"])
def test_a_damaged_file_is_named_and_nothing_is_touched(data_set, tmp_path, name, damage):
    path = data_set / "episodes" / "000000001" / name
    content = bytearray(path.read_bytes())
    if damage == "altered":
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    elif damage == "truncated":
        path.write_bytes(content[:-1])
    elif damage == "longer":
        path.write_bytes(content + b"\0")
    else:
        path.rename(tmp_path / "elsewhere")
        if damage == "link":
            path.symlink_to(tmp_path / "elsewhere")
        elif damage == "pipe":
            os.mkfifo(path)
    before = {} if damage == "pipe" else tree(data_set)
    with pytest.raises(UserError) as raised:
        EpisodeStore.open(data_set)
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)
    assert damage == "pipe" or tree(data_set) == before


@pytest.mark.parametrize("place", [".", "episodes", "episodes/000000002"])
def test_a_file_too_many_is_named(data_set, place):
    extra = data_set / place / "notes.txt"
    extra.write_text("mine")
    with pytest.raises(UserError, match=r"notes\.txt is not part of this data set"):
        EpisodeStore.open(data_set)


def test_a_missing_or_linked_episode_is_named(data_set, tmp_path):
    (data_set / "episodes" / "000000005").rename(tmp_path / "000000005")
    with pytest.raises(UserError, match="000000005 is missing"):
        EpisodeStore.open(data_set)
    (data_set / "episodes" / "000000005").symlink_to(tmp_path / "000000005")
    with pytest.raises(UserError, match="000000005: expected a directory, not a link"):
        EpisodeStore.open(data_set)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda m: m.update(schema_version=99), "field schema_version: expected 1, got 99; collect it again"),
        (lambda m: m.update(schema_version=True), "field schema_version: expected 1, got True; collect it again"),
        (lambda m: m.pop("cameras"), "field cameras: expected a value"),
        (lambda m: m.update(image_size=10**9), "field image_size: expected 1..4096"),
        (lambda m: m.update(num_successes=10), "num_episodes, num_successes: expected"),
        (lambda m: m["action_spec"].update(low=[0]), "action spec: expected one name"),
        (lambda m: m["episodes"][0].update(seed=-1), r"field episodes\[0\]\.seed: expected 0..999999999, got -1"),
        (lambda m: m["episodes"][0].update(seed="../../x"), r"field episodes\[0\]\.seed: expected an integer"),
        (
            lambda m: m["episodes"][0].update(num_steps=10**30),
            r"field episodes\[0\]\.num_steps: expected an integer below 2\^53",
        ),
        (lambda m: m["episodes"][0]["files"].update({"../../etc/passwd": "0" * 64}), "expected the files"),
        (
            lambda m: m["episodes"][0]["files"].update({"frames.npy": "0" * 63}),
            r"field episodes\[0\]\.files\.frames\.npy: expected 64 hexadecimal digits",
        ),
        (lambda m: m["episodes"].reverse(), "seeds in increasing order"),
        (lambda m: m["episodes"][1].update(num_steps=3), r"field episodes\[1\]\.first_success_step: expected 0\.\.3"),
        (lambda m: m["episodes"][1].update(num_steps=999), "contradicts manifest.json"),
        (lambda m: m.update(task="stack"), "contradicts manifest.json"),
        (lambda m: m.update(surprise=1), "field surprise: expected no such field"),
        (lambda m: m.update(episodes=[[]]), r"field episodes\[0\]: expected an object, got \[\]"),
    ],
)
def test_a_forged_manifest_is_refused(data_set, spoil, message):
    path = data_set / "manifest.json"
    manifest = json.loads(path.read_bytes())
    spoil(manifest)
    path.write_bytes(canonical_json(manifest))
    with pytest.raises(UserError, match=message):
        EpisodeStore.open(data_set)


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{", b"\xff", b"[" * 100_000, b'{"schema_version": NaN}', b"1" * 5000]
)
def test_a_manifest_that_is_none_is_refused(data_set, content):
    (data_set / "manifest.json").write_bytes(content)
    with pytest.raises(UserError, match=r"manifest\.json"):
        EpisodeStore.open(data_set)


def test_arrays_that_contradict_their_row_are_refused_though_every_hash_fits(data_set):
    """Whoever forges a set forges its hashes too; shapes and values are checked when an episode is read."""
    path = data_set / "manifest.json"
    manifest = json.loads(path.read_bytes())
    for row, name, donor in ((0, "frames.npy", 3), (1, "arrays.npz", 3), (2, "counterfactuals.npz", 4)):
        folder = data_set / "episodes" / f"{row:09d}"
        shutil.copyfile(data_set / "episodes" / f"{donor:09d}" / name, folder / name)
        digest = sha256_file(folder / name)
        sidecar = json.loads((folder / "episode.json").read_bytes())
        sidecar["files"][name] = manifest["episodes"][row]["files"][name] = digest
        (folder / "episode.json").write_bytes(canonical_json(sidecar))
        manifest["episodes"][row]["files"]["episode.json"] = sha256_file(folder / "episode.json")
    path.write_bytes(canonical_json(manifest))
    store = EpisodeStore.open(data_set)
    with pytest.raises(UserError, match=r"000000000/frames\.npy: array 'frames': expected"):
        store.episode(0)
    with pytest.raises(UserError, match=r"000000001/arrays\.npz: array '\w+': expected"):
        store.episode(1)
    with pytest.raises(UserError, match=r"000000002/counterfactuals\.npz: array '\w+': expected"):
        store.counterfactuals([2])


def test_what_is_no_data_set_is_said_in_one_line(tmp_path, data_set):
    with pytest.raises(UserError, match="does not exist"):
        EpisodeStore.open(tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="is not a data set"):
        EpisodeStore.open(tmp_path / "empty")
    (data_set / "manifest.json").unlink()
    with pytest.raises(UserError, match="unfinished collection"):
        EpisodeStore.open(data_set)


leaves = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=8)
)
values = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner), max_leaves=4
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_mutated_manifests_open_or_are_refused(finished_set, tmp_path_factory, data):
    manifest = json.loads((finished_set / "manifest.json").read_bytes())
    node, value = manifest, data.draw(values)
    while True:
        key = data.draw(st.sampled_from(sorted(node) if isinstance(node, dict) else range(len(node))))
        if not isinstance(node[key], dict | list) or not node[key] or data.draw(st.booleans()):
            break
        node = node[key]
    node[key] = value
    directory = tmp_path_factory.getbasetemp() / "mutated"
    directory.mkdir(exist_ok=True)
    (directory / "manifest.json").write_bytes(canonical_json(manifest))
    if not (directory / "episodes").exists():
        shutil.copytree(finished_set / "episodes", directory / "episodes")
    with contextlib.suppress(UserError):
        store = EpisodeStore.open(directory, verify=data.draw(st.booleans()))
        store.statistics(store.training_seeds)
        store.counterfactuals(store.seeds)
