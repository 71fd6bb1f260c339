"""Each way to make a row look better than it is meets the check that refuses it, by name.

What a forger can recompute in the record itself (an edited episode with every figure that follows from it) no reader of
the record can see; test_verify.py has it met by running episodes again.
"""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from leaderboard_records import TEST_SEEDS_START, build_record, seed_record, write

from smidgen.evaluation.records import read_record
from smidgen.evaluation.tracks import PILOT, TRACKS
from smidgen.evaluation.verification_mark import catch_probability
from smidgen.leaderboard.command import leaderboard
from smidgen.leaderboard.ranking import rank_runs
from smidgen.leaderboard.rows import Run
from smidgen.leaderboard.submission import open_submission
from smidgen.runtime.command_line import run_command
from smidgen.runtime.errors import UserError


def honest() -> dict[str, Any]:
    return copy.deepcopy(dict(build_record("raw", [index % 3 != 0 for index in range(30)])))


def edit_successes(record: dict[str, Any]) -> None:
    record["success"] |= {"k": 25, "rate": 25 / 30}


def edit_an_episode(record: dict[str, Any]) -> None:
    record["episodes"][0] |= {"success": True, "success_once": True, "label": "success", "first_success_step": 9}


def edit_an_outcome_alone(record: dict[str, Any]) -> None:
    record["episodes"][0]["success"] = True


def drop_a_seed(record: dict[str, Any]) -> None:
    del record["episodes"][3]


def drop_a_seed_and_say_so(record: dict[str, Any]) -> None:
    del record["episodes"][3]
    record["protocol"]["episodes"] -= 1


def put_a_good_seed_twice(record: dict[str, Any]) -> None:
    record["episodes"][0] = copy.deepcopy(record["episodes"][1])


def cut_the_list(record: dict[str, Any]) -> None:
    record["episodes"] = record["episodes"][:20]


def run_on_training_seeds(record: dict[str, Any]) -> None:
    record["protocol"]["seed_start"] = 0
    for index, row in enumerate(record["episodes"]):
        row["seed"] = index


def train_on_the_seeds_of_the_test(record: dict[str, Any]) -> None:
    record["policy"]["data_set_seeds"] = [TEST_SEEDS_START, TEST_SEEDS_START + 10]


def hide_errors(record: dict[str, Any]) -> None:
    record["episodes"][0]["label"] = "policy_error"


CHEATS: list[tuple[Callable[[dict[str, Any]], None], str]] = [
    (edit_successes, "field success.k: expected 20 (recomputed from episodes), got 25"),
    (edit_an_episode, "field success.k: expected 21 (recomputed from episodes), got 20"),
    (edit_an_outcome_alone, "field episodes[0].label: expected 'success' if and only if success is true"),
    (drop_a_seed, "field episodes: expected 30 rows (protocol.episodes)"),
    (drop_a_seed_and_say_so, "field episodes[3].seed: expected 3000003 (consecutive seeds), got 3000004"),
    (put_a_good_seed_twice, "field episodes: expected every seed once, got 'seed 3000001 twice'"),
    (cut_the_list, "field episodes: expected 30 rows (protocol.episodes), not none, got 20"),
    (run_on_training_seeds, "field episodes[0].seed: expected a seed of the test range"),
    (train_on_the_seeds_of_the_test, "field policy.data_set_seeds: expected seeds apart from the test seeds"),
    (hide_errors, "field errors: expected {'policy_error': 1, 'simulator_error': 0} (counted in episodes)"),
]


@pytest.mark.parametrize(("cheat", "message"), CHEATS, ids=lambda value: getattr(value, "__name__", ""))
def test_a_forged_record_stops_table_and_submission(
    cheat: Callable[[dict[str, Any]], None], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = honest()
    cheat(record)
    forged = tmp_path / "lift-raw.json"
    forged.write_text(json.dumps(record))
    for refuse in (lambda: read_record(forged), lambda: open_submission([forged])):
        with pytest.raises(UserError) as refusal:
            refuse()
        assert str(refusal.value).startswith(f"{forged}: {message}")
    assert run_command(leaderboard, [f"results={tmp_path}"]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "leaderboard.csv").exists()


def test_the_honest_record_is_read(tmp_path: Path) -> None:
    assert read_record(write(tmp_path, honest())) == honest()  # type: ignore[arg-type]


def test_a_shorter_or_a_chosen_sample_is_marked() -> None:
    """Consistently shortened, or begun at the luckiest seed, a record contradicts nothing: the table says so."""
    flags = np.arange(TRACKS[PILOT].num_episodes) % 3 != 0
    shorter = build_record("shorter", flags[:-1].tolist())
    lucky = build_record("lucky", flags.tolist(), seed_start=TEST_SEEDS_START + 1)
    (group,) = rank_runs(Run(f"{record['policy']['name']}.json", "0", record) for record in (shorter, lucky))
    assert {row.name: row.shortfalls[-1] for row in group.ranked} == {
        "lucky": "test seeds from 3000001 instead of 3000000",
        "shorter": "199 episodes instead of 200",
    }


def test_seeds_for_choosing_checkpoints_are_never_ranked() -> None:
    chosen = build_record("chosen", [True], seed_start=2_000_000, protocol={"split": "checkpoint"})
    assert rank_runs([Run("a.json", "0", chosen)])[0].ranked == ()


def test_one_training_seed_cannot_pose_as_three(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed in range(3):
        record = seed_record("raw", seed, [True, False])
        record["policy"]["checkpoint_sha256"] = "a" * 64
        write(tmp_path, record)
    assert run_command(leaderboard, [f"results={tmp_path}"]) == 2
    assert "checkpoint aaaaaaaaaaaa twice in the row 'raw'" in capsys.readouterr().err


def test_a_record_edited_after_its_row_was_computed_has_drifted(tmp_path: Path) -> None:
    path = write(tmp_path, honest())  # type: ignore[arg-type]
    assert run_command(leaderboard, [f"results={tmp_path}"]) == 0
    assert run_command(leaderboard, [f"results={tmp_path}", "check=true"]) == 0
    path.write_text(path.read_text() + "\n")
    assert run_command(leaderboard, [f"results={tmp_path}", "check=true"]) == 2


def test_a_quarter_of_the_episodes_meets_a_few_lies_and_all_of_them_meet_one() -> None:
    """A rate lifted by five points, at the size of a full entry."""
    record = build_record("raw", [index < 170 for index in range(TRACKS[PILOT].num_episodes)])
    num_false = TRACKS[PILOT].num_episodes // 20
    caught = [catch_probability(record, count, num_false) for count in (20, 50, 100, TRACKS[PILOT].num_episodes)]
    assert caught == sorted(caught)
    assert caught[1] > 0.9
    assert caught[2] > 0.99
    assert catch_probability(record, TRACKS[PILOT].num_episodes, 1) == 1.0
