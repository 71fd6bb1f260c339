"""What the official leaderboard costs and how long it takes: the model, the simulation, and the page's part."""

import dataclasses
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from smidgen.experiments.boards import RATES, RECIPES, build_trial
from smidgen.experiments.costs import Cost
from smidgen.experiments.entry_jobs import EntryJob, needs
from smidgen.experiments.schedule import PlannedJob
from smidgen.experiments.stages import EVALUATING
from smidgen.policies.learned_policy import LearnedPolicy
from smidgen.policies.registry import TRAINED
from smidgen.runtime.command_line import run_command
from smidgen.runtime.errors import UserError
from smidgen.runtime.files import read_json, write_json_atomic
from smidgen.runtime.schemas import to_json
from smidgen.training.config import TrainConfig
from studies.recipe.arms import build_arms
from studies.scale import __main__ as command
from studies.scale import each_policy, efficiency, many_windows
from studies.scale.efficiency import read_efficiencies
from studies.scale.many_windows import read_many_windows
from studies.scale.simulation import (
    fewest_cores,
    leaderboard_jobs,
    longest_chain_s,
    modelled_s,
    planned,
    ratios_of,
    simulate,
)
from studies.scale.tables import efficiency_part, windows_part
from studies.scale.unit_costs import (
    COUNTED_AS,
    UnitCosts,
    read_unit_costs,
    work_of,
    write_unit_costs,
)

COSTS = UnitCosts(
    control_s=0.01,
    step_s=dict.fromkeys(RECIPES, 0.1),
    prediction_s=dict.fromkeys(RECIPES, 0.02),
    torch="2",
)


KNOWN = [
    ("collecting/lift", Cost(0.0, 0.5 * 32_000 * 0.01)),
    *((f"tuning/lift/raw/{lr:g}", Cost(0.0, ratio * 400.0)) for lr, ratio in zip(RATES, (1.0, 2.0, 9.0), strict=True)),
    ("of/another/suite", Cost(1.0, 1.0)),
]


def test_a_job_costs_its_work_times_the_ratio_of_finished_jobs(tmp_path: Path) -> None:
    jobs = {job.label: job for its in leaderboard_jobs(tmp_path / "nothing").values() for job in its}
    # Lift runs 100 control steps an episode; 320 demonstrations, 100 test episodes, 4,000 training steps.
    assert modelled_s(jobs["collecting/lift"], COSTS) == pytest.approx(320 * 100 * 0.01)
    assert modelled_s(jobs["reference/lift/expert"], COSTS) == pytest.approx(100 * 100 * 0.01)
    assert modelled_s(jobs["tuning/lift/raw/0.001"], COSTS) == pytest.approx(4_000 * 0.1)
    work = work_of(EVALUATING, build_trial("raw", "lift", 0, RATES[0]), 100, 0)
    assert (work.control_steps, work.training_steps) == (10_000, 0)
    evaluation_s = 100 + work.predictions * 0.02
    assert modelled_s(jobs["entry/lift/raw/seed0"], COSTS) == pytest.approx(4_000 * 0.1 + evaluation_s)
    ratios = ratios_of(jobs.values(), COSTS, KNOWN)
    assert ratios == {"collecting": pytest.approx([0.5]), "tuning": pytest.approx([1.0, 2.0, 9.0])}
    expected_s = {job.label: job.wall_s for job in planned(jobs.values(), COSTS, ratios, 0.25)}
    assert expected_s["tuning/speck_4/cnn/0.001"] == pytest.approx(2.0 * 400.0 + 0.25)
    # No entry is done.
    assert expected_s["entry/lift/raw/seed0"] == pytest.approx(400.0 + evaluation_s + 0.25)
    entry = jobs["entry/door/cnn/seed0"]
    assert isinstance(entry, EntryJob)
    assert needs(entry) == {"collecting/door", *(f"tuning/lift/cnn/{lr:g}" for lr in RATES)}
    assert set().union(*map(needs, jobs.values())) <= set(jobs)
    arms = build_arms()
    whole, chunks = (work_of(EVALUATING, arms[f"pick_place_can.perceiver{how}"], 50, 0) for how in ("", ".executed4"))
    assert chunks.predictions == whole.control_steps / 4


def test_more_cores_are_faster_until_the_longest_chain() -> None:
    jobs = [PlannedJob("first", 2.0), *(PlannedJob(str(number), 1.0, frozenset({"first"})) for number in range(6))]
    assert [simulate(jobs, cores).wall_s for cores in (1, 2, 3, 6, 50)] == [8.0, 5.0, 4.0, 3.0, 3.0]
    assert simulate(jobs, 2).efficiency == pytest.approx(0.8)
    assert longest_chain_s(jobs) == 3.0
    assert fewest_cores(jobs) == 6


def test_the_committed_page_is_what_the_records_give(tmp_path: Path) -> None:
    assert run_command(command.scale, ["markdown=docs/scale.md", "check=true"]) == 0
    costs = read_unit_costs()
    assert {COUNTED_AS.get(recipe, recipe) for recipe in RECIPES} <= {*costs.step_s} <= {*RECIPES}
    assert {*costs.prediction_s} == {*costs.step_s}
    write_unit_costs(dataclasses.replace(costs, control_s=2 * costs.control_s), tmp_path)
    assert run_command(command.scale, ["markdown=docs/scale.md", "check=true", f"results={tmp_path}"]) == 2


def test_the_record_of_costs_is_checked(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        read_unit_costs(tmp_path)
    write_json_atomic(tmp_path / "unit_costs.json", {**to_json(COSTS), "control_s": "much"})
    with pytest.raises(UserError, match="control_s"):
        read_unit_costs(tmp_path)


def test_two_workers_are_measured_against_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]

    def run(
        settings: Any, job: Callable[[Any], str], items: Sequence[Any], num_workers: int
    ) -> Iterator[tuple[Any, str]]:
        assert job is efficiency.train_once
        for number, item in enumerate(items):
            clock[0] += 10.0 if number % num_workers == 0 else 0.0
            yield item, item[1]

    monkeypatch.setattr(efficiency, "map_on_engine", run)
    monkeypatch.setattr(efficiency.time, "monotonic", lambda: clock[0])
    found = efficiency.measure("local", tmp_path, tmp_path, 8, 1)
    assert (found.one_worker_s, found.two_workers_s, found.efficiency) == (80.0, 40.0, 1.0)
    write_json_atomic(tmp_path / "efficiency.json", [to_json(found)])
    assert read_efficiencies(tmp_path / "efficiency.json") == (found,)
    assert "100 % with engine=local (80 s by one worker, 40 s by two" in efficiency_part([found])
    assert read_efficiencies(tmp_path / "none.json") == ()
    assert "not measured yet" in efficiency_part([])


def test_a_busy_machine_is_not_measured(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(os, "getloadavg", lambda: (3.0, 3.0, 3.0))
    assert run_command(efficiency.body, []) == 2
    assert "the load of this machine is 3.0" in capsys.readouterr().err
    assert run_command(efficiency.body, ["jobs=0"]) == 2
    assert run_command(efficiency.body, ["engines=[slurm]"]) == 2


def test_many_windows_are_measured_and_told(tmp_path):
    """A set a thousand times as small as the page's; its figures are real, and not those of 1,000,000 windows."""
    record = tmp_path / "windows.json"
    arguments = ["episodes=20", "episode_steps=12", "steps=2", f"folder={tmp_path}", f"record={record}"]
    assert run_command(many_windows.body, arguments) == 0
    found = read_many_windows(record)
    assert (found.small.num_windows, found.large.num_windows) == (2 * 12, 19 * 12)
    assert 100 < found.small.memory_mb < 2000
    assert 0 < found.large.waiting_percent < 100
    told = windows_part(dataclasses.replace(found, large=dataclasses.replace(found.small, memory_mb=500.4)))
    assert f"takes {500.4 - found.small.memory_mb:.0f} MB more memory" in told
    assert "not measured yet" in windows_part(read_many_windows(tmp_path / "none.json"))


@pytest.fixture
def data_set(tmp_path: Path) -> Path:
    return many_windows.write_set(tmp_path / "demonstrations", 3, 12)


def test_each_policy_is_trained_on_a_device_and_compared_with_the_cpu(
    data_set: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = tmp_path / "each.json"
    policies = ",".join(TRAINED)
    arguments = [f"demos={data_set}", "device=cpu", "steps=2", f"policies=[{policies}]", f"record={record}"]
    assert run_command(each_policy.body, arguments) == 0
    found = read_json(record)
    assert [each["policy"] for each in found] == list(TRAINED)
    assert {each["difference"] for each in found} == {0.0}
    assert all("torch" in each["machine"] for each in found)
    assert "difference from the CPU" in capsys.readouterr().out
    assert run_command(each_policy.body, [*arguments[:1], "policies=[zero]"]) == 2


def test_a_device_that_computes_something_else_is_seen(
    data_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def compute_wrongly(policy: LearnedPolicy, device: str) -> LearnedPolicy:
        predict = policy.predict_chunk
        monkeypatch.setattr(policy, "predict_chunk", lambda frames: predict(frames) + 0.25)
        return policy

    config = each_policy.EachPolicyConfig(str(data_set), device="cpu", steps=1)
    train = each_policy.train

    def train_and_break(settings: TrainConfig) -> None:
        train(settings)
        monkeypatch.setattr(LearnedPolicy, "compute_on", compute_wrongly)

    monkeypatch.setattr(each_policy, "train", train_and_break)
    assert each_policy.train_on("cnn", config, tmp_path / "run").difference > 0.05
