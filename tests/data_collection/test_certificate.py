"""Data sets are certified before they are trained on or exported."""

import dataclasses

import pytest
from model_sets import drawn, write_model_set

from smidgen.data_collection.certificate import is_of_another_simulator
from smidgen.data_collection.collect import collect
from smidgen.data_collection.config import CollectConfig
from smidgen.data_collection.data import main
from smidgen.data_collection.store import EpisodeStore
from smidgen.runtime.command_line import run_command
from smidgen.training.config import TrainConfig
from smidgen.training.preparation import split_episodes

pytestmark = pytest.mark.simulator


def _flipped(states):
    return {camera: frames[:, ::-1] for camera, frames in drawn(states).items()}


def imported(path, frames_of=drawn, **options):
    out = path.with_suffix("")
    assert main(["import", str(write_model_set(path, frames_of, num_demos=3, **options)), f"out={out}"]) == 0
    return out


@pytest.fixture
def prepare_training(tmp_path, capsys):
    """Exit code, output and errors of what a training does with its data first."""

    def prepare_training(store, **settings):
        config = TrainConfig.from_flat(demos=str(store), out=str(tmp_path / "run"), **settings)
        capsys.readouterr()
        code = run_command(lambda _: split_episodes(config), [])
        return code, *capsys.readouterr()

    return prepare_training


def test_training_certifies_a_set_from_elsewhere(tmp_path, prepare_training):
    store = imported(tmp_path / "theirs.hdf5")
    line = f"{store}: 12 of 12 stored states render to the stored frames, to the bit\n"
    assert prepare_training(store) == (0, line, "")
    assert prepare_training(store, certify=False) == (0, "", "")


def test_a_fault_is_a_warning_unless_the_certificate_is_required(tmp_path, prepare_training):
    store = imported(tmp_path / "theirs.hdf5", _flipped)
    fault = f"{store}: only 0 of 12 stored states render to the stored frames, to the bit: the frames are upside down"
    assert prepare_training(store) == (0, "", f"warning: not certified: {fault}\n")
    assert prepare_training(store, certify=True) == (2, "", f"error: {fault}; certify=false uses the set as it is\n")


def test_a_set_without_models_has_no_certificate(tmp_path, prepare_training):
    store = imported(tmp_path / "theirs.hdf5", model=[""] * 3)
    assert prepare_training(store) == (0, "", "")
    code, _, error = prepare_training(store, certify=True)
    assert code == 2
    assert "without model files to render it; certify=false uses the set as it is" in error


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    out = tmp_path_factory.mktemp("own") / "speck"
    collect(CollectConfig(task="speck_16", out=str(out), episodes=2, workers=0))
    return EpisodeStore.open(out)


def test_our_own_set_is_certified_on_request_and_where_another_simulator_made_it(own, prepare_training):
    certified = f"{own.directory}: 10 of 10 stored states render to the stored frames, to the bit\n"
    assert prepare_training(own.directory) == (0, "", "")
    assert prepare_training(own.directory, certify=True) == (0, certified, "")
    elsewhere = {**own.manifest, "environment": {**own.manifest["environment"], "mujoco": "2.3.7"}}
    assert not is_of_another_simulator(own)
    assert is_of_another_simulator(dataclasses.replace(own, manifest=elsewhere))


def test_an_export_is_certified_first(own, tmp_path, capsys):
    assert main(["export", str(own.directory), "format=robomimic", f"out={tmp_path / 'out'}"]) == 0
    assert "10 of 10 stored states render to the stored frames" in capsys.readouterr().out.splitlines()[0]
    wrong = imported(tmp_path / "theirs.hdf5", _flipped)
    arguments = ["export", str(wrong), "format=robomimic", f"out={tmp_path / 'wrong'}"]
    capsys.readouterr()
    assert main([*arguments, "certify=true"]) == 2
    assert "the frames are upside down; certify=false" in capsys.readouterr().err
    assert not (tmp_path / "wrong").exists()
    assert main(arguments) == 0
    assert "warning: not certified" in capsys.readouterr().err
