"""Trainings side by side: one process each, all on one progress bar."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from smidgen.evaluation.collapse.labels import label_of, slope_text, spoken
from smidgen.runtime.errors import UserError
from smidgen.runtime.progress import progress
from smidgen.runtime.workers import single_threaded_environment
from smidgen.training.run_directory import METRICS_NAME

LOG_LINES_SHOWN = 15


def train_side_by_side(runs: Mapping[str, Path], settings: Mapping[str, Sequence[str]], num_steps: int) -> None:
    """Trains every run in a process of its own, and shows them on one bar; each logs into a file beside its directory.

    Args:
        runs: The directory of each run, by the run's name.
        settings: What each run passes to ``smidgen-train``, ``out=`` excepted.
        num_steps: Steps of each run.

    Raises:
        UserError: If a training fails; its last lines are printed first.
    """
    with ExitStack() as stack:
        stack.enter_context(single_threaded_environment())
        processes = {}
        for name, out in runs.items():
            out.parent.mkdir(parents=True, exist_ok=True)
            log = stack.enter_context(open(out.with_suffix(".log"), "w"))
            command = [sys.executable, "-m", "smidgen.training.train", *settings[name], f"out={out}"]
            processes[name] = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
            stack.callback(processes[name].terminate)
        _watch(runs, processes, num_steps)


def _watch(runs: Mapping[str, Path], processes: dict[str, subprocess.Popen[bytes]], num_steps: int) -> None:
    shown = 0
    with progress(num_steps * len(runs), f"training (total steps of {' and '.join(runs)})") as advance:
        while True:
            running = any(process.poll() is None for process in processes.values())
            rows = {name: _last_row(out / METRICS_NAME) for name, out in runs.items()}
            done = sum(int(row.get("step", 0)) for row in rows.values())
            advance(done - shown, "; ".join(headline(name, row) for name, row in rows.items()))
            shown = done
            if not running:
                break
            time.sleep(1.0)
    for name, process in processes.items():
        if process.returncode != 0:
            print("\n".join(runs[name].with_suffix(".log").read_text().splitlines()[-LOG_LINES_SHOWN:]))
            raise UserError(f"training {name} failed with exit code {process.returncode}; its last output is above")


def _last_row(metrics: Path) -> dict[str, Any]:
    """The last row of a run's metrics; empty before its first validation."""
    lines = metrics.read_text().splitlines() if metrics.exists() else []
    return dict(json.loads(lines[-1])) if lines else {}


def headline(name: str, row: dict[str, Any]) -> str:
    """Status of a training run, from the last row of its metrics."""
    slope = row.get("cue_slope")
    return f"{name} starting" if slope is None else f"{name} {spoken(label_of(slope))} (cue slope {slope_text(slope)})"
