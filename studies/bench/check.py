"""Benchmark of smidgen-check: its time beyond the policy's own, and its memory as the data set grows."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from smidgen.data_collection.array_files import Array
from smidgen.data_collection.episode import Episode
from smidgen.data_collection.formats.reader import EpisodeReader
from smidgen.evaluation.check.answers import ask
from smidgen.evaluation.check.probes import probes
from smidgen.evaluation.check.report import make_report
from smidgen.evaluation.check.subject import Means, Subject
from smidgen.policies.policy_calls import PolicyCalls
from smidgen.runtime.action_spec import ActionSpec
from studies.bench.config import BenchConfig
from studies.bench.record import Measurement, make_measurement

CAMERAS = ["front", "side", "wrist"]
NUM_EPISODES, NUM_STEPS = 25, 40
# How many times longer the set is whose memory is compared.
LONGER = 40
ACTION = ActionSpec(("x_m", "y_m", "z_m"), ("position",) * 3, (-9.0,) * 3, (9.0,) * 3)


class SmallCnn:
    """Two convolutions over all cameras, with chunks; adds up the seconds that it takes."""

    name = "small_cnn"
    observes: tuple[str, ...] = ("frames",)
    num_frames = 1

    def __init__(self) -> None:
        torch.manual_seed(0)
        layers = (nn.Conv2d(3 * len(CAMERAS), 16, 5, stride=2), nn.ReLU(), nn.Conv2d(16, 32, 5, stride=2), nn.ReLU())
        self.network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(512, ACTION.size))
        self.seconds = 0.0

    def reset(self, num_episodes: int = 1, seed: int = 0) -> None:
        """Nothing to start."""

    @torch.inference_mode()
    def chunk(self, observations: dict[str, Any]) -> Array:
        """One action ahead, (B, 1, A)."""
        start_s = time.perf_counter()
        pictures = torch.from_numpy(observations["frames"][:, 0]).permute(0, 1, 4, 2, 3).flatten(1, 2) / 255
        answer = self.network(pictures).numpy()[:, None]
        self.seconds += time.perf_counter() - start_s
        return answer

    def act(self, observations: dict[str, Any]) -> Array:
        """The first of them."""
        return self.chunk({"frames": observations["frames"][:, None]})[:, 0]


def made_reader(num_episodes: int, image_size: int) -> EpisodeReader:
    """A set whose episodes are made when they are read."""

    def actions(place: int) -> Array:
        return np.random.default_rng(place).normal(size=(NUM_STEPS, ACTION.size)).cumsum(axis=0)

    def episode(place: int) -> Episode:
        shape = (NUM_STEPS, len(CAMERAS), image_size, image_size, 3)
        frames = np.random.default_rng(place).integers(0, 256, shape, dtype=np.uint8)
        nothing, never = np.empty((NUM_STEPS, 0)), np.zeros(NUM_STEPS, bool)
        arrays = {"actions": actions(place), "eef_state": nothing, "states": nothing}
        return Episode(
            place, True, False, None, frames, **arrays, phase=np.zeros(NUM_STEPS, np.int16), is_success=never
        )

    def episodes(places: Sequence[int]) -> Iterator[Episode]:
        return (episode(place) for place in places)

    return EpisodeReader(
        path=Path("made"),
        header={"task": "made", "cameras": CAMERAS, "action_spec": ACTION.to_json(), "eef_state_names": []},
        numbers=range(num_episodes),
        actions=lambda: (actions(place) for place in range(num_episodes)),
        episodes=episodes,
        pairs=lambda each: {"step": np.empty(0, np.int64)},
    )


def _whole_check(policy: SmallCnn, reader: EpisodeReader) -> None:
    calls = PolicyCalls(policy)
    num_windows = NUM_EPISODES * NUM_STEPS
    answers = ask(calls, reader, probes(CAMERAS), NUM_EPISODES, num_windows, shows_progress=False)
    make_report(Subject(policy.name, calls, reader, ACTION, Means.of(reader.actions())), answers)


def _peak_bytes(num_episodes: int, image_size: int) -> int:
    tracemalloc.start()
    _whole_check(SmallCnn(), made_reader(num_episodes, image_size))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def check(config: BenchConfig) -> list[Measurement]:
    """A thousand observations of three cameras through every probe; and its memory on a set 40 times as long."""
    torch.set_num_threads(config.threads)
    policy, start_s = SmallCnn(), time.perf_counter()
    _whole_check(policy, made_reader(NUM_EPISODES, config.image_size))
    beyond_s = time.perf_counter() - start_s - policy.seconds
    growth = _peak_bytes(LONGER * NUM_EPISODES, config.image_size) / _peak_bytes(NUM_EPISODES, config.image_size)
    size = f"{len(CAMERAS)} x {config.image_size} x {config.image_size} x 3"
    note = f"the policy itself: {policy.seconds:.1f} s"
    return [
        make_measurement(
            f"check: {NUM_EPISODES * NUM_STEPS} observations of {size}, every probe, beyond the policy's own time",
            "s",
            beyond_s,
            goals=("ours <= 60", ""),
            note=note,
        ),
        make_measurement(
            f"check: peak memory of a set of {LONGER} times the length, over that of one",
            "x",
            growth,
            goals=("ours <= 1.1", ""),
        ),
    ]
