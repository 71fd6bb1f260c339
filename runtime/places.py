"""Directories that must not be written to: data sets, checkpoints, a run's own folders, read-only ones."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from smidgen.runtime.errors import UserError

# Files that identify such a directory; a test keeps them equal to the names used by their owners.
DATA_SET_MARKERS = ("manifest.json", "episodes")
CHECKPOINT_MARKERS = ("checkpoint.json", "model.safetensors")
RUN_MARKERS = ("config.json", "metrics.jsonl")
RUN_PARTS = ("checkpoints", "resume")


def cache_root() -> Path:
    """Where caches are: ``$SMIDGEN_CACHE``, else ``$XDG_CACHE_HOME/smidgen``, else ``~/.cache/smidgen``."""
    root = os.environ.get("SMIDGEN_CACHE")
    return Path(root) if root else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "smidgen"


def require_outside(path: Path | str, key: str = "out", *, itself: bool = True) -> None:
    """Refuses a path inside a data set or a checkpoint, which an extra file would make unreadable.

    Args:
        path: The file or directory to be written.
        key: The setting that names it.
        itself: Whether ``path`` itself is checked too; its parents always are.

    Raises:
        UserError: Naming the directory that contains it.
    """
    place = Path(path).absolute().resolve()
    if itself and all((place / name).exists() for name in RUN_MARKERS):
        raise UserError(f"{key}={path} is a training run; choose another {key}=, for example a folder inside it")
    for parent in (*((place,) if itself else ()), *place.parents):
        kind = _kind_of(parent)
        if kind:
            where = "is" if parent == place else "lies inside"
            raise UserError(
                f"{key}={path} {where} {kind} {parent}, which must contain nothing else; choose another {key}="
            )


def printable_path(path: str) -> str:
    """A path as a text file can hold it: bytes that are not text are shown as ``\\xe9``."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _kind_of(directory: Path) -> str:
    """``the data set``, ``the checkpoint``, ``the training run's own folder``, or ""."""
    if all((directory / name).exists() for name in DATA_SET_MARKERS) or _holds_episodes(directory):
        return "the data set"
    if all((directory / name).exists() for name in CHECKPOINT_MARKERS):
        return "the checkpoint"
    if directory.name in RUN_PARTS and all((directory.parent / name).exists() for name in RUN_MARKERS):
        return "the training run's own folder"
    return ""


def _holds_episodes(directory: Path) -> bool:
    """Whether this is an unfinished collection."""
    folder = directory / DATA_SET_MARKERS[1]
    try:
        return any(each.name.isdigit() and len(each.name) == 9 for each in folder.iterdir())
    except OSError:
        return False


def read_only_places(keys: Mapping[Path, str], outputs: Iterable[Path]) -> dict[Path, str]:
    """Finds default outputs whose directory is read-only.

    Args:
        keys: For each output at its default path, the setting that names another.
        outputs: Files to be written.

    Returns:
        A message for the user about each.
    """
    return {
        path: f"did not write {path}: {path.parent} is read-only; pass {keys[path]}=PATH to write it elsewhere"
        for path in outputs
        if path in keys and path.parent.exists() and not os.access(path.parent, os.W_OK)
    }
