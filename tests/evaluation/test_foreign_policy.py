from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from fake_lift import FakeLift

from smidgen.evaluation.config import EvalConfig
from smidgen.evaluation.evaluate import evaluate
from smidgen.evaluation.records import Record, read_record
from smidgen.evaluation.verify import verify
from smidgen.runtime.errors import UserError
from smidgen.runtime.files import sha256_file
from tests.long_form import long_form

EXAMPLE = Path(__file__).parents[2] / "examples" / "serve_policy.py"
# Descends upon a place that depends on the picture, and dies in every episode of an odd seed if it is told to.
ACT = """
    def reset(self, num_episodes, seed):
        self.dies = seed % 2 == 1 and "dies" in sys.argv

    def act(self, frames):
        if self.dies:
            os._exit(1)
        return self.middle + 0.1 * (frames.reshape(len(frames), -1).mean(1, keepdims=True) / 255 - 0.5)
"""
DRY_CALL_SEEDS = "seed % 2 == 1 and seed > 1"


@pytest.fixture
def command(tmp_path: Path) -> str:
    path = tmp_path / "serve.py"
    source = EXAMPLE.read_text().replace(
        'if __name__ == "__main__" and len(sys.argv) == 1', 'if "5555" not in sys.argv'
    )
    path.write_text(
        source.replace("\n\ndef answer", f"\n{ACT.replace('seed % 2 == 1', DRY_CALL_SEEDS)}\n\ndef answer", 1)
    )
    return f"process:{sys.executable} {path}"


def run(policy: str, out: Path, **changes: Any) -> Record:
    values: dict[str, Any] = {"episodes": 4, "workers": 0, "videos": 0, "image_size": 16, "task": "lift", **changes}
    return read_record(evaluate(EvalConfig(policy=policy, out=str(out), **values), FakeLift)[0])


def test_the_record_is_the_same_for_any_number_of_workers(command: str, tmp_path: Path) -> None:
    alone, spread = run(command, tmp_path / "0"), run(command, tmp_path / "2", workers=long_form(2, 1))
    assert alone == spread
    assert alone["policy"]["kind"] == "user"
    script = command.split()[-1]
    assert alone["policy"]["files"] == {script: sha256_file(script)}
    assert alone["errors"]["policy_error"] == 0
    # A record alone starts no command.
    with pytest.raises(UserError, match="whose code would run; read it, then add --policy"):
        verify([str(tmp_path / "0" / "lift-middle.json")])


def test_a_peer_that_dies_is_a_failed_episode_and_the_next_one_runs(command: str, tmp_path: Path) -> None:
    record = run(f"{command} dies", tmp_path / "out", keep_going=True)
    assert [row["label"] == "policy_error" for row in record["episodes"]] == [False, True, False, True]


def test_a_peer_that_dies_stops_the_evaluation_otherwise(command: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="exit code 1"):
        run(f"{command} dies", tmp_path / "out")
