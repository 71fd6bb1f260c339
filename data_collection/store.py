"""A data set on disk, read-only: all files are verified on opening, and episodes are memory-mapped on demand.

    store = EpisodeStore.open("outputs/demo/demonstrations")
    episode = store.episode(store.training_seeds[0])
    episode.frames                      # uint8 (S, cameras, H, W, 3), a memory map
    store.statistics(store.training_seeds)

Layout: ``manifest.json`` (header and rows; its SHA-256 identifies the set), ``episodes/<seed>/`` (``frames.npy``,
``arrays.npz``, ``counterfactuals.npz``, ``episode.json``), ``models/<SHA-256>.xml`` where an imported set brings MuJoCo
models, and outside the hashes ``host.json`` (dates, host, speed).
"""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from smidgen.data_collection.array_files import Array, NpyFile, require_regular_file
from smidgen.data_collection.episode import (
    COUNTERFACTUALS_LAYOUT,
    Episode,
    empty_counterfactuals,
    frames_file,
    read_counterfactuals,
    read_episode,
)
from smidgen.data_collection.manifest import (
    EPISODE_SIDECAR,
    EPISODES_NAME,
    HEADER_FIELDS,
    MANIFEST_NAME,
    MODEL_FILE,
    MODELS_NAME,
    episode_directory_name,
    read_manifest,
    read_sidecar,
)
from smidgen.data_collection.remote_store import RemoteSet, is_url
from smidgen.policies.baselines import DemoStatistics
from smidgen.runtime.errors import UserError
from smidgen.runtime.files import LOCK_NAMES, read_text, sha256_bytes, sha256_file, write_atomic
from smidgen.runtime.spacing import evenly_spaced

HOST_NAME = "host.json"
PREVIEW_NAME = "preview"
# Files allowed beside the episodes; anything else in a data set's directory is refused.
TOP_LEVEL_NAMES = (MANIFEST_NAME, HOST_NAME, EPISODES_NAME, MODELS_NAME, PREVIEW_NAME, *LOCK_NAMES)


@dataclass(frozen=True, eq=False)
class EpisodeStore:
    """A finished data set.

    Attributes:
        directory: Its directory.
        manifest: The validated ``manifest.json``.
        sha256: SHA-256 of ``manifest.json``; through the hashes in it, it identifies every byte of the set.
        cameras: Cameras whose frames its episodes and pairs have, in that order; the manifest's by default.
        remote: Where episodes are fetched from on first use, for a set at a URL.
    """

    directory: Path
    manifest: dict[str, Any]
    sha256: str
    cameras: tuple[str, ...] = ()
    remote: RemoteSet | None = None

    def __post_init__(self) -> None:
        if not self.cameras:
            object.__setattr__(self, "cameras", tuple(self.manifest["cameras"]))

    @classmethod
    def open(cls, directory: Path | str, verify: bool = True) -> EpisodeStore:
        """Opens a data set without changing anything in it.

        Args:
            directory: The data set's directory, or an fsspec URL, whose copy on local disk is opened
                (:mod:`smidgen.data_collection.remote_store`).
            verify: Whether to check the SHA-256 of every file, and that there are no other files. Of a set at a URL,
                every episode is fetched for that; otherwise each when it is first used.

        Raises:
            UserError: If the set is unfinished or of another schema version, or a file is truncated, altered, missing
                or unexpected; the message names the file.
        """
        remote = RemoteSet(str(directory)) if is_url(directory) else None
        directory = remote.folder if remote else Path(directory)
        path = directory / MANIFEST_NAME
        if not os.path.lexists(path):
            raise UserError(_no_manifest(directory))
        sha256 = sha256_file(path) if require_regular_file(path) else ""
        store = cls(directory, read_manifest(path), sha256, remote=remote)
        if verify:
            store.fetch(store.seeds)
            store.verify()
        return store

    def fetch(self, seeds: Sequence[int]) -> None:
        """Copies attempts that are not here yet, several at once; nothing to do unless the set is at a URL.

        Raises:
            UserError: If the set has no such seed, or a file cannot be fetched or is altered.
        """
        rows = [self._row_of(seed) for seed in seeds]
        if self.remote is not None:
            self.remote.fetch(rows)

    def verify(self) -> None:
        """Checks every file against the manifest.

        Raises:
            UserError: For the first file that is truncated, altered, missing or unexpected.
        """
        _require_entries(self.directory, TOP_LEVEL_NAMES, (MANIFEST_NAME, EPISODES_NAME))
        rows = self.manifest["episodes"]
        names = [episode_directory_name(row["seed"]) for row in rows]
        _require_directory(self._episodes)
        _require_entries(self._episodes, names, names)
        header = {key: self.manifest[key] for key in HEADER_FIELDS}
        for row in rows:
            verify_files(self._episodes, row)
            side_header, side_row = read_sidecar(self._episodes, row["seed"])
            hashes = {**side_row["files"], EPISODE_SIDECAR: row["files"][EPISODE_SIDECAR]}
            if side_header != header or {**side_row, "files": hashes} != row:
                path = self._episodes / episode_directory_name(row["seed"]) / EPISODE_SIDECAR
                raise UserError(f"{path} contradicts {MANIFEST_NAME}: altered?")
        self._verify_models({row["files"][MODEL_FILE] for row in rows if MODEL_FILE in row["files"]})

    def _verify_models(self, hashes: set[str]) -> None:
        """Checks that the models are exactly those that the rows name."""
        folder = self.directory / MODELS_NAME
        if not hashes and not os.path.lexists(folder):
            return
        _require_directory(folder)
        names = [f"{digest}.xml" for digest in hashes]
        _require_entries(folder, names, names)
        for digest in hashes:
            _require_unaltered(folder / f"{digest}.xml", digest)

    def with_cameras(self, cameras: Sequence[str]) -> EpisodeStore:
        """The same set with the frames of some of its cameras, in the given order.

        Raises:
            UserError: If it lacks one, or one is named twice.
        """
        present = ", ".join(self.manifest["cameras"])
        for camera in cameras:
            if camera not in self.manifest["cameras"]:
                raise UserError(
                    f"{self.directory} has no frames of camera {camera!r:.60}, only of {present}; choose among these, "
                    "or collect again with cameras=[...]"
                )
        if not cameras or len(set(cameras)) < len(cameras):
            raise UserError(f"expected different cameras among {present}, got {', '.join(cameras) or 'none'}")
        return dataclasses.replace(self, cameras=tuple(cameras))

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds of all attempts, ascending."""
        return tuple(self._rows)

    @property
    def training_seeds(self) -> tuple[int, ...]:
        """Seeds of the successful attempts, the only ones to train on."""
        return tuple(seed for seed, row in self._rows.items() if row["success"] and row["error"] is None)

    def span(self) -> str:
        """First and last seed, for messages."""
        return f"{self.seeds[0]} to {self.seeds[-1]}" if self.seeds else "none"

    def episode(self, seed: int) -> Episode:
        """One attempt; its frames are a read-only memory map.

        Raises:
            UserError: If the set has no such seed, or a file does not match the manifest.
        """
        episode = read_episode(self._episodes, self.manifest, self._row(seed))
        return dataclasses.replace(episode, frames=episode.frames[:, self.camera_places])

    def frames_file(self, seed: int) -> NpyFile:
        """The file of one attempt's frames, uint8 (S, all cameras, H, W, 3); see ``camera_places``.

        Raises:
            UserError: If the set has no such seed, or the file does not match the manifest.
        """
        return frames_file(self._episodes, self.manifest, self._row(seed))

    def num_counterfactuals(self, seed: int) -> int:
        """How many counterfactual pairs an attempt has.

        Raises:
            UserError: If the set has no such seed.
        """
        count: int = self._row_of(seed)["num_counterfactuals"]
        return count

    def model(self, seed: int) -> str:
        """The MuJoCo model that an imported attempt brought, as XML; "" if it brought none.

        Raises:
            UserError: If the set has no such seed, or the model is altered.
        """
        digest = self._row(seed)["files"].get(MODEL_FILE)
        if digest is None:
            return ""
        path = self.directory / MODELS_NAME / f"{digest}.xml"
        _require_unaltered(path, digest)
        return read_text(path)

    def counterfactuals(self, seeds: Sequence[int], max_pairs: int | None = None) -> dict[str, Array]:
        """The counterfactual pairs of several attempts, concatenated.

        Args:
            seeds: The attempts.
            max_pairs: At most so many, spread evenly over all of them; only attempts that have one of these are read.

        Returns:
            The arrays of ``COUNTERFACTUALS_LAYOUT`` (first axis: pairs), and ``seed`` int64 (K,), each pair's attempt.
        """
        ends = np.cumsum([self.num_counterfactuals(seed) for seed in seeds], dtype=np.int64)
        total = int(ends[-1]) if len(seeds) else 0
        chosen = np.arange(total) if max_pairs is None else evenly_spaced(total, max_pairs)
        owners = np.searchsorted(ends, chosen, side="right")
        used = [seeds[index] for index in np.unique(owners)]
        self.fetch(used)
        parts = [read_counterfactuals(self._episodes, self.manifest, self._row(seed)) for seed in used]
        # Attempts without a pair do not determine the length of a cue's pose.
        lengths = {part["cue_pose"].shape[1] for part in parts}
        if len(lengths) > 1:
            raise UserError(f"{self._episodes}: cue poses have different lengths {sorted(lengths)}: altered?")
        if max_pairs is not None:
            for part, owner in zip(parts, np.unique(owners), strict=True):
                rows = chosen[owners == owner] - (ends[owner] - len(part["step"]))
                part.update({name: array[rows] for name, array in part.items()})
        parts = parts or [empty_counterfactuals(self.manifest)]
        joined = {name: np.concatenate([part[name] for part in parts]) for name in COUNTERFACTUALS_LAYOUT}
        for name in ("frames", "frames_moved", "frames_hidden"):
            joined[name] = joined[name][:, :, self.camera_places]
        joined["seed"] = np.array([seeds[owner] for owner in owners], dtype=np.int64)
        return joined

    def statistics(self, seeds: Sequence[int]) -> DemoStatistics:
        """Statistics for the baselines that ignore their input.

        Args:
            seeds: The attempts to average, usually the training seeds.

        Returns:
            The mean action (A,) over all steps, and the mean action at each step (S, A) with S the longest attempt's
            length; shorter ones are padded with their last action.

        Raises:
            UserError: If none of the attempts has a step.
        """
        self.fetch(seeds)
        actions = [episode.actions for episode in map(self.episode, seeds) if episode.num_steps]
        if not actions:
            raise UserError(f"{self.directory}: no steps to average in {len(seeds)} episodes; collect successful ones")
        num_steps = max(map(len, actions))
        padded = np.stack([np.pad(one, ((0, num_steps - len(one)), (0, 0)), mode="edge") for one in actions])
        return DemoStatistics(mean_action=np.concatenate(actions).mean(axis=0), time_mean_SA=padded.mean(axis=0))

    @functools.cached_property
    def camera_places(self) -> slice | list[int]:
        """Where the cameras are on the frames' axis: as a slice where they can be, which copies nothing."""
        places = [self.manifest["cameras"].index(camera) for camera in self.cameras]
        step = places[1] - places[0] if len(places) > 1 else 1
        end = places[0] + step * len(places)
        return (
            slice(places[0], end if end >= 0 else None, step) if places == list(range(places[0], end, step)) else places
        )

    @property
    def _episodes(self) -> Path:
        return self.directory / EPISODES_NAME

    @functools.cached_property
    def _rows(self) -> dict[int, dict[str, Any]]:
        return {row["seed"]: row for row in self.manifest["episodes"]}

    def _row(self, seed: int) -> dict[str, Any]:
        """The row of an attempt whose files are here."""
        self.fetch([seed])
        return self._row_of(seed)

    def _row_of(self, seed: int) -> dict[str, Any]:
        try:
            return self._rows[seed]
        except KeyError as error:
            raise UserError(f"{self.directory} has no episode of seed {seed}; it has {self.span()}") from error


def verify_files(episodes: Path, row: Mapping[str, Any]) -> None:
    """Checks that an episode's directory contains exactly the files of its row, unaltered.

    Raises:
        UserError: For the first file that is truncated, altered, missing or unexpected.
    """
    folder = episodes / episode_directory_name(row["seed"])
    _require_directory(folder)
    names = sorted({*row["files"], EPISODE_SIDECAR} - {MODEL_FILE})
    _require_entries(folder, names, names)
    for name in names:
        if name in row["files"]:
            _require_unaltered(folder / name, row["files"][name])


def write_model(directory: Path, xml: str) -> str:
    """Writes a model into a data set's directory, once for all attempts that share it.

    Returns:
        Its SHA-256, which is its name.
    """
    content = xml.encode()
    digest = sha256_bytes(content)
    path = directory / MODELS_NAME / f"{digest}.xml"
    if not path.exists():
        write_atomic(path, content)
    return digest


def _require_unaltered(path: Path, digest: str) -> None:
    require_regular_file(path)
    got = sha256_file(path)
    if got != digest:
        raise UserError(
            f"{path} is truncated or altered: SHA-256 is {got[:12]}..., expected {digest[:12]}...; "
            "copy it again, or delete its folder and the manifest and collect again"
        )


def _require_directory(path: Path) -> None:
    if path.is_symlink() or not path.is_dir():
        raise UserError(f"{path}: expected a directory, not a link; copy or collect the data set again")


def _require_entries(directory: Path, allowed: Sequence[str], required: Sequence[str]) -> None:
    present = set(os.listdir(directory))
    missing = sorted(set(required) - present)
    if missing:
        raise UserError(f"{directory / missing[0]} is missing; copy or collect the data set again")
    extra = sorted(present - set(allowed))
    if extra:
        raise UserError(f"{directory / extra[0]} is not part of this data set; move it elsewhere")


def _no_manifest(directory: Path) -> str:
    if not directory.is_dir():
        return f"{directory} does not exist; make a data set with smidgen-collect out={directory}"
    if (directory / EPISODES_NAME).is_dir():
        return f"{directory / MANIFEST_NAME} is missing: unfinished collection; run the same smidgen-collect again"
    return f"{directory} is not a data set: it has no {MANIFEST_NAME}; make one with smidgen-collect"
