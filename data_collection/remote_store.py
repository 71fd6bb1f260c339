"""Data sets at an fsspec URL (``s3://bucket/lift``, ``memory://lift``, ``file:///shared/lift``), read-only.

A set is copied once into a cache on local disk, named by its hash, and read there: a memory map needs a file. Every
file is verified before the copy counts. Processes may open the same set at once: one copies, the others wait. The cache
stays below ``$SMIDGEN_CACHE_GB`` (100 by default): sets that no process reads make room, those read longest ago first.
"""

from __future__ import annotations

import fcntl
import math
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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
)
from smidgen.runtime.optional_libraries import optional_library
from smidgen.runtime.places import cache_root
from smidgen.runtime.settings import user_path

INSTALL = 'pip install "smidgen[remote]"'
LIMIT_VARIABLE, DEFAULT_LIMIT_GB = "SMIDGEN_CACHE_GB", "100"
STORES = "stores"
MAX_MANIFEST_BYTES = 1 << 28
_URL = re.compile(r"([a-z0-9+.\-]+::)*[a-z][a-z0-9+.\-]*://", re.IGNORECASE)
# Held, shared, for as long as this process lives by whoever reads a set; by its hash.
_in_use: dict[str, int] = {}


def is_url(place: Path | str) -> bool:
    """Whether a data set's place is a URL; a :class:`~pathlib.Path` never is one."""
    return isinstance(place, str) and bool(_URL.match(place))


def user_set(text: str) -> Path | str:
    """A data set's place typed after an option: a path, whose ``~`` is expanded, or a URL as it stands."""
    return text if is_url(text) else user_path(text)


def local_copy(url: str) -> Path:
    """The verified copy of the set at a URL, made if there is none yet.

    Raises:
        UserError: If nothing can be read there, a file is altered or missing, the set is larger than the cache may
            be, or the disk is full.
    """
    remote = _Remote(url)
    manifest = remote.manifest()
    sha256 = sha256_bytes(manifest)
    cache = cache_root() / STORES
    with disk_errors(cache):
        cache.mkdir(parents=True, exist_ok=True)
    _mark_in_use(cache, sha256)
    folder = cache / sha256
    if not folder.exists():
        with _lock(cache / f"{sha256}.fetch"):
            # Another process may have copied it while this one waited.
            if not folder.exists():
                remove_leftovers(cache, sha256)
                _fetch(remote, manifest, folder)
    os.utime(folder)
    return folder


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

    def sizes(self) -> dict[str, int]:
        """Size in bytes of every file, by its path below the set."""
        with self._errors(""):
            found = self._system.find(self._root, detail=True)
        return {path.removeprefix(f"{self._root}/"): info["size"] for path, info in found.items()}

    def copy(self, names: list[str], folder: Path) -> None:
        """Copies files, several at once where the file system can."""
        for parent in {Path(folder, name).parent for name in names}:
            parent.mkdir(parents=True, exist_ok=True)
        with self._errors(""):
            self._system.get([f"{self._root}/{name}" for name in names], [str(folder / name) for name in names])

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


def _fetch(remote: _Remote, manifest: bytes, folder: Path) -> None:
    """Copies a set, and gives it its place once every file has the hash that the manifest names."""
    sizes = remote.sizes()
    with atomic_directory(folder) as temporary:
        (temporary / MANIFEST_NAME).write_bytes(manifest)
        (temporary / EPISODES_NAME).mkdir()
        wanted = {
            path_of(row["seed"], name, digest): digest
            for row in read_manifest(temporary / MANIFEST_NAME)["episodes"]
            for name, digest in row["files"].items()
        }
        missing = sorted(set(wanted) - set(sizes))
        if missing:
            raise UserError(f"{remote.url}/{missing[0]} is missing")
        _make_room(folder.parent, sum(sizes[name] for name in wanted) + len(manifest), remote.url)
        remote.copy(sorted(wanted), temporary)
        for name, digest in wanted.items():
            if (got := sha256_file(temporary / name)) != digest:
                raise UserError(
                    f"{remote.url}/{name} is truncated or altered: SHA-256 is {got[:12]}..., expected {digest[:12]}..."
                )


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
                shutil.rmtree(path)
                del sizes[path]
    used = sum(sizes.values())
    if used + num_bytes > limit:
        raise UserError(
            f"{url} takes {num_bytes / 1e9:.3g} GB, but {used / 1e9:.3g} of the {limit / 1e9:g} GB of {cache} are in "
            f"use; set {LIMIT_VARIABLE} higher"
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
