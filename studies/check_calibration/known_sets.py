"""Data sets held in memory, so that a policy made here can know which episode and step a frame shows.

Letters: ``S`` steps, ``N`` cameras, ``H W`` rows and columns, ``A`` action coordinates, ``E`` state.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from smidgen.data_collection.array_files import Array
from smidgen.data_collection.collect import collect
from smidgen.data_collection.config import CollectConfig
from smidgen.data_collection.episode import Episode
from smidgen.data_collection.formats.clip import optional_library
from smidgen.data_collection.formats.config import ExportConfig
from smidgen.data_collection.formats.exchange import export_store
from smidgen.data_collection.formats.reader import EpisodeReader, open_reader
from smidgen.data_collection.store import EpisodeStore
from smidgen.evaluation.check.subject import Means
from smidgen.runtime.action_spec import ActionSpec
from smidgen.runtime.errors import UserError

NUM_TO_LEARN = 40
# Collected if missing: name, task, cameras.
OURS: dict[str, tuple[str, tuple[str, ...]]] = {
    "lift": ("lift", ()),
    "speck_16": ("speck_16", ()),
    "lift_two_cameras": ("lift", ("agentview", "robot0_eye_in_hand")),
}
IMPORTED = "lift_imported"


@dataclass(frozen=True, eq=False)
class KnownSet:
    """One set.

    Attributes:
        name: Its name.
        reader: As it was opened, without its counterfactual pairs.
        action: The action's coordinates.
        to_learn: Episodes that policies may learn from.
        to_ask: Places of the others.
        places: Episode and step that a frame of one camera shows, by camera and the frame's hash.
        episodes: All episodes.
        time_mean_SA: Mean action at each step.
        spread_A: Deviation of the actions around it.
    """

    name: str
    reader: EpisodeReader
    action: ActionSpec
    to_learn: list[Episode]
    to_ask: list[int]
    places: dict[tuple[int, bytes], tuple[int, int]]
    episodes: list[Episode]
    time_mean_SA: Array
    spread_A: Array

    @property
    def num_cameras(self) -> int:
        """How many cameras it has."""
        return len(self.reader.header["cameras"])

    def shown(self, frame_HWC: Array, camera: int) -> tuple[int, int] | None:
        """Place of the episode and the step that a frame shows; None of a frame that was altered."""
        return self.places.get((camera, _digest(frame_HWC)))

    def actions_from(self, place: int, step: int, horizon: int) -> Array:
        """What was done from a step on, (horizon, A); after the end, the last action."""
        actions_SA = self.episodes[place].actions
        return actions_SA[np.minimum(step + np.arange(horizon), len(actions_SA) - 1)]

    def time_mean_from(self, step: int, horizon: int) -> Array:
        """The mean from a step on, (horizon, A)."""
        return self.time_mean_SA[np.minimum(step + np.arange(horizon), len(self.time_mean_SA) - 1)]

    def restricted(self, chosen: Sequence[int]) -> EpisodeReader:
        """A reader of some of its episodes."""

        def episodes(places: Sequence[int]) -> Iterator[Episode]:
            return (self.episodes[chosen[place]] for place in places)

        return dataclasses.replace(
            self.reader,
            numbers=[self.episodes[place].seed for place in chosen],
            actions=lambda: (self.episodes[place].actions for place in chosen),
            episodes=episodes,
            pairs=lambda episode: {"step": np.empty(0, np.int64)},
        )


def known_set(name: str, path: Path) -> KnownSet:
    """Reads a whole set into memory.

    Raises:
        UserError: If it has too few episodes.
    """
    reader = open_reader(path)
    episodes = [
        dataclasses.replace(each, frames=np.array(each.frames)) for each in reader.episodes(range(reader.num_episodes))
    ]
    if len(episodes) < NUM_TO_LEARN + 10:
        raise UserError(f"{path}: expected at least {NUM_TO_LEARN + 10} successful episodes, got {len(episodes)}")
    places = {
        (camera, _digest(frame)): (place, step)
        for place, each in reversed(list(enumerate(episodes)))
        for step in reversed(range(each.num_steps))
        for camera, frame in enumerate(each.frames[step])
    }
    means = Means.of(each.actions for each in episodes).all()
    around = [each.actions - means.time_mean_at(np.arange(each.num_steps)) for each in episodes]
    return KnownSet(
        name=name,
        reader=reader,
        action=ActionSpec.from_json(reader.header["action_spec"], str(path)),
        to_learn=episodes[:NUM_TO_LEARN],
        to_ask=list(range(NUM_TO_LEARN, len(episodes))),
        places=places,
        episodes=episodes,
        time_mean_SA=means.time_mean_SA,
        spread_A=np.sqrt(np.square(np.concatenate(around)).mean(axis=0)),
    )


def _digest(frame_HWC: Array) -> bytes:
    return hashlib.blake2b(np.ascontiguousarray(frame_HWC).tobytes(), digest_size=16).digest()


def prepare(folder: Path, num_episodes: int) -> dict[str, Path]:
    """The sets' paths; collects and exports those that are missing."""
    paths = {name: folder / name for name in OURS}
    for name, (task, cameras) in OURS.items():
        if not paths[name].exists():
            collect(CollectConfig(task=task, out=str(paths[name]), episodes=num_episodes, cameras=cameras))
    return {**paths, IMPORTED: _import(EpisodeStore.open(paths["lift"]), folder / IMPORTED)}


def _import(store: EpisodeStore, folder: Path) -> Path:
    """A robomimic file as others write it: what it was made from is taken out."""
    if not folder.exists():
        export_store(store, ExportConfig(format="robomimic", out=str(folder)))
    path = folder / "demonstrations.hdf5"
    with optional_library("h5py").File(path, "r+") as file:
        if "smidgen_source" in file:
            del file["smidgen_source"]
    return path
