"""Benchmark of the data path: random training windows per second from disk, against robomimic's SequenceDataset.

It reads in its own Python, which ``make interop`` builds; without that, our own loop over HDF5 stands in for it.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import statistics
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, RandomSampler

from smidgen.data_collection.store import EpisodeStore
from smidgen.policies.learned_policy import one_thread
from smidgen.runtime.errors import UserError
from smidgen.training.windows import EpochSampler, Windows
from studies.bench.config import BenchConfig
from studies.bench.network import with_threads
from studies.bench.peers import HORIZON, NUM_FRAMES, OURS, TrainingStep, absent, has_peer, import_peer
from studies.bench.record import Measurement, make_measurement
from studies.bench.simulation import demonstrations
from studies.bench.timing import alternate, seconds_of

STAND_IN = "HDF5 as robomimic's SequenceDataset reads it"
MISSING = 'robomimic is not in {python}; make interop ARGS="libraries=[robomimic]" builds it'
SCRIPT = Path(__file__).with_name("sequence_dataset.py")
Reader = Callable[[], object]


def windows(config: BenchConfig) -> list[Measurement]:
    """Random training windows per second, page cache warm and cold, and how much of its time a training step waits."""
    store = EpisodeStore.open(demonstrations(config))
    # As in a DataLoader's worker: on a busy machine, waiting threads would dominate the measurement.
    with one_thread():
        rows = _reading_rows(config, store)
    return [*rows, *_waiting_rows(config, store)]


def _reading_rows(config: BenchConfig, store: EpisodeStore) -> list[Measurement]:
    openers: dict[str, Callable[[], Reader]] = {OURS: lambda: _our_reader(config, store)}
    paths = {OURS: sorted(store.directory.rglob("*.np[yz]"))}
    peer, note = STAND_IN, absent("h5py")
    with contextlib.ExitStack() as stack:
        if has_peer("h5py"):
            hdf5 = write_hdf5(store, store.directory.with_suffix(".hdf5"))
            paths["peer"], openers["peer"] = [hdf5], lambda: _stand_in_reader(config, hdf5)
            note = MISSING.format(python=config.robomimic)
            if Path(config.robomimic).exists():
                robomimic = stack.enter_context(SequenceDatasetProcess(config, hdf5, store.manifest["cameras"]))
                openers["peer"], peer, note = robomimic.open, f"robomimic {robomimic.version}'s SequenceDataset", ""
        seconds = {cache: _seconds_per_batch(config, openers, paths, cache == "cold") for cache in ("warm", "cold")}
    return [_reading_row(config, cache, found, peer, note) for cache, found in seconds.items()]


def _reading_row(config: BenchConfig, cache: str, seconds: dict[str, float], peer: str, note: str) -> Measurement:
    ours, theirs = (config.batch_size / seconds[name] if name in seconds else None for name in (OURS, "peer"))
    name, goals = f"windows: random training windows, {cache} page cache", ("ratio >= 5", "ratio >= 10")
    return make_measurement(name, "/s", ours, theirs, peer=peer, more_is_better=True, goals=goals, note=note)


class SequenceDatasetProcess:
    """robomimic's SequenceDataset in its own Python, which reads a batch whenever it is told to.

    Args:
        config: Names the Python.
        path: The HDF5 file.
        cameras: The cameras in it.
    """

    def __init__(self, config: BenchConfig, path: Path, cameras: list[str]) -> None:
        numbers = [str(number) for number in (NUM_FRAMES, HORIZON, config.batch_size)]
        command = [config.robomimic, str(SCRIPT), str(path), *numbers, *[f"{camera}_image" for camera in cameras]]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True)
        self._command = shlex.join(command)
        self.version = self._answer()

    def _answer(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline().strip()
        if not line:
            self._process.communicate()
            raise UserError(f"robomimic's process ended; it says why here: echo open | {self._command}")
        return line

    def _ask(self, what: str) -> None:
        assert self._process.stdin is not None
        print(what, file=self._process.stdin, flush=True)
        self._answer()

    def open(self) -> Reader:
        """Opens the file anew; the reader fetches one batch a call."""
        self._ask("open")
        return lambda: self._ask("next")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.returncode is None:
            self._process.communicate()


def _seconds_per_batch(
    config: BenchConfig, openers: dict[str, Callable[[], Reader]], paths: dict[str, list[Path]], is_cold: bool
) -> dict[str, float]:
    seconds: dict[str, list[float]] = {name: [] for name in openers}
    for _ in range(config.repeats):
        for name, opener in openers.items():
            reader = opener()
            if is_cold:
                forget(paths[name])
            else:
                seconds_of(reader, config.batches)
            seconds[name].append(seconds_of(reader, config.batches) / config.batches)
            del reader
    return {name: statistics.median(values) for name, values in seconds.items()}


def forget(paths: list[Path]) -> None:
    """Asks the kernel to drop files from its page cache; pages that are mapped or not yet written would stay."""
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)


def _our_reader(config: BenchConfig, store: EpisodeStore) -> Reader:
    data = Windows(store, store.training_seeds, NUM_FRAMES, HORIZON)
    sampler, steps = EpochSampler(len(data), config.batch_size, seed=0), iter(range(1 << 30))

    def read() -> None:
        batch = data.gather(sampler.indices(next(steps)))
        torch.from_numpy(batch.frames_BTHWC), torch.from_numpy(batch.targets_BHA)

    return read


@with_threads
def _waiting_rows(config: BenchConfig, store: EpisodeStore) -> list[Measurement]:
    step = TrainingStep(OURS, config.batch_size, config.image_size)
    seconds = alternate({"read": _our_reader(config, store), "step": step}, config.repeats, config.least_s)
    share_percent = 100.0 * seconds["read"] / (seconds["read"] + seconds["step"])
    name = "windows: share of its time that a training step waits for data, warm"
    note = "read in line, as the training loop does"
    return [make_measurement(name, "%", share_percent, goals=("", "ours <= 2"), note=note)]


def write_hdf5(store: EpisodeStore, path: Path) -> Path:
    """Writes a store's successful episodes as robomimic lays them out: ``data/demo_i/{actions, obs/...}``."""
    with import_peer("h5py").File(path, "w") as file:
        for index, seed in enumerate(store.training_seeds):
            episode = store.episode(seed)
            group = file.create_group(f"data/demo_{index}")
            group.attrs["num_samples"] = episode.num_steps
            group.create_dataset("actions", data=episode.actions)
            for camera, name in enumerate(store.manifest["cameras"]):
                group.create_dataset(f"obs/{name}_image", data=episode.frames[:, camera])
    return path


class SequenceFile(Dataset[dict[str, np.ndarray]]):
    """One window per control step out of an HDF5 file, by one slice per key, padded at an episode's ends.

    What robomimic's ``SequenceDataset`` does with ``hdf5_cache_mode=None``, ``frame_stack`` and ``seq_length``; its
    further keys (next observations, goals, masks) are left out, which favours it.
    """

    def __init__(self, path: Path, frame_stack: int, seq_length: int) -> None:
        self._file = import_peer("h5py").File(path, "r", swmr=True, libver="latest")
        self._frame_stack, self._seq_length = frame_stack, seq_length
        self._demos = [self._file[f"data/demo_{index}"] for index in range(len(self._file["data"]))]
        lengths = [int(demo.attrs["num_samples"]) for demo in self._demos]
        self._places = [(demo, step) for demo, length in enumerate(lengths) for step in range(length)]
        self._lengths = lengths

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        demo, step = self._places[index]
        names = [f"obs/{name}" for name in self._demos[demo]["obs"]]
        item = {name: self._sequence(demo, name, step - self._frame_stack + 1, step + 1) for name in names}
        item["actions"] = self._sequence(demo, "actions", step, step + self._seq_length)
        return item

    def _sequence(self, demo: int, key: str, begin: int, end: int) -> np.ndarray:
        length = self._lengths[demo]
        inside: np.ndarray = self._demos[demo][key][max(begin, 0) : min(end, length)]
        padding = [(max(-begin, 0), max(end - length, 0))] + [(0, 0)] * (inside.ndim - 1)
        return np.pad(inside, padding, mode="edge")


def _stand_in_reader(config: BenchConfig, path: Path) -> Reader:
    data = SequenceFile(path, NUM_FRAMES, HORIZON)
    generator = torch.Generator().manual_seed(0)
    sampler = RandomSampler(data, replacement=True, num_samples=1 << 30, generator=generator)
    loader: Iterator[Any] = iter(DataLoader(data, config.batch_size, sampler=sampler, num_workers=0))
    return lambda: next(loader)
