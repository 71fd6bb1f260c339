from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = r"""
import sys
from pathlib import Path
from smidgen.runtime.command_line import run_command
from smidgen.runtime.errors import UserError
from smidgen.runtime.progress import progress
from smidgen.runtime.workers import map_unordered

def body(arguments):
    with progress(2, "working") as advance:
        for _ in map_unordered(print, ["from a worker"], int(arguments[1])):
            advance(1, "a note")
        advance(1, "another")
    for number in range(3000):
        print(f"line {number}: R\u00b2 \u2248 0.9 \u00d7 2 \u03c3, jos\u00e9, \u2013, bad\udce9", flush=number == 0)
    if arguments[2] == "raise":
        raise UserError("a mistake")
    Path(arguments[0]).write_text("done")

if __name__ == "__main__":
    sys.exit(run_command(body, sys.argv[1:]))
"""
FULL = "error: cannot write to standard output: No space left on device\n"


def run(folder: Path, redirections: str, *arguments: str, workers: int = 0, ending: str = "", **variables: str):
    """The program above in a shell, and whether it came to its end."""
    (folder / "program.py").write_text(PROGRAM)
    words = f"{sys.executable} program.py done {workers} {ending or 'well'}"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"} | variables
    shell = ["bash", "-c", f"set -o pipefail; {words} {redirections}"]
    ended = subprocess.run(shell, cwd=folder, env=environment, capture_output=True, timeout=120)
    return ended, (folder / "done").exists()


@pytest.mark.parametrize(
    ("redirections", "code", "workers"),
    [
        (">&-", 0, 0),
        ("2>&-", 0, 1),
        (">&- 2>&-", 0, 0),
        ("<&- >&- 2>&-", 0, 1),
        ("2>/dev/full", 0, 0),
        (">/dev/full", 1, 1),
        (">/dev/full 2>/dev/full", 1, 0),
        ("| head -1", 0, 1),
        ("| true", 0, 0),
        ("2>&1 | true", 0, 1),
    ],
)
def test_the_work_is_done_whatever_the_streams_are(tmp_path: Path, redirections: str, code: int, workers: int) -> None:
    ended, is_done = run(tmp_path, redirections, workers=workers)
    assert is_done
    assert ended.returncode == code
    assert b"Traceback" not in ended.stderr
    assert b"Exception" not in ended.stderr
    if redirections == ">/dev/full":
        assert ended.stderr.decode().endswith(FULL)


@pytest.mark.parametrize("redirections", [">&-", ">/dev/full", "2>&-", "| true"])
def test_a_users_mistake_keeps_its_exit_code(tmp_path: Path, redirections: str) -> None:
    ended, is_done = run(tmp_path, redirections, ending="raise")
    assert (ended.returncode, is_done) == (2, False)
    if "2>" not in redirections:
        assert b"error: a mistake\n" in ended.stderr


@pytest.mark.parametrize(
    "variables", [{"PYTHONIOENCODING": "ascii"}, {"PYTHONUTF8": "0", "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0"}]
)
def test_plain_characters_stand_for_what_ascii_lacks(tmp_path: Path, variables: dict[str, str]) -> None:
    ended, is_done = run(tmp_path, "", **variables)
    assert (ended.returncode, is_done) == (0, True)
    assert ended.stdout.splitlines()[1] == b"line 0: R2 ~ 0.9 x 2 sigma, jose, -, bad\xe9"


def test_utf_8_stays_as_it_is(tmp_path: Path) -> None:
    ended, _ = run(tmp_path, "", PYTHONIOENCODING="utf-8")
    assert ended.stdout.splitlines()[1] == "line 0: R² ≈ 0.9 × 2 σ, josé, –, bad".encode() + b"\xe9"  # noqa: RUF001


def test_a_file_does_not_get_the_number_of_a_closed_stream(tmp_path: Path) -> None:
    code = (
        "from smidgen.runtime.streams import protect_streams; protect_streams(); import os; "
        f"print('lost'); os.write(1, b'lost'); f = open({str(tmp_path / 'kept')!r}, 'w'); assert f.fileno() > 2"
    )
    ended = subprocess.run(["bash", "-c", f'"{sys.executable}" -c "{code}" <&- >&-'], capture_output=True, timeout=60)
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert (tmp_path / "kept").read_text() == ""


@pytest.mark.parametrize("option", ["--help", "--version"])
@pytest.mark.parametrize("command", ["smidgen-data", "smidgen-eval"])
def test_what_is_asked_for_and_cannot_be_written_is_an_error(command: str, option: str) -> None:
    program = Path(sys.executable).with_name(command)
    with open("/dev/full", "w") as full:
        ended = subprocess.run([program, option], stdout=full, stderr=subprocess.PIPE, text=True, timeout=120)
    assert (ended.returncode, ended.stderr) == (1, FULL)


def test_a_child_of_a_command_whose_streams_are_closed_has_streams(tmp_path: Path) -> None:
    child = "import os; [os.fstat(number) for number in (0, 1, 2)]"
    program = (
        "import subprocess, sys\n"
        "from smidgen.runtime.streams import protect_streams\n"
        "protect_streams()\n"
        f"sys.exit(subprocess.run([sys.executable, '-c', {child!r}]).returncode)\n"
    )
    shell = f'"{sys.executable}" -c "$PROGRAM" <&- >&- 2>&-'
    assert subprocess.run(shell, shell=True, env={**os.environ, "PROGRAM": program}, check=False).returncode == 0
