"""``python -m studies.scale.efficiency [engines=[local,ray]]``: what two workers make of one's work.

Some equal trainings of a small network, each on one thread, by one worker and by two, from the first job to the last
record; the start of the workers counts. Efficiency is the one worker's time over twice that of two. It needs a machine
with two idle cores, and refuses another; five minutes for each engine.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from smidgen.data_collection.collect import collect
from smidgen.data_collection.config import CollectConfig
from smidgen.runtime.command_line import command_help, compose_config, run_command, wants_help
from smidgen.runtime.engine import ENGINES, EngineSettings, map_on_engine
from smidgen.runtime.errors import UserError, unknown_name
from smidgen.runtime.files import read_json, write_json_atomic
from smidgen.runtime.schemas import from_json, to_json
from smidgen.runtime.settings import PathText
from smidgen.training.config import TrainConfig
from smidgen.training.loop import train
from studies.bench.record import machine
from studies.scale.unit_costs import FOLDER

EFFICIENCY_FILE = "efficiency.json"
USAGE = "python -m studies.scale.efficiency [key=value ...]"
SUMMARY = "Measures what two workers make of one's work on some equal trainings; needs two idle cores."
TRAINING: dict[str, Any] = {"policy": "cnn", "num_threads": 1, "eval_every": 100, "save_every": 100}
BUSY_LOAD = 0.5


@dataclass(frozen=True)
class EfficiencyConfig:
    """What is measured, and where the record goes."""

    engines: tuple[str, ...] = field(default=ENGINES, metadata={"help": "local needs no Ray"})
    jobs: int = field(default=8, metadata={"help": "equal trainings"})
    steps: int = field(default=200, metadata={"help": "of each training"})
    record: PathText = field(default=str(FOLDER / EFFICIENCY_FILE), metadata={"help": "file of the record"})
    busy: bool = field(default=False, metadata={"help": "measure on a busy machine too, for a trial"})

    def __post_init__(self) -> None:
        object.__setattr__(self, "engines", tuple(self.engines))
        for engine in self.engines:
            if engine not in ENGINES:
                raise unknown_name("engine", engine, ENGINES)
        for name in ("jobs", "steps"):
            if getattr(self, name) < 1:
                raise UserError(f"expected {name} of at least 1, got {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True)
class Efficiency:
    """One worker and two on the same jobs.

    Attributes:
        engine: local or ray.
        num_jobs: Equal trainings.
        one_worker_s: Wall time with one worker.
        two_workers_s: Wall time with two.
        load_before: Of the machine, over the last minute.
        machine: Its name.
    """

    engine: str
    num_jobs: int
    one_worker_s: float
    two_workers_s: float
    load_before: float
    machine: str

    @property
    def efficiency(self) -> float:
        """The share of two workers' time that was work."""
        return self.one_worker_s / (2 * self.two_workers_s)


def train_once(item: tuple[str, str, int]) -> str:
    """One job: a training from nothing.

    Args:
        item: Demonstrations, the run's directory, and its steps.
    """
    demos, out, steps = item
    train(TrainConfig.from_flat(**TRAINING, steps=steps, demos=demos, out=out))
    return out


def measure(engine: str, demos: Path, scratch: Path, num_jobs: int, steps: int) -> Efficiency:
    """Runs the jobs by one worker and by two.

    Args:
        engine: local or ray.
        demos: A data set.
        scratch: A folder for the runs.
        num_jobs: Equal trainings.
        steps: Of each.
    """
    load, times_s = os.getloadavg()[0], []
    for num_workers in (1, 2):
        folders = [scratch / f"{engine}-{num_workers}-{number}" for number in range(num_jobs)]
        items = [(str(demos), str(folder), steps) for folder in folders]
        started = time.monotonic()
        for _ in map_on_engine(EngineSettings(engine=engine), train_once, items, num_workers):
            pass
        times_s.append(time.monotonic() - started)
    return Efficiency(
        engine=engine,
        num_jobs=num_jobs,
        one_worker_s=round(times_s[0], 1),
        two_workers_s=round(times_s[1], 1),
        load_before=round(load, 1),
        machine=machine(),
    )


def read_efficiencies(path: Path) -> tuple[Efficiency, ...]:
    """The record; empty if nothing has been measured."""
    return from_json(tuple[Efficiency, ...], read_json(path), str(path)) if path.exists() else ()


def body(arguments: list[str]) -> None:
    """The command.

    Raises:
        UserError: If the machine is busy.
    """
    if wants_help(arguments):
        print(command_help(USAGE, SUMMARY, EfficiencyConfig))
        return
    config = compose_config(EfficiencyConfig, arguments)
    load = os.getloadavg()[0]
    if load > BUSY_LOAD and not config.busy:
        raise UserError(f"the load of this machine is {load:.1f}, expected {BUSY_LOAD} at most; try again later")
    with tempfile.TemporaryDirectory() as folder:
        demos = Path(folder, "demos")
        collect(CollectConfig(task="speck_16", out=str(demos), episodes=20, workers=1))
        found = [measure(engine, demos, Path(folder), config.jobs, config.steps) for engine in config.engines]
    for each in found:
        print(f"{each.engine}: {100 * each.efficiency:.0f} %")
    write_json_atomic(Path(config.record), [to_json(each) for each in found])


if __name__ == "__main__":
    sys.exit(run_command(body))
