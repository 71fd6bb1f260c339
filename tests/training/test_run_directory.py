from __future__ import annotations

import json
import shutil

import pytest
import torch

from smidgen.runtime.errors import UserError
from smidgen.training.run_directory import ResumePoint, RunDirectory

SETTINGS = {"lr": 0.1, "betas": (0.9, 0.999)}
PLATFORM = {"num_threads": 1}


def open_run(path, settings=None, platform=None):
    return RunDirectory.open(path, settings or SETTINGS, platform or PLATFORM, {"demos": "data"})


def point(step: int) -> ResumePoint:
    tensors = {"model": {"w": torch.full((2,), float(step))}, "optimiser": {"0.step": torch.tensor(1.0)}}
    return ResumePoint(step, tensors, {"rows": [{"loss": 0.1}]})


def test_a_resume_point_comes_back_and_replaces_the_one_before(tmp_path):
    with open_run(tmp_path / "run") as run:
        assert run.load_resume_point() is None
        run.save_resume_point(point(3))
        run.save_resume_point(point(6))
        loaded = run.load_resume_point()
    assert (loaded.step, loaded.memory) == (6, {"rows": [{"loss": 0.1}]})
    assert torch.equal(loaded.tensors["model"]["w"], torch.full((2,), 6.0))
    assert [entry.name for entry in (tmp_path / "run" / "resume").iterdir()] == ["step-000000006"]


def test_the_later_of_two_points_counts(tmp_path):
    """A kill after the new point has appeared and before the old one is gone."""
    with open_run(tmp_path / "run") as run:
        run.save_resume_point(point(3))
        shutil.copytree(tmp_path / "run" / "resume" / "step-000000003", tmp_path / "keep")
        run.save_resume_point(point(6))
        shutil.move(tmp_path / "keep", tmp_path / "run" / "resume" / "step-000000003")
        assert run.load_resume_point().step == 6


@pytest.mark.parametrize("file", ["model.safetensors", "optimiser.safetensors", "state.json"])
@pytest.mark.parametrize("damage", ["missing", "truncated", "other"])
def test_a_damaged_point_is_refused_by_name(tmp_path, file, damage):
    with open_run(tmp_path / "run") as run:
        run.save_resume_point(point(3))
        path = tmp_path / "run" / "resume" / "step-000000003" / file
        content = path.read_bytes()
        path.unlink()
        if damage != "missing":
            path.write_bytes(content[:-3] if damage == "truncated" else b"{}")
        with pytest.raises(UserError, match=file.replace(".", r"\.")):
            run.load_resume_point()


def test_leftovers_of_a_kill_are_removed(tmp_path):
    with open_run(tmp_path / "run"):
        pass
    for place in ("", "resume", "checkpoints"):
        (tmp_path / "run" / place / ".partial-x").mkdir(parents=True)
    with open_run(tmp_path / "run") as run:
        assert not list(run.path.rglob(".partial-*"))


def test_other_settings_are_refused_by_key(tmp_path):
    with open_run(tmp_path / "run"):
        pass
    with open_run(tmp_path / "run"):
        pass
    with (
        pytest.raises(UserError, match=r"settings: betas .*; lr \(there 0.1, requested 0.2\)"),
        open_run(tmp_path / "run", settings={"lr": 0.2, "betas": (0.9, 0.9)}),
    ):
        pass


def test_a_run_of_another_kind_is_refused_by_its_kind_alone(tmp_path):
    with RunDirectory.open(tmp_path / "run", {"policy": "cnn", "width": 2}, PLATFORM, {}):
        pass
    expected = r"run holds a run with policy=cnn, requested policy=perceiver; choose another out= or delete it$"
    with (
        pytest.raises(UserError, match=expected),
        RunDirectory.open(tmp_path / "run", {"num_latents": 2}, PLATFORM, {}),
    ):
        pass


def test_another_platform_is_refused_only_while_steps_are_left(tmp_path):
    with open_run(tmp_path / "run"):
        pass
    with (
        pytest.raises(UserError, match=r"platform: num_threads \(there 1, requested 2\)"),
        open_run(tmp_path / "run", platform={"num_threads": 2}),
    ):
        pass
    (tmp_path / "run" / "checkpoints" / "final").mkdir(parents=True)
    with open_run(tmp_path / "run", platform={"num_threads": 2}) as run:
        assert run.is_finished


def test_a_directory_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(UserError, match=r"thesis\.tex"), open_run(tmp_path):
        pass
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.tex"]
    with pytest.raises(UserError, match="is a file"), open_run(tmp_path / "thesis.tex"):
        pass


def test_two_at_once_are_refused(tmp_path):
    with open_run(tmp_path / "run"), pytest.raises(UserError, match="another command"), open_run(tmp_path / "run"):
        pass


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"schema_version": 9}'])
def test_a_damaged_config_is_refused_by_name(tmp_path, content):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text(content)
    with pytest.raises(UserError, match=r"config\.json"), open_run(tmp_path / "run"):
        pass


def test_metrics_are_replaced_whole(tmp_path):
    with open_run(tmp_path / "run") as run:
        run.write_metrics([{"step": 1}, {"step": 2}])
        run.write_metrics([{"step": 1}])
    assert [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()] == [{"step": 1}]
