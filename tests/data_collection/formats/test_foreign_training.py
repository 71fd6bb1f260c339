"""Joint positions of a robot that is not here: trained and measured, and no closed loop."""

import json

import numpy as np
import pytest
from foreign_sets import imported, write_foreign_robomimic

from smidgen.evaluation.evaluate import main as evaluate
from smidgen.runtime.command_line import run_command
from smidgen.training import train

SETTINGS = ("steps=4", "eval_every=2", "batch_size=4", "num_frames=1", "transform=raw")
SMALL = ("latent_dim=8", "num_latents=2", "num_heads=1")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("foreign")
    write_foreign_robomimic(folder / "theirs.hdf5", num_demos=4)
    imported(folder / "theirs.hdf5", folder, "control_hz=20")
    assert run_command(train._body, [f"demos={folder / 'store'}", f"out={folder / 'run'}", *SETTINGS, *SMALL]) == 0
    return folder


def test_every_coordinate_is_measured_on_held_out_episodes(trained):
    rows = [json.loads(line) for line in (trained / "run/metrics.jsonl").read_text().splitlines()]
    measured = [row for row in rows if row.get("split") == "validation"][-1]
    assert len(measured["r2"]) == 7
    assert np.isfinite(measured["r2"]).all()
    assert measured["skill_time_mean"] is not None
    assert measured["skill_persistence"] is None
    assert measured["cue_slope"] is None


@pytest.mark.parametrize("policy", ["run/checkpoints/final", "mean_action"])
def test_a_closed_loop_is_refused_with_the_reason(trained, policy, capsys, monkeypatch):
    monkeypatch.chdir(trained)
    assert evaluate([f"policy={policy}", "demos=store", "train_demos=store", "out=record", "workers=0"]) == 2
    error = capsys.readouterr().err
    assert "no environment here executes them" in error
    assert error.count("\n") == 1
