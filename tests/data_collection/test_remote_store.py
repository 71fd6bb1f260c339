"""A data set at a URL: the same set from a cache that is verified, shared by processes, and bounded."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import fsspec
import numpy as np
import pytest

from smidgen.data_collection import remote_store
from smidgen.data_collection.data import main as data_command
from smidgen.data_collection.remote_store import RemoteSet, is_url
from smidgen.data_collection.store import EpisodeStore
from smidgen.runtime.errors import UserError
from smidgen.runtime.files import sha256_file


def local_copy(url: str) -> Path:
    """The folder of the copy, every episode fetched and verified."""
    return EpisodeStore.open(url).directory


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A cache of its own, whose sets this process does not go on reading."""
    monkeypatch.setenv("SMIDGEN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(remote_store, "_in_use", {})
    yield tmp_path / "cache" / "stores"
    for descriptor in remote_store._in_use.values():
        os.close(descriptor)


@pytest.fixture
def in_memory(finished_set: Path) -> Iterator[str]:
    """The set's URL in fsspec's file system in memory."""
    memory = fsspec.filesystem("memory")
    memory.put(str(finished_set), "/sets/lift", recursive=True)
    yield "memory://sets/lift"
    memory.rm("/sets", recursive=True)


def forget() -> None:
    """As if this process had ended: it reads no set any more."""
    for descriptor in remote_store._in_use.values():
        os.close(descriptor)
    remote_store._in_use.clear()


def test_what_is_a_url() -> None:
    assert all(map(is_url, ("s3://bucket/lift", "file:///x", "memory://x", "simplecache::s3://b/x")))
    assert not any(map(is_url, ("outputs/lift", "/x//y", "", "~/x:/y", Path("s3://bucket"))))


def test_models_lie_apart_from_the_episodes_that_share_them() -> None:
    assert remote_store.path_of(7, "model.xml", "ab") == "models/ab.xml"
    assert remote_store.path_of(7, "frames.npy", "ab") == "episodes/000000007/frames.npy"


@pytest.mark.parametrize("scheme", ["memory", "file"])
def test_a_set_at_a_url_is_the_set(finished_set: Path, in_memory: str, cache: Path, scheme: str) -> None:
    url = in_memory if scheme == "memory" else f"file://{finished_set}"
    store = EpisodeStore.open(url)
    here = EpisodeStore.open(finished_set)
    assert (store.sha256, store.manifest, store.seeds) == (here.sha256, here.manifest, here.seeds)
    seed = store.training_seeds[0]
    ours, theirs = store.episode(seed), here.episode(seed)
    assert np.array_equal(ours.frames, theirs.frames)
    assert np.array_equal(ours.actions, theirs.actions)
    assert store.directory == cache / here.sha256
    assert isinstance(ours.frames, np.memmap) or isinstance(ours.frames.base, np.memmap)


def test_a_set_is_copied_once(in_memory: str, monkeypatch: pytest.MonkeyPatch) -> None:
    first = local_copy(in_memory)
    before = {path: path.stat().st_mtime_ns for path in first.rglob("*") if path.is_file()}
    monkeypatch.setattr(RemoteSet, "_copy", None)
    # Another place with the same content is the same set.
    fsspec.filesystem("memory").cp("/sets/lift", "/sets/again", recursive=True)
    assert local_copy("memory://sets/again") == local_copy(in_memory) == first
    assert {path: path.stat().st_mtime_ns for path in first.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("damage", ["altered", "missing", "no manifest", "forged manifest"])
def test_a_damaged_set_is_named_and_not_kept(in_memory: str, cache: Path, damage: str) -> None:
    memory = fsspec.filesystem("memory")
    victim = next(path for path in memory.find("/sets/lift") if path.endswith("frames.npy"))
    if damage == "altered":
        memory.pipe_file(victim, memory.cat_file(victim)[:-1] + b"\xff")
    elif damage == "missing":
        memory.rm_file(victim)
    else:
        memory.rm_file("/sets/lift/manifest.json")
        if damage == "forged manifest":
            memory.pipe_file("/sets/lift/manifest.json", b'{"schema_version": 1}')
    named = "manifest.json" if "manifest" in damage else victim.removeprefix("/")
    with pytest.raises(UserError, match=rf"{named}.*(truncated or altered|is missing|does not exist|task)") as refused:
        EpisodeStore.open(in_memory)
    assert "\n" not in str(refused.value)
    # A set whose manifest is good stays, without the episodes of the fetch that failed.
    assert list(cache.glob("*/episodes/*")) == []
    assert bool(list(cache.glob("*/manifest.json"))) == ("manifest" not in damage)


def episodes_here(store: EpisodeStore) -> set[int]:
    """Seeds of the episodes that were fetched."""
    return {int(path.name) for path in (store.directory / "episodes").iterdir()}


def test_an_episode_is_fetched_when_it_is_first_used(finished_set: Path, in_memory: str) -> None:
    here, there = EpisodeStore.open(finished_set), EpisodeStore.open(in_memory, verify=False)
    assert (there.manifest, episodes_here(there)) == (here.manifest, set())
    seed, other = there.training_seeds[:2]
    assert there.num_counterfactuals(seed) == here.num_counterfactuals(seed)
    assert episodes_here(there) == set()
    assert np.array_equal(there.episode(seed).frames, here.episode(seed).frames)
    assert episodes_here(there) == {seed}
    ours, theirs = here.counterfactuals([seed, other]), there.counterfactuals([seed, other])
    assert all(np.array_equal(theirs[name], ours[name]) for name in ours)
    assert episodes_here(there) == {seed, other}
    # What is here is not fetched again, and verifying fetches the rest.
    fsspec.filesystem("memory").rm(f"/sets/lift/episodes/{seed:09d}", recursive=True)
    assert episodes_here(EpisodeStore.open(in_memory)) == set(here.seeds)


def test_an_altered_episode_is_not_used_and_the_others_are(in_memory: str) -> None:
    memory = fsspec.filesystem("memory")
    store = EpisodeStore.open(in_memory, verify=False)
    good, bad = store.training_seeds[:2]
    victim = f"/sets/lift/episodes/{bad:09d}/arrays.npz"
    content = memory.cat_file(victim)
    memory.pipe_file(victim, content[:-1] + bytes([content[-1] ^ 1]))
    store.episode(good)
    with pytest.raises(UserError, match=rf"{bad:09d}/arrays.npz is truncated or altered"):
        store.episode(bad)
    assert episodes_here(store) == {good}
    memory.pipe_file(victim, content)
    store.episode(bad)


def test_a_fetch_that_was_killed_goes_on_with_what_is_missing(
    in_memory: str, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, fetched = EpisodeStore.open(in_memory, verify=False), []
    copy = remote_store._Remote.copy

    def copy_and_note(self: remote_store._Remote, places: dict[str, Path]) -> None:
        fetched.extend(name for name in places if name.endswith("frames.npy"))
        if len(fetched) > 1:
            raise KeyboardInterrupt
        copy(self, places)

    monkeypatch.setattr(remote_store, "EPISODES_AT_ONCE", 1)
    monkeypatch.setattr(remote_store._Remote, "copy", copy_and_note)
    with pytest.raises(KeyboardInterrupt):
        store.fetch(store.seeds)
    assert episodes_here(store) == {store.seeds[0]}
    # A killed process leaves its part, which no one takes for an episode.
    left = store.directory / "episodes" / f".partial-{store.seeds[1]:09d}-{'0' * 32}"
    left.mkdir()
    monkeypatch.setattr(remote_store._Remote, "copy", copy)
    EpisodeStore.open(in_memory)
    assert episodes_here(store) == set(store.seeds)
    assert not left.exists()


def test_a_preview_fetches_the_episodes_that_it_shows(
    in_memory: str, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("smidgen.data_collection.preview.evenly_spaced", lambda length, count: [0])
    monkeypatch.setattr("smidgen.data_collection.store.evenly_spaced", lambda length, count: np.array([0]))
    assert data_command(["preview", in_memory, "--out", str(tmp_path / "pictures")]) == 0
    assert len(list(cache.glob("*/episodes/*"))) == 1 < len(EpisodeStore.open(in_memory).seeds)


def test_models_come_before_the_episodes_that_need_them(
    finished_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a set whose rows name a model; only the copy is tested here."""
    remote = RemoteSet(f"file://{finished_set}")
    rows = [dict(row) for row in EpisodeStore.open(finished_set).manifest["episodes"]]
    (tmp_path / "m.xml").write_text("<mujoco/>")
    digest = sha256_file(tmp_path / "m.xml")
    shutil.copytree(finished_set, tmp_path / "set")
    (tmp_path / "set" / "models").mkdir()
    shutil.copy(tmp_path / "m.xml", tmp_path / "set" / "models" / f"{digest}.xml")
    rows[0]["files"] = {**rows[0]["files"], "model.xml": digest}
    remote._files = remote_store._Remote(f"file://{tmp_path / 'set'}")
    remote.fetch(rows)
    assert [path.name for path in (remote.folder / "models").iterdir()] == [f"{digest}.xml"]


def test_what_cannot_be_reached_is_said_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for url, told in {
        f"file://{tmp_path}/nowhere": "manifest.json does not exist",
        "nothing://bucket/lift": "cannot be read: ValueError: Protocol not known",
    }.items():
        with pytest.raises(UserError, match=told):
            EpisodeStore.open(url)
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(UserError, match=r"install it: pip install \"smidgen\[remote\]\""):
        EpisodeStore.open("s3://bucket/lift")


def other_set(name: str, finished_set: Path, tmp_path: Path) -> str:
    """A set of the same size and another hash."""
    folder = shutil.copytree(finished_set, tmp_path / name)
    manifest = folder / "manifest.json"
    # JSON in another layout is the same set by another hash.
    manifest.write_bytes(manifest.read_bytes() + b" " * len(name))
    return f"file://{folder}"


def test_the_cache_stays_below_its_limit(
    finished_set: Path, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    urls = {name: other_set(name, finished_set, tmp_path) for name in ("a", "bb", "ccc")}
    copies = {}
    num_bytes = sum(path.stat().st_size for path in finished_set.rglob("*") if path.is_file())
    monkeypatch.setenv("SMIDGEN_CACHE_GB", str(2.5 * num_bytes / 1e9))
    for name in ("a", "bb"):
        copies[name] = local_copy(urls[name])
        forget()
    # What was read longest ago makes room, and what a process reads does not.
    os.utime(copies["a"], (time.time() + 9, time.time() + 9))
    copies["ccc"] = local_copy(urls["ccc"])
    assert [path.exists() for path in copies.values()] == [True, False, True]
    monkeypatch.setenv("SMIDGEN_CACHE_GB", str(1.5 * num_bytes / 1e9))
    with pytest.raises(UserError, match="set SMIDGEN_CACHE_GB higher"):
        local_copy(urls["bb"])
    assert copies["ccc"].exists()
    assert not list(cache.glob(".partial-*"))
    monkeypatch.setenv("SMIDGEN_CACHE_GB", "much")
    with pytest.raises(UserError, match="SMIDGEN_CACHE_GB=much: expected a number of GB"):
        local_copy(urls["bb"])


OPEN = (
    "import sys; from smidgen.data_collection.store import EpisodeStore; "
    "print(EpisodeStore.open(sys.argv[1]).directory)"
)


def test_processes_that_open_a_set_at_once_share_one_copy(finished_set: Path, cache: Path) -> None:
    command = [sys.executable, "-c", OPEN, f"file://{finished_set}"]
    sha256 = sha256_file(finished_set / "manifest.json")
    # A copy that a killed process left is removed by the next.
    left = cache / f".partial-{sha256}-0"
    left.mkdir(parents=True)
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    printed = {process.communicate(timeout=120)[0].strip() for process in processes}
    assert printed == {str(cache / sha256)}
    assert [path.name for path in cache.iterdir() if path.is_dir()] == [sha256]


def test_the_verbs_of_smidgen_data_take_a_url(
    in_memory: str, finished_set: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert data_command(["verify", in_memory]) == 0
    assert sha256_file(finished_set / "manifest.json") in capsys.readouterr().out
    assert data_command(["datasheet", in_memory]) == 2
    assert "is read-only; pass --out DIR" in capsys.readouterr().err
    assert data_command(["datasheet", in_memory, "--out", str(tmp_path / "sheet")]) == 0
    assert list((tmp_path / "sheet").iterdir())
    assert data_command(["import", in_memory, f"out={tmp_path / 'x'}"]) == 2
    assert "copy the files here" in capsys.readouterr().err
