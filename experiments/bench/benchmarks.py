"""The registry of benchmarks."""

from __future__ import annotations

from collections.abc import Callable

from smidgen.experiments.bench.busy import busy_train_step
from smidgen.experiments.bench.compiled import compiled
from smidgen.experiments.bench.config import BenchConfig
from smidgen.experiments.bench.loading import windows
from smidgen.experiments.bench.network import growth, latency, train_memory, train_step, transforms
from smidgen.experiments.bench.record import Row
from smidgen.experiments.bench.simulation import collect_demonstrations, env_cameras, env_step, evaluation

BENCHMARKS: dict[str, Callable[[BenchConfig], list[Row]]] = {
    "train_step": train_step,
    "busy": busy_train_step,
    "train_memory": train_memory,
    "growth": growth,
    "transforms": transforms,
    "latency": latency,
    "compiled": compiled,
    "env_step": env_step,
    "env_cameras": env_cameras,
    "collect": collect_demonstrations,
    "windows": windows,
    "evaluation": evaluation,
}
