"""The search for a recipe: its arms, its plan, and one job from demonstrations to record."""

import csv
import dataclasses
from pathlib import Path

import pytest
import torch
from fake_lift import FakeLift, open_fake_collector

from smidgen.evaluation.records import success_rate
from smidgen.experiments.costs import Cost
from smidgen.experiments.jobs import take_job, work
from smidgen.experiments.snapshot import take_snapshot, unfinished_jobs
from smidgen.experiments.stages import Place, Size, collect_sets, train_trial
from smidgen.experiments.suite import SuiteConfig
from smidgen.policies.checkpoint import load_checkpoint
from smidgen.runtime.command_line import run_command
from smidgen.runtime.errors import UserError
from smidgen.runtime.files import directory_lock, read_json, sha256_file, write_json_atomic
from smidgen.training.config import TrainConfig
from studies.recipe import __main__ as command
from studies.recipe.acting import ACTING_KEYS, acting_checkpoint
from studies.recipe.arms import ORDER, Arm, build_arms
from studies.recipe.bars import BARS, PLANNED, WITH_GAIN, bars_table, build_bars
from studies.recipe.jobs import SPLIT, ArmJob, arm_jobs
from studies.recipe.plan import PLAN_FILE, plan_json, settle_plan
from studies.recipe.records import ArmRecord, read_records, record_path, write_record
from studies.recipe.screen import SCREEN
from studies.recipe.step_costs import FOLDER, at_most_core_hours
from studies.recipe.tables import INPUTS, history_table, inputs_table

SMALL = Size(demonstrations=6, held_out=3, most_steps=2, episodes=2, videos=0)
TINY = {"policy": "cnn", "width": 2, "hidden_dim": 4, "steps": 9, "num_threads": 1, "batch_size": 2}
ARM = Arm(task="lift", label="tiny", reason="it is small", training=TINY)
CHUNKS = dataclasses.replace(ARM, acting={"num_executed": 8})


def fake_place(folder: Path) -> Place:
    return Place(
        folder / "records",
        folder / "scratch",
        folder / "costs.csv",
        num_workers=0,
        open_collector=open_fake_collector,
        make=FakeLift,
        settings={"image_size": 16},
    )


def test_every_arm_is_a_training_and_the_committed_plan_is_that_of_this_version() -> None:
    arms = build_arms()
    assert len(arms) == len(ORDER)
    for arm in arms.values():
        TrainConfig.from_flat(**arm.training, demos="demos", out="out")
        assert set(arm.acting) <= set(ACTING_KEYS)
    hours = at_most_core_hours(arms, Size())
    assert set(hours) == set(arms)
    assert read_json(FOLDER / PLAN_FILE) == plan_json(arms, Size(), hours)
    assert list(read_records(FOLDER, arms)) == [name for name in arms if record_path(FOLDER, name).exists()]


def test_a_job_goes_from_nothing_to_a_record_and_arms_share_their_training(tmp_path: Path) -> None:
    place, arms = fake_place(tmp_path), {"lift.tiny": ARM, "lift.tiny.executed8": CHUNKS}
    impossible = dataclasses.replace(ARM, training={**TINY, "num_frames": 9})
    jobs = arm_jobs({"lift.impossible": impossible, **arms}, place, SMALL)
    outcomes = work(lambda: jobs, lambda: all(job.is_done() for job in jobs))
    job, error = next(outcomes)
    assert (job.label, type(error)) == ("lift.impossible", UserError)
    (failed,) = take_snapshot("search", 0, unfinished_jobs(jobs, lambda _: None), 1).failed
    assert (failed.label, failed.stage, failed.error) == ("lift.impossible", "training", str(error))
    _, first = next(outcomes)
    trained = sha256_file(place.run(ARM) / "checkpoints/final/model.safetensors")
    _, second = next(outcomes)
    assert next(outcomes, None) is None

    assert isinstance(first, ArmRecord)
    assert isinstance(second, ArmRecord)
    assert read_records(place.folder, arms) == {"lift.tiny": first, "lift.tiny.executed8": second}
    assert (first.success["n"], sum(first.failures.values()) + first.success["k"]) == (2, 2)
    assert first.seeds["split"] == SPLIT == "checkpoint"
    assert first.validation[-1]["step"] == 2
    assert first.costs["training"] == second.costs["training"]
    assert first.hashes["checkpoint"] != second.hashes["checkpoint"]
    assert sha256_file(place.run(ARM) / "checkpoints/final/model.safetensors") == trained
    assert len(first.outcomes) == len(second.outcomes) == 2
    rows = list(csv.DictReader((tmp_path / "costs.csv").read_text().splitlines()))
    assert [row["job"] for row in rows] == list(arms)
    assert float(rows[0]["core_s"]) > first.costs["training"].core_s

    changed = {**arms, "lift.tiny": dataclasses.replace(ARM, training={**TINY, "lr": 1e-4})}
    with pytest.raises(UserError, match="arm_sha256"):
        settle_plan(changed, SMALL, {}, place.folder)
    with pytest.raises(UserError, match="was run with"):
        settle_plan(arms, Size(), {}, place.folder)
    settle_plan({**arms, "another": changed["lift.tiny"]}, SMALL, {}, place.folder)
    assert read_json(place.folder / PLAN_FILE)["order"] == [*arms, "another"]


def test_an_arm_that_another_process_holds_is_left_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = fake_place(tmp_path)
    other = dataclasses.replace(ARM, task="speck_4")
    monkeypatch.setattr(ArmJob, "run", lambda job: job.label)
    with directory_lock(place.scratch / "locks" / ARM.run_name):
        taken = take_job(
            arm_jobs({"lift.tiny": ARM, "lift.tiny.executed8": CHUNKS, "speck_4.tiny": other}, place, SMALL)
        )
    assert taken is not None
    assert taken[1] == "speck_4.tiny"


def test_how_a_policy_acts_does_not_change_its_training(tmp_path: Path) -> None:
    place = fake_place(tmp_path)
    collect_sets(ARM, place, SMALL)
    trained = dataclasses.replace(ARM, label="trained", training={**TINY, **CHUNKS.acting})
    acting = acting_checkpoint(train_trial(ARM, place, SMALL), CHUNKS.acting)
    otherwise, same = load_checkpoint(acting), load_checkpoint(train_trial(trained, place, SMALL))
    assert otherwise.config == same.config
    weights = otherwise.state_dict()
    assert all(torch.equal(weights[name], tensor) for name, tensor in same.state_dict().items())


def test_a_record_that_belongs_to_no_arm_is_refused(tmp_path: Path) -> None:
    write_json_atomic(record_path(tmp_path, "lift.unknown"), {"schema_version": 1})
    with pytest.raises(UserError, match=r"lift.unknown.json"):
        read_records(tmp_path, build_arms())


def test_the_search_says_how_far_it_is(tmp_path: Path) -> None:
    config = SuiteConfig("", out=str(tmp_path), scratch=str(tmp_path), form="smoke", arms=("lift.cnn", "speck_4.cnn"))
    snapshot = SCREEN.snapshot(config)
    assert (snapshot.num_done, snapshot.num_left, snapshot.num_unknown) == (0, 2, 2)


def made_up(name: str, outcomes: str) -> ArmRecord:
    num_won = outcomes.count("1")
    rate = {**success_rate([each == "1" for each in outcomes], 0.95)}
    return ArmRecord(
        arm=name,
        arm_sha256=build_arms()[name].sha256,
        config={},
        size={},
        success=rate,
        success_once=rate,
        failures={"stalled": len(outcomes) - num_won} if num_won < len(outcomes) else {},
        verdict=None,
        sight=None,
        cue_slope=0.5,
        path_slope=None,
        validation=({"step": 6000, "skill_time_mean": 0.25},),
        seeds={},
        costs={"training": Cost(120.0, 60.0)},
        versions={},
        hashes={},
        outcomes=outcomes,
    )


def test_the_table_is_what_the_records_give_and_drift_is_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document = tmp_path / "recipe.md"
    document.write_text("# It\n<!-- recipe:begin -->\n<!-- recipe:end -->\n")
    (tmp_path / PLAN_FILE).write_text("{}")
    for name, outcomes in {"lift.perceiver.executed4": "1000000", "lift.ema.executed4": "0111111"}.items():
        write_record(tmp_path, made_up(name, outcomes))
    arguments = [f"results={tmp_path}", f"markdown={document}"]
    assert run_command(command.table, arguments) == 0
    text = document.read_text()
    assert "| 6/7 [49-97 %] | 6/7 | +5/7, p = 0.12 | - | 0.50 | 0.25 | 1 stalled | 6,000 | 1 |" in text
    assert "**lift**" in text
    assert run_command(command.table, [*arguments, "check=true"]) == 0
    document.write_text(text.replace("6/7", "7/7"))
    assert run_command(command.table, [*arguments, "check=true"]) == 2
    assert run_command(command.table, [f"results={tmp_path / 'nowhere'}"]) == 2
    assert "no plan.json in" in capsys.readouterr().err


def test_arms_with_and_without_motion_stand_side_by_side_by_seed() -> None:
    arms = build_arms()
    any_record = next(iter(read_records(FOLDER, arms).values()))

    def record(name: str, successes: int, slope: float) -> ArmRecord:
        success = {**any_record.success, "k": successes, "n": 50}
        return dataclasses.replace(any_record, arm=name, config=arms[name].content(), success=success, cue_slope=slope)

    found = [
        record("speck_4.located10.again.seed1", 3, 0.25),
        record("speck_4.located10", 30, 0.5),
        record("speck_4.located10.executed4", 50, 1.0),
        record("speck_4.located10.dropout.seed2", 45, 0.75),
        record("speck_4.one_frame", 9, 0.125),
    ]
    table = history_table(arms, {each.arm: each for each in found})
    assert table.splitlines()[2:] == [
        "| Perceiver | - | - | 9 of 50; cue slope 0.12 |",
        "| Perceiver, windows | 30, 3 of 50; cue slope 0.50, 0.25 | 45 of 50; cue slope 0.75 | - |",
        "| CNN | - | - | - |",
    ]


def test_the_committed_page_is_what_the_records_give() -> None:
    assert (
        run_command(
            command.table,
            ["markdown=docs/recipe.md", "inputs=docs/feeding-tokens.md", "bars=docs/recipe.md", "check=true"],
        )
        == 0
    )


def test_every_input_is_an_arm_on_the_task_and_stands_in_its_place() -> None:
    arms = build_arms()
    planned = {arm.label.partition(".seed")[0] for arm in arms.values() if arm.task == "speck_4" and not arm.acting}
    assert {label for labels in INPUTS.values() for label in labels} <= planned
    records = read_records(FOLDER, arms)
    rows = inputs_table(arms, records).splitlines()[2:]
    assert [row.split(" | ")[0].removeprefix("| ") for row in rows] == list(INPUTS)
    plain = records["speck_4.perceiver"]
    assert (
        f"{plain.success['k']:.0f} of {plain.success['n']:.0f}; cue slope"
        in rows[list(INPUTS).index("raw, centred, positions per axis")]
    )


def test_every_bar_is_a_training_of_the_committed_plan_on_episodes_that_chose_nothing() -> None:
    arms, size = build_bars(), BARS.forms["full"]
    for arm in arms.values():
        TrainConfig.from_flat(**arm.training, demos="demos", out="out")
    assert len(arms) == sum(bar.num_seeds for bar in PLANNED)
    assert read_json(BARS.folder / PLAN_FILE) == plan_json(arms, size, at_most_core_hours(arms, size), BARS.notes)
    assert max(bar.steps for bar in PLANNED) <= 20_000
    found = build_arms()["lift.gain8.executed4"]
    assert {**found.training, **found.acting}.items() >= WITH_GAIN.items()
    (job, *_) = BARS.jobs(SuiteConfig("", form="smoke"))
    assert (job.label, job.seed_start, job.suite) == ("speck_4.bars.raw-centred-gain8.seed0", 500, "bars")
    assert job.seed_start >= Size().episodes


def test_a_bar_is_met_by_all_seeds_together_and_by_none_blind() -> None:
    arms = build_bars()
    any_record = next(iter(read_records(FOLDER, build_arms()).values()))

    def record(name: str, num_won: int, sight: float = 1.0) -> ArmRecord:
        outcomes = "1" * num_won + "0" * (100 - num_won)
        return dataclasses.replace(
            any_record,
            arm=name,
            config=arms[name].content(),
            outcomes=outcomes,
            success={**success_rate([each == "1" for each in outcomes], 0.95)},
            sight=sight,
            verdict="sees" if sight > 0.8 else "blind",
        )

    def last_cells(*records: ArmRecord) -> list[str]:
        rows = bars_table({each.arm: each for each in records}).splitlines()[4:]
        return [row.split(" | ")[-1].removesuffix(" |") for row in rows]

    stripes = [f"stripes.bars.raw-centred-gain8.seed{seed}" for seed in range(3)]
    assert last_cells(*(record(name, 90) for name in stripes)) == ["met"]
    assert last_cells(*(record(name, won) for name, won in zip(stripes, (100, 100, 69), strict=True))) == ["missed"]
    assert last_cells(record(stripes[1], 100)) == ["1 of 3 seeds so far"]
    partly = [record(stripes[0], 100), record(stripes[1], 100), record(stripes[2], 100, sight=0.1)]
    assert last_cells(*partly) == ["met in success, missed in sight"]
    undecided = [*partly[:2], dataclasses.replace(partly[2], sight=None, verdict=None)]
    assert last_cells(*undecided) == ["met in success, missed in sight"]
    assert last_cells(record("speck_4.bars.cnn.seed0", 3)) == [""]
    assert bars_table({}) == f"0 of {len(arms)} runs have a record."


def test_what_the_pages_say_of_the_gain_holds_in_the_records() -> None:
    records = read_records(FOLDER, build_arms())
    loud = [records[f"speck_4.gain8{seed}"] for seed in ("", ".seed1", ".seed2")]
    assert all(record.success["k"] == record.success["n"] == 50 for record in loud)
    assert min(record.cue_slope or 0.0 for record in loud) > 0.8
    plain, windows = records["speck_4.perceiver"], records["speck_4.located10.again.seed1"]
    assert (plain.success["k"], plain.success["n"]) == (1, 50)
    assert abs(plain.cue_slope or 0.0) < 0.01
    assert (plain.validation[-1]["skill_time_mean"] or 0.0) > 0.9
    assert abs(windows.cue_slope or 0.0) < 0.01
    assert records["speck_4.located10.gain8"].success["k"] <= min(record.success["k"] for record in loud)
