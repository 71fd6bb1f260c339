"""Records run again in the fake world: what is verified, what differs, and what cannot be told."""

import itertools
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from fake_lift import FakeLift, open_fake_collector
from leaderboard_records import build_record
from test_learned_policy import save_run

from smidgen.data_collection.collect import collect
from smidgen.data_collection.config import CollectConfig
from smidgen.data_collection.store import EpisodeStore
from smidgen.evaluation import comparison
from smidgen.evaluation.config import EvalConfig
from smidgen.evaluation.evaluate import evaluate, main
from smidgen.evaluation.records import host_path, read_record, success_rate, write_record
from smidgen.evaluation.verification_mark import (
    Verification,
    catch_probability,
    drawn_seeds,
    read_verification,
    verification_path,
)
from smidgen.evaluation.verify import VerifyOptions, verify, verify_record
from smidgen.leaderboard.outputs import LeaderboardConfig, table_outputs
from smidgen.leaderboard.ranking import rank_runs, read_runs
from smidgen.policies.checkpoint import RUN_CHECKPOINT
from smidgen.runtime.command_line import run_command
from smidgen.runtime.errors import UserError
from smidgen.runtime.files import sha256_file, write_atomic

NUM_EPISODES = 8


@pytest.fixture(scope="module")
def held_out(tmp_path_factory: pytest.TempPathFactory) -> EpisodeStore:
    out = tmp_path_factory.mktemp("held_out") / "demos"
    config = CollectConfig(task="lift", out=str(out), episodes=2, split="validation", workers=0, image_size=16)
    return collect(config, open_fake_collector).store


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory, held_out: EpisodeStore) -> Path:
    """Records of the expert and of a checkpoint, and the checkpoint's training run."""
    root = tmp_path_factory.mktemp("originals")
    trained = save_run(root / "run", held_out, seeds=[0, 1, 2], horizon=20, num_executed=20)
    for policy in ("expert", str(trained)):
        config = EvalConfig(
            policy=policy, out=str(root / "results"), episodes=NUM_EPISODES, workers=0, videos=0, image_size=16
        )
        evaluate(config, FakeLift)
    shutil.rmtree(root / "results" / ".shards")
    return root


@pytest.fixture
def root(originals: Path, tmp_path: Path) -> Path:
    shutil.copytree(originals, tmp_path / "x")
    return tmp_path / "x"


def expert(root: Path) -> Path:
    return root / "results" / "lift-expert.json"


def learned(root: Path) -> Path:
    return root / "results" / "lift-perceiver-dft3d.json"


def run(path: Path, make: Any = FakeLift, **options: Any) -> Verification:
    return verify_record(VerifyOptions(path, workers=0, **options), make)[0]


def edit(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    record: dict[str, Any] = dict(read_record(path))
    change(record)
    write_record(path, record)  # type: ignore[arg-type]


def call_successful(seeds: Sequence[int]) -> Callable[[dict[str, Any]], None]:
    """Turns failures into successes as a careful forger would: nothing in the record contradicts itself."""

    def change(record: dict[str, Any]) -> None:
        for row in record["episodes"]:
            if row["seed"] in seeds:
                row |= {"success": True, "success_once": True, "label": "success", "return": 10.0}
                row |= {"first_success_step": 20, "num_steps": 29}
        for field in ("success", "success_once"):
            record[field] = success_rate([row[field] for row in record["episodes"]], 0.95)

    return change


def test_an_honest_record_is_verified_to_the_bit(root: Path) -> None:
    mark = run(expert(root), episodes=3)
    assert (mark["verdict"], mark["comparison"], mark["num_equal"], len(mark["seeds"])) == ("verified", "bitwise", 3, 3)
    assert mark["record_sha256"] == sha256_file(expert(root))
    assert read_verification(expert(root)) == mark
    assert len(run(expert(root), episodes=99)["seeds"]) == NUM_EPISODES


def test_a_checkpoint_s_record_is_verified_with_the_run_or_what_lies_beside_it(root: Path) -> None:
    path = learned(root)
    with pytest.raises(UserError, match=r"no checkpoint beside .*add --checkpoint DIR"):
        run(path)
    mark = run(path, checkpoint=root / "run")
    assert mark["verdict"] == "verified"
    assert mark["links"]["data set -> checkpoint -> record"] == "holds"
    assert mark["links"]["seeds -> data set"] == "not checked"
    shutil.copytree(root / "run" / RUN_CHECKPOINT, root / "checkpoints" / path.stem)
    assert run(path, episodes=1)["verdict"] == "verified"


def test_edited_successes_differ_with_the_first_episode_that_does(root: Path) -> None:
    path = learned(root)
    seeds = [row["seed"] for row in read_record(path)["episodes"] if not row["success"]]
    assert len(seeds) > 3
    edit(path, call_successful(seeds[2:]))
    mark = run(path, checkpoint=root / "run", episodes=NUM_EPISODES)
    assert (mark["verdict"], mark["comparison"]) == ("differs", "bitwise")
    assert mark["first_difference"] == {"seed": seeds[2], "field": "success", "record": True, "here": False}
    assert mark["num_equal"] == NUM_EPISODES - len(seeds[2:])


@pytest.mark.parametrize(
    ("field", "value"), [("first_success_step", 1), ("num_steps", 99), ("return", 3.25), ("success_at_reset", None)]
)
def test_any_edited_figure_of_an_episode_differs(root: Path, field: str, value: Any) -> None:
    def change(record: dict[str, Any]) -> None:
        row = record["episodes"][4]
        row[field] = value
        if field == "success_at_reset":
            row |= {"success_at_reset": True, "first_success_step": 0}

    edit(expert(root), change)
    mark = run(expert(root), episodes=NUM_EPISODES)
    assert mark["verdict"] == "differs"
    assert mark["first_difference"] is not None
    assert mark["first_difference"]["seed"] == read_record(expert(root))["episodes"][4]["seed"]


def test_labels_of_failures_explain_and_are_not_compared(root: Path) -> None:
    edit(
        learned(root), lambda record: [row.update(label="stalled") for row in record["episodes"] if not row["success"]]
    )
    assert run(learned(root), checkpoint=root / "run")["verdict"] == "verified"


def test_an_error_that_does_not_come_again_differs(root: Path) -> None:
    def change(record: dict[str, Any]) -> None:
        row = next(row for row in record["episodes"] if not row["success"])
        row["label"] = "policy_error"
        record["errors"]["policy_error"] = 1

    edit(learned(root), change)
    mark = run(learned(root), checkpoint=root / "run", episodes=NUM_EPISODES)
    assert mark["first_difference"] is not None
    assert mark["first_difference"]["field"] == "label"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("transform", "raw"),
        ("data_set_seeds", [7, 9]),
        ("data_set_sha256", "cd" * 32),
        ("observes", ["eef_state"]),
        ("training", {"step": 2000, "num_demonstrations": 3}),
    ],
)
def test_a_card_that_is_not_its_checkpoint_s_breaks_the_chain(root: Path, field: str, value: Any) -> None:
    edit(learned(root), lambda record: record["policy"].update({field: value}))
    mark = run(learned(root), checkpoint=root / "run")
    assert (mark["verdict"], mark["seeds"]) == ("differs", [])
    assert mark["first_difference"] is not None
    assert mark["first_difference"]["field"] == f"policy.{field}"


def test_another_checkpoint_breaks_the_chain(root: Path, held_out: EpisodeStore) -> None:
    other = save_run(root / "other", held_out, seeds=[0, 1])
    mark = run(learned(root), checkpoint=other)
    assert mark["first_difference"] is not None
    assert mark["first_difference"]["field"] == "policy.checkpoint_sha256"


def test_the_demonstrations_hash_is_checked_where_they_are_at_hand(root: Path, held_out: EpisodeStore) -> None:
    mark = run(learned(root), checkpoint=root / "run", demos=held_out.directory)
    assert mark["links"]["seeds -> data set"] == "broken"
    first, last = held_out.seeds[0], held_out.seeds[-1]
    shutil.rmtree(root / "run")
    trained = save_run(root / "run", held_out, seeds=[first, last], sha256=held_out.sha256)
    config = EvalConfig(policy=str(trained), out=str(root / "fresh"), episodes=1, workers=0, videos=0)
    path, _ = evaluate(config, FakeLift)
    mark = run(path, checkpoint=trained, demos=held_out.directory)
    assert mark["links"]["seeds -> data set"] == "holds"


def test_the_row_s_hash_is_the_record_s(root: Path) -> None:
    results = root / "results"
    groups = rank_runs(read_runs(results))
    for path, data in table_outputs(LeaderboardConfig(results=str(results)), groups).items():
        write_atomic(path, data)
    assert run(expert(root), episodes=1)["links"]["record -> row"] == "holds"
    edit(expert(root), lambda record: record["config"].update(windows=7))
    mark = run(expert(root), episodes=1)
    assert (mark["verdict"], mark["links"]["record -> row"]) == ("differs", "broken")


class Elsewhere(FakeLift):
    """The same environment on another CPU."""

    def fingerprint(self) -> dict[str, dict[str, Any]]:
        return {**super().fingerprint(), "host": {"cpu": "another"}}


class OtherVersion(FakeLift):
    def fingerprint(self) -> dict[str, dict[str, Any]]:
        return {**super().fingerprint(), "ranked": {"env_id": "fake/Lift-v1"}}


def test_another_environment_is_not_reproducible_here(root: Path) -> None:
    mark = run(expert(root), OtherVersion)
    assert (mark["verdict"], mark["comparison"]) == ("not_reproducible_here", "none")
    assert "env_id is 'fake/Lift-v0' in the record and 'fake/Lift-v1' here" in mark["reason"]


def test_another_protocol_is_not_reproducible_here(root: Path) -> None:
    edit(expert(root), lambda record: record["protocol"].update(horizon=400))
    assert "protocol.horizon is 400" in run(expert(root))["reason"]


def test_what_cannot_be_told_here_does_not_undo_what_was_told_elsewhere(root: Path) -> None:
    known = run(expert(root), episodes=2)
    assert run(expert(root), OtherVersion)["verdict"] == "not_reproducible_here"
    assert read_verification(expert(root)) == known


def test_another_machine_compares_to_the_bit_first_and_then_statistically(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(expert(root), Elsewhere)["comparison"] == "bitwise"

    def later(record: dict[str, Any]) -> None:
        record["episodes"][0]["num_steps"] += 1

    edit(expert(root), later)
    mark = run(expert(root), Elsewhere)
    assert (mark["verdict"], mark["comparison"]) == ("not_reproducible_here", "statistical")
    assert "compared statistically from --episodes 30 on" in mark["reason"]
    monkeypatch.setattr(comparison, "MIN_EPISODES_ELSEWHERE", NUM_EPISODES)
    mark = run(expert(root), Elsewhere)
    assert (mark["verdict"], mark["comparison"], mark["p_value"]) == ("verified", "statistical", 1.0)
    assert "cpu is 'fake' in the record and 'another' here" in mark["reason"]
    host_path(expert(root)).unlink()
    assert "the machine of the record is not known" in run(expert(root))["reason"]


def test_an_invented_record_differs_on_any_machine(root: Path) -> None:
    path = learned(root)
    failed = [row["seed"] for row in read_record(path)["episodes"] if not row["success"]]
    assert len(failed) == NUM_EPISODES
    edit(path, call_successful(failed))
    mark = run(path, Elsewhere, checkpoint=root / "run", episodes=NUM_EPISODES)
    assert (mark["verdict"], mark["comparison"]) == ("differs", "statistical")
    assert mark["p_value"] == pytest.approx(2 / 2**NUM_EPISODES)


def test_a_user_s_code_runs_only_when_it_is_named(tmp_path: Path) -> None:
    config = EvalConfig(
        policy="fake_lift:SeesCube", out=str(tmp_path / "results"), episodes=2, workers=0, videos=0, image_size=16
    )
    path, _ = evaluate(config, FakeLift)
    with pytest.raises(UserError, match="whose code would run; read it, then add --policy fake_lift:SeesCube"):
        run(path)
    assert run(path, policy="fake_lift:SeesCube")["verdict"] == "verified"


def test_the_draw_follows_from_hash_and_salt_and_is_mostly_successes() -> None:
    record = build_record("a", [index % 2 == 0 for index in range(40)])
    drawn = drawn_seeds(record, "0" * 64, "salt", 8)
    assert drawn == drawn_seeds(record, "0" * 64, "salt", 8) == sorted(set(drawn))
    assert sum(seed % 2 == 0 for seed in drawn) == 6
    others = {tuple(drawn_seeds(record, digest * 64, salt, 8)) for digest in "01" for salt in ("salt", "other")}
    assert len(others) == 4
    assert drawn_seeds(record, "0" * 64, "x", 40) == [row["seed"] for row in record["episodes"]]
    nothing = build_record("b", [False] * 10)
    assert len(drawn_seeds(nothing, "0" * 64, "x", 4)) == 4


@pytest.mark.parametrize(
    ("successes", "failures", "num_episodes", "num_false"), [(6, 4, 4, 2), (5, 0, 2, 1), (3, 7, 10, 1)]
)
def test_the_probability_of_being_caught_is_that_over_every_draw(
    successes: int, failures: int, num_episodes: int, num_false: int
) -> None:
    record = build_record("a", [True] * successes + [False] * failures)
    drawn = drawn_seeds(record, "0" * 64, "s", num_episodes)
    num_claimed = sum(seed < 3_000_000 + successes for seed in drawn)
    draws = list(itertools.combinations(range(successes), num_claimed))
    expected = sum(any(index < num_false for index in draw) for draw in draws) / len(draws)
    assert catch_probability(record, num_episodes, num_false) == pytest.approx(expected)


def test_the_command_says_what_it_checked_and_exits_with_2_unless_verified(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def command(*arguments: str) -> int:
        return run_command(lambda given: verify(given, FakeLift), [*arguments, "--workers", "0"])

    assert command(str(expert(root)), "--salt", "s") == 0
    printed = capsys.readouterr().out
    assert "holds       record: its figures follow from its 8 episodes" in printed
    assert "verified: 8 episodes gave the same outcomes, steps and returns to the bit" in printed
    assert "drawn with --salt s: if 1 of the record's successes were failures, one would be found" in printed
    edit(learned(root), call_successful([3_000_001]))
    assert command(str(learned(root)), "--checkpoint", str(root / "run")) == 2
    (error,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert "differs: on the same kind of machine 1 of 8 episodes differ, the first seed 3000001: success is" in error
    assert json.loads(verification_path(learned(root)).read_text())["verdict"] == "differs"
    assert command(str(root / "none.json")) == 2


def test_smidgen_eval_hands_over(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["verify", "--help"])
    assert ended.value.code == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith("usage: smidgen-eval verify")
    assert len(printed) <= 30
