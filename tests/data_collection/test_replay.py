import dataclasses

import numpy as np
import pytest
from collection_fakes import FakeEnv

from smidgen.data_collection.collect import collect
from smidgen.data_collection.config import CollectConfig
from smidgen.data_collection.data import main
from smidgen.data_collection.replay import replay
from smidgen.data_collection.scenes import OwnScene, scene_of
from smidgen.data_collection.store import EpisodeStore
from smidgen.runtime.errors import UserError


class Rendered(FakeEnv):
    """The fake environment, whose frames go through a fault."""

    def __init__(self, store, size, fault):
        super().__init__(size or store.manifest["image_size"], store.manifest["cameras"])
        self.fault = fault
        self.rendered = []

    def render_frames(self):
        self.rendered.append(super().render_frames())
        return self.fault(self.rendered)

    def close(self):
        pass


def replayed(store, fault):
    return replay(store, lambda store, size: OwnScene(store, Rendered(store, size, fault)))


@pytest.fixture(scope="module")
def store(finished_set):
    return EpisodeStore.open(finished_set)


def test_a_set_whose_states_render_to_its_frames_is_certified(store):
    found = replayed(store, lambda rendered: rendered[-1])
    assert (found.num_equal, found.fault) == (found.num_frames, "")
    assert found.num_frames == 20


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (lambda rendered: rendered[-1][:, ::-1], "upside down"),
        (lambda rendered: np.minimum(rendered[-1], 254) + np.uint8(1), "another renderer"),
        (lambda rendered: rendered[max(0, len(rendered) - 2)], "11 of 11 frames are those of other states"),
        (lambda rendered: rendered[-1][:, :, ::-1], "are mirrored"),
        (lambda rendered: 255 - rendered[-1], "something else"),
    ],
)
def test_the_fault_is_named(store, fault, words):
    assert words in replayed(store, fault).fault


def test_another_simulator_is_named(store, monkeypatch):
    monkeypatch.setenv("FAKE_VERSION", "2")
    found = replayed(store, lambda rendered: 255 - rendered[-1])
    assert "version" in found.fault


def test_an_imported_set_without_models_is_not_rendered(store):
    imported = {**store.manifest, "environment": {"imported": {"format": "lerobot"}}}
    with pytest.raises(UserError, match=r"imported from .*lerobot.* without model files to render it"):
        scene_of(dataclasses.replace(store, manifest=imported))


@pytest.mark.simulator
@pytest.mark.usefixtures("kept_simulators")
def test_a_set_of_the_simulator_is_certified(tmp_path, capsys):
    out = tmp_path / "lift"
    collect(CollectConfig(task="lift", out=str(out), episodes=1, workers=0, image_size=16))
    assert main(["replay", str(out)]) == 0
    assert "5 of 5 stored states" in capsys.readouterr().out
