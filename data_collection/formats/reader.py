"""A data set of any known format, read where it is: one episode in memory at a time, and nothing is written.

reader = open_reader(Path("theirs.hdf5"))
for episode in reader.episodes(reader.spread(30)): ...
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from smidgen.data_collection.array_files import Array
from smidgen.data_collection.episode import Episode, empty_counterfactuals
from smidgen.data_collection.formats.clip import ClipSet, View
from smidgen.data_collection.formats.config import ImportConfig
from smidgen.data_collection.formats.from_store import DEMONSTRATIONS
from smidgen.data_collection.formats.known import detect, locate
from smidgen.data_collection.formats.to_store import checked_source, foreign_episode, foreign_header
from smidgen.data_collection.manifest import MANIFEST_NAME
from smidgen.data_collection.store import EPISODES_NAME, EpisodeStore
from smidgen.runtime.errors import UserError
from smidgen.runtime.spacing import evenly_spaced

# Where a set does not say how many steps a second has, and nobody needs to know.
_ANY_RATE = 1.0


@dataclass(frozen=True, eq=False)
class EpisodeReader:
    """An open data set.

    Attributes:
        path: Where it is.
        header: The fields of a manifest's header: task, action, cameras, image size, names of the state.
        numbers: The number of each episode, in order: of our own sets the seeds of the successful ones, of others the
            place in the set, of failed ones too.
        actions: Iterates over the actions (S, A) of all that are numbered, which is quick.
        episodes: Iterates over the episodes at some places, which ascend; failed ones of other formats are left out.
        pairs: The counterfactual pairs of an episode; without rows where the set has none.
        lacks: What the set does not say, in words.
    """

    path: Path
    header: dict[str, Any]
    numbers: Sequence[int]
    actions: Callable[[], Iterator[Array]]
    episodes: Callable[[Sequence[int]], Iterator[Episode]]
    pairs: Callable[[Episode], dict[str, Array]]
    lacks: tuple[str, ...] = ()

    @property
    def num_episodes(self) -> int:
        """How many."""
        return len(self.numbers)

    def places(self, numbers: Sequence[int]) -> list[int]:
        """The places of some numbers, ascending; all of them are in the set."""
        place_of = {number: place for place, number in enumerate(self.numbers)}
        return sorted(place_of[number] for number in numbers)

    def spread(self, num_episodes: int) -> list[int]:
        """At most so many places, spread evenly over the set."""
        return evenly_spaced(self.num_episodes, num_episodes).tolist()


def open_reader(path: Path, cameras: Sequence[str] = (), image_size: int = 0) -> EpisodeReader:
    """Opens a data set: an episode store, or whatever ``smidgen-data import`` reads.

    Args:
        path: The set.
        cameras: Cameras to read, in that order; empty: all.
        image_size: Frames of other formats are cropped to squares and scaled to this; 0: as they are.

    Raises:
        UserError: If there is no such set, it is damaged or empty, or has no such camera or frame size.
    """
    if (path / MANIFEST_NAME).is_file() or (path / EPISODES_NAME).is_dir():
        return _read_store(EpisodeStore.open(path), cameras, image_size)
    found, _ = locate(path)
    view = View(tuple(cameras), image_size)
    return _read_clips(found, detect(found).read(found, view), ImportConfig(str(path), tuple(cameras), image_size))


def _read_store(store: EpisodeStore, cameras: Sequence[str], image_size: int) -> EpisodeReader:
    size, seeds = store.manifest["image_size"], store.training_seeds
    if image_size not in (0, size):
        raise UserError(f"{store.directory}: expected frames of {image_size} x {image_size}, got {size} x {size}")
    if not seeds:
        raise UserError(f"{store.directory} has no successful episodes; collect more")
    if cameras:
        store = store.with_cameras(cameras)
    return EpisodeReader(
        path=store.directory,
        header={**store.manifest, "cameras": list(store.cameras)},
        numbers=seeds,
        actions=lambda: (store.episode(seed).actions for seed in seeds),
        episodes=lambda places: (store.episode(seeds[place]) for place in places),
        pairs=lambda episode: store.counterfactuals([episode.seed]),
    )


def _read_clips(path: Path, clips: ClipSet, config: ImportConfig) -> EpisodeReader:
    if not clips.num_clips:
        raise UserError(f"{path} has no episodes")
    rate = clips.control_hz or _ANY_RATE
    header = foreign_header(path, clips, ImportConfig(config.out, config.cameras, config.image_size, rate))
    if clips.source:
        source = checked_source(path, clips.source, DEMONSTRATIONS)[0]
        header = {**source, "cameras": header["cameras"], "image_size": header["image_size"]}

    def episodes(places: Sequence[int]) -> Iterator[Episode]:
        for place, clip in zip(places, clips.at(places), strict=True):
            if clip.success is not False:
                yield foreign_episode(path, clip, header, place)

    return EpisodeReader(
        path=path,
        header=header,
        numbers=range(clips.num_clips),
        actions=clips.actions,
        episodes=episodes,
        pairs=lambda episode: {**empty_counterfactuals(header), "seed": np.empty(0, np.int64)},
        lacks=tuple(clips.lacks),
    )
