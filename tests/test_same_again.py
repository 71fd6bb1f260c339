"""Exactly the same again: in any order of finishing, wherever it was stopped, and through the whole chain of commands.

That one command repeats its bytes, for any number of workers and after a kill, stands beside that command's tests.
"""

import hashlib
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from smidgen.data_collection import collect as collect_module
from smidgen.data_collection.collect import collect
from smidgen.data_collection.config import CollectConfig
from smidgen.evaluation import shards
from smidgen.evaluation.config import EvalConfig
from smidgen.evaluation.evaluate import evaluate
from smidgen.training.config import TrainConfig
from smidgen.training.loop import train
from tests.evaluation.fake_lift import FakeLift, open_fake_collector

ROOT = Path(__file__).parents[1]
# Dates, hosts and times lie outside of what is hashed; so do TensorBoard's events and unfinished evaluations' answers.
OUTSIDE = ("host.json", ".lock", "tensorboard", ".shards", "config.json")


def hashes(folder: Path) -> dict[str, str]:
    """Hash of every file that must not depend on when, where, in what order and in how many pieces it was made."""
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    named = {str(path.relative_to(folder)): path for path in paths}
    return {
        name: hashlib.sha256(path.read_bytes()).hexdigest()
        for name, path in named.items()
        if not any(name.endswith(f".{part}") or part in Path(name).parts for part in OUTSIDE)
    }


class Stopped(Exception):
    """Stands for a kill."""


def mapped_in_disorder(seed: int, stop_after: int | None = None) -> Callable[..., Iterator[tuple[Any, Any]]]:
    """`map_on_engine` that takes the items and hands the results back in orders of its own, and may break off."""

    def map_in_disorder(engine, job, items, num_workers, initializer=None, initargs=(), **others):
        chance, items = random.Random(seed), list(items)
        chance.shuffle(items)
        if initializer is not None:
            initializer(*initargs)
        results = [(item, job(item)) for item in items[:stop_after]]
        chance.shuffle(results)
        yield from results
        if stop_after is not None:
            raise Stopped

    return map_in_disorder


def in_any_order(
    run: Callable[[Path], Any], module: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> list[dict[str, str]]:
    """Hashes of a plain run, of one in another order, and of one stopped half-way and taken up in yet another."""
    run(folder / "plain")
    monkeypatch.setattr(module, "map_on_engine", mapped_in_disorder(1))
    run(folder / "shuffled")
    monkeypatch.setattr(module, "map_on_engine", mapped_in_disorder(2, stop_after=2))
    with pytest.raises(Stopped):
        run(folder / "stopped")
    monkeypatch.setattr(module, "map_on_engine", mapped_in_disorder(3))
    run(folder / "stopped")
    return [hashes(folder / name) for name in ("plain", "shuffled", "stopped")]


def test_a_collection_is_the_same_in_any_order_of_finishing(tmp_path, monkeypatch):
    def run(folder: Path) -> None:
        collect(CollectConfig("lift", str(folder), episodes=6, image_size=16, workers=0), open_fake_collector)

    plain, shuffled, stopped = in_any_order(run, collect_module, tmp_path, monkeypatch)
    assert plain == shuffled == stopped
    assert len(plain) > 6


def test_an_evaluation_is_the_same_in_any_order_of_finishing(tmp_path, monkeypatch):
    def run(folder: Path) -> None:
        settings = {"episodes": 5, "image_size": 16, "workers": 0, "videos": 1}
        evaluate(EvalConfig(policy="expert", out=str(folder / "results"), **settings), FakeLift)

    plain, shuffled, stopped = in_any_order(run, shards, tmp_path, monkeypatch)
    assert plain == shuffled == stopped
    assert set(plain) == {"results/lift-expert.json", "results/videos/lift-expert-3000000.mp4"}


CHAIN_IN_A_PROCESS = (
    "import sys; from pathlib import Path; from tests.test_same_again import chain; chain(Path(sys.argv[1]))"
)
TINY = {
    "num_latents": 4,
    "latent_dim": 8,
    "num_heads": 2,
    "num_layers": 1,
    "fit_windows": 20,
    "counterfactual_pairs": 4,
}


def chain(folder: Path) -> None:
    """Demonstrations, a policy that chooses its own input, and its evaluation, in the real simulator."""
    world = {"task": "speck_64", "image_size": 16, "workers": 0}
    for name, split, episodes in (("demos", "demonstrations", 2), ("held-out", "validation", 1)):
        collect(CollectConfig(out=str(folder / name), split=split, episodes=episodes, **world))
    demos, held_out, run = (str(folder / name) for name in ("demos", "held-out", "run"))
    steps = {"steps": 4, "batch_size": 4, "eval_every": 4, "validation_windows": 10, "num_threads": 1}
    train(TrainConfig.from_flat(demos=demos, validation=held_out, out=run, transform="auto", **steps, **TINY))
    measured = {"demos": held_out, "train_demos": demos, "episodes": 1, "videos": 1}
    evaluate(EvalConfig(policy=run, out=str(folder / "results"), **measured, **world))


@pytest.mark.simulator
@pytest.mark.usefixtures("kept_simulators")
def test_the_whole_chain_gives_the_same_bytes_in_another_process_and_place(tmp_path):
    chain(tmp_path / "here")
    other = {"PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo", "LC_ALL": "C", "COLUMNS": "40"}
    command = [sys.executable, "-c", CHAIN_IN_A_PROCESS, str(tmp_path / "elsewhere" / "and deeper")]
    subprocess.run(command, env=os.environ | other, cwd=tmp_path, check=True, capture_output=True)
    here = hashes(tmp_path / "here")
    assert hashes(tmp_path / "elsewhere" / "and deeper") == here
    parts = ("manifest.json", "frames.npy", "model.safetensors", "checkpoint.json", "metrics.jsonl", "results/", ".mp4")
    assert all(any(part in name for name in here) for part in parts), sorted(here)
