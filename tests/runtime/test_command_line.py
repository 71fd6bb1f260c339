import errno
import os
import subprocess
import sys
from dataclasses import dataclass, field

import pytest

from smidgen.runtime.command_line import command_help, compose_config, run_command
from smidgen.runtime.errors import UserError, unknown_name


@dataclass(frozen=True)
class Inner:
    width: int = field(default=32, metadata={"help": "how wide"})


@dataclass(frozen=True)
class Outer:
    place: str = field(metadata={"help": "where"})
    rates: list[float] = field(default_factory=lambda: [0.9, 0.999], metadata={"help": "how fast"})
    quick: bool = field(default=False, metadata={"help": "whether"})
    inner: Inner = field(default_factory=Inner)


def test_overrides_reach_a_frozen_dataclass() -> None:
    config = compose_config(Outer, ["place=a/b c", "rates=[0.1,0.2]", "inner.width=3", "quick=true"])
    assert config == Outer("a/b c", [0.1, 0.2], True, Inner(3))
    assert compose_config(Outer, ["place=x"]) == Outer("x")


@pytest.mark.parametrize(
    ("overrides", "complaint"),
    [
        (["place=x", "plaice=y"], "unknown key 'plaice'.*did you mean 'place'.*valid: inner, place, quick, rates"),
        (["place=x", "inner.widht=1"], r"unknown key 'inner.widht'.*valid: inner.width"),
        (["place=x", "inner.width.deep=1"], "holds no further keys"),
        ([], r"missing place=\.\.\."),
        (["place"], "expected key=value"),
        (["+new=1"], "cannot be added"),
        (["place=x", "inner.width=wide"], "expected a whole number"),
        (["place=x", "rates=[0.1"], "."),
    ],
)
def test_mistakes_are_named(overrides: list[str], complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        compose_config(Outer, overrides)


def raising(error: BaseException):
    def body(_: list[str]) -> None:
        raise error

    return body


@pytest.mark.parametrize(
    ("error", "code"),
    [(UserError("two\nlines"), 2), (KeyboardInterrupt(), 130), (RuntimeError("ours"), 1), (ValueError("ours"), 1)],
)
def test_exit_codes(error: BaseException, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(raising(error), []) == code
    complaint = capsys.readouterr().err
    if code == 2:
        assert complaint == "error: two lines\n"
    if code == 1:
        assert "Traceback" in complaint


def test_a_broken_pipe_is_a_readers_leave_only_where_somebody_read(capsys: pytest.CaptureFixture[str]) -> None:
    """A pipe to a program of our own that died is our fault, and no reason to say that all is well."""
    assert run_command(raising(BrokenPipeError("to the encoder")), []) == 1
    assert "to the encoder" in capsys.readouterr().err
    code = """
from smidgen.runtime.command_line import run_command
raise SystemExit(run_command(lambda _: [print("line", flush=True) for _ in range(100_000)], []))
"""
    command = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert command.stdout.readline() == b"line\n"
    command.stdout.close()
    assert (command.wait(60), command.stderr.read()) == (0, b"")
    command.stderr.close()


def test_a_reader_may_leave_before_anything_was_printed() -> None:
    """What is printed into a pipe is written when the command ends."""
    code = "from smidgen.runtime.command_line import run_command\nraise SystemExit(run_command(lambda _: print(1), []))"
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", code], env=buffered, **pipes) as command:
        command.stdout.close()
        assert (command.wait(60), command.stderr.read()) == (0, b"")


@pytest.mark.parametrize("number", [errno.EACCES, errno.EEXIST])
def test_a_path_that_cannot_be_used_is_the_users_to_mend(number: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(raising(OSError(number, os.strerror(number), "there")), []) == 2
    assert "there" in capsys.readouterr().err


def test_a_command_that_ends_well_returns_zero() -> None:
    assert run_command(lambda arguments: None, []) == 0


def test_help_names_every_key_with_default_and_meaning() -> None:
    text = command_help("tool place=DIR", "Does it.", Outer)
    assert "place=..." in text
    assert "rates=[0.9,0.999]" in text
    assert "inner.width=32" in text
    assert "quick=false" in text
    assert all(meaning in text for meaning in ("where", "how fast", "whether", "how wide"))


def test_unknown_names_list_the_valid_ones() -> None:
    assert str(unknown_name("task", "lfit", ["lift", "door"])) == (
        "unknown task 'lfit' (did you mean 'lift'?); valid: door, lift"
    )
