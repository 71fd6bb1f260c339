import itertools
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from multiprocessing.context import SpawnProcess
from pathlib import Path

import pytest

from smidgen.runtime import workers
from smidgen.runtime.errors import UserError
from smidgen.runtime.waiting_policy import NUM_SPINS, USERS_CHOICE, limit_spinning
from smidgen.runtime.workers import map_unordered

_STATE: dict[str, int] = {}


def set_up(value: int) -> None:
    _STATE["value"] = value


def square(item: int) -> tuple[int, str]:
    return item * item + _STATE.get("value", 0), os.environ.get("OMP_NUM_THREADS", "")


@pytest.mark.parametrize("num_workers", [0, 1, 2])
def test_every_item_comes_back_with_its_result(num_workers: int) -> None:
    results = dict(map_unordered(square, range(6), num_workers, set_up, (1,)))
    assert {item: value for item, (value, _) in results.items()} == {item: item * item + 1 for item in range(6)}
    if num_workers:
        assert {threads for _, threads in results.values()} == {"1"}


def threads_and_waiting(item: int) -> tuple[int, str]:
    import torch

    return torch.get_num_threads(), os.environ.get("GOMP_SPINCOUNT", "")


def test_a_commands_workers_have_one_thread_each_that_spins_briefly(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*USERS_CHOICE, "OMP_NUM_THREADS"):
        # Set first, so that the variable is as before afterwards, whoever sets it meanwhile.
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    limit_spinning()
    assert dict(map_unordered(threads_and_waiting, range(1), 1)) == dict.fromkeys(range(1), (1, str(NUM_SPINS)))


@pytest.mark.parametrize("name", ["pickle", "socket", "queue", "tempfile"])
def test_modules_in_the_working_directory_do_not_replace_pythons(name: str, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / f"{name}.py").write_text("raise SystemExit('not the one that was meant')\n")
    monkeypatch.chdir(tmp_path)
    assert dict(map_unordered(abs, [-1], 1)) == {-1: 1}


def test_no_items_no_work() -> None:
    assert list(map_unordered(square, [], 2)) == []


def be_slow_first(item: float) -> float:
    time.sleep(item)
    return item


def test_results_come_in_the_order_of_finishing() -> None:
    assert [item for item, _ in map_unordered(be_slow_first, [1.5, 0.0, 0.0], 2)] == [0.0, 0.0, 1.5]


def test_nothing_runs_before_it_is_asked_for() -> None:
    results = map_unordered(square, range(3), 1)
    assert not has_children()
    next(results)
    results.close()
    assert not has_children()


def has_children() -> bool:
    return bool(workers_of(os.getpid()))


def workers_of(process_id: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and parent_of(int(entry.name)) == process_id:
            try:
                command = (entry / "cmdline").read_text()
            except OSError:
                continue
            if "multiprocessing.spawn" in command:
                found.append(int(entry.name))
    return sorted(found)


def parent_of(process_id: int) -> int | None:
    try:
        return int(Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return None


class HardToSend(Exception):
    """An error that pickle cannot rebuild."""

    def __init__(self, first: int, second: int) -> None:
        super().__init__(f"{first} and {second}")


def fail_on_three(item: int) -> int:
    if item == 3:
        raise UserError("three")
    if item == 4:
        raise HardToSend(4, 44)
    return item


def give_what_cannot_be_sent(item: int) -> object:
    return lambda: item


def test_a_jobs_error_is_raised_as_it_is_and_shows_where() -> None:
    with pytest.raises(UserError, match="three") as raised:
        list(map_unordered(fail_on_three, [1, 3], 1))
    assert str(raised.value) == "three"
    assert "in fail_on_three" in raised.value.__notes__[0]


def test_what_cannot_be_sent_is_told_in_words() -> None:
    with pytest.raises(RuntimeError, match="HardToSend: 4 and 44"):
        list(map_unordered(fail_on_three, [4], 1))
    with pytest.raises(Exception, match="give_what_cannot_be_sent"):
        list(map_unordered(give_what_cannot_be_sent, [1], 1))


def test_what_the_others_had_finished_comes_before_an_error() -> None:
    seen: list[int] = []
    with pytest.raises(UserError, match="three"):
        collect_into(seen, map_unordered(fail_on_three, [0, 1, 2, 3], 1))
    assert seen == [0, 1, 2]


def collect_into(seen: list[int], results: Iterator[tuple[int, int]]) -> None:
    for item, _ in results:
        seen.append(item)


def refuse(value: int) -> None:
    raise ValueError(f"refused {value}")


@pytest.mark.parametrize("num_workers", [0, 2])
def test_what_an_initializer_raises_is_raised(num_workers: int) -> None:
    with pytest.raises(ValueError, match="refused 7"):
        list(map_unordered(square, range(3), num_workers, refuse, (7,)))


def meet_fate(item: tuple[str, str]) -> str:
    """Does what the item's name says, the first time that anybody tries."""
    name, folder = item
    fate, mark = name.split("-")[0], Path(folder) / name
    if fate == "fine" or mark.exists():
        return name
    mark.touch()
    if fate == "exit":
        os._exit(9)
    numbers = {"killed": signal.SIGKILL, "segfault": signal.SIGSEGV, "asked": signal.SIGTERM, "stopped": signal.SIGSTOP}
    os.kill(os.getpid(), numbers[fate])
    time.sleep(60)
    raise AssertionError("still alive")


FATES = {
    "killed": r"was killed by SIGKILL \(out of memory\?\)",
    "segfault": "was killed by SIGSEGV",
    "asked": "was killed by SIGTERM",
    "exit": "ended with exit code 9",
    "stopped": "timed out after 4 s",
}


def test_a_lost_worker_is_replaced_and_its_item_runs_again(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    items = [(name, str(tmp_path)) for name in ("fine-0", *(f"{fate}-1" for fate in FATES), "fine-2", "fine-3")]
    found = dict(map_unordered(meet_fate, items, 2, time_limit_s=4.0))
    assert found == {item: item[0] for item in items}
    assert not has_children()
    lines = [line for line in capfd.readouterr().err.splitlines() if "warning" in line]
    assert len(lines) == len(FATES)
    for fate, words in FATES.items():
        # The name of the item comes first: of a long one, only so much is told.
        told = re.compile(rf"worker \d+ {words} on .*{fate}-1.*retrying \(attempt 2 of 3\)")
        assert sum(told.search(line) is not None for line in lines) == 1


def die_on_three(item: int) -> int:
    if item == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return item


def test_an_item_that_kills_its_worker_is_given_up_and_the_others_kept() -> None:
    seen: list[int] = []
    with pytest.raises(RuntimeError, match=r"after 3 workers: 3 \(the last worker was killed by SIGKILL.*All other"):
        collect_into(seen, map_unordered(die_on_three, range(7), 2))
    assert sorted(seen) == [0, 1, 2, 4, 5, 6]


def die_always(item: int) -> None:
    os._exit(1)


def test_a_job_that_kills_every_worker_ends_soon() -> None:
    with pytest.raises(RuntimeError, match="10 workers were lost with no result in between"):
        list(map_unordered(die_always, itertools.chain(range(100)), 2))


def never_start(value: int) -> None:
    os._exit(value)


def test_workers_that_die_before_their_first_item_are_counted() -> None:
    with pytest.raises(RuntimeError, match="ended with exit code 5 while idle"):
        list(map_unordered(square, range(3), 1, never_start, (5,)))


def test_a_worker_killed_while_it_is_started_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    start, starts = SpawnProcess.start, []

    def fail_once(process: SpawnProcess) -> None:
        starts.append(process)
        if len(starts) == 1:
            raise BrokenPipeError
        start(process)

    monkeypatch.setattr(SpawnProcess, "start", fail_once)
    assert len(list(map_unordered(square, range(3), 1))) == 3


def test_time_in_which_nobody_listens_does_not_count() -> None:
    """A reader that takes longer than the limit over a result costs no worker."""
    results = map_unordered(be_slow_first, [0.0, 0.5, 0.0], 1, time_limit_s=2.0)
    next(results)
    time.sleep(2.5)
    assert len(list(results)) == 2


def test_a_limit_counts_the_time_of_one_item_only(capfd: pytest.CaptureFixture[str]) -> None:
    assert len(list(map_unordered(be_slow_first, [0.9] * 4, 1, time_limit_s=3.0))) == 4
    assert "warning" not in capfd.readouterr().err


MARKING_PROGRAM = """
import os, signal, sys, time
from pathlib import Path
from smidgen.runtime.waiting_policy import NUM_SPINS, USERS_CHOICE, limit_spinning
from smidgen.runtime.workers import map_unordered

def job(path):
    try:
        Path(path).write_text(str(os.getpid()))
        time.sleep(60)
    finally:
        Path(path + "-tidied").touch()

def body():
    list(map_unordered(job, [sys.argv[1] + "/0", sys.argv[1] + "/1"], 2))

if __name__ == "__main__":
    # A shell's background job, as which the tests may run, is born deaf to Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    {main}
"""


def started_program(tmp_path: Path, main: str) -> tuple[subprocess.Popen[str], Path, list[int]]:
    """A program whose two workers are at work."""
    program, marks = tmp_path / "program.py", tmp_path / "marks"
    program.write_text(MARKING_PROGRAM.replace("{main}", main))
    marks.mkdir()
    parent = subprocess.Popen(
        [sys.executable, str(program), str(marks)], start_new_session=True, stderr=subprocess.PIPE, text=True
    )
    wait_until(lambda: len([mark for mark in marks.iterdir() if mark.read_text()]) == 2)
    return parent, marks, [int(mark.read_text()) for mark in sorted(marks.iterdir())]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_workers_end_with_their_parent_even_stopped_ones(tmp_path: Path, number: int) -> None:
    parent, _, ids = started_program(tmp_path, "body()")
    os.kill(ids[0], signal.SIGSTOP)
    parent.send_signal(number)
    assert parent.wait(20) == -number
    wait_until(lambda: not any(is_running(worker) for worker in ids))
    parent.stderr.close()


def test_an_interrupt_of_the_whole_group_ends_in_one_line_and_tidies_up(tmp_path: Path) -> None:
    """As a terminal does it on Ctrl-C."""
    main = "from smidgen.runtime.command_line import run_command; sys.exit(run_command(lambda _: body()))"
    parent, marks, ids = started_program(tmp_path, main)
    os.killpg(parent.pid, signal.SIGINT)
    assert parent.wait(20) == 130
    assert parent.stderr.read() == "interrupted; run the same command again to resume\n"
    assert not any(is_running(worker) for worker in ids)
    assert sorted(mark.name for mark in marks.iterdir()) == ["0", "0-tidied", "1", "1-tidied"]
    parent.stderr.close()


def test_a_program_that_forgets_its_workers_ends_all_the_same(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "from smidgen.runtime.workers import map_unordered\n"
        "if __name__ == '__main__':\n"
        "    results = map_unordered(abs, [1, 2, 3], 1)\n"
        "    print(next(results))\n"
    )
    done = subprocess.run([sys.executable, program], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "(1, 1)\n", "")


def test_every_signal_has_words() -> None:
    assert workers._exit_reason(-signal.SIGBUS) == "was killed by SIGBUS"
    assert workers._exit_reason(-45) == "ended with exit code -45"
    assert workers._exit_reason(None) == "closed its pipe"


def is_running(process: int) -> bool:
    status = Path(f"/proc/{process}/stat")
    try:
        return status.read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_until(condition, timeout_s: float = 60.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
