import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from smidgen.runtime.workers import map_unordered

_STATE: dict[str, int] = {}


def set_up(value: int) -> None:
    _STATE["value"] = value


def square(item: int) -> tuple[int, str]:
    return item * item + _STATE.get("value", 0), os.environ.get("OMP_NUM_THREADS", "")


def fail_on_three(item: int) -> int:
    if item == 3:
        raise ValueError("three")
    return item


def die_on_three(item: int) -> int:
    if item == 3:
        os._exit(9)
    return item


@pytest.mark.parametrize("num_workers", [0, 1, 2])
def test_every_item_comes_back_with_its_result(num_workers: int) -> None:
    results = dict(map_unordered(square, range(6), num_workers, set_up, (1,)))
    assert {item: value for item, (value, _) in results.items()} == {item: item * item + 1 for item in range(6)}
    if num_workers:
        assert {threads for _, threads in results.values()} == {"1"}


def test_no_items_no_work() -> None:
    assert list(map_unordered(square, [], 2)) == []


def test_a_jobs_error_is_raised() -> None:
    with pytest.raises(ValueError, match="three"):
        list(map_unordered(fail_on_three, range(5), 2))


def test_a_workers_death_is_named() -> None:
    with pytest.raises(RuntimeError, match=r"worker process died.*kept"):
        list(map_unordered(die_on_three, range(5), 2))


def refuse(value: int) -> None:
    raise ValueError(f"refused {value}")


@pytest.mark.parametrize("num_workers", [0, 2])
def test_what_an_initializer_raises_is_raised(num_workers: int) -> None:
    with pytest.raises(ValueError, match="refused 7"):
        list(map_unordered(square, range(3), num_workers, refuse, (7,)))


ORPHANING_PROGRAM = """
import os, sys, time
from pathlib import Path
from smidgen.runtime.workers import map_unordered

def job(path):
    Path(path).write_text(str(os.getpid()))
    time.sleep(60)

if __name__ == "__main__":
    list(map_unordered(job, [sys.argv[1] + "/0", sys.argv[1] + "/1"], 2))
"""


def test_workers_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(ORPHANING_PROGRAM)
    marks = tmp_path / "marks"
    marks.mkdir()
    parent = subprocess.Popen([sys.executable, str(program), str(marks)])
    wait_until(lambda: len([mark for mark in marks.iterdir() if mark.read_text()]) == 2)
    workers = [int(mark.read_text()) for mark in marks.iterdir()]
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    wait_until(lambda: not any(is_running(worker) for worker in workers))


def is_running(process: int) -> bool:
    status = Path(f"/proc/{process}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"


def wait_until(condition, timeout_s: float = 60.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
