"""The training loop: sample a batch, predict, compute the loss, step; validate and save at intervals.

Everything that the next step depends on is in the resume point (weights, optimiser, step) or a pure function of the
step (batch, learning rate), so on one machine a resumed run ends with the same weights, bit for bit, as an
uninterrupted one. Of several processes (:mod:`smidgen.training.processes`), the first alone does what is here.
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

from smidgen.evaluation.collapse import CollapseMonitor
from smidgen.policies.checkpoint import save_checkpoint
from smidgen.runtime.errors import UserError
from smidgen.runtime.interrupt import StopSignal, WorkStopped, stop_signal
from smidgen.runtime.places import printable_path, require_outside
from smidgen.runtime.progress import progress
from smidgen.training.config import TrainConfig
from smidgen.training.preparation import (
    prepare,
    reproducible_torch,
    resolve_device,
    running_transform,
)
from smidgen.training.processes import Processes
from smidgen.training.run_directory import FINAL_CHECKPOINT, ResumePoint, RunDirectory
from smidgen.training.stepping import Stepper, follow
from smidgen.training.tensorboard_log import TensorBoardLog

LOG_EVERY = 10


class TrainingStopped(WorkStopped):
    """The process received a stop signal; the run is saved and the same command resumes it."""


def train(config: TrainConfig) -> Path:
    """Trains a policy; resumes an interrupted run; does nothing if the run is finished.

    Under torchrun, every process calls it with the same settings.

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
        Processes.joined(resolve_device(config.device)) as processes,
        processes.quiet(),
        reproducible_torch(config.num_threads),
        stop_signal() as stop,
        _full_disk_named(config.out),
        running_transform(config),
    ):
        stepper = Stepper(prepare(config), processes)
        if processes.is_first:
            _lead(stepper, stop)
        elif not processes.shared(None):
            follow(stepper, stop)
    return Path(config.out) / FINAL_CHECKPOINT


def _lead(stepper: Stepper, stop: StopSignal) -> None:
    """A run in its first process."""
    config, prepared = stepper.config, stepper.prepared
    paths = {"demos": printable_path(config.demos), "validation": printable_path(config.validation)}
    notes = {"paths": paths, **prepared.measured()}
    with RunDirectory.open(config.out, prepared.settings(), prepared.platform, notes) as run:
        if stepper.processes.shared(run.is_finished):
            # Left only if the run was killed between its last two actions.
            run.remove_resume_points()
            print(f"{config.out} is already finished; delete it to train again")
        else:
            Trainer(stepper, run).run(stop)


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
    """One run in progress: its steps, and what is measured, logged and saved between them.

    Args:
        stepper: Takes the steps.
        run: The run's directory; the trainer continues from its resume point, if any.
    """

    def __init__(self, stepper: Stepper, run: RunDirectory) -> None:
        self.stepper, self.run_directory = stepper, run
        self.prepared, self.config, self.policy = stepper.prepared, stepper.config, stepper.policy
        self.monitor = CollapseMonitor()
        self.stepping_s = 0.0
        self.rows: list[dict[str, Any]] = []
        # Values since the last row, for its means.
        self.recent: dict[str, list[float]] = {}
        self._start_or_resume()

    @property
    def step(self) -> int:
        """Steps taken."""
        return self.stepper.step

    def run(self, stop: StopSignal) -> None:
        """Trains to the end.

        Raises:
            TrainingDiverged: If a loss or a gradient is not finite.
            TrainingStopped: After a stop signal; the run is saved first.
        """
        started, first_step, num_steps = time.monotonic(), self.step, self.stepper.num_steps
        coordinates = self.policy.interface.action
        names = [coordinates.names[index] for index in coordinates.measured_indices]
        # The step of a resume point was already logged and is not logged again.
        first_logged = first_step + 1 if self.rows else 0
        log = TensorBoardLog(self.run_directory.path / "tensorboard", names, first_logged)
        label = f"training {self.policy.name}"
        try:
            with progress(num_steps, label, done=self.step) as advance:
                if not self.rows:
                    self._measure(log)
                while self.step < num_steps:
                    if (number := self.stepper.stop_number(stop)) is not None:
                        self._save()
                        raise TrainingStopped(number)
                    loss = self._take_step(log, stop)
                    if self.step % self.config.eval_every == 0 or self.step == num_steps:
                        self._record_training()
                        self._measure(log)
                    if self.step % self.config.save_every == 0 and self.step < num_steps:
                        self._save()
                    advance(1, f"loss {loss:.3f}")
            log.hyperparameters(self.prepared.settings(), self.rows[-1])
        finally:
            log.close()
            self._write_host(time.monotonic() - started, first_step)
        self._finish()

    def _take_step(self, log: TensorBoardLog, stop: StopSignal) -> float:
        """One optimiser step on one batch; returns the loss before it."""
        started = time.monotonic()
        taken = self.stepper.take(stop)
        self.recent["loss"].append(taken.loss)
        self.recent["grad_norm"].append(taken.grad_norm)
        elapsed_s = time.monotonic() - started
        self.stepping_s += elapsed_s
        if self.step % LOG_EVERY == 0:
            values = {"loss": taken.loss, "grad_norm": taken.grad_norm, "learning_rate": taken.lr}
            log.scalars("train", self.step, {**values, "examples_per_s": self.config.batch_size / elapsed_s})
        return taken.loss

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
            self.stepper.require_finite("validation loss", row["loss"])
            self.rows.append(row)
            self.run_directory.write_metrics(self.rows)
            log.validation(row)
            if self.step % self.config.plot_every == 0 or self.step == self.stepper.num_steps:
                predictions = self.prepared.validation.predict_episode(self.policy)
                log.prediction_plot(self.step, self.policy.interface.action.names, predictions)
        self.policy.train()
        print(self.monitor.status, flush=True)

    def _final_weights(self) -> contextlib.AbstractContextManager[None]:
        """Inside its block the policy has the weights that its checkpoint would hold."""
        average = self.stepper.average
        return contextlib.nullcontext() if average is None else average.in_place()

    def _save(self) -> None:
        memory = {"rows": self.rows, "recent": self.recent, "monitor": self.monitor.state_dict()}
        self.run_directory.save_resume_point(ResumePoint(self.step, self.stepper.tensors(), memory))

    def _start_or_resume(self) -> None:
        point = self.run_directory.load_resume_point()
        split, config = self.prepared.split, self.config
        if self.prepared.choice is not None:
            print(self.prepared.choice.table())
        print(
            f"{self.policy.name}: {sum(parameter.numel() for parameter in self.stepper.parameters):,} parameters"
            f"{self.policy.network.size_note}; trains on {len(split.seeds)} episodes "
            f"({len(self.prepared.windows):,} windows), validates on {len(split.validation_seeds)}"
        )
        self.rows, self.recent = self.stepper.begin(point, self.monitor)
        if point is not None:
            self.run_directory.write_metrics(self.rows)
            print(f"resumed at step {self.step} of {config.steps}")

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
            **self._processes_note(),
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
                **self._processes_note(),
                "ended": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
                "wall_s": round(wall_s, 3),
                "first_step": first_step,
                "last_step": self.step,
                "examples_per_s": round(examples / self.stepping_s, 3) if self.stepping_s else None,
            }
        )

    def _processes_note(self) -> dict[str, int]:
        size = self.stepper.processes.size
        return {"num_processes": size} if size > 1 else {}
