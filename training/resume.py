"""A resume point put back into the parts of a run; what does not fit them is refused before anything trains on it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from typing_extensions import TypedDict

from smidgen.evaluation.collapse import CollapseMonitor
from smidgen.policies.learned_policy import LearnedPolicy
from smidgen.runtime.errors import UserError
from smidgen.runtime.schemas import check_type
from smidgen.training.optimiser import load_optimiser_tensors
from smidgen.training.run_directory import RESUME_NAME, ResumePoint


class _Recent(TypedDict):  # of the steps since the last row
    loss: list[float]
    grad_norm: list[float]


class _Memory(TypedDict):
    rows: list[dict[str, Any]]
    recent: _Recent
    monitor: dict[str, Any]


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
        memory: Any = point.memory
        check_type(memory, _Memory, RESUME_NAME, "memory")
        monitor.load_state_dict(memory["monitor"])
        policy.load_state_dict(point.tensors["model"])
        _check_optimiser(optimiser, point.tensors["optimiser"])
        load_optimiser_tensors(optimiser, point.tensors["optimiser"])
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RuntimeError, OverflowError) as error:
        reason = " ".join(str(error).split())[:120]
        raise UserError(
            f"{run / RESUME_NAME} does not fit this run ({reason}); delete {run} to train again from the start"
        ) from error
    return memory["rows"], memory["recent"]


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
