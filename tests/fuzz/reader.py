"""What is fuzzed: a reader, the valid files that it reads, and one spoiled set of them."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

LINK, PIPE, DIRECTORY, MISSING = "link", "pipe", "directory", "missing"


@dataclass(frozen=True)
class Special:
    """What stands where a file was expected: a link (to ``target``), a pipe nobody writes to, a directory, nothing."""

    kind: str
    target: str = ""


Entry = bytes | Special
Files = Mapping[str, bytes]


@dataclass(frozen=True)
class Case:
    """One input.

    Attributes:
        files: What differs from the valid files, by path below the folder.
        words: What the user typed: overrides, a policy, a command line; ``{folder}`` stands for the folder.
    """

    files: Mapping[str, Entry] = field(default_factory=dict)
    words: tuple[str, ...] = ()


@dataclass(frozen=True)
class Reader:
    """A reader of outside files.

    Attributes:
        files: The valid files, by path below the folder.
        spoil: Draws one case from them.
        read: Reads everything that the reader can read in the folder, with the words of the case.
        words: Words that go with the valid files.
        names_code: Which module the words ask to be imported; nothing else may be.
    """

    files: Callable[[], Files]
    spoil: Callable[[random.Random, Files], Case]
    read: Callable[[Path, tuple[str, ...]], object]
    words: tuple[str, ...] = ()
    names_code: Callable[[tuple[str, ...]], str] = lambda words: ""


def plant(folder: Path, entries: Mapping[str, Entry]) -> None:
    """Puts entries where they belong, over whatever stands there."""
    for name, entry in entries.items():
        path = folder / name
        _clear(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(entry, bytes):
            path.write_bytes(entry)
        elif entry.kind == LINK:
            path.symlink_to(entry.target.replace("{folder}", str(folder)))
        elif entry.kind == PIPE:
            os.mkfifo(path)
        elif entry.kind == DIRECTORY:
            path.mkdir()


def restore(folder: Path, valid: Files, case: Case) -> None:
    """Undoes :func:`plant` of a case."""
    for name in case.files:
        _clear(folder / name)
    plant(folder, {name: valid[name] for name in case.files if name in valid})


def files_below(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, by its path in it."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def _clear(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
