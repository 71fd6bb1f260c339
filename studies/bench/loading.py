"""Benchmark of the data path: random training windows per second from disk, against robomimic's way of reading HDF5."""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, RandomSampler

from smidgen.data_collection.store import EpisodeStore
from smidgen.policies.learned_policy import one_thread
from smidgen.training.windows import EpochSampler, Windows
from studies.bench.config import BenchConfig
from studies.bench.network import with_threads
from studies.bench.peers import HORIZON, NUM_FRAMES, OURS, TrainingStep, absent, has_peer, import_peer
from studies.bench.record import Measurement, make_measurement
from studies.bench.simulation import demonstrations
from studies.bench.timing import alternate, seconds_of

PEER = "HDF5 as robomimic's SequenceDataset reads it"
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
    if has_peer("h5py"):
        hdf5 = write_hdf5(store, store.directory.with_suffix(".hdf5"))
        openers["peer"] = lambda: _peer_reader(config, hdf5)
        paths["peer"] = [hdf5]
    rows = []
    for cache in ("warm", "cold"):
        seconds = _seconds_per_batch(config, openers, paths, is_cold=cache == "cold")
        ours, theirs = (config.batch_size / seconds[name] if name in seconds else None for name in (OURS, "peer"))
        name, note = f"windows: random training windows, {cache} page cache", "" if theirs else absent("h5py")
        goals = ("ratio >= 5", "ratio >= 10")
        rows.append(make_measurement(name, "/s", ours, theirs, peer=PEER, more_is_better=True, goals=goals, note=note))
    return rows


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


def _peer_reader(config: BenchConfig, path: Path) -> Reader:
    data = SequenceFile(path, NUM_FRAMES, HORIZON)
    generator = torch.Generator().manual_seed(0)
    sampler = RandomSampler(data, replacement=True, num_samples=1 << 30, generator=generator)
    loader: Iterator[Any] = iter(DataLoader(data, config.batch_size, sampler=sampler, num_workers=0))
    return lambda: next(loader)
