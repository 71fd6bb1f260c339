"""Minari's layout. The library cannot be installed here (NumPy 2): `make interop` writes and reads with it."""

import io
import json
import subprocess
import sys

import h5py
import numpy as np
import pytest
from foreign_sets import imported, random_episode
from PIL import Image

from smidgen.data_collection.data import main
from smidgen.data_collection.formats import from_store, minari
from smidgen.data_collection.store import EpisodeStore
from smidgen.runtime.files import write_json_atomic


def write_by_hand(clips, root):
    """What the library makes of the arrays that its child process is given."""
    write_json_atomic(root / minari.METADATA, {"data_format": "hdf5", "dataset_id": root.name, "jpeg_encoding": False})
    write_json_atomic(root / minari.SOURCE, clips.source)
    with h5py.File(root / minari.DATA, "w") as file:
        for index, clip in enumerate(clips.clips()):
            for name, array in minari._episode_arrays(clip).items():
                file[f"episode_{index}/{name.replace('.', '/')}"] = array
            file[f"episode_{index}"].attrs["seed"] = clip.seed


@pytest.fixture(scope="module")
def exported(finished_set, tmp_path_factory):
    root, store = tmp_path_factory.mktemp("minari"), EpisodeStore.open(finished_set)
    write_by_hand(from_store.demonstrations(store), root / "demonstrations-v0")
    write_by_hand(from_store.counterfactual_pairs(store), root / "pairs-v0")
    return root


def test_it_comes_back_to_the_byte(finished_set, exported, tmp_path):
    assert imported(exported, tmp_path).sha256 == EpisodeStore.open(finished_set).sha256


def test_the_observation_after_the_last_action_is_marked_as_a_copy(finished_set, exported):
    episode = EpisodeStore.open(finished_set).episode(0)
    with h5py.File(exported / "demonstrations-v0" / minari.DATA) as file:
        stored = file["episode_0"]
        frames = stored["observations/agentview"][:]
        np.testing.assert_array_equal(frames[:-1], episode.frames[:, 0])
        np.testing.assert_array_equal(frames[-1], frames[-2])
        assert stored["infos/is_recorded"][:].tolist() == [True] * episode.num_steps + [False]
        assert len(stored["actions"]) == episode.num_steps
        assert stored["terminations"][-1] != stored["truncations"][-1]


def test_without_the_library_a_line_says_how_to_get_it(finished_set, tmp_path, capsys):
    out = tmp_path / "out"
    settings = ["format=minari", f"out={out}", f"minari_python={sys.executable}", "certify=false"]
    assert main(["export", str(finished_set), *settings]) == 2
    error = capsys.readouterr().err
    assert minari.INSTALL in error
    assert error.count("\n") == 1
    assert not out.exists()


def jpeg(frame):
    content = io.BytesIO()
    Image.fromarray(frame).save(content, "JPEG")
    return np.frombuffer(content.getvalue(), np.uint8)


def write_foreign_minari(root, jpeg_encoding):
    """Frames, one more than actions, of the episode of the set that it writes."""
    frames, actions = random_episode(np.random.default_rng(0))
    frames = np.concatenate([frames, frames[:1]])
    box = {"type": "Box", "dtype": "uint8", "shape": [8, 8, 3]}
    metadata = {"data_format": "hdf5", "dataset_id": "kitchen/mixed-v1", "jpeg_encoding": jpeg_encoding}
    space = json.dumps({"type": "Dict", "subspaces": {"pixels": box}})
    write_json_atomic(root / minari.METADATA, {**metadata, "observation_space": space})
    with h5py.File(root / minari.DATA, "w") as file:
        episode = file.create_group("episode_0")
        episode["actions"] = actions
        episode["observations/agent/speed"] = np.arange(4.0)
        episode["infos/success"] = [False, False, False, True]
        if jpeg_encoding:
            pictures = episode.create_dataset("observations/pixels", (4,), h5py.vlen_dtype(np.uint8))
            for row, frame in enumerate(frames):
                pictures[row] = jpeg(frame)
        else:
            episode["observations/pixels"] = frames
    return frames


@pytest.mark.parametrize("jpeg_encoding", [False, True])
def test_a_foreign_set_keeps_what_it_has(jpeg_encoding, tmp_path):
    frames = write_foreign_minari(tmp_path / "theirs", jpeg_encoding)
    if jpeg_encoding:
        frames = np.stack([np.asarray(Image.open(io.BytesIO(jpeg(frame).tobytes()))) for frame in frames])
    store = imported(tmp_path / "theirs", tmp_path, "control_hz=20")
    episode = store.episode(0)
    np.testing.assert_array_equal(episode.frames[:, 0], frames[:3])
    assert episode.is_success.tolist() == [False, False, True]
    assert store.manifest["eef_state_names"] == ["agent/speed_0"]
    assert store.manifest["task"] == "kitchen/mixed-v1"


def write_minari(root, *episodes, **metadata):
    """Episodes by hand: arrays by name, as Minari lays them out."""
    write_json_atomic(root / minari.METADATA, {"data_format": "hdf5", "dataset_id": "a/b-v0", **metadata})
    with h5py.File(root / minari.DATA, "w") as file:
        for index, arrays in enumerate(episodes):
            for name, array in arrays.items():
                if isinstance(array, list):
                    stored = file.create_dataset(f"episode_{index}/{name}", (len(array),), h5py.vlen_dtype(np.uint8))
                    for row, picture in enumerate(array):
                        stored[row] = jpeg(picture)
                else:
                    file[f"episode_{index}/{name}"] = array
    return root


FRAMES, ACTIONS = random_episode(np.random.default_rng(0))
PIXELS = np.concatenate([FRAMES, FRAMES[:1]])


def episode(**arrays):
    """Three steps, some arrays replaced or added; None leaves one out."""
    found = {"observations/pixels": PIXELS, "observations/speed": np.arange(4.0), "actions": ACTIONS}
    found |= {name.replace("__", "/"): array for name, array in arrays.items()}
    return {name: array for name, array in found.items() if array is not None}


def refused(path, capsys, *settings):
    """The line that an import ends in."""
    assert main(["import", str(path), f"out={path.with_name('store')}", "control_hz=20", *settings]) == 2
    return capsys.readouterr().err.splitlines()[-1]


def lacks(store):
    return "; ".join(store.manifest["config"]["lacks"])


@pytest.mark.parametrize("name", ["observations", "observations/cam/pixels", "observations/_index_0"])
def test_pictures_of_earlier_versions_are_known_by_their_type(name, tmp_path):
    """Minari 0.5.3 wrote JPEG and no word of it; nested spaces have one as well."""
    arrays = {name: [*FRAMES, FRAMES[0]], "actions": ACTIONS}
    store = imported(write_minari(tmp_path / "theirs", arrays), tmp_path, "control_hz=20")
    shown = np.asarray(Image.open(io.BytesIO(jpeg(FRAMES[1]).tobytes())))
    np.testing.assert_array_equal(store.episode(0).frames[1, 0], shown)
    camera = {"observations": "camera", "observations/cam/pixels": "cam.pixels"}.get(name, "_index_0")
    assert store.manifest["cameras"] == [camera]


@pytest.mark.parametrize(
    ("flags", "found"),
    [([False] * 3, (False, None)), ([False, True, False], (True, 2)), ([False, False, True, False], (True, 2))],
)
def test_flags_with_and_without_a_row_for_the_reset(flags, found, tmp_path):
    store = imported(
        write_minari(tmp_path / "theirs", episode(infos__success=np.array(flags))), tmp_path, "control_hz=20"
    )
    row = store.manifest["episodes"][0]
    assert (row["success"], row["first_success_step"]) == found


def test_flags_of_some_episodes_are_said_to_be_of_some(tmp_path):
    path = write_minari(tmp_path / "theirs", episode(), episode(infos__success=np.zeros(4, bool)))
    store = imported(path, tmp_path, "control_hz=20")
    assert [row["success"] for row in store.manifest["episodes"]] == [True, False]
    assert "success of 1 of 2 episodes, which count as successful" in lacks(store)


def test_infos_are_no_observations(tmp_path):
    arrays = episode(
        infos__eef_state=np.arange(100.0, 104), infos__states=np.zeros((4, 2)), infos__is_success=np.zeros((4, 2)),
        infos__short=np.zeros(2), observations__grey=np.zeros((4, 8, 8), np.uint8),
    )  # fmt: skip
    store = imported(write_minari(tmp_path / "theirs", arrays), tmp_path, "control_hz=20")
    np.testing.assert_array_equal(store.episode(0).eef_state[:, 0], np.arange(3.0))
    assert store.episode(0).states.shape == (3, 0)
    assert "left out: infos/eef_state, infos/is_success, infos/short, infos/states, observations/grey" in lacks(store)


def test_composite_actions_keep_their_names(tmp_path):
    parts = {f"actions/t/_index_{n}": np.full(3, float(n)) for n in range(12)} | {"actions/b": np.zeros((3, 2))}
    path = write_minari(tmp_path / "theirs", {**episode(actions=None), **parts})
    store = imported(path, tmp_path, "control_hz=20")
    assert store.manifest["action_spec"]["names"] == ["b_0", "b_1", *(f"t/_index_{n}_0" for n in range(12))]
    np.testing.assert_array_equal(store.episode(0).actions[0], [0, 0, *range(12)])


def test_actions_of_other_names_are_refused(tmp_path, capsys):
    one, other = ({**episode(actions=None), f"actions/{name}": ACTIONS} for name in "ac")
    line = refused(write_minari(tmp_path / "theirs", one, other), capsys)
    assert "actions of /episode_1: expected those of the first episode, a (7); got c (7)" in line


def test_a_tree_of_links_ends_early(tmp_path, capsys):
    path = write_minari(tmp_path / "theirs", episode())
    with h5py.File(path / minari.DATA, "a") as file:
        for level in range(6):
            for branch in range(5):
                file.require_group(f"links/{level}")[str(branch)] = file.require_group(f"links/{level + 1}")
        file["links/6/x"] = np.zeros(4)
        file["episode_0/observations/tree"] = file["links/0"]
    assert "nested more than 8 deep, or has too many members" in refused(path, capsys)


def test_the_name_of_an_interpreter_is_looked_up_once(tmp_path, monkeypatch):
    (tmp_path / "python3").symlink_to(sys.executable)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(minari, "VERSION", "none")
    asked = []

    def run(command, **options):
        asked.append(command[0])
        return subprocess.CompletedProcess(command, 0, "none\n", "")

    monkeypatch.setattr(subprocess, "run", run)
    assert minari.require_minari("python3") == str(tmp_path / "python3")
    assert asked == [str(tmp_path / "python3")]


def test_links_in_a_circle_are_refused(tmp_path, capsys):
    write_foreign_minari(tmp_path / "theirs", False)
    with h5py.File(tmp_path / "theirs" / minari.DATA, "a") as file:
        file["episode_0/observations/agent/again"] = file["episode_0/observations"]
    assert main(["import", str(tmp_path / "theirs"), f"out={tmp_path / 'store'}", "control_hz=20"]) == 2
    assert "nested more than" in capsys.readouterr().err
