"""Minari's layout. The library cannot be installed here (NumPy 2): `make interop` writes and reads with it."""

import io
import json
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
    assert main(["export", str(finished_set), "format=minari", f"out={out}", f"minari_python={sys.executable}"]) == 2
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


def test_links_in_a_circle_are_refused(tmp_path, capsys):
    write_foreign_minari(tmp_path / "theirs", False)
    with h5py.File(tmp_path / "theirs" / minari.DATA, "a") as file:
        file["episode_0/observations/agent/again"] = file["episode_0/observations"]
    assert main(["import", str(tmp_path / "theirs"), f"out={tmp_path / 'store'}", "control_hz=20"]) == 2
    assert "nested more than" in capsys.readouterr().err
