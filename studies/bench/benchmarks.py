"""The registry of benchmarks."""

from __future__ import annotations

from collections.abc import Callable

from studies.bench.busy import busy_train_step, side_by_side
from studies.bench.check import check
from studies.bench.compiled import compiled
from studies.bench.config import BenchConfig
from studies.bench.foreign import foreign
from studies.bench.loading import windows
from studies.bench.network import growth, latency, train_memory, train_step, transforms
from studies.bench.record import Measurement
from studies.bench.simulation import collect_demonstrations, env_cameras, env_step, evaluation

BENCHMARKS: dict[str, Callable[[BenchConfig], list[Measurement]]] = {
    "train_step": train_step,
    "busy": busy_train_step,
    "side_by_side": side_by_side,
    "train_memory": train_memory,
    "growth": growth,
    "transforms": transforms,
    "latency": latency,
    "compiled": compiled,
    "foreign": foreign,
    "check": check,
    "env_step": env_step,
    "env_cameras": env_cameras,
    "collect": collect_demonstrations,
    "windows": windows,
    "evaluation": evaluation,
}
