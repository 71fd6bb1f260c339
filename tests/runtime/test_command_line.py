import errno
import os
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
        (["place=x", "inner.width.deep=1"], "has no keys of its own"),
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


def test_a_broken_pipe_of_our_own_is_our_fault(capsys: pytest.CaptureFixture[str]) -> None:
    """A pipe to a program of ours that died is no reason to say that all is well."""
    assert run_command(raising(BrokenPipeError("to the encoder")), []) == 1
    assert "to the encoder" in capsys.readouterr().err


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


def test_of_very_many_names_an_error_lists_those_most_like_it() -> None:
    names = [f"row-{index:03}" for index in range(300)]
    message = str(unknown_name("row", "row-1234", names))
    assert message.startswith("unknown row 'row-1234' (did you mean 'row-")
    listed, _, rest = message.partition("; valid: ")[2].partition(" and ")
    assert {"row-123", "row-124"} <= set(listed.split(", ")) < set(names)
    assert rest == f"{300 - len(listed.split(', '))} others"
    assert str(unknown_name("row", "x", names[:40])).endswith(names[39])


def test_unknown_names_list_the_valid_ones() -> None:
    assert str(unknown_name("task", "lfit", ["lift", "door"])) == (
        "unknown task 'lfit' (did you mean 'lift'?); valid: door, lift"
    )
