"""docs/check.md: its code and commands run as written, and its figures are those of the reports."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from check_sets import write_set

from smidgen.evaluation.check.command import main
from studies.pages.check_page import page_with_reports

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = ROOT / "docs" / "check.md"
TEXT = PAGE.read_text(encoding="utf-8")
PROGRAMS = dict(re.findall(r"```python\n# (\w+\.py)\n(.*?)```", TEXT, flags=re.DOTALL))
COMMANDS = [
    shlex.split(line) for block in re.findall(r"```sh\n(.*?)```", TEXT, flags=re.DOTALL) for line in block.splitlines()
]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Somebody's working directory: their data, what the page lets them write, and two tables of outcomes."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    write_set(tmp_path / "theirs.hdf5")
    for name, text in PROGRAMS.items():
        (tmp_path / name).write_text(text)
    for name, every in (("first", 2), ("second", 3)):
        rows = "".join(f"{seed},{int(seed % every == 0)}\n" for seed in range(30))
        (tmp_path / f"{name}.csv").write_text(f"seed,success\n{rows}")
    return tmp_path


def test_the_page_works_as_written(folder, capsys):
    assert set(PROGRAMS) == {"my_policy.py", "write_predictions.py"}
    assert [each[0] for each in COMMANDS] == ["smidgen-check"] * 4
    done = subprocess.run([sys.executable, "write_predictions.py"], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    codes = [main(command[1:]) for command in COMMANDS]
    assert codes == [3, 4, 0, 0], capsys.readouterr().err
    assert (folder / "outputs" / "check" / "check.html").exists()


def test_its_exit_codes_are_those_of_the_code():
    from smidgen.evaluation.check.decision import EXIT_CODES

    stated = {int(code) for code in re.findall(r"^\| (\d) \|", TEXT, flags=re.M)}
    assert stated == {*EXIT_CODES.values(), 2}


def test_its_figures_are_those_of_the_reports():
    assert page_with_reports(str(PAGE), str(ROOT / "results" / "check")) == TEXT
