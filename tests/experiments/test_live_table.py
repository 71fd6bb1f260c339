"""The table of a suite that runs: who works on what, what is left and for how long, on a terminal and elsewhere."""

import contextlib
import io
import os
import pty
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.console import Console

from smidgen.experiments import live_table
from smidgen.experiments.costs import Cost, nearest_cost
from smidgen.experiments.job_notes import NOTE_NAME, JobNote, enter_stage, noted, read_note
from smidgen.experiments.jobs import take_job
from smidgen.experiments.live_table import failure, suite_table, watch
from smidgen.experiments.schedule import PlannedJob, finish_times_s
from smidgen.experiments.snapshot import Snapshot, UnfinishedJob, duration, take_snapshot, unfinished_jobs
from smidgen.experiments.suite import suite
from smidgen.runtime.command_line import run_command
from smidgen.runtime.errors import UserError
from smidgen.runtime.files import directory_lock
from smidgen.runtime.interrupt import WorkStopped

LONG = "entry/pick_place_can/raw-centred-1d/seed12"
NOTE = JobNote(label=LONG, host="node017", process=7, since_s=0.0, stage="training")
SOME = Snapshot("cpu-standard-1", 31, (), (), 120, 2, 15_000.0, 0)


@dataclass
class OneJob:
    """A job that does as it is told."""

    folder: Path
    act: Callable[[], object]
    label: str = "part/one"

    def is_done(self) -> bool:
        return (self.folder / "done").exists()

    def locks(self) -> list[Path]:
        return [self.folder]

    def run(self) -> object:
        return self.act()

    def snapshot(self) -> Snapshot:
        open_jobs = unfinished_jobs([self], lambda _: Cost(60.0, 60.0))
        return take_snapshot("a suite", int(self.is_done()), open_jobs, 2)


def test_a_job_says_its_host_its_time_and_its_stage_while_it_runs(tmp_path: Path) -> None:
    def act() -> None:
        enter_stage("training")
        (running,) = job.snapshot().running
        assert (running.label, running.stage, running.process) == ("part/one", "training", os.getpid())
        assert running.host
        assert abs(running.since_s - time.time()) < 60
        (tmp_path / "done").touch()

    job = OneJob(tmp_path, act)
    assert (job.snapshot().num_left, job.snapshot().running) == (1, ())
    take_job([job])
    assert (job.snapshot().num_done, job.snapshot().num_left, job.snapshot().is_over) == (1, 0, True)
    assert not (tmp_path / NOTE_NAME).exists()
    enter_stage("outside of any job")


def test_what_a_dead_process_left_is_not_running(tmp_path: Path) -> None:
    """Its lock is gone with it, and its note says nothing any more; another job under the same lock has a note too."""
    path = tmp_path / NOTE_NAME
    with noted(tmp_path, "part/one"):
        left_behind = path.read_bytes()
    path.write_bytes(left_behind)
    assert read_note(tmp_path, "part/one") is None
    with directory_lock(tmp_path):
        assert read_note(tmp_path, "part/one") is not None
        assert read_note(tmp_path, "part/two") is None
        path.write_text("{")
        assert read_note(tmp_path, "part/one") is None


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (UserError("the disk\nis full"), "the disk is full"),
        (RuntimeError("no memory"), "RuntimeError: no memory"),
        (WorkStopped(15), ""),
        (KeyboardInterrupt(), ""),
    ],
)
def test_a_failed_job_keeps_its_reason_and_a_stopped_one_is_left(
    tmp_path: Path, error: BaseException, told: str
) -> None:
    job = OneJob(tmp_path, lambda: None)
    with pytest.raises(type(error)), noted(tmp_path, job.label):
        raise error
    failed = job.snapshot().failed
    assert [note.error for note in failed] == [told] * bool(told)
    assert job.snapshot().num_left == (0 if told else 1)
    take_job([job])
    assert not job.snapshot().failed


def planned(label: str, wall_s: float, *needs: str) -> PlannedJob:
    return PlannedJob(label, wall_s, frozenset(needs))


def test_a_schedule_by_hand() -> None:
    jobs = [planned("a", 4), planned("b", 1), planned("late", 2, "a", "done before"), planned("c", 5), planned("d", 1)]
    # a until 4 beside b until 1, c until 6; then late until 6, d until 7.
    assert finish_times_s(jobs, 2) == {"a": 4, "b": 1, "c": 6, "late": 6, "d": 7}
    assert max(finish_times_s(jobs, 1).values()) == 13
    assert max(finish_times_s(jobs, 100).values()) == 6
    assert finish_times_s([planned("b", 1, "a")], 2, [planned("a", 3)]) == {"a": 3, "b": 4}
    assert finish_times_s([], 1) == {}
    with pytest.raises(ValueError, match="wait for one another: x"):
        finish_times_s([planned("x", 1, "x")], 1)
    with pytest.raises(ValueError, match="at least 1"):
        finish_times_s([], 0)


def test_the_time_left_counts_what_runs_and_says_what_is_unknown() -> None:
    waiting = [UnfinishedJob(str(number), None, 600.0) for number in range(4)]
    unknown = [replace(job, expected_s=None) for job in waiting]
    for unfinished, told in (
        (waiting, "s: 3 done, 0 running, 0 failed, 4 left; about 20 min on 2 workers"),
        (
            [*unknown, waiting[0]],
            "s: 3 done, 0 running, 0 failed, 5 left; about 10 min on 2 workers, and 4 of unknown cost",
        ),
        (unknown, "s: 3 done, 0 running, 0 failed, 4 left; time left unknown: nothing alike has been timed"),
        ([], "s: 3 done, 0 running, 0 failed, 0 left"),
    ):
        assert take_snapshot("s", 3, unfinished, 2).summary() == told
    told = [duration(seconds) for seconds in (20, 600, 11_100, 200_000)]
    assert told == ["less than 1 min", "10 min", "3 h 05 min", "2 d 7 h"]


def test_the_cost_of_a_job_is_that_of_those_named_most_like_it() -> None:
    known = [("a.raw/x-1", Cost(1, 1)), ("a.raw/x-2", Cost(3, 3)), ("b.raw/x-1", Cost(9, 9))]
    assert nearest_cost("a.raw/x-3", known) == Cost(2, 2)
    assert nearest_cost("b.cnn/y", known) == Cost(9, 9)
    assert nearest_cost("c", known) == Cost(3, 3)
    assert nearest_cost("c", []) is None


def test_the_table_fits_eighty_columns() -> None:
    now_s = time.time()
    running = tuple(replace(NOTE, label=f"{LONG}{n}", since_s=now_s - 1_000 * (40 - n)) for n in range(40))
    failed = replace(NOTE, label="entry/lift/cnn/seed0", error="the loss\x1b[31m is not finite " * 9)
    console = Console(file=io.StringIO(), width=80)
    console.print(suite_table(replace(SOME, running=running, failed=(failed,)), "output: log.txt"))
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert max(map(cell_len, lines)) <= 80
    shown = "\n".join(lines)
    assert "31 done, 40 running, 1 failed, 120 left; about 4 h 10 min on 2 workers" in " ".join(shown.split())
    assert all(title in shown for title in ("Job", "Where", "Since", "At", "node017", "training", "(11 h 07 min)"))
    cells = [line.split()[0] for line in lines[3:]]
    assert f"{LONG}0" in "".join(cells)
    assert f"{len(running) - live_table.MAX_ROWS} more running" in shown
    assert "failed: entry/lift/cnn/seed0 on node017: the loss\\x1b[31m is not finite" in " ".join(shown.split())
    assert "output: log.txt" in shown
    assert "\x1b" not in failure(failed)


def test_watching_elsewhere_than_on_a_terminal_tells_what_is_new(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another process's work is watched until nothing is left."""
    begun, may_end = threading.Event(), threading.Event()

    def act() -> None:
        begun.set()
        may_end.wait(30)
        (tmp_path / "done").touch()

    job, looks = OneJob(tmp_path, act), []
    worker = threading.Thread(target=take_job, args=([job],))

    def look() -> Snapshot:
        looks.append(job.snapshot())
        if len(looks) == 1:
            worker.start()
            begun.wait(30)
        if len(looks) == 3:
            may_end.set()
            worker.join()
        return looks[-1]

    assert watch(look, 0.0) == "nothing is left to run"
    told = capsys.readouterr().out.splitlines()
    assert told[0] == "a suite: 0 done, 0 running, 0 failed, 1 left; about 1 min on 2 workers"
    assert told[1] == "a suite: 0 done, 1 running, 0 failed, 0 left; about 1 min on 2 workers"
    assert told[2].startswith("running: part/one on ")
    assert told[3:] == ["a suite: 1 done, 0 running, 0 failed, 0 left"]


def on_a_terminal(command: list[str], folder: Path) -> str:
    """Runs a command on a terminal of 80 columns; returns what it showed."""
    ours, theirs = pty.openpty()
    size = {**os.environ, "COLUMNS": "80", "LINES": "24", "TERM": "xterm"}
    process = subprocess.Popen(command, stdout=theirs, stderr=theirs, stdin=theirs, env=size, cwd=folder)
    os.close(theirs)
    shown = b""
    # Linux ends a terminal with an error.
    with contextlib.suppress(OSError):
        while block := os.read(ours, 4096):
            shown += block
    os.close(ours)
    assert process.wait(60) == 0, shown.decode()
    return shown.decode()


SUITES = """
import subprocess
import sys
from smidgen.experiments.snapshot import take_snapshot


class Plain:
    def run(self, config):
        print("told by the command")
        subprocess.run(["echo", "told by a worker"], check=True)
        sys.stderr.write("warned\\n")
        return "all is done"

    def status(self, config):
        return ""


class Watched(Plain):
    def snapshot(self, config):
        return take_snapshot("a suite", 5, [], config.workers)


PLAIN, WATCHED = Plain(), Watched()
"""


def test_on_a_terminal_the_table_stands_alone_and_all_else_goes_to_a_log(tmp_path: Path) -> None:
    (tmp_path / "their_suites.py").write_text(SUITES)
    command = [sys.executable, "-m", "smidgen.experiments.suite", "suite=their_suites:WATCHED", "scratch=scratch"]
    shown = on_a_terminal(command, tmp_path)
    (log,) = (tmp_path / "scratch").glob("log-*.txt")
    assert set(log.read_text().splitlines()) == {"told by the command", "told by a worker", "warned"}
    assert "a suite: 5 done, 0 running, 0 failed, 0 left" in shown
    assert f"output: scratch/{log.name}" in shown.replace("\r\n", "")
    assert "told by" not in shown
    assert "warned" not in shown
    assert shown.rstrip().endswith("all is done")


def test_a_suite_without_a_snapshot_cannot_be_watched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [*sys.path])
    (tmp_path / "their_suites.py").write_text(SUITES)
    assert run_command(suite, ["watch", "suite=their_suites:PLAIN"]) == 2
    assert "cannot be watched" in capsys.readouterr().err
    assert run_command(suite, ["watch", "suite=their_suites:WATCHED"]) == 0
    assert capsys.readouterr().out == "a suite: 5 done, 0 running, 0 failed, 0 left\nnothing is left to run\n"
    sys.modules.pop("their_suites", None)
