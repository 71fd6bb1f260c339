"""Readers of data sets: manifest, sidecar, frames, arrays, counterfactual pairs, and the ladder's file of pictures."""

from __future__ import annotations

import functools
import json
import random
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from smidgen.data_collection.data import description
from smidgen.data_collection.episode import (
    Episode,
    empty_counterfactuals,
    failed_attempt,
    manifest_row,
    write_episode,
)
from smidgen.data_collection.manifest import ARRAY_FILES, MANIFEST_NAME, build_manifest, read_sidecar
from smidgen.data_collection.store import EPISODES_NAME, EpisodeStore
from smidgen.runtime.files import canonical_json, sha256_bytes, write_json_atomic
from smidgen.training.windows import Windows
from studies.synthetic.config import LadderConfig
from studies.synthetic.pictures import RobotPictures, robot_pictures
from tests.fuzz.containers import spoil_npy, spoil_npz
from tests.fuzz.mutations import spoil_json, spoil_json_file, spoil_place, to_bytes
from tests.fuzz.reader import Case, Entry, Files, Reader, files_below

NUM_STEPS = 4
SEEDS = (0, 1, 2)
SIDECAR = f"{EPISODES_NAME}/000000000/episode.json"
PICTURES = "pictures.npz"
HEADER: dict[str, Any] = {
    "schema_version": 1,
    "task": "lift",
    "environment": {"env_id": "smidgen/Lift-v0", "image_size": [8, 8]},
    "versions": {"numpy": "1.26.4"},
    "expert": {"name": "lift", "version": 1},
    "phases": ["reach", "hold"],
    "action_spec": {
        "names": ["x_m", "y_m", "z_m", "gripper"],
        "low": [-0.5, -0.5, 0.5, -1.0],
        "high": [0.5, 0.5, 1.5, 1.0],
        "kinds": ["position", "position", "position", "gripper"],
    },
    "eef_state_names": ["x_m", "y_m", "z_m", "opening_m"],
    "cameras": ["agentview"],
    "image_size": 8,
    "control_hz": 20,
    "history": 2,
    "config": {"task": "lift", "episodes": len(SEEDS), "image_size": 8},
}


def write_data_set(directory: Path, first_seed: int = 0) -> None:
    """A finished data set of two successes and a broken-off attempt, a few kilobytes in all."""
    rows = []
    for seed in SEEDS:
        episode, pairs = _attempt(first_seed + seed)
        rows.append(
            manifest_row(directory / EPISODES_NAME, write_episode(directory / EPISODES_NAME, HEADER, episode, pairs))
        )
    write_json_atomic(directory / MANIFEST_NAME, build_manifest(HEADER, rows))


def _attempt(seed: int) -> tuple[Episode, dict[str, Any]]:
    if seed % len(SEEDS) == SEEDS[-1]:
        return failed_attempt(seed, "the simulator diverged", HEADER), empty_counterfactuals(HEADER)
    rng = np.random.default_rng(seed)
    is_success = np.arange(NUM_STEPS) == NUM_STEPS - 1
    episode = Episode(
        seed=seed,
        success=True,
        success_at_reset=False,
        error=None,
        frames=rng.integers(0, 256, (NUM_STEPS, 1, 8, 8, 3)).astype(np.uint8),
        actions=rng.uniform(-0.4, 0.4, (NUM_STEPS, 4)) + np.array([0, 0, 1, 0]),
        eef_state=rng.uniform(-0.4, 0.4, (NUM_STEPS, 4)),
        states=rng.normal(size=(NUM_STEPS, 5)),
        phase=is_success.astype(np.int16),
        is_success=is_success,
    )
    frames = rng.integers(0, 256, (3, 1, 2, 1, 8, 8, 3)).astype(np.uint8)
    numbers = rng.normal(size=(5, 1, 4))
    pairs = {
        "step": np.array([1], np.int64),
        **dict(zip(("frames", "frames_moved", "frames_hidden"), frames, strict=True)),
        **dict(zip(("target", "target_moved", "eef_state"), numbers, strict=False)),
        **dict(zip(("cue_pose", "cue_pose_moved"), numbers[3:, :, :3], strict=True)),
    }
    return episode, pairs


@functools.cache
def data_set_files() -> Files:
    """The files of :func:`write_data_set`."""
    with tempfile.TemporaryDirectory() as scratch:
        write_data_set(Path(scratch))
        return files_below(Path(scratch))


def read_data_set(folder: Path, words: tuple[str, ...] = ()) -> None:
    """Opens a data set as the commands do, and everything in it: training windows, pairs, statistics, description."""
    read_sidecar(folder / EPISODES_NAME, 0)
    store = EpisodeStore.open(folder)
    for seed in store.seeds:
        store.episode(seed).frames.sum()
    store.counterfactuals(store.seeds)
    store.statistics(store.training_seeds)
    windows = Windows(store, store.training_seeds, num_frames=2, horizon=3)
    windows.gather(np.arange(min(len(windows), 4)))
    "\n".join(description(store)).encode()


def sign(files: dict[str, Entry]) -> dict[str, Entry]:
    """Makes every hash of a spoiled data set fit, so that what is read is not stopped at the door."""
    everything = {**data_set_files(), **files}
    manifest = json.loads(data_set_files()[MANIFEST_NAME])
    signed, rows = dict(files), []
    for row in manifest["episodes"]:
        folder = f"{EPISODES_NAME}/{row['seed']:09d}"
        contents = {name: everything[f"{folder}/{name}"] for name in (*ARRAY_FILES, "episode.json")}
        if not all(isinstance(content, bytes) for content in contents.values()):
            rows.append(row)
            continue
        hashes = {name: sha256_bytes(content) for name, content in contents.items()}  # type: ignore[arg-type]
        sidecar = json.loads(contents["episode.json"])  # type: ignore[arg-type]
        sidecar["files"] = {name: hashes[name] for name in ARRAY_FILES}
        signed[f"{folder}/episode.json"] = canonical_json(sidecar)
        rows.append({**row, "files": {**hashes, "episode.json": sha256_bytes(canonical_json(sidecar))}})
    signed[MANIFEST_NAME] = canonical_json({**manifest, "episodes": rows})
    return signed


def _spoil_manifest(rng: random.Random, valid: Files) -> Case:
    if rng.random() < 0.05:
        return Case({MANIFEST_NAME: spoil_place(rng)})
    if rng.random() < 0.3:
        return Case({MANIFEST_NAME: spoil_json_file(rng, valid[MANIFEST_NAME])})
    return Case(_forge_header(rng, valid))


def _forge_header(rng: random.Random, valid: Files) -> dict[str, Entry]:
    """One spoiled header in the manifest and in every sidecar, all hashes right."""
    header = spoil_json(rng, HEADER)
    if not isinstance(header, dict):
        return {MANIFEST_NAME: to_bytes(rng, header)}
    manifest = json.loads(valid[MANIFEST_NAME])
    files: dict[str, Entry] = {}
    rows = manifest.pop("episodes")
    for row in rows:
        name = f"{EPISODES_NAME}/{row['seed']:09d}/episode.json"
        own = {key: value for key, value in json.loads(valid[name]).items() if key not in HEADER}
        content = to_bytes(rng, {**header, **own})
        files[name] = content
        row["files"]["episode.json"] = sha256_bytes(content)
    counts = {key: value for key, value in manifest.items() if key not in HEADER}
    return {**files, MANIFEST_NAME: to_bytes(rng, {**header, **counts, "episodes": rows})}


def _spoil_sidecar(rng: random.Random, valid: Files) -> Case:
    if rng.random() < 0.05:
        return Case({SIDECAR: spoil_place(rng)})
    if rng.random() < 0.3:
        return Case({SIDECAR: spoil_json_file(rng, valid[SIDECAR])})
    sidecar = json.loads(valid[SIDECAR])
    row = spoil_json(rng, {key: value for key, value in sidecar.items() if key not in HEADER})
    manifest = json.loads(valid[MANIFEST_NAME])
    row = row if isinstance(row, dict) else {"seed": row}
    content = to_bytes(rng, {**HEADER, **row})
    listed = dict(row["files"]) if isinstance(row.get("files"), dict) else {}
    manifest["episodes"][0] = {**row, "files": {**listed, "episode.json": sha256_bytes(content)}}
    return Case({SIDECAR: content, MANIFEST_NAME: to_bytes(rng, manifest)})


def _spoil_array(name: str, spoil: Callable[[random.Random, bytes], bytes]) -> Callable[[random.Random, Files], Case]:
    path = f"{EPISODES_NAME}/000000000/{name}"

    def draw(rng: random.Random, valid: Files) -> Case:
        if rng.random() < 0.05:
            return Case({path: spoil_place(rng)})
        return Case(sign({path: spoil(rng, valid[path])}))

    return draw


@functools.cache
def _pictures_files() -> Files:
    rng = np.random.default_rng(0)
    pictures = RobotPictures(
        rng.integers(0, 256, (6, 2, 3, 8, 8)).astype(np.uint8), rng.normal(size=(6, 2, 2)), {"task": "lift"}
    )
    with tempfile.TemporaryDirectory() as scratch:
        pictures.write(Path(scratch, PICTURES))
        return files_below(Path(scratch))


def _spoil_pictures(rng: random.Random, valid: Files) -> Case:
    return Case({PICTURES: spoil_place(rng) if rng.random() < 0.05 else spoil_npz(rng, valid[PICTURES])})


def _read_pictures(folder: Path, words: tuple[str, ...]) -> None:
    config = LadderConfig(kind="frames", frames=str(folder / PICTURES), grid=(3, 8, 8), num_train=4, num_held_out=4)
    rung = robot_pictures(config, np.random.default_rng(0))
    rung.draw(np.arange(2), np.random.default_rng(0))


DATA_READERS: dict[str, Reader] = {
    "manifest": Reader(data_set_files, _spoil_manifest, read_data_set),
    "sidecar": Reader(data_set_files, _spoil_sidecar, read_data_set),
    "frames": Reader(data_set_files, _spoil_array("frames.npy", spoil_npy), read_data_set),
    "arrays": Reader(data_set_files, _spoil_array("arrays.npz", spoil_npz), read_data_set),
    "counterfactuals": Reader(data_set_files, _spoil_array("counterfactuals.npz", spoil_npz), read_data_set),
    "pictures": Reader(_pictures_files, _spoil_pictures, _read_pictures),
}
