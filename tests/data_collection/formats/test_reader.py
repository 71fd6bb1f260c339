"""Any data set read where it is: the same episodes as an import gives, a few of many, without holding the others."""

import dataclasses
import json
import tracemalloc

import h5py
import numpy as np
import pytest
from foreign_sets import NUM_STEPS, WIDTH, imported, write_foreign_lerobot, write_foreign_robomimic

from smidgen.data_collection.data import main
from smidgen.data_collection.formats import minari
from smidgen.data_collection.formats.reader import open_reader
from smidgen.data_collection.store import EpisodeStore
from smidgen.runtime.errors import UserError


def write_foreign_minari(root):
    """Five episodes, as Minari lays them out."""
    rng = np.random.default_rng(0)
    (root / "data").mkdir(parents=True)
    space = {"type": "Dict", "subspaces": {"pixels": {"type": "Box", "dtype": "uint8", "shape": [8, 8, 3]}}}
    metadata = {"data_format": "hdf5", "dataset_id": "a/b-v0", "observation_space": json.dumps(space)}
    (root / minari.METADATA).write_text(json.dumps(metadata))
    with h5py.File(root / minari.DATA, "w") as file:
        for index in range(5):
            frames = rng.integers(0, 256, (NUM_STEPS + 1, 8, 8, 3), dtype=np.uint8)
            file[f"episode_{index}/observations/pixels"] = frames
            file[f"episode_{index}/observations/speed"] = rng.normal(size=NUM_STEPS + 1)
            file[f"episode_{index}/actions"] = rng.normal(size=(NUM_STEPS, 2))


WRITERS = {
    "robomimic": (lambda folder: write_foreign_robomimic(folder / "theirs.hdf5", num_demos=5), "theirs.hdf5"),
    "lerobot": (lambda folder: write_foreign_lerobot(folder / "theirs"), "theirs"),
    "lerobot video": (lambda folder: write_foreign_lerobot(folder / "theirs", video=True), "theirs"),
    "minari": (lambda folder: write_foreign_minari(folder / "theirs"), "theirs"),
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_foreign_set_is_what_its_import_would_be(name, tmp_path):
    write, path = WRITERS[name]
    write(tmp_path)
    store, reader = imported(tmp_path / path, tmp_path, "control_hz=20"), open_reader(tmp_path / path)
    assert list(reader.numbers) == list(store.seeds)
    same = ("task", "action_spec", "cameras", "image_size", "eef_state_names")
    assert {key: reader.header[key] for key in same} == {key: store.manifest[key] for key in same}
    places = [0, reader.num_episodes - 1]
    for place, found in zip(places, reader.episodes(places), strict=True):
        for field in dataclasses.fields(found):
            np.testing.assert_array_equal(getattr(found, field.name), getattr(store.episode(place), field.name))
        assert not len(reader.pairs(found)["step"])
    for seed, actions in zip(store.seeds, reader.actions(), strict=True):
        np.testing.assert_array_equal(actions, store.episode(seed).actions)


@pytest.mark.parametrize("format_name", ["robomimic", "lerobot"])
def test_an_export_of_ours_keeps_its_actions(format_name, finished_set, tmp_path):
    assert main(["export", str(finished_set), f"format={format_name}", f"out={tmp_path / 'out'}"]) == 0
    store, reader = EpisodeStore.open(finished_set), open_reader(tmp_path / "out")
    assert reader.header["action_spec"] == store.manifest["action_spec"]
    found = list(reader.episodes(range(reader.num_episodes)))
    kept = [store.episode(seed) for seed in store.training_seeds]
    assert len(found) == len(kept) < reader.num_episodes, "failed attempts are left out"
    for one, other in zip(found, kept, strict=True):
        np.testing.assert_array_equal(one.frames, other.frames)
        np.testing.assert_array_equal(one.eef_state, other.eef_state)


def test_a_store_is_read_by_seed_with_its_pairs(finished_set):
    store, reader = EpisodeStore.open(finished_set), open_reader(finished_set)
    assert tuple(reader.numbers) == store.training_seeds
    (episode,) = reader.episodes(reader.places([store.training_seeds[1]]))
    assert episode.seed == store.training_seeds[1]
    np.testing.assert_array_equal(reader.pairs(episode)["target"], store.counterfactuals([episode.seed])["target"])


def test_few_of_many_are_spread_over_the_set(finished_set):
    reader = open_reader(finished_set)
    assert reader.spread(2) == [0, reader.num_episodes - 1]
    assert reader.spread(1000) == list(range(reader.num_episodes))


def peak(path, num_episodes):
    """Most bytes that are held while some episodes are read, one after another."""
    tracemalloc.start()
    reader = open_reader(path)
    for episode in reader.episodes(reader.spread(num_episodes)):
        assert episode.frames.any()
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return most


def test_memory_does_not_grow_with_the_set(tmp_path):
    for count in (4, 40):
        write_foreign_robomimic(tmp_path / f"{count}.hdf5", count, WIDTH, WIDTH)
    peak(tmp_path / "4.hdf5", 4)
    one_more = NUM_STEPS * WIDTH * WIDTH * 3
    assert peak(tmp_path / "40.hdf5", 40) < peak(tmp_path / "4.hdf5", 4) + one_more


def test_what_is_no_data_set_is_refused(tmp_path, finished_set):
    (tmp_path / "empty").mkdir()
    for path, settings, words in (
        (tmp_path / "gone", {}, "does not exist"),
        (tmp_path / "empty", {}, "is not a data set"),
        (finished_set, {"image_size": 7}, "expected frames of 7 x 7"),
        (finished_set, {"cameras": ("roof",)}, "no frames of camera 'roof'"),
    ):
        with pytest.raises(UserError, match=words):
            open_reader(path, **settings)
