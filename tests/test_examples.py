"""The examples that no page's test runs do what they say; the commands that they call run in this process."""

import re
import runpy
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import smidgen
from smidgen.data_collection import EpisodeStore
from smidgen.training.train import main as train
from tests.evaluation.test_videos import decode
from tests.fuzz.data_readers import write_data_set

EXAMPLES = Path(__file__).parent.parent / "examples"
SMALL = ["steps=2", "eval_every=1", "num_latents=2", "latent_dim=8", "num_heads=1", "num_layers=1", "num_frames=2"]


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(example: str, *arguments: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", [example, *arguments])
    runpy.run_path(str(EXAMPLES / example), run_name="__main__")


@pytest.mark.simulator
@pytest.mark.usefixtures("kept_simulators")
def test_an_expert_is_filmed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    run("play_expert.py", "lift", "lift.mp4", monkeypatch=monkeypatch)
    success = re.match(r"lift: success after (\d+) steps", capsys.readouterr().out)
    assert success
    film, _ = decode(Path("lift.mp4"), height=256, width=256)
    assert len(film) == int(success[1]) + 1
    assert np.abs(film[0].astype(int) - film[-1]).max() > 50, "nothing moves"


def test_a_sweep_trains_every_arm_and_reports_its_slope(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real_run = subprocess.run

    def call(command: list[str], *arguments: Any, **keywords: Any) -> Any:
        if command[0] != "smidgen-train":
            return real_run(command, *arguments, **keywords)
        with monkeypatch.context() as patch:
            patch.setattr("sys.argv", command)
            assert train() == 0
        return None

    monkeypatch.setattr(subprocess, "run", call)
    write_data_set(Path("lift"))
    run("sweep_transforms.py", "lift", "sweep", *SMALL, "validation_fraction=0.5", monkeypatch=monkeypatch)
    said = capsys.readouterr().out
    _, *rows = said[said.index("arm  ") :].splitlines()
    assert [row[:20].strip() for row in rows] == [
        "as posted",
        "raw",
        "raw, centred",
        "raw, per token",
        "3-D DFT, centred",
    ]
    assert all(np.isfinite(float(row.split()[-1])) for row in rows)


def test_first_sight_is_the_step_from_which_the_slope_stays_above_a_half(tmp_path: Path) -> None:
    first_sight = runpy.run_path(str(EXAMPLES / "sweep_transforms.py"))["first_sight"]
    for slopes, expected in (
        ([0.1, 0.6, 0.4, 0.7, 0.8], 3),
        ([0.6, 0.7], 0),
        ([0.6, 0.5], None),
    ):
        rows = [f'{{"step": {step}, "cue_slope": {slope}}}\n' for step, slope in enumerate(slopes)]
        (tmp_path / "metrics.jsonl").write_text('{"split": "train", "step": 0}\n' + "".join(rows))
        assert first_sight(tmp_path) == expected


def test_checkpoints_are_compared_by_their_cue_slope(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A real one, and one that goes as far as its name says of the expert's way."""
    write_data_set(Path("lift"))
    store = EpisodeStore.open("lift")
    keys = ["demos=lift", "out=real", "validation_fraction=0.5", *SMALL]
    monkeypatch.setattr("sys.argv", ["smidgen-train", *keys])
    assert train() == 0
    real, pairs = smidgen.load_checkpoint("real"), store.counterfactuals(store.training_seeds)
    answers = {
        frames[-1].tobytes(): (target, way)
        for name, way in (("frames", 0.0), ("frames_moved", 1.0))
        for frames, target in zip(pairs[name], zip(pairs["target"], pairs["target_moved"], strict=True), strict=True)
    }

    class PartOfTheWay:
        interface, num_frames = real.interface, 2

        def __init__(self, share: float) -> None:
            self.share = share

        def chunk(self, observations: dict[str, Any]) -> np.ndarray:
            found = [answers[frames[-1].tobytes()] for frames in observations["frames"]]
            return np.array([[target + way * self.share * (moved - target)] for (target, moved), way in found])

    load = smidgen.load_checkpoint
    monkeypatch.setattr(
        smidgen, "load_checkpoint", lambda run: load(run) if run == "real" else PartOfTheWay(float(run))
    )
    capsys.readouterr()
    run("cue_slope.py", "lift", "0.25", "1.0", "real", monkeypatch=monkeypatch)
    counted, *lines = capsys.readouterr().out.splitlines()
    assert counted == f"{len(pairs['step'])} pairs of {len(store.training_seeds)} episodes"
    slopes = [re.fullmatch(r"(.*): cue slope (-?\d\.\d\d); moves by .* the expert by .* mm", line) for line in lines]
    assert [match and match[1] for match in slopes] == ["0.25", "1.0", "real"]
    assert [match and match[2] for match in slopes[:2]] == ["0.25", "1.00"]
