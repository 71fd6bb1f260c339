"""A command as a process that is going to be hit: its workers, the blow, and what is left of it afterwards."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

# Ways to end for a command that was told to.
_ENDED = {-signal.SIGKILL, -signal.SIGTERM, 128 + signal.SIGTERM}
_LOG_TAIL = 2000
_RAY_WORKER = "ray::JobActor"
# Where `studies` are, which a suite is named from.
ROOT = Path(__file__).resolve().parents[2]
# In front of the command, in its own process: a function between fork and exec is not safe where there are threads.
_LAUNCH = """
import os, sys
from smidgen.runtime.worker_process import end_with_parent
end_with_parent(int(sys.argv[1]))
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""


class CommandFailed(RuntimeError):
    """A command ended, or went on, otherwise than it should; the message ends with its last lines."""


class Process:
    """A command that runs, and dies with this process.

    Args:
        arguments: For the Python interpreter.
        log: File that takes what it prints, after what is there already.
        directory: Working directory.
    """

    def __init__(self, arguments: Sequence[str], log: Path, directory: Path) -> None:
        self._log = log
        with log.open("ab") as output:
            self._log_start = output.tell()
            self._process = subprocess.Popen(
                [sys.executable, "-c", _LAUNCH, str(os.getpid()), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=directory,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                start_new_session=True,
            )

    @property
    def process_id(self) -> int:
        """Of the command itself."""
        return self._process.pid

    def runs_on(self, seconds: float) -> bool:
        """Waits; whether the command is still running then."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return True
        return False

    def workers(self) -> list[int]:
        """Process ids of its workers, in the order of their start."""
        children = [child for child in _children(self._process.pid) if "multiprocessing.spawn" in _command_line(child)]
        return children or [each for each in _session(self._process.pid) if _RAY_WORKER in _command_line(each)]

    def require_finished(self) -> None:
        """Checks that it ended well.

        Raises:
            CommandFailed: If its exit code is not 0.
        """
        if self._process.returncode != 0:
            raise CommandFailed(f"exit code {self._process.returncode}, expected 0: {self._tail()}")

    def said(self) -> str:
        """What it has printed."""
        return self._log.read_bytes()[self._log_start :].decode(errors="replace")

    def kill(self, number: int, limit_s: float) -> list[int] | None:
        """Sends a signal that shall end the command.

        Returns:
            Those of its workers that are still there a while afterwards: none, if all is well. None if it had just
            ended by itself.

        Raises:
            CommandFailed: If it goes on, or ends with an error of its own.
        """
        workers = self.workers()
        self._process.send_signal(number)
        if self.runs_on(limit_s):
            self.end()
            raise CommandFailed(f"goes on {limit_s:g} s after {signal.Signals(number).name}: {self._tail()}")
        if self._process.returncode == 0:
            return None
        if self._process.returncode not in _ENDED:
            raise CommandFailed(f"exit code {self._process.returncode} after a signal: {self._tail()}")
        deadline = time.monotonic() + limit_s
        while (left := [worker for worker in workers if is_running(worker)]) and time.monotonic() < deadline:
            time.sleep(0.02)
        return left

    def end(self) -> None:
        """Ends it in any case."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _tail(self) -> str:
        return f"...{self.said()[-_LOG_TAIL:]}"


def is_running(process_id: int) -> bool:
    """Whether a process is there and is no zombie."""
    return _status(process_id)[:1] not in ([], ["Z"])


def cpu_ticks(process_id: int) -> int:
    """Processor time that a process has had, in the kernel's ticks."""
    return sum(int(ticks) for ticks in _status(process_id)[11:13])


def _status(process_id: int) -> list[str]:
    """State, parent and what else the kernel tells of a process; [] where there is none."""
    try:
        return Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _children(process_id: int) -> list[int]:
    every = sorted(int(entry) for entry in os.listdir("/proc") if entry.isdigit())
    return [each for each in every if _status(each)[1:2] == [str(process_id)]]


def _session(process_id: int) -> list[int]:
    """Everything in a process's session, but itself: an actor of Ray is no child of the command that uses it."""
    every = sorted(int(entry) for entry in os.listdir("/proc") if entry.isdigit())
    return [each for each in every if each != process_id and _status(each)[3:4] == [str(process_id)]]


def _command_line(process_id: int) -> str:
    try:
        return Path(f"/proc/{process_id}/cmdline").read_text()
    except OSError:
        return ""
