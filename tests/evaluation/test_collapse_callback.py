"""examples/collapse_callback.py: each callback says what is wrong, in loops that call it as theirs do."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from smidgen.evaluation.collapse import CollapseMonitor

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "collapse_callback.py"


@pytest.fixture(scope="module")
def example():
    spec = importlib.util.spec_from_file_location("collapse_callback", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_it_runs_as_its_first_lines_say():
    done = subprocess.run([sys.executable, str(EXAMPLE)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 5
    assert all("blind since step 0" in line for line in lines), "nothing can be learned from noise"
    assert "smidgen-check data=" in lines[-1], "after five warnings in a row, the command that tells more"


def test_lightnings_hook_reads_what_the_module_returned(example, capsys):
    callback, target = example.LightningCallback(), torch.randn(32, 3)
    trainer = SimpleNamespace(global_step=7)
    for batch_idx in range(3):
        outputs = {"prediction": target.mean(dim=0).expand_as(target), "target": target}
        callback.on_validation_batch_end(trainer, None, outputs, None, batch_idx)
    assert capsys.readouterr().out.count("blind since step 7") == 1


class Policy(torch.nn.Module):
    """With the method of LeRobot's policies, which also sets eval()."""

    def predict_action_chunk(self, batch):
        self.eval()
        return 0.9 * batch["action"][:, :4]


def test_lerobots_policy_goes_on_training(example, capsys):
    policy, monitor = Policy(), CollapseMonitor()
    policy.train()
    example.after_lerobot_step(monitor, policy, {"action": torch.randn(16, 6, 2)}, step=3)
    assert policy.training
    assert "step 3: R^2 0.99" in capsys.readouterr().out


def test_the_example_is_short():
    assert len(EXAMPLE.read_text(encoding="utf-8").splitlines()) < 60
