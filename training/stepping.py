"""One optimiser step: a batch, shared among processes and computed in parts, its gradient, and the new weights.

Letters: ``B`` windows of the batch or of a part of it, ``T`` frames, ``H W C`` rows, columns, channels (``H`` before an
``A`` or ``F`` is the horizon), ``A`` action coordinates, ``F`` features, ``E`` end-effector state.
"""

from __future__ import annotations

import contextlib
import math
import signal
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Int
from numpy import ndarray
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import clip_grad_norm_

from smidgen.evaluation.collapse import CollapseMonitor
from smidgen.runtime.errors import UserError
from smidgen.runtime.interrupt import StopSignal
from smidgen.training.config import BFLOAT16, TrainConfig
from smidgen.training.optimiser import (
    SCHEDULES,
    WeightAverage,
    build_optimiser,
    optimiser_tensors,
    set_learning_rate,
)
from smidgen.training.preparation import Preparation, require_fitting_output
from smidgen.training.processes import Processes
from smidgen.training.run_directory import ResumePoint, restore
from smidgen.training.windows import EpochSampler


class TrainingDiverged(UserError):
    """A loss or gradient is no longer finite; earlier resume points are unaffected."""


class Step(NamedTuple):
    """What a step gave; the same in every process."""

    loss: float  # before the step, over the whole batch
    grad_norm: float  # before clipping
    lr: float


class Stepper:
    """Everything that the next step depends on, and the step itself.

    Args:
        prepared: Data, policy and settings.
        processes: Those that train this policy together.

    Attributes:
        step: Steps taken.

    Raises:
        UserError: If the processes' shares of a batch cannot be equal.
    """

    def __init__(self, prepared: Preparation, processes: Processes) -> None:
        config = prepared.config
        self.prepared, self.processes, self.config = prepared, processes, config
        self.policy = prepared.policy
        self.parameters = list(self.policy.network.parameters())
        # A policy without parameters has nothing to optimise, and PyTorch's optimisers refuse an empty list.
        self.num_steps = config.steps if self.parameters else 0
        stepped = self.parameters or [torch.nn.Parameter(torch.zeros(0))]
        self.optimiser = build_optimiser(
            config.optimiser, stepped, lr=config.lr, betas=config.betas, weight_decay=config.weight_decay
        )
        self.average = WeightAverage(self.parameters, decay) if (decay := config.recipe.ema_decay) else None
        self.step = 0
        self._sampler = EpochSampler(len(prepared.windows), config.batch_size, config.seed)
        self._parts = parts_of_batch(config, processes)
        self._model: torch.nn.Module = self.policy
        self._is_stopped = False

    def begin(
        self, point: ResumePoint | None, monitor: CollapseMonitor
    ) -> tuple[list[dict[str, Any]], dict[str, list[float]]]:
        """Before the first step: fits the statistics, or restores the first process's resume point, in every process.

        Args:
            point: The resume point, in the first process; None if there is none, and in the others.
            monitor: Receives its state.

        Returns:
            The metrics so far, and the losses and gradient norms since the last of them.

        Raises:
            UserError: If the point does not match, or a user's transform its declaration.
        """
        point = self.processes.shared(point)
        rows: list[dict[str, Any]] = []
        recent: dict[str, list[float]] = {"loss": [], "grad_norm": []}
        if point is None:
            self.prepared.fit()
            self._require_fitting_transform()
        else:
            run = Path(self.config.out)
            rows, recent = restore(run, point, self.policy, self.optimiser, monitor, self.average)
            self.step = point.step
        self._model = self.processes.averaging_gradients(self.policy)
        return rows, recent

    def tensors(self) -> dict[str, dict[str, Tensor]]:
        """What the next step depends on, besides its number, for a resume point."""
        found = {"model": self.policy.state_dict(), "optimiser": optimiser_tensors(self.optimiser)}
        return found if self.average is None else {**found, "average": self.average.tensors()}

    def stop_number(self, stop: StopSignal) -> int | None:
        """The stop signal that every process has agreed to obey before its next step."""
        if self.processes.size == 1:
            return stop.number
        return (stop.number or signal.SIGTERM) if self._is_stopped else None

    def take(self, stop: StopSignal) -> Step:
        """One step on one batch.

        Args:
            stop: This process's stop signal; the others learn of it.

        Raises:
            TrainingDiverged: If the loss or the gradient is not finite; the weights are as before.
        """
        config = self.config
        lr = config.lr * SCHEDULES[config.schedule](self.step, config.steps, config.warmup_steps)
        set_learning_rate(self.optimiser, lr)
        self.optimiser.zero_grad()
        loss, stopped = self.processes.mean([self._add_gradients(), float(stop.number is not None)])
        self.require_finite("loss", loss)
        grad_norm = clip_grad_norm_(self.parameters, config.clip_norm or math.inf).item()
        self.require_finite("gradient norm", grad_norm)
        self.optimiser.step()
        self.step += 1
        self._is_stopped = stopped > 0
        if self.average is not None:
            self.average.update(self.step)
        return Step(loss, grad_norm, lr)

    def require_finite(self, what: str, value: float) -> None:
        """Refuses NaN and infinity.

        Raises:
            TrainingDiverged: It says what to change.
        """
        if not math.isfinite(value):
            raise TrainingDiverged(
                f"{what} is {value} at step {self.step}: training diverged; lower lr (now {self.config.lr}) or set "
                f"clip_norm, with another out=; the resume point in {self.config.out} is intact"
            )

    def _require_fitting_transform(self) -> None:
        frames_BTHWC = torch.from_numpy(self.prepared.windows.gather(self._sampler.indices(0)[:2]).frames_BTHWC)
        require_fitting_output(self.config, self.policy, frames_BTHWC.to(self.prepared.platform["device"]))

    def _add_gradients(self) -> float:
        """Adds up the gradients of this process's parts of the batch; returns their mean loss."""
        indices_B = self._sampler.indices(self.step)
        self._prefetch(self.step + 1)
        mean_loss = 0.0
        for rows in self._parts:
            with self._averaging_after(is_last=rows is self._parts[-1]):
                loss = self._loss(indices_B, rows) / len(self._parts)
                loss.backward()
            mean_loss += loss.item()
        return mean_loss

    def _prefetch(self, step: int) -> None:
        indices_B = self._sampler.indices(step)
        for rows in self._parts:
            self.prepared.windows.prefetch(indices_B[rows])

    def _averaging_after(self, *, is_last: bool) -> contextlib.AbstractContextManager[None]:
        """Gradients are averaged over the processes once, after the last part."""
        if is_last or not isinstance(self._model, DistributedDataParallel):
            return contextlib.nullcontext()
        return self._model.no_sync()

    def _loss(self, indices_B: Int[ndarray, " B"], rows: slice) -> Tensor:
        prepared, device = self.prepared, self.prepared.platform["device"]
        batch = prepared.augmentation.apply(prepared.windows.gather(indices_B[rows]), self.step, rows, len(indices_B))
        frames_BTHWC = torch.from_numpy(batch.frames_BTHWC).to(device)
        target_BHF = self.policy.normaliser.encode(torch.from_numpy(batch.targets_BHA)).to(device)
        with self._autocast(device):
            predicted_BHF = self._model(frames_BTHWC, torch.from_numpy(batch.eef_state_BE))
        return prepared.objective(predicted_BHF.float(), target_BHF, indices_B[rows])

    def _autocast(self, device: str) -> contextlib.AbstractContextManager[None]:
        if self.config.precision == BFLOAT16:
            return torch.autocast(device, torch.bfloat16)
        return contextlib.nullcontext()


def parts_of_batch(config: TrainConfig, processes: Processes) -> list[slice]:
    """Which windows of each batch a process computes, one part after another; all parts of all processes are equal.

    Raises:
        UserError: If the batch cannot be split like that.
    """
    count, rest = divmod(config.batch_size, processes.size * config.micro_batches)
    if rest:
        raise UserError(
            f"batch_size={config.batch_size} cannot be split evenly among {processes.size} processes with "
            f"micro_batches={config.micro_batches}; expected a multiple of {processes.size * config.micro_batches}"
        )
    first = processes.rank * config.micro_batches
    return [slice(part * count, (part + 1) * count) for part in range(first, first + config.micro_batches)]


def follow(stepper: Stepper, stop: StopSignal) -> None:
    """A run in a process that is not the first.

    Raises:
        TrainingDiverged: As in every process.
    """
    stepper.begin(None, CollapseMonitor())
    while stepper.step < stepper.num_steps and stepper.stop_number(stop) is None:
        stepper.take(stop)
