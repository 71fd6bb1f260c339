"""The official leaderboard as a suite: its boards, its jobs from nothing to records, and what its planner expects."""

import csv
import dataclasses
import json
import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import pytest
from fake_lift import FakeLift, open_fake_collector

from smidgen.envs.tasks import TASKS
from smidgen.evaluation.config import EvalConfig
from smidgen.evaluation.records import read_record
from smidgen.evaluation.tracks import CPU_STANDARD_1
from smidgen.evaluation.verification_mark import read_verification, verification_path
from smidgen.experiments import boards, entry_jobs
from smidgen.experiments.boards import (
    ADDED_COMPARISONS,
    BOARDS,
    COMPARISONS,
    RATES,
    RECIPES,
    STEPS,
    TRACK,
    TUNING_SEED,
    Board,
    build_trial,
)
from smidgen.experiments.costs import Cost, append_cost, read_costs
from smidgen.experiments.entry_jobs import (
    EntryJob,
    Track,
    TrackJob,
    VerificationJob,
    board_jobs,
    chosen_rate,
    is_open,
    tuning_path,
)
from smidgen.experiments.jobs import work
from smidgen.experiments.leaderboard import CPU_STANDARD, LeaderboardSuite, expected_cost
from smidgen.experiments.stages import Place, Size
from smidgen.experiments.suite import SuiteConfig, load_suite
from smidgen.experiments.suite import suite as suite_command
from smidgen.leaderboard.ranking import rank_runs, read_runs
from smidgen.runtime.command_line import run_command
from smidgen.runtime.errors import UserError
from smidgen.runtime.files import write_json_atomic
from smidgen.training.config import TrainConfig

Job = TypeVar("Job", bound=TrackJob)
TINY = {"policy": "cnn", "width": 2, "hidden_dim": 4, "batch_size": 2, "eval_every": 1}
SMALL = Board("S", ("lift",), ("tiny", "tiny-few"), num_training_seeds=2)
SPEC = "smidgen.experiments.leaderboard:CPU_STANDARD"


@pytest.fixture
def track(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Track:
    for name in SMALL.recipes:
        monkeypatch.setitem(boards.RECIPES, name, TINY)
    monkeypatch.setitem(boards.DEMONSTRATIONS, "tiny-few", {"episodes": 4})
    monkeypatch.setitem(boards.RATE_OF, "tiny-few", "tiny")
    place = Place(
        tmp_path / "records",
        tmp_path / "scratch",
        tmp_path / "costs.csv",
        num_workers=0,
        open_collector=open_fake_collector,
        make=FakeLift,
        settings={"image_size": 16},
    )
    size = Size(demonstrations=6, held_out=3, most_steps=2, episodes=2, videos=0)
    return Track("trial", place, size, {"split": "checkpoint"})


def test_every_row_of_every_board_is_a_training_of_its_own() -> None:
    rows = [(task, recipe) for board in BOARDS for task in board.tasks for recipe in board.recipes]
    assert len(rows) == len(set(rows))
    assert {task for task, _ in rows} <= set(TASKS)
    assert {recipe for _, recipe in rows} == set(RECIPES)
    for recipe in RECIPES:
        config = TrainConfig.from_flat(**build_trial(recipe, "lift", 0, RATES[0]).training, demos="d", out="o")
        steps = boards.LONG_STEPS if recipe.endswith("-long") else boards.STEPS
        assert (config.steps, config.num_threads) == (steps, 1)
    assert set(boards.RATE_OF) | set(boards.RATE_OF.values()) <= set(RECIPES)
    assert not set(boards.RATE_OF) & set(boards.RATE_OF.values())
    first = BOARDS[0]
    assert len(COMPARISONS) * len(first.tasks) <= 12
    assert {name for each in COMPARISONS for name in each[:2]} <= set(first.recipes)
    assert first.num_training_seeds == TRACK.num_training_seeds


def test_a_board_goes_from_nothing_to_records_and_resumes_for_nothing(track: Track) -> None:
    def open_jobs() -> list[TrackJob]:
        return [job for job in board_jobs(SMALL, track) if is_open(job)]

    def is_over() -> bool:
        return all(job.is_done() for job in board_jobs(SMALL, track))

    assert [job.label for job in open_jobs()] == ["collecting/lift", "collecting/lift.episodes-4"]
    done = [job.label for job, outcome in work(open_jobs, is_over, 0.0) if isinstance(outcome, str)]
    assert done == [job.label for job in board_jobs(SMALL, track)]
    assert list(work(open_jobs, is_over)) == []

    rate = chosen_rate(track.place.folder, "lift", "tiny")
    assert rate in RATES
    record = read_record(track.place.folder / "lift-tiny-seed1.json")
    settings = (record["policy"]["training"] or {})["training_config"]
    assert (settings["seed"], settings["lr"], record["protocol"]["split"]) == (1, rate, "checkpoint")
    few = read_record(track.place.folder / "lift-tiny-few-seed1.json")["policy"]["training"] or {}
    assert few["training_config"]["lr"] == rate
    assert few["num_demonstrations"] < (record["policy"]["training"] or {})["num_demonstrations"]
    assert not any("tiny-few" in path.name for path in (track.place.folder / "tuning").iterdir())
    with open(track.place.costs, newline="") as file:
        assert [row["job"] for row in csv.DictReader(file)] == done
    groups = rank_runs(read_runs(track.place.folder))
    assert {row.name: len(row.runs) for row in groups[0].rows}["tiny"] == 2


def test_a_drawn_row_is_run_again_from_its_checkpoint_and_trained_again_if_that_is_gone(
    track: Track, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(entry_jobs, "drawn_rows", lambda board: [("lift", "tiny", 1)])
    small = dataclasses.replace(SMALL, recipes=("tiny",))

    def open_jobs() -> list[TrackJob]:
        return [job for job in board_jobs(small, track) if is_open(job)]

    labels = [job.label for job in board_jobs(small, track)]
    assert labels[-2:] == ["entry/lift/tiny/seed1", "verification/lift/tiny/seed1"]

    def is_over() -> bool:
        return all(job.is_done() for job in board_jobs(small, track))

    assert all(isinstance(outcome, str) for _, outcome in work(open_jobs, is_over, 0.0))
    again = board_jobs_of_kind(small, track, VerificationJob)[0]
    mark = read_verification(again.record)
    assert mark is not None
    assert (mark["verdict"], mark["num_equal"]) == ("verified", track.size.episodes)
    assert again.is_done()
    # A mark of other bytes is none; without the run, it is trained again, to the same bytes.
    write_json_atomic(verification_path(again.record), mark | {"record_sha256": "0" * 64})
    shutil.rmtree(track.place.scratch / "runs")
    assert not again.is_done()
    assert again.do() == "verified"
    assert again.is_done()
    record = json.loads(again.record.read_text())
    record["policy"]["checkpoint_sha256"] = "0" * 64
    again.record.write_text(json.dumps(record))
    with pytest.raises(UserError, match="trained again here, it is another checkpoint"):
        again.do()


def board_jobs_of_kind(board: Board, track: Track, kind: type[Job]) -> list[Job]:
    return [job for job in board_jobs(board, track) if isinstance(job, kind)]


def search(folder: Path, losses: Sequence[float | None]) -> float | None:
    for lr, loss in zip(RATES, losses, strict=True):
        write_json_atomic(tuning_path(folder, "lift", "raw", lr), {"loss": loss})
    return chosen_rate(folder, "door", "raw")


def test_the_rate_with_the_lowest_held_out_loss_is_chosen(tmp_path: Path) -> None:
    assert chosen_rate(tmp_path, "door", "raw") is None
    assert search(tmp_path, (0.3, 0.1, 0.2)) == RATES[1]
    assert search(tmp_path, (0.3, 0.1, 0.1)) == RATES[1]
    # A training that diverged has no loss and comes last.
    assert search(tmp_path, (0.3, None, None)) == RATES[0]
    assert chosen_rate(tmp_path, "blink", "raw") is None


def config(tmp_path: Path, **changes: object) -> SuiteConfig:
    places = {"out": str(tmp_path / "out"), "scratch": str(tmp_path / "scratch"), "workers": 0}
    return SuiteConfig(SPEC, **{**places, **changes})  # type: ignore[arg-type]


def test_the_planner_adds_up_what_is_left_by_what_is_done(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    suite = LeaderboardSuite(boards=(Board("S", ("lift",), ("raw", "cnn"), num_training_seeds=2),))
    for job, core_s in {
        "collecting/lift": 3600,
        "tuning/lift/raw/0.0003": 1800,
        "tuning/lift/raw/0.001": 3600,
        "entry/lift/raw/seed0": 7200,
    }.items():
        append_cost(folder / "costs.csv", CPU_STANDARD_1, job, 1, core_s, core_s)
    known = read_costs(folder / "costs.csv", CPU_STANDARD_1)
    jobs = {job.label: job for job in suite.jobs(config(tmp_path))["S"]}
    expected = {label: expected_cost(job, known) for label, job in jobs.items()}
    assert expected["tuning/lift/raw/0.003"] == Cost(2700, 2700)
    assert expected["entry/lift/raw/seed1"] == expected["entry/lift/cnn/seed0"] == Cost(7200, 7200)
    assert expected["reference/lift/expert"] is None
    # 1 h of collecting, 6 searches of 0.75 h, 4 entries of 2 h; references and three runs again were never timed.
    last = suite.plan(config(tmp_path)).splitlines()[-1]
    assert last.split() == ["S", "0", "of", "4", "19", "13.5", "+", "8", "jobs", "of", "unknown", "cost"]
    for lr in RATES:
        write_json_atomic(tuning_path(folder, "lift", "raw", lr), {"loss": 1.0})
    assert suite.plan(config(tmp_path)).splitlines()[-1].split()[4:6] == ["16", "11.2"]
    snapshot = suite.snapshot(config(tmp_path, workers=100))
    assert (snapshot.num_done, snapshot.num_left, snapshot.num_unknown) == (3, 16, 8)
    # Collecting for an hour, searching for 0.75 h, the entry of that recipe for two.
    assert snapshot.left_s == pytest.approx((1 + 0.75 + 2) * 3600)
    alone = suite.snapshot(config(tmp_path, workers=1))
    assert alone.left_s == pytest.approx((1 + 3 * 0.75 + 4 * 2) * 3600)


def test_only_a_frozen_track_runs_test_episodes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match="not frozen"):
        LeaderboardSuite(is_frozen=False).run(config(tmp_path))
    assert CPU_STANDARD.is_frozen
    assert CPU_STANDARD.track(config(tmp_path)).evaluation == {"track": CPU_STANDARD_1}
    assert CPU_STANDARD.track(config(tmp_path, form="smoke")).evaluation == {"split": "checkpoint"}
    size = CPU_STANDARD.track(config(tmp_path)).size
    assert EvalConfig(policy="noop", out="out", episodes=size.episodes, track=CPU_STANDARD_1).split == "test"
    assert not list(tmp_path.iterdir())


def test_rows_can_be_chosen_and_an_unknown_one_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    jobs = CPU_STANDARD.jobs(config(tmp_path, arms=("lift/cnn", "door/cnn")))
    rows = {(job.task, job.name) for job in [*jobs["A"], *jobs["B"]] if isinstance(job, EntryJob)}
    assert rows == {("lift", "cnn"), ("door", "cnn")}
    assert jobs["C"] == []
    # What board A searched and collected, board B does not do again.
    assert {job.label for job in jobs["B"]}.isdisjoint(job.label for job in jobs["A"])
    with pytest.raises(UserError, match="unknown row 'lift/nothing'"):
        CPU_STANDARD.jobs(config(tmp_path, arms=("lift/nothing",)))
    assert run_command(suite_command, ["status", f"suite={SPEC}", f"out={tmp_path}", "rows=[lift/cnn]"]) == 0
    printed = capsys.readouterr().out
    assert "board A: 0 of 16 jobs done" in printed
    assert "waiting entry/lift/cnn/seed4" in printed
    assert run_command(suite_command, ["plan", f"suite={SPEC}", f"out={tmp_path}"]) == 0
    assert run_command(suite_command, ["plan", "suite=tests.studies.small_round:SMALL_ROUND"]) == 2
    assert "has no planner" in capsys.readouterr().err


def test_rows_of_one_task_share_its_demonstrations_and_references(tmp_path: Path) -> None:
    rows = ("lift/raw", "lift/cnn", "lift/raw-token")
    config = SuiteConfig("", out=str(tmp_path), scratch=str(tmp_path), form="smoke", arms=rows)
    labels = [job.label for jobs in CPU_STANDARD.jobs(config).values() for job in jobs]
    assert len(labels) == len(set(labels))
    assert "collecting/lift" in labels
    assert {label.split("/")[2] for label in labels if label.startswith("entry/")} == {"raw", "cnn", "raw-token"}


def test_an_entry_is_closed_until_its_rate_is_known(track: Track) -> None:
    entries = [job for job in board_jobs(SMALL, track) if isinstance(job, EntryJob)]
    assert all(math.isnan(job.lr) for job in entries)
    assert entries
    assert not any(is_open(job) for job in entries)


def test_the_suite_is_named_by_its_module() -> None:
    assert load_suite(SuiteConfig(SPEC)) is CPU_STANDARD
    assert [board.name for board in BOARDS] == ["A", "B", "C", "D"]


def test_the_protocol_says_what_the_suite_does() -> None:
    page = Path("docs/protocol.md").read_text(encoding="utf-8")
    for first, second, asked in (*COMPARISONS, *ADDED_COMPARISONS):
        assert f"| `{first}` | `{second}` | {asked} |" in page
    assert ", ".join(f"{lr:.0e}".replace("e-0", "e-") for lr in RATES) in page
    assert f"one tuning seed ({TUNING_SEED})" in page
    assert f"**{TRACK.num_training_seeds} training seeds (0 to {TRACK.num_training_seeds - 1})" in page
    assert f"x {TRACK.num_episodes} test episodes**" in page
    assert f"{STEPS:,} steps on one CPU thread" in page
    assert f"Training takes {Size().demonstrations}\ndemonstrations" in page
    rows = [line.split("|")[1:-1] for line in page.splitlines() if line.startswith(("| A,", "| B,", "| C,", "| D,"))]
    assert [int(cells[-1]) for cells in rows] == [board.num_training_seeds for board in BOARDS]
