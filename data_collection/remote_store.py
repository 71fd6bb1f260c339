"""Data sets at an fsspec URL (``s3://bucket/lift``, ``memory://lift``, ``file:///shared/lift``), read-only.

Episodes are copied into a cache on local disk, named by the set's hash, and read there: a memory map needs a file. An
episode counts once each of its files has the hash that the manifest names; a fetch that was interrupted goes on with
the episodes that are missing. Processes may open the same set at once: one copies, the others wait. The cache stays
below ``$SMIDGEN_CACHE_GB`` (100 by default): sets that no process reads make room, those read longest ago first.
"""

from __future__ import annotations

import contextlib
import fcntl
import math
import os
import re
import shutil
import tempfile
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from smidgen.data_collection.manifest import (
    EPISODES_NAME,
    MANIFEST_NAME,
    MODEL_FILE,
    MODELS_NAME,
    episode_directory_name,
    read_manifest,
)
from smidgen.runtime.errors import UserError
from smidgen.runtime.files import (
    TEMPORARY_PREFIX,
    atomic_directory,
    disk_errors,
    remove_leftovers,
    sha256_bytes,
    sha256_file,
    write_atomic,
)
from smidgen.runtime.optional_libraries import optional_library
from smidgen.runtime.places import cache_root
from smidgen.runtime.settings import user_path

INSTALL = 'pip install "smidgen[remote]"'
LIMIT_VARIABLE, DEFAULT_LIMIT_GB = "SMIDGEN_CACHE_GB", "100"
STORES = "stores"
MAX_MANIFEST_BYTES = 1 << 28
EPISODES_AT_ONCE, EPISODES_LISTED_ALONE = 256, 16
_URL = re.compile(r"([a-z0-9+.\-]+::)*[a-z][a-z0-9+.\-]*://", re.IGNORECASE)
# Held, shared, for as long as this process lives by whoever reads a set; by its hash.
_in_use: dict[str, int] = {}


def is_url(place: Path | str) -> bool:
    """Whether a data set's place is a URL; a :class:`~pathlib.Path` never is one."""
    return isinstance(place, str) and bool(_URL.match(place))


def user_set(text: str) -> Path | str:
    """A data set's place typed after an option: a path, whose ``~`` is expanded, or a URL as it stands."""
    return text if is_url(text) else user_path(text)


class RemoteSet:
    """A set at a URL, and the copy of those of its episodes that were asked for.

    Args:
        url: Of the set's folder.

    Attributes:
        folder: The copy: the manifest and the episodes that are here.

    Raises:
        UserError: If no manifest can be read there, or the cache cannot be written.
    """

    def __init__(self, url: str) -> None:
        self._files = _Remote(url)
        manifest = self._files.manifest()
        sha256 = sha256_bytes(manifest)
        cache = cache_root() / STORES
        with disk_errors(cache):
            cache.mkdir(parents=True, exist_ok=True)
        _mark_in_use(cache, sha256)
        self._lock_file = cache / f"{sha256}.fetch"
        self.folder = cache / sha256
        if not self.folder.exists():
            with _lock(self._lock_file):
                # Another process may have made it while this one waited.
                if not self.folder.exists():
                    remove_leftovers(cache, sha256)
                    _begin(self.folder, manifest)
        os.utime(self.folder)

    def fetch(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Copies the episodes of some of the manifest's rows, those that are not here yet.

        Raises:
            UserError: If a file is altered or missing, they are larger than the cache may be, or the disk is full.
        """
        missing = self._missing(rows)
        if not missing:
            return
        with _lock(self._lock_file):
            sizes = self._files.sizes(missing)
            _make_room(self.folder.parent, sum(sizes.values()), self._files.url)
        for first in range(0, len(missing), EPISODES_AT_ONCE):
            # In between, another process that waits for a few episodes gets them.
            with _lock(self._lock_file):
                if still := self._missing(missing[first : first + EPISODES_AT_ONCE]):
                    self._copy(still)

    def _missing(self, rows: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        episodes = self.folder / EPISODES_NAME
        return [row for row in rows if not (episodes / episode_directory_name(row["seed"])).exists()]

    def _copy(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Copies episodes, which get their places, models first, once all their files are verified."""
        remove_leftovers(self.folder / EPISODES_NAME)
        with contextlib.ExitStack() as stack:
            places = {
                row["seed"]: stack.enter_context(
                    atomic_directory(self.folder / EPISODES_NAME / episode_directory_name(row["seed"]))
                )
                for row in rows
            }
            models = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            wanted = {
                path_of(row["seed"], name, digest): (
                    models / digest if name == MODEL_FILE else places[row["seed"]] / name,
                    digest,
                )
                for row in rows
                for name, digest in row["files"].items()
            }
            self._files.copy({path: place for path, (place, _) in wanted.items()})
            for path, (place, digest) in wanted.items():
                if (got := sha256_file(place)) != digest:
                    raise UserError(
                        f"{self._files.url}/{path} is truncated or altered: SHA-256 is {got[:12]}..., expected "
                        f"{digest[:12]}..."
                    )
            for model in models.iterdir():
                write_atomic(self.folder / MODELS_NAME / f"{model.name}.xml", model.read_bytes())


def _begin(folder: Path, manifest: bytes) -> None:
    """Makes the copy of a set without an episode, unless its manifest is wrong."""
    with atomic_directory(folder) as temporary:
        (temporary / MANIFEST_NAME).write_bytes(manifest)
        (temporary / EPISODES_NAME).mkdir()
        read_manifest(temporary / MANIFEST_NAME)


class _Remote:
    """The files below a URL; whatever a file system raises becomes one line.

    Args:
        url: Of the set's folder.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        fsspec = optional_library("fsspec", INSTALL)
        with self._errors(""):
            self._system, self._root = fsspec.core.url_to_fs(self.url)

    def manifest(self) -> bytes:
        """The set's manifest."""
        with self._errors(MANIFEST_NAME):
            path = f"{self._root}/{MANIFEST_NAME}"
            if self._system.size(path) > MAX_MANIFEST_BYTES:
                raise UserError(f"{self.url}/{MANIFEST_NAME} is larger than {MAX_MANIFEST_BYTES} bytes")
            return bytes(self._system.cat_file(path))

    def sizes(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, int]:
        """Size in bytes of the files of some rows, by path below the set.

        Raises:
            UserError: If one is missing.
        """
        wanted = {path_of(row["seed"], name, digest) for row in rows for name, digest in row["files"].items()}
        # One listing of everything, unless a few episodes are a small part of it.
        folders = {name.rpartition("/")[0] for name in wanted} if len(rows) <= EPISODES_LISTED_ALONE else {""}
        found: dict[str, int] = {}
        for folder in sorted(folders):
            with self._errors(folder):
                listed = self._system.find(f"{self._root}/{folder}".rstrip("/"), detail=True)
            found |= {path.removeprefix(f"{self._root}/"): info["size"] for path, info in listed.items()}
        if missing := sorted(wanted - set(found)):
            raise UserError(f"{self.url}/{missing[0]} is missing")
        return {name: found[name] for name in wanted}

    def copy(self, places: Mapping[str, Path]) -> None:
        """Copies files to the places given by their path below the set, several at once where the file system can."""
        with self._errors(""):
            self._system.get([f"{self._root}/{name}" for name in places], [str(place) for place in places.values()])

    @contextmanager
    def _errors(self, what: str) -> Iterator[None]:
        where = "/".join(filter(None, [self.url, what]))
        try:
            yield
        except UserError:
            raise
        except FileNotFoundError as error:
            raise UserError(f"{where} does not exist") from error
        except ImportError as error:
            raise UserError(f"{where} cannot be read ({error}); install it: {INSTALL}") from error
        except Exception as error:
            # Each file system has errors of its own: no credentials, no such bucket, no network.
            raise UserError(f"{where} cannot be read: {type(error).__name__}: {str(error)[:300]}") from error


def path_of(seed: int, name: str, digest: str) -> str:
    """Where a file of a manifest's row is, below the set: models lie apart, because attempts share them."""
    if name == MODEL_FILE:
        return f"{MODELS_NAME}/{digest}.xml"
    return f"{EPISODES_NAME}/{episode_directory_name(seed)}/{name}"


def _make_room(cache: Path, num_bytes: int, url: str) -> None:
    """Removes what no process reads, what was read longest ago first, until a set fits.

    Raises:
        UserError: If it cannot fit.
    """
    limit = _limit_bytes()
    copies = [path for path in cache.iterdir() if path.is_dir() and not path.name.startswith(TEMPORARY_PREFIX)]
    sizes = {path: sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) for path in copies}
    for path in sorted(copies, key=lambda path: path.stat().st_mtime):
        if sum(sizes.values()) + num_bytes <= limit:
            break
        with _lock_if_free(cache / f"{path.name}.use") as is_free:
            if is_free:
                # Renamed first: if this process is killed, no part of a set is taken for a whole one.
                removed = path.rename(path.with_name(f"{TEMPORARY_PREFIX}{path.name}-{uuid.uuid4().hex}"))
                shutil.rmtree(removed)
                del sizes[path]
    used = sum(sizes.values())
    if used + num_bytes > limit:
        raise UserError(
            f"{url} takes {num_bytes / 1e9:.3g} GB more, but {used / 1e9:.3g} of the {limit / 1e9:g} GB of {cache} are "
            f"in use; set {LIMIT_VARIABLE} higher"
        )


def _limit_bytes() -> float:
    text = os.environ.get(LIMIT_VARIABLE, DEFAULT_LIMIT_GB)
    try:
        limit_gb = float(text)
    except ValueError:
        limit_gb = math.nan
    if not limit_gb >= 0:
        raise UserError(f"{LIMIT_VARIABLE}={text:.40}: expected a number of GB")
    return limit_gb * 1e9


def _mark_in_use(cache: Path, sha256: str) -> None:
    """Keeps other processes from removing a set until this one ends."""
    if sha256 not in _in_use:
        path = cache / f"{sha256}.use"
        descriptor = _open(path)
        with disk_errors(path):
            fcntl.flock(descriptor, fcntl.LOCK_SH)
        _in_use[sha256] = descriptor


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    descriptor = _open(path)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def _lock_if_free(path: Path) -> Iterator[bool]:
    descriptor = _open(path)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield True
    except BlockingIOError:
        yield False
    finally:
        os.close(descriptor)


def _open(path: Path) -> int:
    with disk_errors(path):
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
