"""The console commands. ``--version`` is handled before any slow import."""

from __future__ import annotations

import importlib
import sys

from smidgen.runtime.command_line import run_command, wants_version
from smidgen.runtime.streams import protect_streams
from smidgen.runtime.waiting_policy import limit_spinning


def collect() -> int:
    """``smidgen-collect``."""
    return _run("smidgen.data_collection.collect")


def data() -> int:
    """``smidgen-data``."""
    return _run("smidgen.data_collection.data")


def train() -> int:
    """``smidgen-train``."""
    return _run("smidgen.training.train")


def evaluate() -> int:
    """``smidgen-eval``."""
    return _run("smidgen.evaluation.evaluate")


def check() -> int:
    """``smidgen-check``."""
    return _run("smidgen.evaluation.check.command")


def leaderboard() -> int:
    """``smidgen-leaderboard``."""
    return _run("smidgen.leaderboard.command")


def suite() -> int:
    """``smidgen-suite``."""
    return _run("smidgen.experiments.suite")


def doctor() -> int:
    """``smidgen-doctor``."""
    return _run("smidgen.envs.doctor")


def _run(module: str) -> int:
    protect_streams()
    if wants_version(sys.argv[1:]):
        return run_command(lambda arguments: None)
    limit_spinning()
    exit_code: int = importlib.import_module(module).main()
    return exit_code
