"""What every command's help owes a newcomer: the word that all measures lean on is defined where it is used."""

import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from smidgen.evaluation.collapse.labels import CUE

ROOT = Path(__file__).parent.parent
# Words in front of --help that lead to a help of its own, by module.
SUBCOMMANDS = {
    "smidgen.evaluation.evaluate": ["saliency", "verify"],
    "smidgen.evaluation.check.command": ["compare", "rank", "control"],
    "smidgen.leaderboard.command": ["submit", "upload"],
}


def commands() -> list[list[str]]:
    """Every module that is run and prints a help from its keys, as the words of a command line."""
    search = [
        "git",
        "grep",
        "-l",
        "--all-match",
        "-e",
        "[ (]command_help(",
        "-e",
        "__name__ == .__main__",
        "--",
        "*.py",
    ]
    listing = subprocess.run(search, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split()
    names = [
        ("" if name.startswith("studies/") else "smidgen.")
        + name.removesuffix(".py").removesuffix("/__main__").replace("/", ".")
        for name in listing
        if not name.startswith(("runtime/", "tests/"))
    ]
    return [[name] for name in names] + [[name, word] for name in SUBCOMMANDS for word in SUBCOMMANDS[name]]


@pytest.mark.filterwarnings("ignore:.*found in sys.modules:RuntimeWarning")
@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_help_that_says_cue_says_what_a_cue_is(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [*words, "--help"])
    with pytest.raises(SystemExit) as stop:
        runpy.run_module(words[0], run_name="__main__", alter_sys=True)
    assert not stop.value.code
    text = " ".join(capsys.readouterr().out.split())
    assert "usage: " in text
    assert CUE in text or not re.search(r"\bcues?\b", text)
