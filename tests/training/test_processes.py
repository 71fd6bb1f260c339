"""Several processes train one policy as one process does: torchrun starts them on this machine."""

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from training_runs import IMAGE_SIZE, TINY, stop_at

from smidgen.policies.checkpoint import load_checkpoint
from smidgen.policies.registry import TRAINED
from smidgen.runtime.errors import UserError
from smidgen.runtime.files import read_json
from smidgen.training.config import TrainConfig
from smidgen.training.loop import TrainingStopped, train
from smidgen.training.preparation import prepare, resolve_device
from smidgen.training.processes import Processes
from smidgen.training.stepping import parts_of_batch

# Two processes, and the settings that they share with this one.
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
STEPS = {"steps": 100, "batch_size": 8, "eval_every": 50, "save_every": 10, "lr": 1e-3}


def start(demos: Path, out: Path, **changes: Any) -> subprocess.Popen[str]:
    keys = {"demos": demos, "out": out, **TINY, **STEPS, **changes}
    arguments = [*TORCHRUN, "-m", "smidgen.training.train", *(f"{name}={value}" for name, value in keys.items())]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def predictions(run: Path) -> np.ndarray:
    """What a finished policy predicts for some frames, in units of the action."""
    frames = np.random.default_rng(0).integers(0, 256, (20, 3, IMAGE_SIZE, IMAGE_SIZE, 3), dtype=np.uint8)
    return load_checkpoint(run).predict_chunk(frames)


def losses(run: Path) -> np.ndarray:
    return np.array([json.loads(line)["loss"] for line in (run / "metrics.jsonl").read_text().splitlines()])


def assert_same_training(run: Path, other: Path) -> None:
    """The weights themselves differ where they have no influence: a key's bias has no gradient but rounding."""
    np.testing.assert_allclose(predictions(run), predictions(other), rtol=0, atol=1e-5)
    np.testing.assert_allclose(losses(run), losses(other), rtol=1e-5)


@pytest.fixture(scope="module")
def straight(tmp_path_factory, tiny_config):
    out = tmp_path_factory.mktemp("straight") / "run"
    train(tiny_config(out, **STEPS))
    return out


def test_two_processes_finish_what_one_began_as_one_would_have(straight, data_set, tmp_path, tiny_config, monkeypatch):
    config = tiny_config(tmp_path / "run", **STEPS)
    with monkeypatch.context() as patch:
        stop_at(patch, 15, signal.SIGTERM)
        with pytest.raises(TrainingStopped):
            train(config)
    process = start(data_set, tmp_path / "run")
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    assert output.count("resumed at step 16 of 100") == 1
    assert output.count("checkpoint: ") == 1
    assert_same_training(tmp_path / "run", straight)
    assert read_json(tmp_path / "run" / "host.json")["num_processes"] == 2


def test_a_batch_in_parts_trains_as_the_whole(straight, tmp_path, tiny_config):
    train(tiny_config(tmp_path / "run", **STEPS, micro_batches=4))
    assert_same_training(tmp_path / "run", straight)


def test_two_processes_stop_together_and_one_resumes(straight, data_set, tmp_path, tiny_config):
    lines = []
    with start(data_set, tmp_path / "run", micro_batches=2) as process:
        for line in process.stdout:
            lines.append(line)
            if line.startswith("step 50"):
                process.send_signal(signal.SIGTERM)
    assert process.returncode != 0
    (point,) = (tmp_path / "run" / "resume").iterdir()
    assert 50 <= int(point.name.removeprefix("step-")) < 100, lines
    train(tiny_config(tmp_path / "run", **STEPS, micro_batches=2))
    assert_same_training(tmp_path / "run", straight)


@pytest.mark.parametrize("kind", sorted(TRAINED))
def test_every_kind_of_policy_trains_in_mixed_precision(kind, tmp_path, data_set):
    small = {"num_latents": 4, "latent_dim": 8, "num_heads": 2, "num_layers": 1} if "perceiver" in kind else {}
    config = TrainConfig.from_flat(
        policy=kind,
        demos=str(data_set),
        out=str(tmp_path / "run"),
        steps=3,
        batch_size=4,
        num_frames=2,
        precision="bfloat16",
        **small,
    )
    train(config)
    assert np.isfinite(losses(tmp_path / "run")).all()
    policy = load_checkpoint(tmp_path / "run")
    assert {each.dtype for each in policy.network.parameters()} <= {torch.float32}


def test_what_one_process_refuses_ends_them_all(data_set, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes.txt").write_text("mine")
    output, _ = start(data_set, tmp_path / "run").communicate(timeout=120)
    assert "contains 'notes.txt' and is not a training run; choose an empty out=" in output


@pytest.mark.parametrize("rank", [0, 1])
def test_shares_of_a_batch_are_equal_and_cover_it(rank, tiny_config, tmp_path):
    config = tiny_config(tmp_path / "run", batch_size=12, micro_batches=3)
    parts = parts_of_batch(config, Processes(rank, size=2))
    assert [list(range(12))[part] for part in parts] == [[6 * rank + 2 * k, 6 * rank + 2 * k + 1] for k in range(3)]
    with pytest.raises(UserError, match=r"batch_size=12 cannot be split evenly among 5 processes .* multiple of 15"):
        parts_of_batch(config, Processes(rank, size=5))


@pytest.mark.parametrize(("there", "chosen"), [(["cuda", "mps"], "cuda"), (["mps"], "mps"), ([], "cpu")])
def test_auto_finds_the_device(there, chosen, monkeypatch):
    for name in ("cuda", "mps"):
        monkeypatch.setattr(getattr(torch, name), "is_available", lambda name=name: name in there)
    assert resolve_device("auto") == chosen
    assert resolve_device("cpu") == "cpu"
    for name in {"cuda", "mps"} - set(there):
        with pytest.raises(UserError, match=f"device={name}, but PyTorch sees no such device"):
            resolve_device(name)


def test_processes_that_have_no_device_of_their_own_are_refused(monkeypatch):
    for name, value in {"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "2", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    for device, words in {"mps": "cannot share one GPU", "cuda": "this machine has 1 GPUs"}.items():
        with pytest.raises(UserError, match=words), Processes.joined(device):
            pass


class NoFloat64(TorchDispatchMode):
    """Stands in for a device without 64-bit floating point: refuses every such operation of a network."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        assert not isinstance(result, torch.Tensor) or result.dtype not in (torch.float64, torch.complex128), func
        return result


@pytest.mark.parametrize("kind", sorted(TRAINED))
def test_networks_compute_without_float64(kind, tmp_path, data_set):
    small = {"num_latents": 4, "latent_dim": 8, "num_heads": 2, "num_layers": 1} if "perceiver" in kind else {}
    keys = {"num_frames": 2, "use_eef_state": kind != "nearest", **small}
    policy = prepare(TrainConfig.from_flat(policy=kind, demos=str(data_set), out=str(tmp_path), **keys)).policy
    frames_BTHWC = torch.zeros(2, 2, IMAGE_SIZE, IMAGE_SIZE, 3, dtype=torch.uint8)
    state_BE = torch.zeros(2, 4) if policy.config.use_eef_state else None
    # The first time, the CPU computes constants such as the positions' features.
    policy.network(frames_BTHWC, state_BE)
    with NoFloat64():
        features_BHF = policy.network(frames_BTHWC, state_BE)
        if features_BHF.requires_grad:
            features_BHF.sum().backward()
