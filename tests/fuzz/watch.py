"""Reads one hostile input under watch: what it wrote, what code it reached for, how long it took, what memory."""

from __future__ import annotations

import importlib.metadata
import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import imageio_ffmpeg

from smidgen.runtime.command_line import one_line
from smidgen.runtime.errors import UserError
from tests.fuzz.reader import Case, Reader, plant, restore

# A pipe blocks without using the processor, and a busy machine delays what does: the limit is on the clock, generously.
MAX_SECONDS = 30.0
# A forged length that is believed asks for gigabytes; honest reading of these small files for next to nothing.
MAX_ADDRESS_GROWTH_BYTES = 1 << 30
MAX_MEMORY_GROWTH_MIB = 128
MAX_MESSAGE_CHARACTERS = 2000
_WRITE_FLAGS = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
# Audit events of Python, by what they mean; the first arguments of the second kind are paths.
_RUNS_CODE = (
    *("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.forkpty"),
    *("pickle.find_class", "ctypes.dlopen", "socket.connect", "socket.bind"),
)
_CHANGES_FILES = (
    *("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.symlink", "os.link", "os.chmod", "os.chown"),
    *("os.truncate", "os.utime", "shutil.rmtree", "shutil.move", "shutil.copyfile"),
)


# What the page of a leaderboard asks git for: commands that read its objects and run nothing.
_GIT_READS = ("ls-tree", "log", "config")


def _asks_git_for_objects(event: str, arguments: tuple[Any, ...]) -> bool:
    words: list[Any] = list(arguments[1]) if event == "subprocess.Popen" else []
    return words[:2] == ["git", "-C"] and words[3] in _GIT_READS


def _decodes_video(event: str, arguments: tuple[Any, ...]) -> bool:
    """Whether ffmpeg was started to read one file and to write nothing but a pipe."""
    words: list[Any] = list(arguments[1]) if event == "subprocess.Popen" else []
    return words[:1] == [imageio_ffmpeg.get_ffmpeg_exe()] and words.count("-i") == 1 and words[-1] == "pipe:1"


class Hang(BaseException):
    """Raised in a reader that takes too long."""


@dataclass
class _Watch:
    """What an audit hook sees while a reader reads; hooks cannot be taken off again, so there is one for ever."""

    folder: str = ""
    may_import: str = ""
    known: frozenset[str] = frozenset()
    faults: list[str] = field(default_factory=list)
    is_on: bool = False
    is_installed: bool = False

    def see(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.is_on:
            return
        if event == "open":
            self._see_open(*arguments[:3])
        elif event == "import":
            name = str(arguments[0])
            if name.partition(".")[0] not in self.known and not f"{self.may_import}.".startswith(f"{name}."):
                self.faults.append(f"imported {name}")
        elif event in _RUNS_CODE and not (_asks_git_for_objects(event, arguments) or _decodes_video(event, arguments)):
            self.faults.append(f"{event} {arguments!r:.100}")
        elif event in _CHANGES_FILES:
            if event in ("os.remove", "os.rmdir") and arguments[1] >= 0:  # relative to an open directory
                arguments = (os.path.join(os.readlink(f"/proc/self/fd/{arguments[1]}"), arguments[0]),)
            for path in arguments[: 2 if event in ("os.rename", "os.link", "shutil.move") else 1]:
                self._see_change(event, path)

    def _see_open(self, path: Any, mode: Any, flags: Any) -> None:
        writes = (
            set(mode or "") & set("wax+") if isinstance(mode, str) else isinstance(flags, int) and flags & _WRITE_FLAGS
        )
        if writes:
            self._see_change("opened to write", path)

    def _see_change(self, what: str, path: Any) -> None:
        if isinstance(path, str | bytes | os.PathLike):
            where = os.path.abspath(os.fsdecode(path))
            if where != os.devnull and not f"{where}/".startswith(f"{self.folder}/"):
                self.faults.append(f"{what} {where!r:.200}")


_WATCH = _Watch()


@dataclass(frozen=True)
class Outcome:
    """How reading one case ended.

    Attributes:
        is_accepted: Whether it was read as something valid.
        fault: What was wrong with that, or "".
        message: Of the refusal.
        seconds: Processor time that it took.
    """

    is_accepted: bool
    fault: str
    message: str
    seconds: float


def read_case(reader: Reader, folder: Path, valid: dict[str, bytes], case: Case) -> Outcome:
    """Reads one case; the folder is afterwards as it was.

    Args:
        reader: The reader.
        folder: Holds the valid files.
        valid: Those files.
        case: What to read instead.
    """
    plant(folder, case.files)
    words = tuple(word.replace("{folder}", str(folder)) for word in case.words or reader.words)
    fault = message = ""
    is_accepted = False
    memory_mib, started = peak_memory_mib(), time.process_time()
    try:
        with _watching(folder, reader.names_code(words)) as faults:
            reader.read(folder, words)
        is_accepted = True
    except UserError as error:
        message = one_line(str(error))
        fault = _fault_of_message(message, folder, case)
    except Hang:
        fault = f"no end after {MAX_SECONDS} s"
    except Exception as error:
        fault = f"{type(error).__name__}: {str(error)[:200]} at {_place(error)}"
    seconds = time.process_time() - started
    restore(folder, valid, case)
    growth_mib = peak_memory_mib() - memory_mib
    if growth_mib > MAX_MEMORY_GROWTH_MIB:
        faults.append(f"memory grew by {growth_mib:.0f} MiB")
    return Outcome(is_accepted, "; ".join([fault, *faults] if fault else faults), message, seconds)


def peak_memory_mib() -> float:
    """The most memory that this process has held so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _fault_of_message(message: str, folder: Path, case: Case) -> str:
    if not message or len(message) > MAX_MESSAGE_CHARACTERS:
        return f"a message of {len(message)} characters: {message[:200]!r}"
    names = [str(folder), *(Path(name).name for name in case.files)]
    if case.files and not any(name in message for name in names):
        return f"the message names no file: {message[:200]!r}"
    return ""


def _place(error: Exception) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "smidgen" in frame.filename or "/main/" in frame.filename] or frames
    return " < ".join(f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in reversed(ours[-3:]))


@contextmanager
def _watching(folder: Path, may_import: str) -> Iterator[list[str]]:
    """Holds time and memory within limits and lists what was done besides reading."""
    if not _WATCH.is_installed:
        _WATCH.known = frozenset(
            (*sys.stdlib_module_names, *importlib.metadata.packages_distributions(), "smidgen", "studies")
        )
        _WATCH.is_installed = True
        sys.addaudithook(_WATCH.see)
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    previous, writes_bytecode = signal.signal(signal.SIGALRM, _raise_hang), sys.dont_write_bytecode
    sys.dont_write_bytecode = True
    resource.setrlimit(resource.RLIMIT_AS, (held + MAX_ADDRESS_GROWTH_BYTES, hard))
    signal.setitimer(signal.ITIMER_REAL, MAX_SECONDS)
    _WATCH.folder, _WATCH.may_import, _WATCH.faults, _WATCH.is_on = str(folder), may_import, [], True
    try:
        yield _WATCH.faults
    finally:
        _WATCH.is_on = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        sys.dont_write_bytecode = writes_bytecode


def _raise_hang(number: int, frame: object) -> None:
    raise Hang
