"""examples/vla_eval_record.py on results as vla-eval 0.8 writes them; `make interop` runs vla-eval itself."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from smidgen.envs.seeds import SEED_RANGES
from smidgen.envs.tasks import TASKS
from smidgen.evaluation.records import read_record

SCRIPT = Path(__file__).resolve().parents[2] / "examples" / "vla_eval_record.py"
FIRST = SEED_RANGES["test"].start
SPEC = TASKS["speck_64"].action
STILL = [(low + high) / 2 for low, high in zip(SPEC.low, SPEC.high, strict=True)]
PLAYED = {"success": False, "seed": FIRST, "actions": [STILL] * TASKS["speck_64"].horizon}
# Its model server died.
FAILED = {"success": False}


def write(path: Path, *metrics: dict[str, Any]) -> Path:
    episodes = [{"episode_id": number, "metrics": each, "steps": 1} for number, each in enumerate(metrics)]
    path.write_text(
        json.dumps({"benchmark": "SmidgenBenchmark", "tasks": [{"task": "speck_64", "episodes": episodes}]})
    )
    return path


def record(result: Path, *settings: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), str(result), "task=speck_64", f"out={result.parent}/out", *settings]
    variables = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=variables, cwd=result.parent)


@pytest.mark.simulator
@pytest.mark.slow
def test_a_result_becomes_a_record(tmp_path: Path) -> None:
    result = write(tmp_path / "result.json", PLAYED, FAILED)
    done = record(result, "videos=0", "workers=0")
    assert done.returncode == 0, done.stderr[-2000:]
    made = read_record(tmp_path / "out" / "speck_64-vla-eval.json")
    assert [row["seed"] for row in made["episodes"]] == [FIRST, FIRST + 1]
    assert [row["num_steps"] for row in made["episodes"]] == [TASKS["speck_64"].horizon, 0]
    assert made["errors"]["policy_error"] == 1
    assert str(result) in made["policy"]["files"]


@pytest.mark.simulator
@pytest.mark.slow
def test_another_outcome_than_the_results_is_an_error(tmp_path: Path) -> None:
    result = write(tmp_path / "result.json", {**PLAYED, "success": True})
    done = record(result, "videos=0", "workers=0", "name=lucky")
    assert done.returncode == 1
    assert f"error: seeds [{FIRST}] end otherwise" in done.stderr


@pytest.mark.parametrize(
    ("metrics", "message"), [((), "expected episodes 0, 1, ..."), ((FAILED,), "failed before its first step")]
)
def test_a_result_without_episodes_is_an_error(metrics: tuple[dict[str, Any]], message: str, tmp_path: Path) -> None:
    done = record(write(tmp_path / "result.json", *metrics))
    assert done.returncode == 1
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
