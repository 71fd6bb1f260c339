"""python small_commands.py collect|train|evaluate|suite FOLDER WORKERS [episode_limit_s=SECONDS]

The four commands in seconds: collect and evaluate with fake simulators, train on a data set of dots, a suite of
two small arms. For tests that kill them, run two at once, or fill their disk.
"""

import importlib.util
import os
import sys
from pathlib import Path

PROGRAM = Path(__file__).resolve()
TESTS = PROGRAM.parent.parent
for place in ("..", "data_collection", "evaluation"):
    sys.path.insert(0, str((TESTS / place).resolve()))

from smidgen.runtime.command_line import run_command  # noqa: E402


def collect(folder: Path, workers: int, limit_s: float = 0.0) -> None:
    from collection_fakes import fake_config, open_fake_collector

    from smidgen.data_collection.collect import collect as run

    run(fake_config(folder, episodes=10, workers=workers, episode_limit_s=limit_s), open_fake_collector)


def train(folder: Path, workers: int, limit_s: float = 0.0) -> None:
    from smidgen.training.config import TrainConfig
    from smidgen.training.loop import TrainingStopped
    from smidgen.training.loop import train as run

    spec = importlib.util.spec_from_file_location("dots", TESTS / "training" / "conftest.py")
    dots = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(dots)
    # A run remembers the path of its data as it was given.
    data = Path("dots")
    if not (data / "manifest.json").exists():
        dots._write_data_set(data)
    settings = {**dots.TINY, "steps": 40, "eval_every": 10, "save_every": 2}
    try:
        run(TrainConfig.from_flat(demos=str(data), out=str(folder), **settings))
    except TrainingStopped as stopped:
        raise SystemExit(128 + stopped.signal_number) from stopped


def evaluate(folder: Path, workers: int, limit_s: float = 0.0) -> None:
    from fake_lift import SlowLift

    from smidgen.evaluation.config import EvalConfig
    from smidgen.evaluation.evaluate import evaluate as run

    settings = {"episodes": 8, "videos": 1, "image_size": 16, "workers": workers, "episode_limit_s": limit_s}
    run(EvalConfig(policy="expert", out=str(folder / "results"), **settings), SlowLift)


def suite(folder: Path, workers: int, limit_s: float = 0.0) -> None:
    from smidgen.experiments.suite import SuiteConfig
    from tests.studies.small_round import SMALL_ROUND

    places = {"out": str(folder / "out"), "scratch": str(folder / "scratch")}
    SMALL_ROUND.run(SuiteConfig("tests.studies.small_round:SMALL_ROUND", workers=workers, **places))


COMMANDS = {"collect": collect, "train": train, "evaluate": evaluate, "suite": suite}


def body(arguments: list[str]) -> None:
    name, folder, workers, *limit = arguments
    COMMANDS[name](Path(folder), int(workers), *(float(each.partition("=")[2]) for each in limit))


if __name__ == "__main__":
    os.environ["FAKE_STEP_SECONDS"] = "0.01"
    sys.exit(run_command(body))
