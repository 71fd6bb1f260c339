"""A training run on disk: its settings, its metrics, its last resume point, its final checkpoint.

``config.json`` is written first and binds the directory to its settings: a run with other settings is refused, and so
is one on another platform (threads, versions) while there are steps left to train. A resume point is a directory that
is created atomically; only then is the previous one removed. Nothing here is pickled.
"""

from __future__ import annotations

import json
import shutil
import typing
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor
from typing_extensions import TypedDict

from smidgen.evaluation.collapse import CollapseMonitor
from smidgen.policies.learned_policy import LearnedPolicy
from smidgen.policies.registry import stored_kind
from smidgen.runtime.differences import differences
from smidgen.runtime.errors import UserError
from smidgen.runtime.files import (
    LOCK_NAMES,
    TEMPORARY_PREFIX,
    atomic_directory,
    canonical_json,
    directory_lock,
    read_json,
    regular_file_size,
    remove_leftovers,
    sha256_bytes,
    write_atomic,
    write_json_atomic,
)
from smidgen.runtime.schemas import Sha256, check_type, refuse, require_version
from smidgen.training.optimiser import WeightAverage, load_optimiser_tensors

SCHEMA_VERSION = 1
CONFIG_NAME = "config.json"
METRICS_NAME = "metrics.jsonl"
HOST_NAME = "host.json"
RESUME_NAME = "resume"
FINAL_CHECKPOINT = Path("checkpoints") / "final"


class _Hashes(TypedDict):
    model: Sha256
    optimiser: Sha256
    average: typing.NotRequired[Sha256]  # where weights are averaged


class _State(TypedDict):
    schema_version: int
    step: int
    sha256: _Hashes  # of the tensor files
    memory: dict[str, Any]


@dataclass
class ResumePoint:
    """Everything that an exact continuation needs.

    Attributes:
        step: Optimiser steps taken.
        tensors: Named tensors by file name (``model``, ``optimiser``, and ``average`` if weights are averaged).
        memory: The rest of the loop's state, as JSON: metrics so far, losses since the last row, the monitor's state.
    """

    step: int
    tensors: dict[str, dict[str, Tensor]]
    memory: dict[str, Any]


class RunDirectory:
    """The directory of one run, locked by this process while open.

    Args:
        path: The directory.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    @contextmanager
    def open(
        cls, path: Path | str, settings: Mapping[str, Any], platform: Mapping[str, Any], notes: Mapping[str, Any]
    ) -> Iterator[RunDirectory]:
        """Creates a run's directory, or opens an existing one of the same run.

        Args:
            path: The directory.
            settings: Every setting that determines the result, flat.
            platform: What affects its last bits: device, threads, versions.
            notes: Information for the reader, by name: paths of the data, what ``transform=auto`` measured.

        Raises:
            UserError: If the directory holds other files or a run with other settings, or is locked by another process.
        """
        path = Path(path)
        asked = {"schema_version": SCHEMA_VERSION, "settings": dict(settings), "platform": dict(platform)}
        require_free_or_same(path, asked)
        with directory_lock(path):
            for directory in (path, path / RESUME_NAME, path / FINAL_CHECKPOINT.parent):
                remove_leftovers(directory)
            # Checked again: another process may have been quicker between the first check and the lock.
            require_free_or_same(path, asked)
            if not (path / CONFIG_NAME).exists():
                write_json_atomic(path / CONFIG_NAME, {**asked, **notes})
            yield cls(path)

    @property
    def is_finished(self) -> bool:
        """Whether the final checkpoint exists."""
        return (self.path / FINAL_CHECKPOINT).is_dir()

    def write_metrics(self, rows: list[dict[str, Any]]) -> None:
        """Replaces ``metrics.jsonl`` by these rows, dropping later ones from a killed run."""
        write_atomic(self.path / METRICS_NAME, b"".join(_json_line(row) for row in rows))

    def write_host(self, facts: Mapping[str, Any]) -> None:
        """Writes facts that depend on machine and time; never part of a hash."""
        write_json_atomic(self.path / HOST_NAME, facts)

    def save_resume_point(self, point: ResumePoint) -> None:
        """Writes a resume point, then removes earlier ones."""
        target = self.path / RESUME_NAME / _point_name(point.step)
        if target.exists():
            return
        with atomic_directory(target) as temporary:
            hashes = {}
            for name, tensors in point.tensors.items():
                content = save({key: value.detach().cpu().contiguous() for key, value in tensors.items()})
                hashes[name] = sha256_bytes(content)
                (temporary / f"{name}.safetensors").write_bytes(content)
            state = {"schema_version": SCHEMA_VERSION, "step": point.step, "sha256": hashes, "memory": point.memory}
            (temporary / "state.json").write_bytes(canonical_json(state))
        for older in self._resume_points():
            if older != target:
                shutil.rmtree(older)

    def load_resume_point(self) -> ResumePoint | None:
        """The latest resume point, or None if there is none.

        Raises:
            UserError: If it was truncated or altered; the message names the file.
        """
        points = self._resume_points()
        if not points:
            return None
        path = points[-1] / "state.json"
        try:
            state = _read_state(path)
        except UserError as error:
            raise UserError(f"{error}; {_again(path)}") from error
        hashes: Mapping[str, Any] = state["sha256"]
        tensors = {name: _read_tensors(points[-1] / f"{name}.safetensors", sha) for name, sha in hashes.items()}
        return ResumePoint(step=state["step"], tensors=tensors, memory=state["memory"])

    def remove_resume_points(self) -> None:
        """Removes what a finished run no longer needs."""
        shutil.rmtree(self.path / RESUME_NAME, ignore_errors=True)

    def _resume_points(self) -> list[Path]:
        return sorted((self.path / RESUME_NAME).glob("step-*"))


def require_free_or_same(path: Path, asked: Mapping[str, Any]) -> None:
    """Refuses a directory that this run cannot use.

    Args:
        path: The directory; need not exist.
        asked: The content of this run's ``config.json``, without paths.

    Raises:
        UserError: If the directory holds other files, or a different run; the message names the keys.
    """
    if not path.exists():
        return
    if not path.is_dir():
        raise UserError(f"{path} is a file; choose a directory as out=")
    if not (path / CONFIG_NAME).exists():
        names = sorted(entry.name for entry in path.iterdir())
        others = [name for name in names if name not in LOCK_NAMES and not name.startswith(TEMPORARY_PREFIX)]
        if others:
            raise UserError(f"{path} contains {others[0]!r} and is not a training run; choose an empty out=")
        return
    found = read_json(path / CONFIG_NAME)
    check_type(found, dict[str, Any], str(path / CONFIG_NAME))
    require_version(found, (SCHEMA_VERSION,), str(path / CONFIG_NAME), fix="choose another out=")
    is_finished = (path / FINAL_CHECKPOINT).is_dir()
    for part in ("settings",) if is_finished else ("settings", "platform"):
        # Round-tripped through JSON, so that a tuple equals the list that it became.
        there = found.get(part)
        changed = differences(there if isinstance(there, dict) else {}, json.loads(canonical_json(asked[part])))
        kinds = [stored_kind(each) for each in (there if isinstance(there, dict) else {}, asked[part])]
        if part == "settings" and kinds[0] != kinds[1]:
            raise UserError(
                f"{path} holds a run with policy={kinds[0]:.60}, requested policy={kinds[1]}; choose another out= or "
                "delete it"
            )
        if changed:
            values = [f"{each.path} (there {each.there!r:.80}, requested {each.here!r:.80})" for each in changed]
            raise UserError(
                f"{path} holds a run with other {part}: {'; '.join(values)}; choose another out= or delete it"
            )


def _read_tensors(path: Path, sha256: str) -> dict[str, Tensor]:
    try:
        regular_file_size(path)
        content = path.read_bytes()
        if sha256_bytes(content) != sha256:
            raise _damaged(path)
        return load(content)
    except UserError as error:
        raise _damaged(path) from error
    except (OSError, SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
        # PyTorch raises RuntimeError for a shape that does not match.
        raise _damaged(path) from error


def _read_state(path: Path) -> _State:
    state, source = read_json(path), str(path)
    require_version(state, (SCHEMA_VERSION,), source)
    check_type(state, _State, source)
    if path.parent.name != _point_name(state["step"]):
        refuse(source, "step", f"that of {path.parent.name}", state["step"])
    return typing.cast(_State, state)


def _point_name(step: int) -> str:
    return f"step-{step:09d}"


def _damaged(path: Path) -> UserError:
    return UserError(f"{path} is missing, truncated or altered; {_again(path)}")


def _again(path: Path) -> str:
    return f"delete {path.parent.parent} to train from the start"


def _json_line(row: Mapping[str, Any]) -> bytes:
    return (json.dumps(row, sort_keys=True, allow_nan=False) + "\n").encode()


class _Recent(TypedDict):  # of the steps since the last row
    loss: list[float]
    grad_norm: list[float]


class _Memory(TypedDict):
    rows: list[dict[str, Any]]
    recent: _Recent
    monitor: dict[str, Any]


def restore(
    run: Path,
    point: ResumePoint,
    policy: LearnedPolicy,
    optimiser: torch.optim.Optimizer,
    monitor: CollapseMonitor,
    average: WeightAverage | None = None,
) -> tuple[list[dict[str, Any]], dict[str, list[float]]]:
    """Restores a resume point.

    Args:
        run: The run's directory, for the message.
        point: The loaded resume point.
        policy: Receives its weights.
        optimiser: Receives its state; built in the same way as the saved one.
        monitor: Receives its state.
        average: Receives its weights, if weights are averaged.

    Returns:
        The rows so far, and the losses and gradient norms since the last one.

    Raises:
        UserError: If the point does not match.
    """
    try:
        memory: Any = point.memory
        check_type(memory, _Memory, RESUME_NAME, "memory")
        monitor.load_state_dict(memory["monitor"])
        policy.load_state_dict(point.tensors["model"])
        _check_optimiser(optimiser, point.tensors["optimiser"])
        load_optimiser_tensors(optimiser, point.tensors["optimiser"])
        if average is not None:
            average.load(point.tensors["average"])
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RuntimeError, OverflowError) as error:
        reason = " ".join(str(error).split())[:120]
        raise UserError(
            f"{run / RESUME_NAME} does not match this run ({reason}); delete {run} to train from the start"
        ) from error
    return memory["rows"], memory["recent"]


def _check_optimiser(optimiser: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Checks shapes: PyTorch loads a state of any shape, and fails at the next step."""
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    names: dict[str, set[str]] = {}
    for key, value in tensors.items():
        owner, _, name = key.partition(".")
        is_groups = not owner.isdecimal()
        expected = torch.Size([]) if is_groups else parameters[int(owner)].shape
        if value.shape not in (expected, torch.Size([])) or value.is_complex() or (is_groups and name != "step"):
            raise ValueError(f"optimiser: {key!r:.60} of shape {tuple(value.shape)}")
        if not is_groups:
            names.setdefault(owner, set()).add(name)
    if len({frozenset(each) for each in names.values()}) > 1:
        raise ValueError("optimiser: the parameters' states have different entries")
