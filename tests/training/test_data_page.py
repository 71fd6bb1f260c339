"""docs/data.md and the example that it names, run as they are written."""

import os
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from smidgen.data_collection.collect import main as collect
from smidgen.data_collection.data import main
from smidgen.runtime.files import sha256_file

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
COMMANDS = re.findall(r"^smidgen-data .*$", "".join(re.findall(r"```sh\n(.*?)```", PAGE, flags=re.DOTALL)), flags=re.M)
EXAMPLE = ROOT / "examples" / "own_policy_cnn.py"


def run(*command: str, cwd: Path, **environment: str) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, env={**os.environ, **environment})
    assert done.returncode == 0, f"{command}: {done.stderr[-2000:]}"
    return done.stdout


@pytest.mark.parametrize("index", range(len(BLOCKS)))
def test_the_page_works_as_written(
    index: int, write_data_set, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_data_set(tmp_path / "outputs" / "lift")
    program = tmp_path / "program.py"
    program.write_text(BLOCKS[index], encoding="utf-8")
    if "num_workers" in BLOCKS[index]:  # a worker that is spawned imports the program
        printed = run(sys.executable, str(program), cwd=tmp_path)
    else:
        monkeypatch.chdir(tmp_path)
        runpy.run_path(str(program), run_name="__main__")
        printed = capsys.readouterr().out
    if "cue_slope" in BLOCKS[index]:
        assert float(printed) == pytest.approx(0.5)


def test_the_commands_work_as_written(write_data_set, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of `make interop`'s Minari apart, which need its environment."""
    monkeypatch.chdir(tmp_path)
    write_data_set(tmp_path / "outputs" / "lift")
    assert len(COMMANDS) == 4
    for command in COMMANDS:
        assert main(shlex.split(command, comments=True)[1:]) == 0, command
    for made in ("from_robomimic", "from_lerobot"):
        assert sha256_file(f"outputs/{made}/manifest.json") == sha256_file("outputs/lift/manifest.json")


def test_links_lead_somewhere() -> None:
    targets = re.findall(r"\]\(([^)#]+)\)", PAGE)
    assert targets
    assert [target for target in targets if not (ROOT / "docs" / target).exists()] == []


def test_the_example_is_short() -> None:
    assert len(EXAMPLE.read_text(encoding="utf-8").splitlines()) < 60


@pytest.mark.simulator
@pytest.mark.usefixtures("kept_simulators")
@pytest.mark.slow
def test_the_example_works_as_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own four commands, on an episode each and for a step."""
    monkeypatch.chdir(tmp_path)
    smaller = {
        "smidgen-collect": ["episodes=1", "workers=0"],
        "python": ["1"],
        "smidgen-eval": ["episodes=1", "videos=0", "workers=0"],
    }
    (tmp_path / "examples").mkdir()
    (tmp_path / "examples" / EXAMPLE.name).write_bytes(EXAMPLE.read_bytes())
    commands = [line.split() for line in re.findall(r"^    ((?:smidgen-|python ).+)$", EXAMPLE.read_text(), flags=re.M)]
    assert [command[0] for command in commands] == ["smidgen-collect", "smidgen-collect", "python", "smidgen-eval"]
    for program, *arguments in commands:
        given = {key.split("=")[0] for key in smaller[program]}
        kept = [argument for argument in arguments if argument.split("=")[0] not in given]
        if program == "smidgen-collect":
            assert collect([*kept, *smaller[program]]) == 0
            continue
        printed = run(str(Path(sys.executable).with_name(program)), *kept, *smaller[program], cwd=tmp_path)
    assert "own-cnn on lift" in printed
