"""``task=all``: every task once, resumable, and a table that follows from the records."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_lift import FakeLift

from smidgen.data_collection.experts import EXPERTS
from smidgen.envs.tasks import TASKS
from smidgen.evaluation import all_tasks
from smidgen.evaluation.all_tasks import BAR, all_tasks_table, passes_bar, task_configs, with_expert_settings
from smidgen.evaluation.config import EvalConfig
from smidgen.evaluation.evaluate import evaluate_all, main
from smidgen.evaluation.record_schema import success_rate
from smidgen.evaluation.records import find_records, read_record
from smidgen.runtime.command_line import compose_config
from smidgen.runtime.errors import UserError

COMMITTED = sorted((Path(__file__).parents[2] / "results").glob("*/all-*.md"))


class FakeTouch(FakeLift):
    """A goal to touch in the place of the cube, and no gripper."""

    def step(self, action: np.ndarray) -> Any:
        return super().step(np.append(action, -1.0))

    def is_success(self) -> bool:
        return bool(np.linalg.norm(self.gripper - self.cube) < 0.01)

    def eef_state(self) -> np.ndarray:
        return self.gripper.copy()

    def privileged(self) -> dict[str, np.ndarray]:
        return {"eef_position_m": self.gripper, "goal_position_m": self.cube, "is_success": np.bool_(self.is_success())}


def make(task: str, cameras: tuple[str, ...], image_size: int) -> FakeLift:
    return (FakeLift if task == "lift" else FakeTouch)(task, cameras, image_size)


@pytest.fixture
def three_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two tasks with an expert, and one without."""
    monkeypatch.setattr(all_tasks, "TASKS", {name: TASKS[name] for name in ("speck_4", "lift", "stack")})
    monkeypatch.delitem(EXPERTS, "stack")


def config(out: Path, policy: str = "expert", **changes: Any) -> EvalConfig:
    settings = {"episodes": 3, "workers": 0, "videos": 0, "image_size": 16, **changes}
    return EvalConfig(policy=policy, out=str(out / "results"), task="all", **settings)


def rows(table: str) -> dict[str, list[str]]:
    cells = [line.strip("| ").split(" | ") for line in table.splitlines()[2:]]
    return {first: rest for first, *rest in cells}


@pytest.mark.usefixtures("three_tasks")
def test_every_task_has_a_record_and_a_row(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = evaluate_all(config(tmp_path), make)
    assert path == tmp_path / "results" / "all-expert.md"
    assert [record.name for record in find_records(path.parent)] == ["lift-expert.json", "speck_4-expert.json"]
    table = rows(path.read_text())
    assert list(table) == ["speck_4", "lift", "stack"]
    assert table["stack"] == ["-", "-", "-", "no expert", "-"]
    record = read_record(path.parent / "lift-expert.json")
    success = record["success"]
    steps = np.mean([row["num_steps"] for row in record["episodes"]])
    assert table["lift"] == ["3/3", f"{success['low']:.1%} to 100.0%", f"{steps:.1f}", "no", "none"]
    assert "expert on lift: success 3/3" in capsys.readouterr().out


@pytest.mark.usefixtures("three_tasks")
def test_run_again_it_does_nothing_and_goes_on_where_it_was(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = evaluate_all(config(tmp_path), make)
    files = {file: file.read_bytes() for file in [*find_records(path.parent), path]}
    stamps = {file: file.stat().st_mtime_ns for file in files if file != path}
    assert len(stamps) == 2
    capsys.readouterr()
    evaluate_all(config(tmp_path), make)
    assert capsys.readouterr().out.count("nothing to do") == 2
    assert {file: file.stat().st_mtime_ns for file in stamps} == stamps
    (path.parent / "lift-expert.json").unlink()
    path.unlink()
    evaluate_all(config(tmp_path), make)
    assert capsys.readouterr().out.count("nothing to do") == 1
    assert {file: file.read_bytes() for file in files} == files


@pytest.mark.usefixtures("three_tasks")
def test_a_policy_that_is_no_expert_runs_on_every_task_and_meets_no_bar(tmp_path: Path) -> None:
    path = evaluate_all(config(tmp_path, "noop"), make)
    assert path.name == "all-noop.md"
    table = rows(path.read_text())
    assert set(table) == {"speck_4", "lift", "stack"}
    assert table["lift"] == ["0/3", "0.0% to 56.1%", "-", "3 stalled"]


def test_the_expert_on_all_tasks_has_settings_of_its_own_unless_told_otherwise() -> None:
    def composed(*arguments: str) -> EvalConfig:
        return compose_config(EvalConfig, with_expert_settings(arguments))

    alone = composed("policy=expert", "task=all")
    assert (alone.episodes, alone.videos, alone.out) == (200, 0, "results/experts")
    told = composed("policy=expert", "task=all", "episodes=7", "out=elsewhere")
    assert (told.episodes, told.out) == (7, "elsewhere")
    with pytest.raises(UserError, match="missing out="):
        composed("policy=noop", "task=all")
    assert composed("policy=expert", "task=lift", "out=x").videos == 4


def test_the_bar_is_197_of_200() -> None:
    def record(k: int) -> Any:
        return {"success": success_rate([index < k for index in range(200)], 0.95)}

    assert {k: passes_bar(record(k)) for k in (195, 196, 197, 200)} == {195: "no", 196: "no", 197: "yes", 200: "yes"}
    assert BAR == 0.95


def test_every_task_with_an_expert_is_asked_for() -> None:
    assert set(task_configs(EvalConfig(policy="expert", out="x", task="all"))) == set(EXPERTS)
    assert list(task_configs(EvalConfig(policy="random", out="x", task="all"))) == list(TASKS)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["policy=expert", "demos=somewhere"], "hold demonstrations of one task"),
        (["policy=time_mean"], "is built from demonstrations of one task; set task="),
        (["policy=."], "is built from demonstrations of one task; set task="),
        (["policy=nope"], "unknown policy 'nope'"),
    ],
)
def test_what_is_of_one_task_is_refused(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, "task=all", f"out={tmp_path / 'results'}"]) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not COMMITTED, reason="no table of all tasks is committed yet")
def test_committed_tables_follow_from_their_records() -> None:
    for path in COMMITTED:
        name = path.stem.removeprefix("all-")
        found = [read_record(record) for record in find_records(path.parent)]
        by_task = {record["task"]: record for record in found if record["policy"]["name"] == name}
        assert path.read_text() == all_tasks_table({task: by_task[task] for task in TASKS if task in by_task})


@pytest.mark.simulator
@pytest.mark.usefixtures("kept_simulators")
@pytest.mark.slow
def test_real_tasks_one_after_the_other_in_one_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tasks = {name: TASKS[name] for name in ("lift", "speck_4")}
    monkeypatch.setattr(all_tasks, "TASKS", tasks)
    monkeypatch.setattr(all_tasks, "EXPERTS", {name: EXPERTS[name] for name in tasks})
    arguments = ["policy=expert", "task=all", "episodes=1", "workers=0", f"out={tmp_path / 'results'}"]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert {task: row[0] for task, row in rows(printed[printed.index("| task") :]).items()} == {
        "lift": "1/1",
        "speck_4": "1/1",
    }
