from __future__ import annotations

from pathlib import Path

import pytest

from smidgen.data_collection.manifest import MANIFEST_NAME
from smidgen.data_collection.store import EPISODES_NAME
from smidgen.policies.checkpoint import CARD_NAME, MODEL_NAME, RUN_CHECKPOINT
from smidgen.runtime.errors import UserError
from smidgen.runtime.places import (
    CHECKPOINT_MARKERS,
    DATA_SET_MARKERS,
    RUN_MARKERS,
    RUN_PARTS,
    printable_path,
    require_outside,
)
from smidgen.training.config import TrainConfig
from smidgen.training.loop import train
from smidgen.training.run_directory import CONFIG_NAME, METRICS_NAME, RESUME_NAME


def test_the_markers_are_the_owners_names() -> None:
    assert DATA_SET_MARKERS == (MANIFEST_NAME, EPISODES_NAME)
    assert CHECKPOINT_MARKERS == (CARD_NAME, MODEL_NAME)
    assert RUN_MARKERS == (CONFIG_NAME, METRICS_NAME)
    assert (RUN_CHECKPOINT.parts[0], RESUME_NAME) == RUN_PARTS


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data set, one that was begun, a run with its checkpoint, and a link into the data set."""
    for name in (
        "demos/manifest.json",
        "run/config.json",
        "run/metrics.jsonl",
        "run/checkpoints/final/checkpoint.json",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("{}")
    (tmp_path / "run/checkpoints/final/model.safetensors").write_bytes(b"")
    for name in ("demos/episodes", "begun/episodes/000000007", "run/resume", "free/episodes/of a show"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "demos", target_is_directory=True)
    return tmp_path


@pytest.mark.parametrize(
    "place",
    [
        *("demos", "demos/run", "demos/episodes", "demos/a/b", "free/../demos/run", "link/run", "begun/run"),
        *("run/checkpoints", "run/checkpoints/final/eval", "run/resume/eval", "run"),
    ],
)
def test_places_that_belong_to_something_else_are_refused(folder: Path, place: str) -> None:
    with pytest.raises(UserError, match=rf"^out={folder / place} (is|lies inside) .*; choose another out="):
        require_outside(folder / place)


@pytest.mark.parametrize("place", ["", "new", "free", "free/episodes/x", "run/eval", "demos.run", "demos/../results"])
def test_every_other_place_is_free(folder: Path, place: str) -> None:
    require_outside(folder / place)


def test_a_command_may_go_on_in_its_own_directory(folder: Path) -> None:
    require_outside(folder / "demos", itself=False)
    require_outside(folder / "run", itself=False)


def test_training_into_a_data_set_is_refused_before_it_begins(folder: Path) -> None:
    with pytest.raises(UserError, match="lies inside the data set"):
        train(TrainConfig(demos=str(folder / "demos"), out=str(folder / "demos" / "run")))
    assert not (folder / "demos" / "run").exists()


def test_a_path_that_is_no_text_can_be_stored() -> None:
    assert printable_path("bad\udce9/josé") == "bad\\xe9/josé"


def test_a_run_whose_path_tensorboard_cannot_write_to_is_refused_before_it_begins(folder: Path) -> None:
    with pytest.raises(UserError, match="is not UTF-8"):
        train(TrainConfig(demos=str(folder / "demos"), out=str(folder / "bad\udce9")))
