"""A resume point put back into the parts of a run; what does not fit them is refused before anything trains on it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from smidgen.evaluation.collapse import CollapseMonitor
from smidgen.policies.learned_policy import LearnedPolicy
from smidgen.runtime.errors import UserError
from smidgen.runtime.files import canonical_json
from smidgen.training.optimiser import load_optimiser_tensors
from smidgen.training.run_directory import RESUME_NAME, ResumePoint

# What the loop remembers of the steps since its last row.
RECENT = ("loss", "grad_norm")


def restore(
    run: Path, point: ResumePoint, policy: LearnedPolicy, optimiser: torch.optim.Optimizer, monitor: CollapseMonitor
) -> tuple[list[dict[str, Any]], dict[str, list[float]]]:
    """Puts a resume point back.

    Args:
        run: The run's directory, for the message.
        point: As it was loaded.
        policy: Gets its weights.
        optimiser: Gets its state; built in the same way as the one that was saved.
        monitor: Gets its state.

    Returns:
        The rows so far, and the losses and gradient norms since the last one.

    Raises:
        UserError: If the point does not fit.
    """
    try:
        rows, recent = _memory(point.memory)
        monitor.load_state_dict(point.memory["monitor"])
        policy.load_state_dict(point.tensors["model"])
        _check_optimiser(optimiser, point.tensors["optimiser"])
        load_optimiser_tensors(optimiser, point.tensors["optimiser"])
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RuntimeError, OverflowError) as error:
        reason = " ".join(str(error).split())[:120]
        raise UserError(
            f"{run / RESUME_NAME} does not fit this run ({reason}); delete {run} to train again from the start"
        ) from error
    return rows, recent


def _memory(memory: Mapping[str, Any]) -> tuple[list[dict[str, Any]], dict[str, list[float]]]:
    rows, recent = memory["rows"], memory["recent"]
    canonical_json(memory)  # refuses NaN, which no file of ours holds
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError("rows should be a list of objects")
    if set(recent) != set(RECENT) or not all(isinstance(values, list) for values in recent.values()):
        raise ValueError(f"recent should hold the lists {', '.join(RECENT)}")
    if not all(_is_number(value) for values in recent.values() for value in values):
        raise ValueError("recent should hold numbers")
    return rows, recent


def _check_optimiser(optimiser: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """PyTorch loads a state of any shape, and falls over it at the next step."""
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
        raise ValueError("optimiser: one parameter's state lacks what another's has")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < math.inf
