"""Disturbs a command again and again until it has taken so many blows; each run must end in the undisturbed bytes.

What is to come is drawn from the seed and the number of blows so far, and every blow is on the disk before the next:
a campaign that is itself killed goes on where it was.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smidgen.runtime.files import read_json, write_json_atomic
from smidgen.runtime.schemas import from_json, to_json
from tests.faults.commands import Command, differences, has_output, products
from tests.faults.process import CommandFailed, Process, cpu_ticks

PARENT, WORKER = "parent", "worker"
KILLS = (signal.SIGKILL, signal.SIGTERM)
# A run that has taken so many blows is left to finish, and compared.
MAX_KILLS_PER_RUN = 5
# An item that costs three workers is rightly given up.
MAX_WORKERS_PER_START = 2
# Most of a short command is its start, where nothing is written yet; most blows shall come later.
_SHARE_ANYWHERE = 0.25
_LONGEST_FACTOR, _LONGEST_S = 20.0, 120.0
_POLL_S = 0.05


@dataclass(frozen=True)
class Blow:
    """What was done to a process.

    Attributes:
        run: Which run of the command, from 0.
        signal: Name of the signal.
        target: The command itself, or one of its workers.
        after_s: Seconds since the command's start.
        before_output: Whether nothing was written yet.
        left_behind: Workers that outlived their killed parent.
    """

    run: int
    signal: str
    target: str
    after_s: float
    before_output: bool
    left_behind: int = 0


@dataclass(frozen=True)
class Undisturbed:
    """A run that nothing happened to.

    Attributes:
        wall_s: How long it took.
        output_s: After how long the first output was there.
        products: Hash of every file.
    """

    wall_s: float
    output_s: float
    products: dict[str, str]


@dataclass
class Progress:
    """A campaign so far.

    Attributes:
        undisturbed: The run to compare with.
        blows: Every kill and every stop.
        starts: Times that the command was started under fire.
        finished: Runs that came to their end, each with the undisturbed bytes.
        replaced: Workers that the command found hanging, and replaced.
        pace: How long the command takes now, as a multiple of the undisturbed run: machines are busy at times.
    """

    undisturbed: Undisturbed
    blows: tuple[Blow, ...] = ()
    starts: int = 0
    finished: int = 0
    replaced: int = 0
    pace: float = 1.0

    def num_kills(self, run: int | None = None) -> int:
        """Blows that kill, in one run or in all."""
        return sum(blow.signal != signal.SIGSTOP.name and run in (None, blow.run) for blow in self.blows)

    def num_stops(self) -> int:
        """Blows that make a worker hang."""
        return len(self.blows) - self.num_kills()


class Campaign:
    """Blows against one command.

    Args:
        name: Of the command.
        command: The command.
        folder: For its output, and the campaign's own progress.
        seed: Decides moments, signals and targets.
        say: Takes a line for whoever watches.
    """

    def __init__(self, name: str, command: Command, folder: Path, seed: int, say: Callable[[str], None]) -> None:
        self._name, self._command, self.folder, self._seed, self._say = name, command, folder.resolve(), seed, say
        self._path = self.folder / "progress.json"
        self.folder.mkdir(parents=True, exist_ok=True)
        if self._path.exists():
            self.progress = from_json(Progress, read_json(self._path), str(self._path))
        else:
            self.progress = Progress(self._run_undisturbed())
            self._save()

    def kill(self, num_kills: int) -> Progress:
        """Goes on until the command has been killed so often in all, and the last run has finished.

        Raises:
            CommandFailed: If a command ends badly, hangs, or leaves other bytes than the undisturbed run.
        """
        while self.progress.num_kills() < num_kills or (self.folder / f"run-{self.progress.finished}").exists():
            run = self.progress.finished
            while self._start(run, functools.partial(self._may_kill, run, num_kills)):
                pass
            self._compare(run)
        return self.progress

    def stop(self, num_stops: int, limit_s: float | None = None) -> Progress:
        """Goes on until workers were stopped (and thereby hang) so often, each in a run of its own.

        Args:
            num_stops: How often in all.
            limit_s: What the command takes for a hang; None for twice an undisturbed run, at least 10 s.

        Raises:
            CommandFailed: As for :meth:`kill`.
        """
        while self.progress.num_stops() < num_stops:
            limit_s = max(10.0, 2 * self.progress.undisturbed.wall_s) if limit_s is None else limit_s
            self._start_and_stop_a_worker(self.progress.finished, limit_s)
            self._compare(self.progress.finished)
        return self.progress

    def _run_undisturbed(self) -> Undisturbed:
        folder = self.folder / "undisturbed"
        shutil.rmtree(folder, ignore_errors=True)
        self._say(f"{self._name}: an undisturbed run")
        process, started, output_s = self._launch(folder), time.monotonic(), None
        while process.runs_on(_POLL_S):
            if output_s is None and has_output(folder):
                output_s = time.monotonic() - started
        process.require_finished()
        wall_s = time.monotonic() - started
        return Undisturbed(round(wall_s, 2), round(output_s or wall_s, 2), products(folder))

    def _launch(self, folder: Path, *further: str) -> Process:
        folder.mkdir(parents=True, exist_ok=True)
        return Process([*self._command.arguments(folder), *further], self.folder / "log.txt", self.folder)

    def _may_kill(self, run: int, num_kills: int) -> bool:
        return self.progress.num_kills() < num_kills and self.progress.num_kills(run) < MAX_KILLS_PER_RUN

    def _start(self, run: int, may_kill: Callable[[], bool]) -> bool:
        """Starts the command once under fire; whether it was killed, so that it has to be started again."""
        folder = self.folder / f"run-{run}"
        process, started, num_workers_hit = self._launch(folder), time.monotonic(), 0
        self._note(starts=self.progress.starts + 1)
        try:
            while may_kill():
                rng = self._rng()
                if not self._wait_for_the_moment(process, folder, rng):
                    # Else the next moment would be missed as well, on a machine that has become faster.
                    self._note(pace=min(1.0, (time.monotonic() - started) / self.progress.undisturbed.wall_s))
                    break
                number = rng.choice(KILLS)
                workers = process.workers() if num_workers_hit < MAX_WORKERS_PER_START else []
                is_worker = bool(workers) and rng.random() < 0.5
                before_output, after_s = not has_output(folder), round(time.monotonic() - started, 2)
                blow = Blow(run, number.name, WORKER if is_worker else PARENT, after_s, before_output)
                if is_worker:
                    num_workers_hit += 1
                    _send(rng.choice(workers), number)
                    self._note_blow(blow)
                    continue
                left = process.kill(number, self._longest_s())
                if left is None:
                    return False
                self._note_blow(dataclasses.replace(blow, left_behind=len(left)))
                return True
            if process.runs_on(self._longest_s()):
                raise CommandFailed(f"{self._name}: still running after {self._longest_s():.0f} s")
            process.require_finished()
            return False
        finally:
            process.end()

    def _start_and_stop_a_worker(self, run: int, limit_s: float) -> None:
        """Starts the command, stops a worker for good once there is output, and waits for the end."""
        assert self._command.patience is not None
        folder = self.folder / f"run-{run}"
        process, started = self._launch(folder, *self._command.patience(limit_s)), time.monotonic()
        self._note(starts=self.progress.starts + 1)
        try:
            while process.runs_on(_POLL_S) and not (has_output(folder) and process.workers()):
                pass
            workers = process.workers()
            if workers:
                # The others may be starting still, with nothing to do.
                _send(max(workers, key=cpu_ticks), signal.SIGSTOP)
                after_s = round(time.monotonic() - started, 2)
                self._note_blow(Blow(run, signal.SIGSTOP.name, WORKER, after_s, before_output=False))
            if process.runs_on(self._longest_s() + 2 * limit_s):
                raise CommandFailed(f"{self._name}: still waits for a worker that hangs")
            process.require_finished()
            self._note(replaced=self.progress.replaced + process.said().count("timed out after"))
        finally:
            process.end()

    def _compare(self, run: int) -> None:
        folder = self.folder / f"run-{run}"
        differing = differences(products(folder), self.progress.undisturbed.products)
        if differing:
            raise CommandFailed(f"{folder} differs from the undisturbed run in {', '.join(differing)}")
        self._note(finished=run + 1)
        shutil.rmtree(folder)
        self._say(f"{self._name}: {self.progress.num_kills()} kills, run {run} has the undisturbed bytes")

    def _wait_for_the_moment(self, process: Process, folder: Path, rng: random.Random) -> bool:
        """Waits a random time, mostly from the first output on; whether the command is still running then."""
        undisturbed, pace = self.progress.undisturbed, self.progress.pace
        if rng.random() < _SHARE_ANYWHERE:
            return process.runs_on(pace * rng.uniform(0.0, undisturbed.wall_s))
        while not has_output(folder):
            if not process.runs_on(_POLL_S):
                return False
        return process.runs_on(pace * rng.uniform(0.0, undisturbed.wall_s - undisturbed.output_s))

    def _longest_s(self) -> float:
        return _LONGEST_FACTOR * self.progress.undisturbed.wall_s + _LONGEST_S

    def _rng(self) -> random.Random:
        return random.Random(f"{self._seed} {self._name} {len(self.progress.blows)} {self.progress.starts}")

    def _note_blow(self, blow: Blow) -> None:
        self._note(blows=(*self.progress.blows, blow))

    def _note(self, **changes: Any) -> None:
        self.progress = dataclasses.replace(self.progress, **changes)
        self._save()

    def _save(self) -> None:
        write_json_atomic(self._path, to_json(self.progress))


def _send(process_id: int, number: int) -> None:
    # It may have ended since it was seen.
    with contextlib.suppress(ProcessLookupError):
        os.kill(process_id, number)
