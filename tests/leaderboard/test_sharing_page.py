"""docs/sharing.md: its commands run as written, with a tiny checkpoint, a fake Hub and records made to measure."""

import re
import shlex
from pathlib import Path

import pytest
from fake_hub import FakeHub, install
from published_checkpoints import save_tiny_run, write_evaluation

from smidgen.evaluation.config import EvalConfig
from smidgen.leaderboard.command import leaderboard
from smidgen.policies.checkpoint import load_checkpoint, resolve_checkpoint
from smidgen.runtime.command_line import compose_config, run_command
from studies import zoo

PAGE = (Path(__file__).parents[2] / "docs" / "sharing.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, flags=re.DOTALL | re.MULTILINE)


def evaluate(arguments: list[str]) -> None:
    """A record in place of the episodes."""
    config = compose_config(EvalConfig, arguments)
    policy = load_checkpoint(config.policy)
    write_evaluation(Path(config.out), resolve_checkpoint(config.policy), config.name or policy.name)


def download(hub: FakeHub, folder: Path) -> None:
    folder.mkdir()
    for name, data in hub.files.items():
        (folder / name).write_bytes(data)


def test_the_commands_work_as_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save_tiny_run(tmp_path / "outputs" / "raw")
    hub = FakeHub()
    install(hub, monkeypatch)
    for line in "".join(block for _, block in BLOCKS).splitlines():
        match shlex.split(line):
            case ["smidgen-eval", *arguments]:
                evaluate(arguments)
            case ["smidgen-leaderboard", *arguments]:
                assert run_command(leaderboard, arguments) == 0, line
            case ["python", "-m", "studies.zoo", *arguments]:
                assert run_command(zoo.zoo, arguments) == 0, line
            case ["hf", "download", "you/lift-raw", "--local-dir", folder]:
                download(hub, tmp_path / folder)
            case words:
                assert words == ["hf", "auth", "login"]
    assert {path.name: path.read_bytes() for path in (tmp_path / "outputs" / "to-upload").iterdir()} == hub.files
    assert (tmp_path / "policies" / "zoo" / "lift" / "recommended" / "README.md").exists()


def test_the_page_says_which_files_there_are_and_how_large_the_zoo_may_be() -> None:
    assert {language for language, _ in BLOCKS} == {"sh"}
    rows = re.findall(r"^\| (`.*?) \|", PAGE, flags=re.MULTILINE)
    assert sorted(re.findall(r"`([\w.]+)`", " ".join(rows))) == sorted(
        ["README.md", "checkpoint.json", "config.json", "model.safetensors"]
    )
    assert f"at most {zoo.MAX_BYTES // 1_000_000} MB in all" in PAGE
