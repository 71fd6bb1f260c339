"""Benchmarks that start processes or compile: what they start, say and leave; nothing here is timed."""

import os
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from smidgen.runtime.waiting_policy import USERS_CHOICE
from studies.bench import busy
from studies.bench.compiled import compiled
from studies.bench.config import BenchConfig

TINY = BenchConfig(repeats=3, least_s=0.0, batch_size=1, image_size=8, latency_calls=2)


def test_a_step_beside_busy_processes_is_a_multiple_of_the_step_before(monkeypatch: pytest.MonkeyPatch) -> None:
    turns: list[tuple[str, int]] = []
    seconds = iter([1.0, *[2.0] * 5, 9.0, *[3.0] * 5] * TINY.repeats)
    running: list[subprocess.Popen[bytes]] = []
    start = busy.subprocess.Popen

    def started(*arguments: object, **options: object) -> subprocess.Popen[bytes]:
        running.append(start(*arguments, **options))
        return running[-1]

    def timed(config: BenchConfig, waiting: busy.Waiting) -> float:
        turns.append((waiting.words, sum(process.poll() is None for process in running)))
        return next(seconds)

    monkeypatch.setattr(busy.subprocess, "Popen", started)
    monkeypatch.setattr(busy, "step_seconds", timed)
    base, *rows = busy.busy_train_step(TINY)
    assert (base.unit, base.ours) == ("ms", 1e3)
    assert [row.ours for row in rows] == [9.0, *[2.0, 3.0] * 5]
    judged = {row.name: row.must_reach for row in rows if row.must_reach}
    name = f"busy: {TINY.threads} threads, {busy.NUM_SPINS:,} spins (ours)"
    assert judged == {f"{name}, idle": "ours <= 1.1", f"{name}, busy": "ours <= 3"}
    cores = len(os.sched_getaffinity(0))
    one_round = [(waiting.words, number) for number in (0, cores) for waiting in busy.WAITINGS]
    assert turns == one_round * TINY.repeats
    assert all(process.poll() is not None for process in running)


Started = list[tuple[list[str], dict[str, str]]]


def probes_that_say(monkeypatch: pytest.MonkeyPatch, seconds: list[float]) -> Started:
    """Commands and variables of the probes that are started; each says the next of some figures."""
    given: Started = []

    def start(command: list[str], *, env: dict[str, str], **options: object) -> SimpleNamespace:
        given.append((command, env))
        output = f"{seconds[len(given) - 1]}\n"
        return SimpleNamespace(communicate=lambda: (output, ""), returncode=0)

    monkeypatch.setattr(busy.subprocess, "Popen", start)
    return given


def test_two_trainings_at_once_are_compared_with_one_on_two_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """In each round two probes of one thread, one of two, one of one, two in the caches and one; medians of ratios."""
    first, later = [2.0, 2.0, 1.6, 1.5, 0.5, 0.25, 0.25], [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    given = probes_that_say(monkeypatch, [4.0, 2.0, 2.0, 1.5, 0.5, 0.5, 0.25, *first, *later])
    rows = busy.side_by_side(TINY)
    assert [row.ours for row in rows] == pytest.approx([1.6, 1.5, 1.5])
    assert [row.must_reach for row in rows] == ["ours >= 1.7", "", ""]
    threads = [command[5] if len(command) > 5 else "in cache" for command, _ in given]
    assert threads == ["1", "1", str(TINY.threads), "1", "in cache", "in cache", "in cache"] * 3


@pytest.mark.parametrize("waiting", busy.WAITINGS, ids=lambda waiting: waiting.words)
def test_a_step_waits_as_its_row_says(waiting: busy.Waiting, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in USERS_CHOICE:
        monkeypatch.setenv(name, "active")
    given = probes_that_say(monkeypatch, [0.5])
    assert busy.step_seconds(TINY, waiting) == 0.5
    ((command, variables),) = given
    assert {name: variables[name] for name in USERS_CHOICE if name in variables} == waiting.variables
    assert command[3:] == ["1", "8", str(waiting.threads or TINY.threads), "0.0"]


def test_a_step_is_timed_in_a_process_of_its_own() -> None:
    assert 0.0 < busy.step_seconds(TINY, busy.OURS) < 60.0
    with pytest.raises(RuntimeError, match="positive integer"):
        busy.step_seconds(BenchConfig(batch_size=1, image_size=8, threads=2), busy.Waiting("none", {}, threads=-1))


def test_a_compiled_network_gives_the_plain_ones_answers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    # Reading the network is what can fail; C++ takes a minute.
    latency, compiling, kernels = compiled(TINY, backend="eager")
    assert latency.peer == "our plain network"
    assert "0.0e+00" in latency.note
    assert compiling.ours > 0.0
    assert 0.0 < kernels.ours < 100.0
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(tmp_path)
    assert not list(tmp_path.iterdir())


def test_without_a_compiler_the_row_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    (row,) = compiled(TINY)
    assert row.ours is None
    assert row.note == "g++ is not installed"
