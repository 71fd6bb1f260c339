"""The training loop: sample a batch, predict, compute the loss, step; validate and save at intervals.

Everything that the next step depends on is in the resume point (weights, optimiser, step) or a pure function of the
step (batch, learning rate), so on one machine a resumed run ends with the same weights, bit for bit, as an
uninterrupted one.
"""

from __future__ import annotations

import contextlib
import datetime
import errno
import math
import os
import platform
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch.nn.utils import clip_grad_norm_

from smidgen.evaluation.collapse import CollapseMonitor
from smidgen.policies.checkpoint import save_checkpoint
from smidgen.runtime.errors import UserError
from smidgen.runtime.interrupt import StopSignal, WorkStopped, stop_signal
from smidgen.runtime.places import printable_path, require_outside
from smidgen.runtime.progress import progress
from smidgen.training.config import TrainConfig
from smidgen.training.optimiser import (
    SCHEDULES,
    WeightAverage,
    build_optimiser,
    optimiser_tensors,
    set_learning_rate,
)
from smidgen.training.preparation import (
    Preparation,
    prepare,
    reproducible_torch,
    require_fitting_output,
    running_transform,
)
from smidgen.training.run_directory import FINAL_CHECKPOINT, ResumePoint, RunDirectory, restore
from smidgen.training.tensorboard_log import TensorBoardLog
from smidgen.training.windows import EpochSampler

LOG_EVERY = 10


class TrainingDiverged(UserError):
    """A loss or gradient is no longer finite; earlier resume points are unaffected."""


class TrainingStopped(WorkStopped):
    """The process received a stop signal; the run is saved and the same command resumes it."""


def train(config: TrainConfig) -> Path:
    """Trains a policy; resumes an interrupted run; does nothing if the run is finished.

    Returns:
        The final checkpoint's directory.

    Raises:
        UserError: If the data is damaged, the settings are impossible, ``out`` holds another run, or the loss diverges.
        TrainingStopped: After SIGTERM, SIGINT or SIGHUP, once the run is saved.
    """
    require_outside(config.out, itself=False)
    if printable_path(config.out) != config.out:
        raise UserError(f"out={config.out} is not UTF-8, which TensorBoard requires; choose another out=")
    with (
        reproducible_torch(config.num_threads),
        stop_signal() as stop,
        _full_disk_named(config.out),
        running_transform(config),
    ):
        prepared = prepare(config)
        paths = {"demos": printable_path(config.demos), "validation": printable_path(config.validation)}
        notes = {"paths": paths, **prepared.measured()}
        with RunDirectory.open(config.out, prepared.settings(), prepared.platform, notes) as run:
            if run.is_finished:
                # Left only if the run was killed between its last two actions.
                run.remove_resume_points()
                print(f"{config.out} is already finished; delete it to train again")
            else:
                Trainer(prepared, run).run(stop)
    return Path(config.out) / FINAL_CHECKPOINT


@contextlib.contextmanager
def _full_disk_named(out: str) -> Iterator[None]:
    """Names a full disk when TensorBoard hits it, whose thread would only print a traceback."""
    print_traceback = threading.excepthook
    threading.excepthook = lambda thread: None if _is_full_disk(thread.exc_value) else print_traceback(thread)
    try:
        yield
    except OSError as error:
        if not _is_full_disk(error):
            raise
        raise UserError(f"no space left on disk for {out}; free some and run the command again") from error
    finally:
        threading.excepthook = print_traceback


def _is_full_disk(error: BaseException | None) -> bool:
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


class Trainer:
    """One run in progress.

    Args:
        prepared: Data, policy and settings.
        run: Its directory; the trainer continues from its resume point, if any.
    """

    def __init__(self, prepared: Preparation, run: RunDirectory) -> None:
        config = prepared.config
        self.prepared, self.run_directory, self.config = prepared, run, config
        self.policy = prepared.policy
        self.parameters = list(self.policy.network.parameters())
        # A policy without parameters has nothing to optimise, and PyTorch's optimisers refuse an empty list.
        self.num_steps = config.steps if self.parameters else 0
        stepped = self.parameters or [torch.nn.Parameter(torch.zeros(0))]
        self.optimiser = build_optimiser(
            config.optimiser, stepped, lr=config.lr, betas=config.betas, weight_decay=config.weight_decay
        )
        self.sampler = EpochSampler(len(prepared.windows), config.batch_size, config.seed)
        decay = config.recipe.ema_decay
        self.average = WeightAverage(self.parameters, decay) if decay else None
        self.monitor = CollapseMonitor()
        self.step = 0
        self.rows: list[dict[str, Any]] = []
        # Values since the last row, for its means.
        self.recent: dict[str, list[float]] = {"loss": [], "grad_norm": []}
        self.stepping_s = 0.0
        self._start_or_resume()

    def run(self, stop: StopSignal) -> None:
        """Trains to the end.

        Raises:
            TrainingDiverged: If a loss or a gradient is not finite.
            TrainingStopped: After a stop signal; the run is saved first.
        """
        started, first_step = time.monotonic(), self.step
        coordinates = self.policy.interface.action
        names = [coordinates.names[index] for index in coordinates.measured_indices]
        # The step of a resume point was already logged and is not logged again.
        first_logged = first_step + 1 if self.rows else 0
        log = TensorBoardLog(self.run_directory.path / "tensorboard", names, first_logged)
        label = f"training {self.policy.name}"
        try:
            with progress(self.num_steps, label, done=self.step) as advance:
                if not self.rows:
                    self._measure(log)
                while self.step < self.num_steps:
                    if stop.number is not None:
                        self._save()
                        raise TrainingStopped(stop.number)
                    loss = self._take_step(log)
                    if self.step % self.config.eval_every == 0 or self.step == self.num_steps:
                        self._record_training()
                        self._measure(log)
                    if self.step % self.config.save_every == 0 and self.step < self.num_steps:
                        self._save()
                    advance(1, f"loss {loss:.3f}")
            log.hyperparameters(self.prepared.settings(), self.rows[-1])
        finally:
            log.close()
            self._write_host(time.monotonic() - started, first_step)
        self._finish()

    def _take_step(self, log: TensorBoardLog) -> float:
        """One optimiser step on one batch; returns the loss before it."""
        started = time.monotonic()
        indices_B = self.sampler.indices(self.step)
        batch = self.prepared.augmentation.apply(self.prepared.windows.gather(indices_B), self.step)
        device = self.prepared.platform["device"]
        frames_BTHWC = torch.from_numpy(batch.frames_BTHWC).to(device)
        state_BE = torch.from_numpy(batch.eef_state_BE).to(device)
        target_BHF = self.policy.normaliser.encode(torch.from_numpy(batch.targets_BHA).to(device))
        lr = self.config.lr * SCHEDULES[self.config.schedule](self.step, self.config.steps, self.config.warmup_steps)
        set_learning_rate(self.optimiser, lr)

        loss = self.prepared.objective(self.policy(frames_BTHWC, state_BE), target_BHF, indices_B)
        self._require_finite("loss", loss.item())
        self.optimiser.zero_grad()
        loss.backward()
        grad_norm = clip_grad_norm_(self.parameters, self.config.clip_norm or math.inf).item()
        self._require_finite("gradient norm", grad_norm)
        self.optimiser.step()

        self.step += 1
        if self.average is not None:
            self.average.update(self.step)
        self.recent["loss"].append(loss.item())
        self.recent["grad_norm"].append(grad_norm)
        elapsed_s = time.monotonic() - started
        self.stepping_s += elapsed_s
        if self.step % LOG_EVERY == 0:
            values = {"loss": loss.item(), "grad_norm": grad_norm, "learning_rate": lr}
            log.scalars("train", self.step, {**values, "examples_per_s": self.config.batch_size / elapsed_s})
        return loss.item()

    def _record_training(self) -> None:
        """Adds the row of the steps since the last one."""
        losses, norms = self.recent["loss"], self.recent["grad_norm"]
        means = {"loss": math.fsum(losses) / len(losses), "grad_norm": math.fsum(norms) / len(norms)}
        self.rows.append({"split": "train", "step": self.step, **means, "grad_norm_max": max(norms)})
        self.recent = {"loss": [], "grad_norm": []}

    def _measure(self, log: TensorBoardLog) -> None:
        """Validates on the held-out data, reports the status, and writes the metrics."""
        self.policy.eval()
        with self._final_weights():
            row = self.prepared.validation.measure(self.policy, self.monitor, self.step)
            self._require_finite("validation loss", row["loss"])
            self.rows.append(row)
            self.run_directory.write_metrics(self.rows)
            log.validation(row)
            if self.step % self.config.plot_every == 0 or self.step == self.num_steps:
                predictions = self.prepared.validation.predict_episode(self.policy)
                log.prediction_plot(self.step, self.policy.interface.action.names, predictions)
        self.policy.train()
        print(self.monitor.status, flush=True)

    def _final_weights(self) -> contextlib.AbstractContextManager[None]:
        """Inside its block the policy has the weights that its checkpoint would hold."""
        return contextlib.nullcontext() if self.average is None else self.average.in_place()

    def _require_finite(self, what: str, value: float) -> None:
        if not math.isfinite(value):
            raise TrainingDiverged(
                f"{what} is {value} at step {self.step}: training diverged; lower lr (now {self.config.lr}) or set "
                f"clip_norm, with another out=; the resume point in {self.config.out} is intact"
            )

    def _save(self) -> None:
        tensors = {"model": self.policy.state_dict(), "optimiser": optimiser_tensors(self.optimiser)}
        if self.average is not None:
            tensors["average"] = self.average.tensors()
        memory = {"rows": self.rows, "recent": self.recent, "monitor": self.monitor.state_dict()}
        self.run_directory.save_resume_point(ResumePoint(self.step, tensors, memory))

    def _start_or_resume(self) -> None:
        point = self.run_directory.load_resume_point()
        split, config = self.prepared.split, self.config
        if self.prepared.choice is not None:
            print(self.prepared.choice.table())
        print(
            f"{self.policy.name}: {sum(parameter.numel() for parameter in self.parameters):,} parameters"
            f"{self.policy.network.size_note}; trains on {len(split.seeds)} episodes "
            f"({len(self.prepared.windows):,} windows), validates on {len(split.validation_seeds)}"
        )
        if point is None:
            self.prepared.fit()
            self._require_fitting_transform()
            return
        self.step = point.step
        self.rows, self.recent = restore(
            self.run_directory.path, point, self.policy, self.optimiser, self.monitor, self.average
        )
        self.run_directory.write_metrics(self.rows)
        print(f"resumed at step {self.step} of {config.steps}")

    def _require_fitting_transform(self) -> None:
        batch = self.prepared.windows.gather(self.sampler.indices(0)[:2])
        frames_BTHWC = torch.from_numpy(batch.frames_BTHWC).to(self.prepared.platform["device"])
        require_fitting_output(self.config, self.policy, frames_BTHWC)

    def _finish(self) -> None:
        """Writes the final checkpoint, which marks the run as finished."""
        provenance = {
            **self.prepared.split.provenance(),
            "training_config": self.config.settings(),
            "step": self.step,
            "metrics": self.rows[-1],
            "environment": self.prepared.split.store.manifest["environment"],
            **self.prepared.measured(),
            **self.prepared.platform,
        }
        target = self.run_directory.path / FINAL_CHECKPOINT
        with self._final_weights():
            save_checkpoint(target, self.policy, provenance)
        self.run_directory.remove_resume_points()
        print(f"checkpoint: {target}")

    def _write_host(self, wall_s: float, first_step: int) -> None:
        examples = (self.step - first_step) * self.config.batch_size
        self.run_directory.write_host(
            {
                "host": platform.node(),
                "cpu": platform.processor() or platform.machine(),
                "num_cpus": os.cpu_count(),
                "ended": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
                "wall_s": round(wall_s, 3),
                "first_step": first_step,
                "last_step": self.step,
                "examples_per_s": round(examples / self.stepping_s, 3) if self.stepping_s else None,
            }
        )
