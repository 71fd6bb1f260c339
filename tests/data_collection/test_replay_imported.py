"""The replay certificate of imported sets that bring their MuJoCo models."""

import shutil

import h5py
import numpy as np
import pytest
from model_sets import MODEL, SIZE, drawn, drawn_larger, states_of, write_model_set
from robosuite_sets import write_robosuite_sets

from smidgen.data_collection.data import main
from smidgen.data_collection.store import EpisodeStore

pytestmark = pytest.mark.simulator


def imported(path, *settings):
    out = path.with_name("store")
    assert main(["import", str(path), f"out={out}", *settings]) == 0
    return out


def replayed(path, capsys, *settings):
    """Exit code and the line that was printed."""
    out = imported(path, *settings)
    capsys.readouterr()
    code = main(["replay", str(out)])
    printed = capsys.readouterr()
    lines = (printed.out + printed.err).splitlines()
    assert len(lines) == 1
    assert lines[0].count(str(out)) == 1
    return code, lines[0]


def test_a_set_whose_models_draw_its_frames_is_certified(tmp_path, capsys):
    code, line = replayed(write_model_set(tmp_path / "theirs.hdf5", num_demos=2), capsys)
    assert (code, line.partition(": ")[2]) == (0, "8 of 8 stored states render to the stored frames, to the bit")


def test_frames_that_were_cropped_and_scaled_on_import_are_too(tmp_path, capsys):
    code, _ = replayed(write_model_set(tmp_path / "theirs.hdf5"), capsys, "image_size=16", "cameras=[wrist]")
    assert code == 0


def _exchanged(states):
    frames = drawn(states)
    return dict(zip(frames, reversed(frames.values()), strict=True))


def _shaded(states):
    return {camera: (255 - (255 - frames) * 0.6).astype(np.uint8) for camera, frames in drawn(states).items()}


def _noisy(states):
    return {camera: np.minimum(frames, 254) + np.uint8(1) for camera, frames in drawn(states).items()}


def _each(turn):
    return lambda states: {camera: turn(frames) for camera, frames in drawn(states).items()}


def _elsewhere(states):
    return drawn(states[:, [0, 2, 1, 3, 6, 4, 5, 7, *range(8, 14)]])


@pytest.mark.parametrize(
    ("frames_of", "words"),
    [
        (_each(lambda frames: frames[:, ::-1]), "the frames are upside down"),
        (_each(lambda frames: frames[..., ::-1]), "the frames have red and blue exchanged"),
        (lambda states: drawn(states, steps_ago=1), "show the scene one physics step (0.002 s) before their states"),
        (_noisy, "of the values): another renderer or processor"),
        (_exchanged, "8 of 8 frames are those of other cameras or states: two renderers shared a context"),
        (
            _each(lambda frames: frames[[0, 0, 1, 2]]),
            "show the states one control step before theirs: steps are shifted",
        ),
        (
            _each(lambda frames: frames[[1, 2, 3, 3]]),
            "show the states one control step after theirs: steps are shifted",
        ),
        (_each(lambda frames: frames[[2, 3, 0, 1]]), "8 of 8 frames are those of other cameras or states"),
        (_each(lambda frames: frames[:, :, ::-1]), "the frames are mirrored"),
        (drawn_larger, f"were drawn at {2 * SIZE} x {2 * SIZE} and scaled to {SIZE} x {SIZE}"),
        (_shaded, "have other shades"),
        (_elsewhere, "show something else"),
    ],
)
def test_the_fault_is_named(frames_of, words, tmp_path, capsys):
    code, line = replayed(write_model_set(tmp_path / "theirs.hdf5", frames_of), capsys)
    assert code == 2
    assert words in line


def test_two_faults_are_named_at_once(tmp_path, capsys):
    def late_and_flipped(states):
        return {camera: frames[:, ::-1] for camera, frames in drawn(states, steps_ago=1).items()}

    _, line = replayed(write_model_set(tmp_path / "theirs.hdf5", late_and_flipped), capsys)
    assert "are upside down and show the scene one physics step" in line


def test_another_robosuite_is_named(tmp_path, capsys):
    path = write_model_set(tmp_path / "theirs.hdf5", _elsewhere, version="1.4.1")
    assert "robosuite 1.4.1 there, 1.5.2 here" in replayed(path, capsys)[1]


MESH = '<mesh name="m" file="/home/x/robosuite/models/assets/robots/panda/meshes/link0_vis.stl"/></asset>'


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"states": lambda seed: states_of(seed)[:, :9]}, "its states have 9 numbers, its model 1 + 7 + 6"),
        ({"model": MODEL.replace("</asset>", MESH)}, "1 of the meshes and textures of its model, '"),
        (
            {"model": MODEL.replace('"agentview"', '"frontview"')},
            "its model has no camera 'agentview'; it has",
        ),
        ({"model": MODEL.replace("freejoint", "joint")}, "its states have 14 numbers, its model 1 + 1 + 1"),
        ({"model": MODEL.replace('type="box"', 'type="cuboid"')}, "cannot build its model (XML Error"),
        ({"model": MODEL[:300]}, "is not valid XML"),
        ({"model": [MODEL, ""]}, "episode 1 brings no model file"),
        ({"model": ["", ""]}, "without model files to render it"),
    ],
)
def test_what_cannot_be_rendered_is_said_in_one_line(options, words, tmp_path, capsys):
    code, line = replayed(write_model_set(tmp_path / "theirs.hdf5", **options), capsys)
    assert code == 2
    assert words in line


def test_a_collection_of_robosuite_itself(tmp_path, capsys):
    """Live frames lag by a physics step; those that were rendered from the states are certified."""
    live, rendered = tmp_path / "live" / "theirs.hdf5", tmp_path / "theirs.hdf5"
    live.parent.mkdir()
    write_robosuite_sets(live, rendered, "PickPlaceCan")
    code, line = replayed(live, capsys)
    assert code == 2
    assert "the frames are upside down and show the scene one physics step (0.002 s) before their states" in line
    code, line = replayed(rendered, capsys)
    assert (code, line.partition(": ")[2]) == (0, "3 of 3 stored states render to the stored frames, to the bit")


def test_an_import_says_whether_a_set_brings_models(tmp_path, capsys):
    out = imported(write_model_set(tmp_path / "theirs.hdf5"))
    assert f"note: the set brings its models: smidgen-data replay {out}" in capsys.readouterr().out
    shutil.rmtree(out)
    imported(write_model_set(tmp_path / "theirs.hdf5", model=["", ""]))
    assert "not in the set: model files: smidgen-data replay cannot render its states" in capsys.readouterr().out


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    other = MODEL.replace("0.9 0.1 0.1", "0.1 0.9 0.1") + "<!-- é -->"
    path = tmp_path_factory.mktemp("kept") / "theirs.hdf5"
    return imported(write_model_set(path, model=[MODEL, other, MODEL]))


class TestKept:
    def test_each_model_once_to_the_byte(self, store):
        opened = EpisodeStore.open(store)
        assert [opened.model(seed) == MODEL for seed in opened.seeds] == [True, False, True]
        assert "é" in opened.model(1)
        assert len(list((store / "models").iterdir())) == 2

    def test_robomimic_carries_them_back_to_the_byte(self, store, tmp_path):
        assert main(["export", str(store), "format=robomimic", f"out={tmp_path / 'out'}"]) == 0
        with h5py.File(tmp_path / "out/demonstrations.hdf5") as file:
            assert file["data/demo_0"].attrs["model_file"] == MODEL
        assert main(["import", str(tmp_path / "out"), f"out={tmp_path / 'again'}"]) == 0
        assert EpisodeStore.open(tmp_path / "again").sha256 == EpisodeStore.open(store).sha256

    def test_a_format_without_a_place_for_them_loses_them_and_says_so(self, store, tmp_path, capsys):
        assert main(["export", str(store), "format=lerobot", f"out={tmp_path / 'out'}"]) == 0
        assert main(["import", str(tmp_path / "out"), f"out={tmp_path / 'again'}"]) == 0
        assert "3 model files are not in the set" in capsys.readouterr().out

    @pytest.mark.parametrize(
        ("spoil", "words"),
        [
            (lambda folder: min(folder.iterdir()).write_text("<mujoco/>"), "is truncated or altered"),
            (lambda folder: min(folder.iterdir()).unlink(), "is missing"),
            (lambda folder: (folder / "more.xml").write_text(""), "more.xml is not part of this data set"),
            (shutil.rmtree, "models: expected a directory"),
        ],
    )
    def test_an_altered_model_is_named(self, spoil, words, store, tmp_path, capsys):
        copy = shutil.copytree(store, tmp_path / "copy")
        spoil(copy / "models")
        assert main(["verify", str(copy)]) == 2
        assert words in capsys.readouterr().err


@pytest.mark.parametrize("model", ["x" * ((1 << 22) + 1), b"\xff<mujoco/>"])
def test_what_is_no_model_file_is_refused_on_import(model, tmp_path, capsys):
    path = write_model_set(tmp_path / "theirs.hdf5", num_demos=2)
    with h5py.File(path, "a") as file:
        del file["data/demo_1"].attrs["model_file"]
        file["data/demo_1"].attrs.create("model_file", model, dtype=h5py.string_dtype())
    assert main(["import", str(path), f"out={tmp_path / 'store'}"]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert f"{path}: expected model_file of /data/demo_1 to be text" in error
