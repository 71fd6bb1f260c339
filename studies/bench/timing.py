"""How times and memory are taken: contestants in turn, medians, and a fresh process for every peak."""

from __future__ import annotations

import gc
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

PROBE = "studies.bench.memory"


def alternate(contestants: Mapping[str, Callable[[], object]], repeats: int, least_s: float) -> dict[str, float]:
    """Times functions in turn, so that a change in the machine's load affects all of them.

    Args:
        contestants: Functions without arguments, by name; each is called twice before its measurements count.
        repeats: Rounds; in each, every function is timed once.
        least_s: A measurement makes as many calls as fill this time, and at least one.

    Returns:
        Median seconds per call, by name.
    """
    calls: dict[str, int] = {}
    for name, function in contestants.items():
        function()
        calls[name] = max(1, math.ceil(least_s / seconds_of(function)))
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(repeats):
        for name, function in contestants.items():
            seconds[name].append(seconds_of(function, calls[name]) / calls[name])
    return {name: statistics.median(values) for name, values in seconds.items()}


def seconds_of(function: Callable[[], object], calls: int = 1) -> float:
    """Wall seconds of some calls, with the collector of garbage held off."""
    gc.collect()
    gc.disable()
    try:
        started = time.perf_counter()
        for _ in range(calls):
            function()
        return time.perf_counter() - started
    finally:
        gc.enable()


def call_ms(function: Callable[[], object]) -> float:
    """Wall milliseconds of one call."""
    started = time.perf_counter()
    function()
    return (time.perf_counter() - started) * 1e3


def percentile(values: Sequence[float], part: int) -> float:
    """The value that so many per cent of the values are below, interpolated."""
    return float(np.percentile(values, part))


def resident_mb(field: str) -> float:
    """Resident memory of this process in megabytes (1e6 bytes): ``VmRSS`` now, or ``VmHWM`` at its peak so far.

    Read from /proc, because ``ru_maxrss`` survives ``exec``: a process starts with its parent's peak there.
    """
    lines = Path("/proc/self/status").read_text().splitlines()
    (kib,) = [line.split()[1] for line in lines if line.startswith(f"{field}:")]
    return int(kib) * 1024 / 1e6


def peak_above_idle_mb(contestant: str, batch_size: int, image_size: int, threads: int) -> float:
    """Peak memory of a contestant's training step above its idle process, measured in a separate process."""
    arguments = [contestant, str(batch_size), str(image_size), str(threads)]
    done = subprocess.run(
        [sys.executable, "-m", PROBE, *arguments], capture_output=True, text=True, check=False, env=dict(os.environ)
    )
    if done.returncode:
        raise RuntimeError(f"the memory probe of {contestant} ended with {done.returncode}: {done.stderr[-2000:]}")
    return float(done.stdout.split()[-1])
