"""The whole path with the real simulator and real commands, as small as it can be."""

import json
from pathlib import Path

import imageio.v3 as iio
import pytest

from smidgen.evaluation.records import read_record
from smidgen.experiments import boards, demo, demo_pairs, side_by_side_training
from smidgen.experiments.side_by_side_training import train_side_by_side
from smidgen.runtime.command_line import run_command
from smidgen.runtime.errors import UserError
from smidgen.training import train
from studies.pages import side_by_side
from tests.long_form import long_form

# Of the Perceivers, whose own settings are asked for below.
SMALL_NETWORK = ("num_latents=4", "latent_dim=8", "num_heads=2", "num_layers=1", "batch_size=4")
SMALL = ["demonstrations=3", "validation=2", "steps=3", "episodes=1", "videos=1", "workers=0"]


@pytest.mark.simulator
@pytest.mark.usefixtures("kept_simulators")
@pytest.mark.slow
def test_the_demo_goes_from_nothing_to_a_leaderboard_and_reuses_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for recipe in demo_pairs.PAIRS["recommended"].values():
        small = {**boards.RECIPES[recipe], **dict(setting.split("=") for setting in SMALL_NETWORK)}
        monkeypatch.setitem(boards.RECIPES, recipe, small)
    # Every baseline is evaluated in the fake world, in test_evaluate.py, and here in the long form.
    monkeypatch.setattr(demo, "BASELINES", long_form(demo.BASELINES, ("expert", "time_mean")))
    arguments = [f"out={tmp_path / 'demo'}", *SMALL]
    assert run_command(demo.demo, arguments) == 0
    output = capsys.readouterr().out
    out = tmp_path / "demo"
    records = {path.stem: read_record(path) for path in (out / "results").glob("*.json") if ".host" not in path.name}
    assert set(records) == {f"lift-{name}" for name in (*demo.BASELINES, "perceiver-posted", "perceiver-recommended")}
    assert records["lift-expert"]["success"]["k"] == 1
    assert records["lift-perceiver-recommended"]["collapse"]["cue_slope"] is not None
    assert (out / "leaderboard.html").stat().st_size > 10_000
    assert len(list((out / "results" / "videos").glob("*.mp4"))) == len(records)
    assert "perceiver-recommended" in output
    assert str(out / "leaderboard.html") in output

    # That a finished training does nothing is tested beside it; two processes only to import PyTorch are not needed.
    monkeypatch.setattr(demo, "train_side_by_side", lambda *_: None)
    before = {path: path.read_bytes() for path in (out / "results").glob("*.json")}
    assert run_command(demo.demo, arguments) == 0
    assert {path: path.read_bytes() for path in (out / "results").glob("*.json")} == before

    gif = tmp_path / "pair.gif"
    left, right = sorted((out / "results" / "videos").glob("*.mp4"))[:2]
    pair = [f"left={left}", f"right={right}", f"out={gif}", "left_caption=one", "right_caption=two"]
    assert run_command(side_by_side.side_by_side, pair) == 0
    assert len(iio.imread(gif)) > 10


def test_a_training_that_fails_is_shown_with_its_last_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nowhere = tmp_path / "nowhere"
    with pytest.raises(UserError, match="training raw failed with exit code 2"):
        train_side_by_side({"raw": tmp_path / "raw"}, {"raw": [f"demos={nowhere}"]}, 2)
    assert str(nowhere) in capsys.readouterr().out


def test_the_overview_says_what_will_happen(capsys: pytest.CaptureFixture[str]) -> None:
    text = demo.overview(demo.DemoConfig())
    assert all(word in text for word in ("collect", "train", "evaluate", "rank", "minutes", "outputs/demo"))
    assert "side by side: posted and recommended" in text
    assert "side by side: raw and dft3d" in demo.overview(demo.DemoConfig(pair="transforms"))
    assert run_command(demo.demo, ["--help"]) == 0
    assert "demonstrations=" in capsys.readouterr().out


def test_both_pairs_train_what_they_are_named_after(capsys: pytest.CaptureFixture[str]) -> None:
    settings = {
        name: train.read_config(["demos=a", "out=b", *own])
        for pair in demo_pairs.PAIRS
        for name, own in demo_pairs.runs_of(pair).items()
    }
    assert settings["raw"].policy.network == settings["recommended"].policy.network, (
        "they differ in the start and in acting"
    )
    assert settings["recommended"].policy.look.latent_start == "located"
    assert settings["raw"].policy.network.standardise_after == "centre"
    assert settings["dft3d"].policy.transform == "dft3d"
    posted = settings["posted"].policy.network
    assert (posted.transform, posted.position_encoding) == ("raw", "aliased")
    assert (posted.standardise_before, posted.standardise_after) == ("none", "none")
    assert run_command(demo.demo, ["pair=all"]) == 2
    assert "unknown pair 'all'; valid: " in capsys.readouterr().err


def test_the_last_row_of_a_run_is_read_as_it_grows(tmp_path: Path) -> None:
    metrics = tmp_path / "metrics.jsonl"
    assert side_by_side_training._last_row(metrics) == {}
    metrics.write_text(json.dumps({"step": 1}) + "\n" + json.dumps({"step": 2, "cue_slope": 0.5}) + "\n")
    assert side_by_side_training._last_row(metrics)["step"] == 2
