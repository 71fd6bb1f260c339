"""Training seeds become one row, and nothing else does."""

import copy
import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from leaderboard_records import TEST_SEEDS_START, build_record, seed_record, write

from smidgen.evaluation.config import EvalConfig
from smidgen.evaluation.records import Record, find_records, write_record
from smidgen.evaluation.statistics import wilson_interval
from smidgen.evaluation.tracks import CPU_STANDARD_1, PILOT, TRACKS
from smidgen.evaluation.verification_mark import DIFFERS, NOT_REPRODUCIBLE, VERIFIED, Verification
from smidgen.leaderboard.columns import column
from smidgen.leaderboard.ranking import Group, compare, rank_runs, read_runs
from smidgen.leaderboard.rows import Run, policy_id
from smidgen.leaderboard.tables import csv_table, markdown
from smidgen.leaderboard.training_seeds import outcome_table, p_of_difference, pooled_interval
from smidgen.runtime.errors import UserError

RESULTS = Path(__file__).parents[2] / "results"


def ranked(*records: Record) -> list[Group]:
    return rank_runs(Run(f"{record['policy']['name']}.json", "0" * 64, record) for record in records)


def flags(seed: int, rate: float, num_episodes: int = TRACKS[PILOT].num_episodes) -> list[bool]:
    return (np.random.default_rng(seed).random(num_episodes) < rate).tolist()


def entry(name: str, rate: float, first: int = 0, **changes: Any) -> list[Record]:
    return [seed_record(name, seed, flags(first + seed, rate), **changes) for seed in range(3)]


def test_training_seeds_of_one_recipe_are_one_row_with_k_of_n_each_and_pooled() -> None:
    records = entry("raw", 0.8)
    ((row,),) = [group.ranked for group in ranked(*records[::-1])]
    assert (row.name, row.training_seeds, row.shortfalls) == ("raw", [0, 1, 2], [])
    counts = [record["success"]["k"] for record in records]
    assert (row.success["k"], row.success["n"]) == (sum(counts), 600)
    table = outcome_table([{r["seed"]: r["success"] for r in record["episodes"]} for record in records])
    assert pooled_interval(table) == (row.success["rate"], row.success["low"], row.success["high"])
    alone = wilson_interval(sum(counts), 600)
    assert row.success["low"] < alone[0] < alone[1] < row.success["high"]
    note = column("success").cell(row).note
    assert all(f"{k}/200" in note for k in counts)
    assert column("seeds").cell(row).text == "3 \u00d7 200"


@pytest.mark.parametrize(
    "change",
    [
        {"policy": {"data_set_sha256": "d" * 64}},
        {"policy": {"transform": "dft3d"}},
        {"policy": {"observes": ["frames", "eef_state"]}},
        {"policy": {"training": {"step": 1500, "training_config": {"lr": 0.002, "seed": 1, "steps": 1500}}}},
        {"config": {"image_size": 96}},
    ],
)
def test_whatever_else_differs_is_another_row(change: dict[str, Any]) -> None:
    first, second = seed_record("raw", 0, [True]), seed_record("raw", 1, [True], **change)
    assert policy_id(first) != policy_id(second)
    assert [row.name for row in ranked(first, second)[0].ranked] == ["raw-seed0", "raw-seed1"]


def test_where_the_track_says_which_demonstrations_there_are_their_bits_do_not_split_a_row() -> None:
    """Another processor's demonstrations of the same seeds differ in the last bits of their actions."""
    track = TRACKS[CPU_STANDARD_1]
    changes: dict[str, Any] = {"protocol": {"track": track.name, "episodes": track.num_episodes}}
    won = flags(0, 0.5, track.num_episodes)
    first = seed_record("raw", 0, won, **changes)
    other_bits = seed_record("raw", 1, won, policy={"data_set_sha256": "d" * 64}, **changes)
    other_seeds = seed_record("raw", 2, won, policy={"data_set_seeds": [0, 1]}, **changes)
    assert policy_id(first) == policy_id(other_bits) != policy_id(other_seeds)
    assert [row.name for row in ranked(first, other_bits)[0].ranked] == ["raw"]


def test_the_same_recipe_under_another_name_is_another_row() -> None:
    (group,) = ranked(*entry("mine", 0.5), *entry("yours", 0.5, first=10))
    assert sorted((row.name, len(row.runs)) for row in group.ranked) == [("mine", 3), ("yours", 3)]


def test_a_user_s_policy_names_its_training_seed_itself() -> None:
    records = [build_record(f"theirs-seed{seed}", flags(seed, 0.5), "user") for seed in (4, 5, 6)]
    ((row,),) = [group.ranked for group in ranked(*records)]
    assert (row.name, row.training_seeds) == ("theirs", [4, 5, 6])
    baselines = [build_record(f"noop-seed{seed}", [False], "baseline") for seed in (4, 5)]
    assert len(ranked(*baselines)[0].references) == 2


def test_a_training_seed_or_a_checkpoint_twice_is_refused_by_name() -> None:
    once = seed_record("raw", 0, [True])
    with pytest.raises(UserError, match=r"a\.json and b\.json: training seed 0 twice in the row 'raw'"):
        rank_runs([Run("a.json", "0", once), Run("b.json", "1", copy.deepcopy(once))])
    posing = seed_record("raw", 1, [True], policy={"checkpoint_sha256": once["policy"]["checkpoint_sha256"]})
    with pytest.raises(UserError, match=r"raw-seed0\.json and raw-seed1\.json: checkpoint .* twice in the row 'raw'"):
        ranked(once, posing)


def test_what_a_row_lacks_of_a_full_entry_is_said_and_marked() -> None:
    step = {"step": 500, "training_config": {"seed": 0, "steps": 1500}}
    (group,) = ranked(
        *entry("full", 0.9),
        seed_record("short", 0, flags(0, 0.5, 150)),
        *entry("more", 0.5)[:2],
        seed_record("chosen", 0, flags(0, 0.5), seed_start=TEST_SEEDS_START + 7),
        seed_record("early", 0, flags(0, 0.5), policy={"training": step}),
        build_record("noop", [False], "baseline"),
    )
    lacks = {row.name: row.shortfalls for row in group.rows}
    assert lacks == {
        "full": [],
        "short-seed0": ["1 of 3 training seeds", "150 episodes instead of 200"],
        "more": ["2 of 3 training seeds"],
        "chosen-seed0": ["1 of 3 training seeds", "test seeds from 3000007 instead of 3000000"],
        "early-seed0": ["1 of 3 training seeds", "the checkpoint of step 500 instead of the final one, 1500"],
        "noop": [],
    }
    cells = {row.name: column("seeds").cell(row) for row in group.rows}
    assert {name for name, cell in cells.items() if cell.detail == "\u2020"} == {
        name for name, shortfalls in lacks.items() if shortfalls
    }
    assert cells["short-seed0"].note == "not a full entry: 1 of 3 training seeds, 150 episodes instead of 200"
    assert "\u2020 not a full entry: 3 training seeds x 200 episodes." in markdown([group])


def test_rows_with_training_seeds_are_compared_over_them_and_single_ones_by_mcnemar() -> None:
    good, bad, single = entry("good", 0.9), entry("bad", 0.7, first=10), seed_record("single", 0, flags(30, 0.6))
    (group,) = ranked(*good, *bad, single)
    best, second, third = group.ranked
    tables = [
        outcome_table([{r["seed"]: r["success"] for r in record["episodes"]} for record in e]) for e in (good, bad)
    ]
    assert second.p_best == p_of_difference(*tables)
    assert second.test == "3 and 3 training seeds, 200 shared seeds"
    assert third.test == "exact McNemar on 200 shared seeds"
    assert compare(best, third) == (third.p_best, third.test)
    (row,) = [line for line in csv.DictReader(io.StringIO(csv_table([group]))) if line["policy"] == "bad"]
    assert row["probability_best_improves"] == "1"
    assert row["success_per_seed"].count("/200") == 3
    assert row["record"].split() == [f"bad-seed{seed}.json" for seed in range(3)]
    assert row["training_seeds"] == "0 1 2"


def test_what_the_sample_can_show_is_said() -> None:
    (group,) = ranked(*entry("good", 0.9))
    assert group.detectable_rate is not None
    assert 0.7 < group.detectable_rate < 0.85
    assert "200 episodes tell one checkpoint from the best with 80 % probability if its rate is" in markdown([group])


JSON = st.none() | st.booleans() | st.integers(-3, 3) | st.floats(-3, 3) | st.text(max_size=3)


@given(data=st.data(), value=JSON)
@settings(deadline=None, max_examples=100)
def test_rows_with_different_environment_fingerprints_are_never_ranked_together(
    data: st.DataObject, value: Any
) -> None:
    """Whatever entry of the fingerprint differs, is missing or is new."""
    first, second = build_record("a", [True, True]), build_record("b", [True, False])
    names = sorted(first["environment"])
    second["environment"] = dict(second["environment"])
    name = data.draw(st.sampled_from([*names, "new"]))
    if data.draw(st.booleans()):
        second["environment"][name] = value
    else:
        second["environment"].pop(name, None)
    groups = ranked(first, second)
    if json.dumps(first["environment"], sort_keys=True) == json.dumps(second["environment"], sort_keys=True):
        assert len(groups) == 1
    else:
        assert [[(row.name, row.rank) for row in group.ranked] for group in groups] in (
            [[("a", 1)], [("b", 1)]],
            [[("b", 1)], [("a", 1)]],
        )


def test_training_seeds_of_different_environments_are_not_pooled() -> None:
    first, second = seed_record("raw", 0, [True]), seed_record("raw", 1, [True], environment={"mujoco": "3.8.1"})
    assert [len(row.runs) for group in ranked(first, second) for row in group.ranked] == [1, 1]


def mark(verdict: str, sha256: str = "0" * 64) -> Verification:
    return {
        "schema_version": 1,
        "record_sha256": sha256,
        "verdict": verdict,
        "comparison": "bitwise",
        "reason": "as they were",
        "salt": "s",
        "seeds": [TEST_SEEDS_START],
        "num_equal": 1,
        "first_difference": None,
        "p_value": None,
        "links": {},
        "environment": {},
        "host": {},
        "versions": {},
    }


@pytest.mark.parametrize(
    ("verdicts", "text"),
    [
        ([VERIFIED], "verified"),
        ([DIFFERS], "differs"),
        ([NOT_REPRODUCIBLE], "not reproducible here"),
        ([VERIFIED, VERIFIED, VERIFIED], "verified 3/3"),
        ([VERIFIED, DIFFERS, VERIFIED], "differs 1/3"),
        ([VERIFIED, None, VERIFIED], "verified 2/3"),
    ],
)
def test_the_table_shows_what_verification_found(verdicts: list[str | None], text: str) -> None:
    runs = [
        Run(f"{seed}.json", "0" * 64, seed_record("raw", seed, [True]), mark(verdict) if verdict else None)
        for seed, verdict in enumerate(verdicts)
    ]
    ((row,),) = [group.ranked for group in rank_runs(runs)]
    cell = column("verified").cell(row)
    assert cell.text == text
    assert "1 of 1 episodes equal to the bit; as they were" in cell.note


def test_a_mark_of_other_bytes_counts_for_nothing() -> None:
    run = Run("a.json", "1" * 64, build_record("a", [True]), mark(VERIFIED))
    ((row,),) = [group.ranked for group in rank_runs([run])]
    assert column("verified").cell(row).note == "the record has changed since its episodes were run again"
    assert next(csv.DictReader(io.StringIO(csv_table(rank_runs([run])))))["verified"] == ""


def test_marks_are_read_beside_records_and_are_no_records(tmp_path: Path) -> None:
    path = write(tmp_path, build_record("a", [True]))
    beside = tmp_path / "lift-a.verification.json"
    beside.write_text(json.dumps(mark(VERIFIED)))
    assert find_records(tmp_path) == [path]
    assert read_runs(tmp_path)[0].verification == mark(VERIFIED)
    beside.write_text(json.dumps({**mark(VERIFIED), "verdict": "fine"}))
    with pytest.raises(UserError, match=r"lift-a\.verification\.json: field verdict: expected one of verified"):
        read_runs(tmp_path)
    beside.write_text(json.dumps({**mark(VERIFIED), "schema_version": 9}))
    with pytest.raises(UserError, match="field schema_version"):
        read_runs(tmp_path)


@pytest.mark.parametrize("track", ["pilot", "cpu-standard-1"])
def test_committed_records_are_read_and_ranked(track: str) -> None:
    groups = rank_runs(read_runs(RESULTS / track))
    assert sum(len(row.runs) for group in groups for row in group.rows) == len(find_records(RESULTS / track)) > 0


SIGHT: dict[str, Any] = {
    "detector_version": 1,
    "verdict_slope": 0.1,
    "verdict_interval": [0.0, 0.2],
    "verdict_source": "cue_slope",
    "mean_collapsed": False,
}


def with_verdicts(name: str, rate: float, *verdicts: str) -> list[Record]:
    runs = zip(entry(name, rate), verdicts, strict=True)
    return [{**record, "collapse": {**record["collapse"], **SIGHT, "verdict": each}} for record, each in runs]  # type: ignore[typeddict-item, misc]


def test_a_blind_row_is_shown_below_and_not_ranked_whatever_its_success() -> None:
    blind = with_verdicts("blind", 0.9, "blind", "blind", "sees")
    seeing = with_verdicts("seeing", 0.4, "sees", "sees", "blind")
    (group,) = ranked(*blind, *seeing, build_record("noop", [False], "baseline"))
    assert [(row.name, row.rank) for row in group.rows] == [("seeing", 1), ("blind", None), ("noop", None)]
    assert ([row.name for row in group.blind], group.ranked[0].p_best) == (["blind"], None)
    lines = markdown([group]).splitlines()
    assert [line for line in lines if line.startswith("| \u2013 | blind (blind, not ranked) | ")]
    assert column("rank").cell(group.blind[0]).note == "blind: shown with its success, and not ranked"


def test_rows_of_different_tracks_are_never_ranked_together_and_each_has_its_own_full_entry() -> None:
    standard = TRACKS[CPU_STANDARD_1]
    rows = [
        seed_record("a", seed, flags(seed, 0.5, standard.num_episodes), protocol={"track": standard.name})
        for seed in range(standard.num_training_seeds)
    ]
    groups = ranked(*rows, *entry("a", 0.5), seed_record("b", 0, flags(0, 0.5)))
    assert {group.track.name: [(row.name, row.shortfalls) for row in group.ranked] for group in groups} == {
        PILOT: [("a", []), ("b-seed0", ["1 of 3 training seeds"])],
        CPU_STANDARD_1: [("a", [])],
    }
    (short,) = ranked(*rows[:3])
    assert short.ranked[0].shortfalls == ["3 of 5 training seeds"]
    assert "track cpu-standard-1" in markdown([short])
    assert "\u2020 not a full entry: 5 training seeds x 100 episodes." in markdown([short])


def test_a_record_of_an_unknown_track_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"protocol\.track"):
        write_record(tmp_path / "a.json", build_record("a", [True], protocol={"track": "gpu"}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"track": "gpu"}, "unknown track 'gpu'"),
        ({"track": CPU_STANDARD_1}, "episodes=100, got split=test seed_start=0 episodes=200"),
        ({"track": CPU_STANDARD_1, "episodes": 100, "split": "checkpoint"}, "got split=checkpoint"),
        ({"track": CPU_STANDARD_1, "episodes": 100, "seed_start": 5}, "got split=test seed_start=5"),
    ],
)
def test_an_evaluation_of_a_track_has_its_episodes(changes: dict[str, Any], message: str) -> None:
    assert EvalConfig(policy="noop", out="out", track=CPU_STANDARD_1, episodes=100).track == CPU_STANDARD_1
    with pytest.raises(UserError, match=message):
        EvalConfig(policy="noop", out="out", **changes)
