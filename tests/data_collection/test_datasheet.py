"""Datasheets: figures against plain NumPy over the stored arrays, pixels against planted changes."""

import itertools
import json
import shutil

import numpy as np
import pytest
from collection_fakes import fake_config, open_fake_collector
from PIL import Image

from smidgen.data_collection.collect import collect
from smidgen.data_collection.data import main
from smidgen.data_collection.datasheet import datasheet_markdown, lengths_of
from smidgen.data_collection.episode import Episode
from smidgen.data_collection.pixel_variation import change_levels, cue_change, pixel_variation
from smidgen.data_collection.store import EpisodeStore
from smidgen.evaluation.statistics import wilson_interval

SIDE = 8


def episode(frames):
    empty = np.zeros((len(frames), 1))
    return Episode(0, True, False, None, frames, empty, empty, empty, empty[:, 0], empty[:, 0] > 0)


def blank(*shape):
    return np.full((*shape, 1, SIDE, SIDE, 3), 100, np.uint8)


@pytest.fixture(scope="module")
def sheet_of(finished_set, tmp_path_factory):
    out = tmp_path_factory.mktemp("sheet")
    assert main(["datasheet", str(finished_set), "--out", str(out)]) == 0
    return EpisodeStore.open(finished_set), json.loads((out / "datasheet.json").read_text()), out


def test_the_same_set_gives_the_same_datasheet_and_stays_whole(finished_set, tmp_path, capsys):
    out = shutil.copytree(finished_set, tmp_path / "set")
    assert main(["datasheet", str(out)]) == 0
    paths = capsys.readouterr().out.split()
    assert [path.rpartition("/")[2] for path in paths] == ["datasheet.json", "datasheet.md", "pixel_variance.png"]
    first = [(out / "preview" / path).read_bytes() for path in paths]
    assert main(["datasheet", str(out)]) == 0
    assert [(out / "preview" / path).read_bytes() for path in paths] == first
    assert main(["verify", str(out)]) == 0


def test_success_seeds_and_identity(sheet_of):
    store, sheet, _ = sheet_of
    assert (sheet["task"], sheet["sha256"]) == ("lift", store.sha256)
    assert sheet["seeds"] == {"first": 0, "last": 9, "num": 10, "failed": [3, 4, 8, 9]}
    assert (sheet["success"]["k"], sheet["success"]["n"], sheet["success"]["num_broken_off"]) == (6, 10, 2)
    assert (sheet["success"]["low"], sheet["success"]["high"]) == wilson_interval(6, 10)
    assert sheet["environment"] == store.manifest["environment"]


def test_lengths_and_actions_are_those_of_successful_attempts(sheet_of):
    store, sheet, _ = sheet_of
    episodes = [store.episode(seed) for seed in store.training_seeds]
    lengths, actions = [one.num_steps for one in episodes], np.concatenate([one.actions for one in episodes])
    told = sheet["lengths"]
    assert (told["min"], told["max"], told["sum"]) == (min(lengths), max(lengths), sum(lengths))
    assert told["median"] == np.median(lengths)
    edges, counts = told["histogram"]["edges"], told["histogram"]["counts"]
    assert [sum(low <= length < high for length in lengths) for low, high in itertools.pairwise(edges)] == counts
    assert sum(counts) == 6
    for index, row in enumerate(sheet["actions"]):
        assert row["name"] == store.manifest["action_spec"]["names"][index]
        assert (row["min"], row["max"]) == (actions[:, index].min(), actions[:, index].max())
        assert (row["mean"], row["sd"]) == pytest.approx((actions[:, index].mean(), actions[:, index].std()))
    assert [row["name"] for row in sheet["phases"]] == store.manifest["phases"]
    assert sum(row["share"] for row in sheet["phases"]) == pytest.approx(1)


@pytest.mark.parametrize("num_lengths", [1, 3, 10, 11, 95])
def test_histograms_hold_every_length_in_few_bins(num_lengths):
    histogram = lengths_of(list(range(20, 20 + num_lengths)))["histogram"]
    assert sum(histogram["counts"]) == num_lengths
    assert len(histogram["counts"]) <= 10
    assert len(set(np.diff(histogram["edges"]))) == 1


def test_pixels_are_those_of_the_stored_frames(sheet_of):
    store, sheet, _ = sheet_of
    pixels, pairs = sheet["pixels"], store.counterfactuals(store.seeds)
    first = np.stack([store.episode(seed).frames[0] for seed in store.training_seeds]).astype(int)
    assert pixels["num_pixels"] == SIDE * SIDE
    share = (np.ptp(first, axis=0).max(axis=-1) > 1).mean()
    assert pixels["between_episodes"]["share_of_first_frames"] == pytest.approx(share)
    moved = (np.abs(pairs["frames"].astype(int) - pairs["frames_moved"]).max(axis=-1) > 1).sum(axis=(2, 3, 4))
    assert pixels["cue"]["moved"]["mean"] == pytest.approx(moved.mean())
    assert pixels["cue"]["num_frames"] == moved.size


def test_between_episodes_one_planted_pixel_is_found_at_its_step():
    frames = blank(2, 3)
    frames[1, 2, 0, 4, 5, 1] = 102
    variation = pixel_variation([episode(one) for one in frames])
    assert variation.shares == (0.0, 0.0, 1 / SIDE**2)
    assert variation.sd_first_NHW.max() == 0
    assert np.flatnonzero(variation.sd_NHW).tolist() == [4 * SIDE + 5]
    assert variation.sd_NHW.max() == pytest.approx(np.sqrt(1 / 3 / 3))


def test_quantisation_noise_is_no_variation():
    frames = blank(2, 1)
    frames[1] += 1
    assert pixel_variation([episode(one) for one in frames]).shares == (0.0,)
    assert change_levels(frames[0], frames[1]).max() == 1
    assert change_levels(np.uint8([[255, 0, 0]]), np.uint8([[0, 0, 0]])) == 255


def test_only_steps_that_all_episodes_have_are_compared():
    variation = pixel_variation([episode(blank(4)), episode(blank(2)), episode(blank(7))])
    assert (variation.num_episodes, len(variation.shares)) == (3, 2)
    assert pixel_variation([episode(blank(4))]) is None


def test_a_cue_that_shows_in_one_frame_of_three_is_counted_there():
    frames = blank(2, 3)
    moved, hidden = frames.copy(), frames.copy()
    moved[:, 1, 0, 2, 2:4] = 20
    hidden[0, 1, 0, 2, 2] = 20
    change = cue_change(frames, moved, hidden)
    assert change.moved_KT.tolist() == [[0, 2, 0], [0, 2, 0]]
    assert change.hidden_KT.sum() == 1
    assert change.moved_levels == 80
    assert change.moved_share_NHW.max() == pytest.approx(1 / 3)
    assert cue_change(frames[:0], moved[:0], hidden[:0]) is None


def test_markdown_and_picture_show_the_figures(sheet_of):
    store, sheet, out = sheet_of
    text = (out / "datasheet.md").read_text()
    assert text == datasheet_markdown(sheet)
    assert "6/10 = 60 % [31.3 %, 83.2 %] (95% Wilson interval), 2 aborted by the simulator" in text
    assert store.sha256 in text
    assert "None" not in text
    assert np.asarray(Image.open(out / "pixel_variance.png")).std() > 1


def test_a_set_without_success_has_a_datasheet_too(tmp_path, capsys):
    out = tmp_path / "set"
    collect(fake_config(out, seed_start=3, episodes=1), open_fake_collector)
    assert main(["datasheet", str(out)]) == 0
    assert "pixel_variance.png" not in capsys.readouterr().out
    text = (out / "preview" / "datasheet.md").read_text()
    assert "0/1 = 0 %" in text
    assert "No attempt was successful." in text
