"""The commands that are disturbed, in sizes that take seconds, and what of their output has to be the same bytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from smidgen.runtime.engine import LOCAL, RAY
from smidgen.runtime.files import LOCK_NAMES, sha256_file

# Holds times, dates and names of hosts, or nothing: outside of what is promised.
_OUTSIDE = ("host.json", "costs.csv", *LOCK_NAMES, "tensorboard", "scratch")
_OUTSIDE_SUFFIX = ".host.json"


@dataclass(frozen=True)
class Command:
    """A command that shall survive.

    Attributes:
        arguments: For the Python interpreter, given the folder that all output goes to.
        has_workers: Whether it has worker processes, which can be hit instead of itself.
        patience: Further arguments with a limit in seconds, after which a worker that hangs is replaced; None where
            there is no such limit.
    """

    arguments: Callable[[Path], list[str]]
    has_workers: bool
    patience: Callable[[float], list[str]] | None = None


def _episode_limit(limit_s: float) -> list[str]:
    return [f"episode_limit_s={limit_s:g}"]


def _collect(folder: Path, *settings: str) -> list[str]:
    return ["-m", "smidgen.data_collection.collect", "task=lift", f"out={folder}", *settings]


def _train(inputs: Path, folder: Path) -> list[str]:
    data = [f"demos={inputs / 'demos'}", f"validation={inputs / 'held-out'}", f"out={folder}"]
    network = ["transform=dft3d", "num_latents=4", "latent_dim=8", "num_heads=2", "num_layers=1"]
    course = ["steps=60", "batch_size=4", "eval_every=10", "save_every=5", "plot_every=30", "num_threads=1"]
    measures = ["fit_windows=64", "validation_windows=16", "counterfactual_pairs=4"]
    return ["-m", "smidgen.training.train", *data, *network, *course, *measures]


def _evaluate(inputs: Path, folder: Path) -> list[str]:
    data = [f"demos={inputs / 'held-out'}", f"train_demos={inputs / 'demos'}", "windows=8"]
    size = ["episodes=2", "videos=1", "workers=2"]
    return ["-m", "smidgen.evaluation.evaluate", f"policy={inputs / 'run'}", f"out={folder / 'results'}", *data, *size]


def _suite(folder: Path) -> list[str]:
    places = [f"out={folder / 'out'}", f"scratch={folder / 'scratch'}"]
    return ["-m", "smidgen.experiments.suite", "suite=tests.studies.small_round:SMALL_ROUND", "workers=2", *places]


def smidgen_commands(inputs: Path, engine: str = LOCAL) -> dict[str, Command]:
    """The commands that run for hours in earnest: the four, or those that run on Ray.

    Args:
        inputs: Folder of what :func:`input_arguments` makes.
        engine: On what their jobs run.
    """
    if engine == RAY:
        on_ray = f"engine={RAY}"
        return {
            "collect": Command(lambda folder: _collect(folder, "episodes=6", "workers=2", on_ray), True),
            "evaluate": Command(lambda folder: [*_evaluate(inputs, folder), on_ray], True),
            "suite": Command(lambda folder: [*_suite(folder), on_ray], True),
        }
    return {
        "collect": Command(lambda folder: _collect(folder, "episodes=6", "workers=2"), True, _episode_limit),
        "train": Command(lambda folder: _train(inputs, folder), False),
        "evaluate": Command(lambda folder: _evaluate(inputs, folder), True, _episode_limit),
        "suite": Command(_suite, True),
    }


def input_arguments(inputs: Path) -> list[list[str]]:
    """What makes the data and the checkpoint that the commands need, in order; each does nothing when it is there."""
    return [
        _collect(inputs / "demos", "episodes=4", "workers=1"),
        _collect(inputs / "held-out", "episodes=2", "workers=1", "split=validation"),
        _train(inputs, inputs / "run"),
    ]


def products(folder: Path) -> dict[str, str]:
    """Hash of every file below a folder, by its path in it, and the folders; what lies outside of the promise left out.

    Half-written files that a dead process left count: an undisturbed run has none.
    """
    return {
        str(path.relative_to(folder)): "folder" if path.is_dir() else sha256_file(path) for path in _promised(folder)
    }


def has_output(folder: Path) -> bool:
    """Whether a command has begun to write what is promised."""
    return any(not path.is_dir() for path in _promised(folder))


def _promised(folder: Path) -> list[Path]:
    return [
        path
        for path in sorted(folder.rglob("*"))
        if not set(path.relative_to(folder).parts) & set(_OUTSIDE) and not path.name.endswith(_OUTSIDE_SUFFIX)
    ]


def differences(found: Mapping[str, str], expected: Mapping[str, str]) -> list[str]:
    """Paths that are in one only, or have other bytes."""
    return sorted(path for path in {*found, *expected} if found.get(path) != expected.get(path))
