from __future__ import annotations

import dataclasses
import signal

import pytest

from smidgen.runtime.flat_config import is_later
from smidgen.training import loop, train
from smidgen.training.config import command_line_schema
from smidgen.training.train import help_text, main


def run(monkeypatch, *arguments: str) -> int:
    monkeypatch.setattr("sys.argv", ["smidgen-train", *arguments])
    return main()


def test_help_fits_a_screen(monkeypatch, capsys):
    assert run(monkeypatch, "--help") == 0
    lines = capsys.readouterr().out.splitlines()
    assert 24 <= len(lines) <= 58
    assert max(map(len, lines)) <= 120
    assert "state_dim" not in help_text()


def test_help_names_every_key_and_help_all_explains_it(monkeypatch, capsys):
    assert run(monkeypatch, "--help-all") == 0
    explained = capsys.readouterr().out
    assert explained == help_text(everything=True) + "\n"
    assert max(map(len, explained.splitlines())) <= 120
    for key in dataclasses.fields(command_line_schema("perceiver")):
        assert f"  {key.name}=" in explained
        assert (f"  {key.name}=" in help_text()) != is_later(key)
        assert key.name in help_text()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("transform=fft", "unknown transform 'fft'; valid: "),
        ("learning_rate=1", "unknown key 'learning_rate'"),
        ("demos=nowhere", "nowhere does not exist"),
        ("cameras=[side]", "dot has no frames of camera 'side', only of front; choose among these"),
        ("cameras=[front,front]", "expected different cameras among front, got front, front"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(monkeypatch, capsys, tmp_path, data_set, change, message):
    assert run(monkeypatch, f"demos={data_set}", f"out={tmp_path / 'run'}", change) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_a_stopped_run_exits_as_a_shell_expects(monkeypatch, capsys, tmp_path, data_set):
    def stopped(config):
        raise loop.TrainingStopped(signal.SIGTERM)

    monkeypatch.setattr(loop, "train", stopped)
    with pytest.raises(SystemExit) as ended:
        run(monkeypatch, f"demos={data_set}", f"out={tmp_path / 'run'}")
    assert ended.value.code == 143
    assert "run the same command again" in capsys.readouterr().err


def test_the_docstring_names_the_command_as_the_help_does():
    assert train.USAGE in train.__doc__
