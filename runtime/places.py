"""Where nothing may be written: in a data set, a checkpoint, a run's own folders, or a read-only directory."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from smidgen.runtime.errors import UserError

# What tells such a directory, by the files in it; kept equal to their owners' names by a test.
DATA_SET_MARKERS = ("manifest.json", "episodes")
CHECKPOINT_MARKERS = ("checkpoint.json", "model.safetensors")
RUN_MARKERS = ("config.json", "metrics.jsonl")
RUN_PARTS = ("checkpoints", "resume")


def require_outside(path: Path | str, key: str = "out", *, itself: bool = True) -> None:
    """Refuses a place inside a data set or a checkpoint, which a foreign file makes unreadable.

    Args:
        path: What is going to be written, a file or a directory.
        key: The setting that named it.
        itself: Whether ``path`` itself may not be such a directory either; its parents never may.

    Raises:
        UserError: Naming the directory that it lies in.
    """
    place = Path(path).absolute().resolve()
    if itself and all((place / name).exists() for name in RUN_MARKERS):
        raise UserError(f"{key}={path} is a training run; choose another {key}=, for example a folder in it")
    for parent in (*((place,) if itself else ()), *place.parents):
        kind = _kind_of(parent)
        if kind:
            where = "is" if parent == place else "lies inside"
            raise UserError(
                f"{key}={path} {where} {kind} {parent}, which must hold nothing else; choose another {key}="
            )


def printable_path(path: str) -> str:
    """A path as a text file can hold it: bytes of a name that are no text are shown as ``\\xe9``."""
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
    """Whether a collection was begun here and is not finished."""
    folder = directory / DATA_SET_MARKERS[1]
    try:
        return any(each.name.isdigit() and len(each.name) == 9 for each in folder.iterdir())
    except OSError:
        return False


def read_only_places(keys: Mapping[Path, str], outputs: Iterable[Path]) -> dict[Path, str]:
    """Those outputs whose place nobody named, in directories where nothing may be written.

    Args:
        keys: The setting that names another place, of each output whose place is the default.
        outputs: Files to be written.

    Returns:
        What to tell the user about each.
    """
    return {
        path: f"did not write {path}: {path.parent} is read-only; pass {keys[path]}=PATH for another place"
        for path in outputs
        if path in keys and path.parent.exists() and not os.access(path.parent, os.W_OK)
    }
