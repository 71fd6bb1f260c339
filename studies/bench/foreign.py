"""Benchmark of a policy in another process: what the way there and back adds to an observation."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from smidgen.policies.foreign_policy import open_foreign_policy
from studies.bench.config import BenchConfig
from studies.bench.record import Measurement, make_measurement
from studies.bench.timing import call_ms, percentile

SERVER = Path("examples/serve_policy.py")
ACTION = {"names": ["x_m", "y_m", "z_m"], "kinds": ["position"] * 3, "low": [0.0] * 3, "high": [1.0] * 3}


def foreign(config: BenchConfig) -> list[Measurement]:
    """One observation to a started process that computes nothing, and its action back: median and 99th percentile."""
    policy = open_foreign_policy(f"process:{sys.executable} {SERVER}", ACTION, "lift")
    policy.reset(1, 0)
    frames = {"frames": np.zeros((1, 1, config.image_size, config.image_size, 3), dtype=np.uint8)}
    policy.act(frames)
    times_ms = [call_ms(lambda: policy.act(frames)) for _ in range(config.repeats * config.latency_calls)]
    name = "foreign: one observation to another process and back"
    return [
        make_measurement(f"{name}, p{part}", "ms", percentile(times_ms, part), None, goals=(goal, ""))
        for part, goal in ((50, "ours <= 1"), (99, ""))
    ]
