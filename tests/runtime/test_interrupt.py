"""Signals that ask to stop, tried on real processes: what is caught, what stays ignored, and a terminal that closes."""

import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from smidgen.runtime.interrupt import StopRequested, stop_signal, unwinding_signals

# Says when it is at work, and leaves a file if it was let to clear up.
COMMAND = """
import pathlib, sys, time
from smidgen.runtime.command_line import run_command
from smidgen.runtime.interrupt import stop_signal

def body(arguments):
    here = pathlib.Path(arguments[0])
    try:
        if arguments[1] == "asks":
            with stop_signal() as stop:
                (here / "at_work").touch()
                for _ in range(600):
                    if stop.number is not None:
                        print("saving", flush=True)
                        break
                    print(".", flush=True)
                    time.sleep(0.1)
        else:
            (here / "at_work").touch()
            time.sleep(60)
    finally:
        time.sleep(0.5)
        (here / "cleared_up").touch()

sys.exit(run_command(body))
"""


def start(tmp_path: Path, kind: str, *, prefix: str = "", **pipes: object) -> subprocess.Popen[str]:
    code = f"{prefix}\n{COMMAND}"
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path), kind], text=True, **pipes)  # type: ignore[call-overload]
    deadline = time.monotonic() + 60
    while not (tmp_path / "at_work").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return process


PIPES = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}


@pytest.mark.parametrize(
    ("numbers", "exit_code", "said"),
    [
        ([signal.SIGTERM], 143, "stopped by SIGTERM; run the same command again to resume\n"),
        ([signal.SIGHUP], 129, "stopped by SIGHUP; run the same command again to resume\n"),
        ([signal.SIGHUP, signal.SIGHUP], 129, "stopped by SIGHUP; run the same command again to resume\n"),
        ([signal.SIGTERM, signal.SIGHUP], 143, "stopped by SIGTERM; run the same command again to resume\n"),
        ([signal.SIGINT], 130, "interrupted; run the same command again to resume\n"),
    ],
)
def test_a_command_clears_up_and_says_how_to_go_on(tmp_path: Path, numbers, exit_code: int, said: str) -> None:
    process = start(tmp_path, "sleeps", **PIPES)
    for number in numbers:
        process.send_signal(number)
        time.sleep(0.2)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (exit_code, said)
    assert (tmp_path / "cleared_up").exists()


@pytest.mark.parametrize("kind", ["asks", "sleeps"])
@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
def test_what_is_ignored_stays_ignored(tmp_path: Path, kind: str, number: signal.Signals) -> None:
    """As ``nohup`` leaves SIGHUP."""
    ignoring = f"import signal; signal.signal({int(number)}, signal.SIG_IGN)"
    process = start(tmp_path, kind, prefix=ignoring, **PIPES)
    process.send_signal(number)
    time.sleep(0.7)
    assert process.poll() is None
    process.kill()
    process.communicate()
    assert not (tmp_path / "cleared_up").exists()


@pytest.mark.parametrize("kind", ["asks", "sleeps"])
def test_a_terminal_that_closes_does_not_keep_a_command_from_clearing_up(tmp_path: Path, kind: str) -> None:
    ours, theirs = pty.openpty()
    lead = "import fcntl, os, termios; os.setsid(); fcntl.ioctl(0, termios.TIOCSCTTY, 0)"
    process = start(tmp_path, kind, prefix=lead, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    os.close(ours)
    assert process.wait(60) == (0 if kind == "asks" else 129)
    assert (tmp_path / "cleared_up").exists()


def test_handlers_are_put_back_and_ignored_ones_never_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    hangup = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stop_signal() as stop, unwinding_signals():
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
            os.kill(os.getpid(), signal.SIGHUP)
            assert stop.number is None
    finally:
        signal.signal(signal.SIGHUP, hangup)
    assert [signal.getsignal(number) for number in numbers] == before


def test_a_second_interrupt_does_what_it_always_did() -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt), stop_signal() as stop:  # noqa: PT012  (both signals)
            os.kill(os.getpid(), signal.SIGINT)
            assert stop.number == signal.SIGINT
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(5)
    finally:
        signal.signal(signal.SIGINT, before)


def test_the_first_signal_unwinds_and_the_next_does_not() -> None:
    cleared_up = False
    with pytest.raises(StopRequested) as stopped, unwinding_signals():  # noqa: PT012  (both signals)
        try:
            os.kill(os.getpid(), signal.SIGHUP)
            time.sleep(5)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.1)
            cleared_up = True
    assert cleared_up
    assert stopped.value.signal_number == signal.SIGHUP
