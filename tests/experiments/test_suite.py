"""``smidgen-suite``: a suite that a module holds."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from smidgen.experiments.suite import suite
from smidgen.runtime.command_line import run_command


def test_help_fits_a_screen(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(suite, ["--help"]) == 0
    shown = capsys.readouterr().out
    assert len(shown.splitlines()) <= 24
    assert "status" in shown


@pytest.fixture
def users_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory with modules of a user's, forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [*sys.path])
    yield tmp_path
    sys.modules.pop("their_suites", None)


def test_a_suite_named_by_its_module_is_found_in_the_working_directory(
    users_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (users_folder / "their_suites.py").write_text(
        "class Counted:\n"
        "    def run(self, config):\n"
        "        return f'ran with {config.workers} workers'\n"
        "    def status(self, config):\n"
        "        return f'nothing in {config.out}'\n"
        "COUNTED = Counted()\n"
        "NUMBER = 1\n"
    )
    assert run_command(suite, ["suite=their_suites:COUNTED", "workers=3"]) == 0
    assert run_command(suite, ["status", "suite=their_suites:COUNTED", "out=here"]) == 0
    assert capsys.readouterr().out == "ran with 3 workers\nnothing in here\n"
    assert run_command(suite, ["suite=their_suites:NUMBER"]) == 2
    assert "expected an object with run and status, got int" in capsys.readouterr().err
    assert run_command(suite, ["suite=their_suites:MISSING"]) == 2
    assert run_command(suite, ["suite=no_such_module:SUITE"]) == 2
    assert "no module 'no_such_module'" in capsys.readouterr().err
