"""What the README tells a newcomer to type works as written; long commands run in a smaller form."""

import io
import re
import shlex
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from rich.console import Console

from smidgen.leaderboard.cells import NOT_SEPARABLE, SHORT_ENTRY
from smidgen.leaderboard.ranking import rank_runs, read_runs
from smidgen.leaderboard.tables import print_terminal

README = (Path(__file__).parent.parent / "README.md").read_text()
# What makes a long command small enough for a test; everything else of the line stays.
SMALLER = {
    "smidgen-collect": ["episodes=2", "workers=0"],
    "smidgen-train": ["steps=2", "eval_every=2", "num_latents=4", "latent_dim=16", "num_heads=2"],
    "smidgen-eval": ["episodes=1", "videos=1", "workers=0"],
}


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def commands(word: str) -> list[list[str]]:
    """The commands of the one block that has a word."""
    (block,) = [block for block in blocks("sh") if word in block]
    lines = [shlex.split(line, comments=True) for line in block.splitlines()]
    return [line for line in lines if line and line[0] != "."]


@pytest.mark.simulator
@pytest.mark.usefixtures("kept_simulators")
@pytest.mark.slow
def test_the_steps_work_as_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ours in this process, by the entry point that the program calls: its imports take longer than its work."""
    monkeypatch.chdir(tmp_path)
    for program, *arguments in commands("smidgen-collect"):
        if program == "tensorboard":
            arguments = [*arguments, "--inspect"]
        smaller = SMALLER.get(program, [])
        kept = [entry for entry in arguments if entry.split("=")[0] not in {key.split("=")[0] for key in smaller}]
        executable, command = Path(sys.executable).with_name(program), [program, *kept, *smaller]
        if program == "tensorboard":
            subprocess.run([executable, *command[1:]], check=True, capture_output=True)
            continue
        assert executable.exists()
        (entry,) = entry_points(group="console_scripts", name=program)
        monkeypatch.setattr(sys, "argv", command)
        assert entry.load()() == 0, command
    assert (tmp_path / "outputs" / "leaderboard.html").exists()


@pytest.mark.simulator
@pytest.mark.usefixtures("kept_simulators")
@pytest.mark.slow
def test_the_policies_of_the_zoo_see_and_are_blind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (entry,) = entry_points(group="console_scripts", name="smidgen-eval")
    for command in commands("zoo:"):
        monkeypatch.setattr(sys, "argv", [*command, "episodes=2", "videos=0", "workers=0"])
        assert entry.load()() == 0, command
    sees, blind = capsys.readouterr().out.splitlines()
    assert "success 2/2 = 100%" in sees
    assert "success 0/2 = 0%" in blind


@pytest.mark.simulator
@pytest.mark.usefixtures("kept_simulators")
@pytest.mark.parametrize("index", range(len(blocks("python"))))
def test_the_python_works_as_written(index: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(blocks("python")[index], "README.md", "exec"), {"__name__": "__main__"})


def test_links_lead_somewhere() -> None:
    root = Path(__file__).parent.parent
    for page in (root / "README.md", root / "CONTRIBUTING.md", *sorted((root / "docs").glob("*.md"))):
        targets = [target for target in re.findall(r"\]\(([^)#]+)", page.read_text()) if "://" not in target]
        assert [target for target in targets if not (page.parent / target).exists()] == [], page.name


def test_the_leaderboard_is_what_the_records_give() -> None:
    root = Path(__file__).parent.parent
    program = Path(sys.executable).with_name("smidgen-leaderboard")
    command = [
        str(program),
        "results=results/cpu-standard-1",
        "readme=README.md",
        "tables=docs/leaderboard.md",
        "check=true",
    ]
    process = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr


def test_the_board_has_six_columns_and_no_sign_that_needs_a_legend() -> None:
    board = README.partition("<!-- leaderboard:begin -->")[2].partition("<!-- leaderboard:end -->")[0]
    rows = [line for line in board.splitlines() if line.startswith("|")]
    assert rows
    assert {len(re.findall(r"(?<!\\)\|", row)) - 1 for row in rows} == {6}
    assert not {NOT_SEPARABLE, SHORT_ENTRY} & {*board}


def test_the_excerpt_is_what_the_command_prints() -> None:
    console = Console(file=io.StringIO(), width=134)
    print_terminal(rank_runs(read_runs(str(Path(__file__).parent.parent / "results" / "cpu-standard-1"))), console)
    printed = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    (excerpt,) = blocks("text")
    assert [line for line in excerpt.splitlines() if not any(each.startswith(line) for each in printed)] == []
