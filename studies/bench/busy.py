"""Benchmarks of a training step beside busy processes, by how its threads wait, and of two trainings at once."""

from __future__ import annotations

import contextlib
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from smidgen.runtime.waiting_policy import NUM_SPINS, USERS_CHOICE, WAITING
from studies.bench.config import BenchConfig
from studies.bench.record import Measurement, make_measurement

PROBE = "studies.bench.step"
# Ends with its parent process, however that ends.
_BUSY_LOOP = "import os\nparent = os.getppid()\nwhile os.getppid() == parent: sum(range(100_000))"

# Prints the seconds of a product of matrices of 64 kB, three of which fit a core's caches.
_CACHED_LOOP = """
import time
import torch

torch.set_num_threads(1)
left, right, out = torch.randn(3, 128, 128)
count, started = 0, time.monotonic()
while time.monotonic() - started < 3:
    for _ in range(1000):
        torch.mm(left, right, out=out)
    count += 1000
print((time.monotonic() - started) / count)
"""


@dataclass(frozen=True)
class Waiting:
    """How a step's threads wait.

    Attributes:
        words: The label in a row.
        variables: The environment variables that set it.
        threads: PyTorch's threads; None for the configuration's.
    """

    words: str
    variables: Mapping[str, str]
    threads: int | None = None


# libgomp's default.
UNSET = Waiting("300,000 spins (unset)", {"GOMP_SPINCOUNT": "300000"})
OURS = Waiting(f"{NUM_SPINS:,} spins (ours)", WAITING)
ALONE = Waiting("alone", {"OMP_WAIT_POLICY": "passive"}, threads=1)
WAITINGS = (
    UNSET,
    Waiting("active", {"OMP_WAIT_POLICY": "active"}),
    Waiting("passive", {"OMP_WAIT_POLICY": "passive"}),
    Waiting("1,000 spins", {"GOMP_SPINCOUNT": "1000"}),
    OURS,
    ALONE,
)
GOALS = {"idle": "ours <= 1.1", "busy": "ours <= 3"}


def busy_train_step(config: BenchConfig) -> list[Measurement]:
    """A training step on an idle machine and beside one busy process per core, in turn, each in a fresh process.

    Every row but the first is a multiple of the first: the step on an idle machine as it was before smidgen set how
    threads wait.
    """
    seconds: dict[tuple[str, str], list[float]] = {}
    for _ in range(config.repeats):
        for machine in GOALS:
            with busy_cores() if machine == "busy" else contextlib.nullcontext():
                for waiting in WAITINGS:
                    seconds.setdefault((waiting.words, machine), []).append(step_seconds(config, waiting))
    medians = {key: statistics.median(values) for key, values in seconds.items()}
    base = medians[UNSET.words, "idle"]
    rows = [
        make_measurement(
            f"busy: {_name(config, UNSET)}, idle", "ms", base * 1e3, note="the rows below are multiples of it"
        )
    ]
    for waiting in WAITINGS:
        for machine, goal in GOALS.items():
            if (waiting, machine) != (UNSET, "idle"):
                goals = (goal, "") if waiting is OURS else ("", "")
                name = f"busy: {_name(config, waiting)}, {machine}"
                rows.append(make_measurement(name, "x time", medians[waiting.words, machine] / base, goals=goals))
    return rows


def side_by_side(config: BenchConfig) -> list[Measurement]:
    """Examples per second of two one-thread trainings at once, over those of one training on two threads.

    Two rows explain the first: what a second training adds beside one, and what a second process adds whose work never
    leaves the caches of its core. If the last is near 2, the cores are whole ones, and trainings share memory.
    """
    rounds = []
    for _ in range(config.repeats):
        together_s = steps_seconds([_started(config, ALONE), _started(config, ALONE)])
        (on_all_s,) = steps_seconds([_started(config, OURS)])
        (alone_s,) = steps_seconds([_started(config, ALONE)])
        cached_together_s = steps_seconds([_started_in_cache(), _started_in_cache()])
        (cached_s,) = steps_seconds([_started_in_cache()])
        rounds.append(
            (
                sum(on_all_s / step_s for step_s in together_s),
                sum(alone_s / step_s for step_s in together_s),
                sum(cached_s / each_s for each_s in cached_together_s),
            )
        )
    ratios = [statistics.median(each) for each in zip(*rounds, strict=True)]
    names = (
        f"two one-thread trainings over one on {config.threads} threads",
        "two one-thread trainings over one of them",
        "two processes of matrix products in the caches over one",
    )
    notes = ("examples per second, each step in a fresh process", "the same", "products per second: 128 x 128, float32")
    goals = (("ours >= 1.7", ""), ("", ""), ("", ""))
    return [
        make_measurement(f"side_by_side: {name}", "x", ratio, goals=goal, note=note)
        for name, ratio, goal, note in zip(names, ratios, goals, notes, strict=True)
    ]


def _started_in_cache() -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", _CACHED_LOOP],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **ALONE.variables},
    )


def _name(config: BenchConfig, waiting: Waiting) -> str:
    threads = waiting.threads or config.threads
    return "1 thread" if threads == 1 else f"{threads} threads, {waiting.words}"


def step_seconds(config: BenchConfig, waiting: Waiting) -> float:
    """Seconds of a training step in a fresh process whose threads wait as given."""
    (seconds,) = steps_seconds([_started(config, waiting)])
    return seconds


def _started(config: BenchConfig, waiting: Waiting) -> subprocess.Popen[str]:
    sizes = (config.batch_size, config.image_size, waiting.threads or config.threads, config.least_s)
    inherited = {name: value for name, value in os.environ.items() if name not in USERS_CHOICE}
    return subprocess.Popen(
        [sys.executable, "-m", PROBE, *map(str, sizes)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**inherited, **waiting.variables},
    )


def steps_seconds(probes: list[subprocess.Popen[str]]) -> list[float]:
    """Seconds of a training step in each of some processes that have been started.

    Raises:
        RuntimeError: If one of them fails.
    """
    seconds = []
    for probe in probes:
        output, errors = probe.communicate()
        if probe.returncode:
            raise RuntimeError(f"the probe of a training step ended with {probe.returncode}: {errors[-2000:]}")
        seconds.append(float(output.split()[-1]))
    return seconds


@contextlib.contextmanager
def busy_cores() -> Iterator[list[subprocess.Popen[bytes]]]:
    """One process per core that this process may use, each at work until the block ends."""
    with contextlib.ExitStack() as stack:
        processes = []
        for _ in os.sched_getaffinity(0):
            process = stack.enter_context(subprocess.Popen([sys.executable, "-S", "-c", _BUSY_LOOP]))
            stack.callback(process.kill)
            processes.append(process)
        yield processes
