from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from training_runs import hashed_files, stop_at

from smidgen.policies.checkpoint import load_checkpoint, read_checkpoint_card
from smidgen.runtime.errors import UserError
from smidgen.runtime.files import sha256_file
from smidgen.runtime.flat_config import flat_values
from smidgen.training.loop import Trainer, TrainingStopped, train
from smidgen.training.stepping import TrainingDiverged

# Runs the command in a process of its own and kills it, past any handler, when it is about to take a given step.
KILL_AT_STEP = """
import os, signal, sys
from smidgen.training.loop import Trainer
from smidgen.training.train import main
take_step = Trainer._take_step
def take_step_or_die(self, *rest):
    if self.step == {step}:
        os.kill(os.getpid(), signal.SIGKILL)
    return take_step(self, *rest)
Trainer._take_step = take_step_or_die
sys.argv = ["smidgen-train", *{arguments!r}]
sys.exit(main())
"""


def curves(run: Path) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard shows of a run, speeds apart."""
    events = EventAccumulator(str(run / "tensorboard"))
    events.Reload()
    names = sorted(set(events.Tags()["scalars"]) - {"train/examples_per_s"})
    return {name: [(event.step, event.value) for event in events.Scalars(name)] for name in names}


def as_arguments(config) -> list[str]:
    pairs = {name: list(value) if isinstance(value, tuple) else value for name, value in flat_values(config).items()}
    spelled = {key: "null" if value is None else str(value).replace(" ", "") for key, value in pairs.items()}
    return [f"{key}={value}" for key, value in spelled.items()]


def test_a_run_leaves_what_it_promises(finished_run, data_set):
    names = {entry.name for entry in finished_run.iterdir()}
    assert names == {".lock", "config.json", "metrics.jsonl", "host.json", "tensorboard", "checkpoints"}
    rows = [json.loads(line) for line in (finished_run / "metrics.jsonl").read_text().splitlines()]
    assert [(row["split"], row["step"]) for row in rows] == [
        ("validation", 0),
        *((split, step) for step in (4, 8, 12) for split in ("train", "validation")),
    ]
    assert len(rows[0]["r2"]) == 3
    assert "examples_per_s" not in (finished_run / "metrics.jsonl").read_text()
    provenance = read_checkpoint_card(finished_run)["provenance"]
    assert provenance["data_set_sha256"] == sha256_file(data_set / "manifest.json")
    assert provenance["data_set_seeds"] == [0, 1, 2, 4, 5, 6]
    assert provenance["step"] == 12
    assert provenance["training_config"]["transform"] == "dft3d"
    assert provenance["versions"]["torch"] == torch.__version__
    assert str(finished_run) not in json.dumps(provenance)
    frames = np.zeros((1, 3, 8, 8, 3), np.uint8)
    assert load_checkpoint(finished_run, expect_task="dot").predict_chunk(frames).shape == (1, 8, 4)


def test_the_same_settings_give_the_same_bytes(finished_run, tmp_path, tiny_config):
    train(tiny_config(tmp_path / "again"))
    assert hashed_files(tmp_path / "again") == hashed_files(finished_run)
    train(tiny_config(tmp_path / "other", seed=1))
    assert hashed_files(tmp_path / "other") != hashed_files(finished_run)


def test_a_run_killed_and_taken_up_again_ends_in_the_same_bytes(finished_run, tmp_path, tiny_config):
    """SIGKILL at step 8: two steps after a resume point, its metrics already written further than that."""
    config = tiny_config(tmp_path / "run")
    code = KILL_AT_STEP.format(step=8, arguments=as_arguments(config))
    killed = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert [entry.name for entry in (tmp_path / "run" / "resume").iterdir()] == ["step-000000006"]
    assert not (tmp_path / "run" / "checkpoints").exists()
    train(config)
    assert hashed_files(tmp_path / "run") == hashed_files(finished_run)
    assert curves(tmp_path / "run") == curves(finished_run)
    assert not (tmp_path / "run" / "resume").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
@pytest.mark.parametrize("step", [0, 5])
def test_a_run_asked_to_stop_saves_and_goes_on(finished_run, tmp_path, tiny_config, monkeypatch, number, step):
    config = tiny_config(tmp_path / "run")
    handlers = [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)]
    with monkeypatch.context() as patch:
        stop_at(patch, step, number)
        with pytest.raises(TrainingStopped) as stopped:
            train(config)
    assert stopped.value.signal_number == number
    assert [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)] == handlers
    assert [entry.name for entry in (tmp_path / "run" / "resume").iterdir()] == [f"step-{step + 1:09d}"]
    train(config)
    assert hashed_files(tmp_path / "run") == hashed_files(finished_run)
    assert curves(tmp_path / "run") == curves(finished_run)


def test_a_run_asked_to_stop_before_its_first_step_goes_on(finished_run, tmp_path, tiny_config, monkeypatch):
    config = tiny_config(tmp_path / "run")
    measure = Trainer._measure

    def measure_and_signal(self, log):
        measure(self, log)
        os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_measure", measure_and_signal)
        with pytest.raises(TrainingStopped):
            train(config)
    assert [entry.name for entry in (tmp_path / "run" / "resume").iterdir()] == ["step-000000000"]
    train(config)
    assert hashed_files(tmp_path / "run") == hashed_files(finished_run)


def test_a_finished_run_is_left_as_it_is(finished_run, tiny_config, capsys):
    before = {
        path: path.stat().st_mtime_ns for path in finished_run.rglob("*") if path.is_file() and path.name != ".lock"
    }
    train(tiny_config(finished_run))
    assert "already finished" in capsys.readouterr().out
    after = {
        path: path.stat().st_mtime_ns for path in finished_run.rglob("*") if path.is_file() and path.name != ".lock"
    }
    assert after == before


def test_other_settings_in_the_same_directory_are_refused(finished_run, tiny_config):
    with pytest.raises(UserError, match=r"lr \(there 0.001, requested 0.01\); steps \(there 12, requested 13\)"):
        train(tiny_config(finished_run, lr=0.01, steps=13))


@pytest.mark.parametrize("file", ["frames.npy", "arrays.npz", "counterfactuals.npz"])
def test_an_altered_data_set_is_refused_before_anything_is_written(tmp_path, tiny_config, write_data_set, file):
    demos = write_data_set(tmp_path / "set", num_episodes=3)
    path = demos / "episodes" / "000000001" / file
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(UserError, match=file.replace(".", r"\.")):
        train(tiny_config(tmp_path / "run", demos=str(demos)))
    assert not (tmp_path / "run").exists()


def poison_at(monkeypatch, step: int) -> None:
    take_step = Trainer._take_step

    def take_poisoned_step(self, *rest):
        if self.step == step:
            with torch.no_grad():
                self.stepper.parameters[0].fill_(torch.nan)
        return take_step(self, *rest)

    monkeypatch.setattr(Trainer, "_take_step", take_poisoned_step)


def test_a_loss_that_is_no_number_ends_the_run_and_spoils_nothing(finished_run, tmp_path, tiny_config, monkeypatch):
    config = tiny_config(tmp_path / "run")
    with monkeypatch.context() as patch:
        poison_at(patch, step=7)
        with pytest.raises(TrainingDiverged, match="loss is nan at step 7") as diverged:
            train(config)
    assert "\n" not in str(diverged.value)
    assert [entry.name for entry in (tmp_path / "run" / "resume").iterdir()] == ["step-000000006"]
    assert not (tmp_path / "run" / "checkpoints").exists()
    train(config)
    assert hashed_files(tmp_path / "run") == hashed_files(finished_run)


def test_a_gradient_that_is_no_number_never_reaches_the_weights(tmp_path, tiny_config, monkeypatch):
    monkeypatch.setattr("smidgen.training.stepping.clip_grad_norm_", lambda *_: torch.tensor(torch.inf))
    with pytest.raises(TrainingDiverged, match="gradient norm is inf at step 0"):
        train(tiny_config(tmp_path / "run"))


def test_a_full_disk_is_one_line_also_where_tensorboard_writes(tmp_path, tiny_config, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("smidgen.training.tensorboard_log.TensorBoardLog.validation", full)
    with pytest.raises(UserError, match="no space left on disk"):
        train(tiny_config(tmp_path / "run"))
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_the_end_effector_state_can_be_seen(tmp_path, tiny_config):
    train(tiny_config(tmp_path / "run", use_eef_state=True, steps=4))
    policy = load_checkpoint(tmp_path / "run")
    assert policy.name == "perceiver-dft3d+eef_state"
    assert policy.eef_deviation_E.min() >= 1e-3


def test_training_learns_the_cue(tmp_path, tiny_config, write_data_set):
    """The dot says where to go: after a few hundred steps the policy follows it, which a blind one cannot."""
    demos = write_data_set(tmp_path / "set", num_episodes=40)
    policy = {"transform": "raw", "num_latents": 8, "latent_dim": 32, "num_frames": 1}
    measured = {"eval_every": 50, "validation_windows": 64, "counterfactual_pairs": 8}
    options = {**policy, **measured, "steps": 400, "batch_size": 16, "lr": 2e-3, "save_every": 400}
    train(tiny_config(tmp_path / "run", demos=str(demos), **options))
    last = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1])
    first = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[0])
    assert abs(first["cue_slope"]) < 0.2
    assert last["cue_slope"] > 0.5
    assert last["escape_step"] is not None
    assert last["skill_time_mean"] > 0.2
