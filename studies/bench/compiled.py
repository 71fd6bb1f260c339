"""Benchmark of what ``torch.compile`` would save of an observation's latency, and what it would cost."""

from __future__ import annotations

import contextlib
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from smidgen.policies.learned_policy import one_thread
from smidgen.policies.perceiver import Perceiver, PerceiverWeights
from studies.bench.config import BenchConfig
from studies.bench.peers import OURS, TrainingStep
from studies.bench.record import Measurement, make_measurement

INDUCTOR = "inductor"
MAX_DIFFERENCE = 1e-5
# What libraries compute, and a compiler calls as well.
_KERNELS = ("addmm", "mm", "bmm", "baddbmm_", "_scaled_dot_product_flash_attention_for_cpu", "_softmax", "gelu")
_CACHE = "TORCHINDUCTOR_CACHE_DIR"


def compiled(config: BenchConfig, backend: str = INDUCTOR) -> list[Measurement]:
    """One observation on one thread through the compiled network and through the plain one, in turn.

    Args:
        config: Sizes.
        backend: What compiles: ``inductor`` into C++, which needs a compiler.
    """
    name = "compiled: one observation, one thread, p50"
    compiler = os.environ.get("CXX", "g++")
    if backend == INDUCTOR and shutil.which(compiler) is None:
        return [make_measurement(name, "ms", None, peer="our plain network", note=f"{compiler} is not installed")]
    step = TrainingStep(OURS, 1, config.image_size)
    network, frames = step.network.eval(), step.frames
    assert isinstance(network, Perceiver)
    with one_thread(), torch.inference_mode(), _own_cache():
        weights = network.weights()
        compiled_network = torch.compile(_predict, backend=backend, fullgraph=True, dynamic=False)

        def plain() -> Tensor:
            return network(frames, weights=weights)

        def fast() -> Tensor:
            return compiled_network(network, frames, weights)

        # What the network computes once, at its first call, is not compiled.
        expected = plain()
        started = time.perf_counter()
        difference = float((fast() - expected).abs().max())
        compile_s = time.perf_counter() - started
        if difference > MAX_DIFFERENCE:
            raise RuntimeError(f"the compiled network differs from the plain one by {difference:.1e}")
        times_ms = _in_turn({"fast": fast, "plain": plain}, config.repeats * config.latency_calls)
        share = _kernels_share_percent(plain, config.latency_calls)
    return [
        make_measurement(
            name,
            "ms",
            statistics.median(times_ms["fast"]),
            statistics.median(times_ms["plain"]),
            peer="our plain network",
            goals=("", "ratio >= 1.1"),
            note=f"answers differ by at most {difference:.1e}",
        ),
        make_measurement("compiled: compiling, in every process", "s", compile_s),
        make_measurement(
            "compiled: the plain network's products, softmax and GELU", "% of time", share, note="by the profiler"
        ),
    ]


def _predict(network: Perceiver, frames: Tensor, weights: PerceiverWeights) -> Tensor:
    return network(frames, weights=weights)


@contextlib.contextmanager
def _own_cache() -> Iterator[None]:
    """Nothing compiled earlier is loaded, and nothing is left for later."""
    import torch._inductor.config as inductor

    before = os.environ.get(_CACHE)
    with tempfile.TemporaryDirectory() as folder, inductor.patch(compile_threads=1):
        os.environ[_CACHE] = folder
        try:
            yield
        finally:
            del os.environ[_CACHE]
            os.environ |= {} if before is None else {_CACHE: before}
            torch.compiler.reset()


def _in_turn(functions: dict[str, Callable[[], Any]], calls: int) -> dict[str, list[float]]:
    """Milliseconds of every call; the functions take turns call by call."""
    times_ms: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(calls):
        for name, function in functions.items():
            started = time.perf_counter()
            function()
            times_ms[name].append((time.perf_counter() - started) * 1e3)
    return times_ms


def _kernels_share_percent(function: Callable[[], Any], calls: int) -> float:
    """The share of a function's time that is spent inside :data:`_KERNELS`."""
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        started = time.perf_counter()
        for _ in range(calls):
            function()
        wall_us = (time.perf_counter() - started) * 1e6
    averages = profiled.key_averages()
    kernels = sum(entry.self_cpu_time_total for entry in averages if entry.key.removeprefix("aten::") in _KERNELS)
    return 100.0 * kernels / wall_us
