"""The tables of findings say what the records give, and that the rest is missing."""

import statistics
from pathlib import Path

import numpy as np
import pytest
from leaderboard_records import judged, seed_record, training_curve, write
from scipy.stats import ttest_1samp

from smidgen.evaluation.statistics import SIGNIFICANCE
from smidgen.evaluation.verification_mark import verification_path
from smidgen.experiments.boards import ADDED_COMPARISONS, BOARDS, COMPARISONS
from smidgen.experiments.entry_jobs import drawn_rows
from smidgen.experiments.leaderboard import FOLDER
from smidgen.leaderboard.training_seeds import outcome_table, p_of_difference
from smidgen.runtime.files import sha256_file, write_json_atomic
from studies.claims.decisions import decide_all
from studies.claims.records import read_records
from studies.claims.round_two import FOLDER as CLAIMS
from studies.claims.round_two import build_plan
from studies.findings.__main__ import FindingsConfig, main, page_text
from studies.findings.entries import Entries, area_above, read_entries
from studies.findings.measures import all_tested, ratio_of_steps, transfer
from studies.findings.tables import board_table, choice_table, comparison_table
from studies.findings.verification import verification_table

NUM_EPISODES = 40
# Success of each recipe on each of five blocks of episodes, slope, and the step at which it leaves the mean.
RECIPES = {
    "raw": (2, 0.1, 1400),
    "raw-centred": (7, 0.85, 700),
    "dft3d-centred": (6, 0.7, 800),
    "recommended": (10, 0.95, 200),
    "cnn": (10, 0.93, 150),
}


@pytest.fixture
def entries(tmp_path: Path) -> Entries:
    for task in ("lift", "speck_4"):
        for name, (level, slope, escape) in RECIPES.items():
            for seed in range(3 if name != "cnn" else 1):
                wins = [(3 * index + seed) % 10 < level for index in range(NUM_EPISODES)]
                collapse = judged(slope, "blind" if slope < 0.2 else "sees" if slope >= 0.8 else "partly_blind")
                curve = training_curve(escape + 40 * seed)
                record = seed_record(name, seed, wins, task=task, collapse=collapse, training_curve=curve)
                write(tmp_path / "records", record)
    return read_entries(tmp_path / "records")


def test_an_entry_holds_every_training_seed(entries: Entries) -> None:
    entry = entries["lift", "raw"]
    assert (len(entry.records), entry.num_blind, entry.sight) == (3, 3, pytest.approx(0.1))
    assert entry.rate == pytest.approx(0.2)
    assert sorted(entry.blind_steps) == [0, 1, 2]
    assert entries["lift", "recommended"].num_blind == 0


def test_the_area_is_all_steps_of_a_run_that_stays_blind() -> None:
    assert area_above([(0, -0.5), (100, 0.0), (400, 0.0)]) == 400
    assert area_above([(0, 0.0), (100, 1.0), (400, 1.0)]) == 50
    assert area_above([(0, 0.0)]) is None


def test_the_ratio_is_paired_by_training_seed_on_the_log_scale(entries: Entries) -> None:
    slow, fast = entries["lift", "raw-centred"], entries["lift", "recommended"]
    ratio = ratio_of_steps(slow, fast)
    assert ratio is not None
    paired = [slow.blind_steps[seed] / fast.blind_steps[seed] for seed in range(3)]
    assert ratio[0] == pytest.approx(statistics.geometric_mean(paired))
    low, high = np.exp(ttest_1samp(np.log(paired), 0).confidence_interval(0.95))
    assert ratio[1:] == (pytest.approx(low), pytest.approx(high))
    assert ratio_of_steps(slow, entries["lift", "cnn"]) is None, "one training seed has no spread"


def test_planned_comparisons_are_corrected_over_all_of_them(entries: Entries) -> None:
    tested = {
        (each.task, each.first): each for each in all_tested(COMPARISONS, ("lift", "speck_4", "stripes"), entries)
    }
    assert len(tested) == 12
    found = tested["lift", "raw"]
    tables = [outcome_table(entries["lift", name].outcomes) for name in ("raw", "raw-centred")]
    assert found.p == pytest.approx(p_of_difference(*tables))
    assert found.difference == pytest.approx(-0.5)
    # Two have run; of twelve, the smallest p-value is multiplied by twelve.
    assert found.p_holm == pytest.approx(min(1.0, 12 * found.p))
    assert tested["lift", "recommended"].p is None, "the other side has one training seed"
    assert tested["stripes", "raw"].p_holm is None


def test_the_rank_correlation_is_that_of_an_early_escape_with_success(entries: Entries) -> None:
    found = transfer("speck_4", "lift", entries)
    assert (found.num_recipes, found.correlation) == (5, pytest.approx(0.975, abs=0.03))
    assert transfer("stripes", "lift", entries).correlation is None


def test_what_has_not_been_run_is_said_to_be_missing(entries: Entries) -> None:
    table = board_table(entries)
    assert "| `raw` | 20.0 %, sight 0.10 (3 seeds, 3 blind) | 20.0 %" in table
    assert "entries have not been run" in table
    assert "`vit`" not in table
    assert (
        "| stripes | `raw` | `raw-centred` | what centring alone buys | \u2013 | \u2013 | \u2013 | not run yet |"
        in (comparison_table(entries))
    )
    assert "centring, no transform (`raw` \u2192 `raw-centred`) | lift | 20.0 % \u2192 70.0 %" in choice_table(entries)
    assert board_table({}).startswith("No entry has been run.")
    assert choice_table({}) == "Not run yet."


def test_the_page_is_what_the_records_give(capsys: pytest.CaptureFixture[str]) -> None:
    assert page_text(FindingsConfig()) == Path("docs/findings.md").read_text(encoding="utf-8")
    assert main(["check=true"]) == 0
    assert "as the records give" in capsys.readouterr().out


def test_one_row_in_ten_of_each_board_is_drawn_for_verification(entries: Entries, tmp_path: Path) -> None:
    drawn = {board.name: drawn_rows(board) for board in BOARDS}
    assert {name: len(rows) for name, rows in drawn.items()} == {"A": 17, "B": 6, "C": 8, "D": 2}
    records = tmp_path / "records"
    names = [f"{task}-{recipe}-seed{seed}.json" for task, recipe, seed in drawn["A"]]
    path = next(records / name for name in names if (records / name).exists())
    assert "| A | 17 | 0 | none | `lift-cnn-seed0`, " in verification_table(records)
    mark = {
        "schema_version": 1,
        "record_sha256": sha256_file(path),
        "verdict": "verified",
        "comparison": "bitwise",
        "reason": "equal",
        "salt": "x",
        "seeds": [1],
        "num_equal": 1,
        "first_difference": None,
        "p_value": None,
        "links": {},
        "environment": {},
        "host": {},
        "versions": {},
    }
    write_json_atomic(verification_path(path), mark)
    assert "| A | 17 | 1 | none | " in verification_table(records)
    write_json_atomic(verification_path(path), mark | {"verdict": "differs"})
    assert f"| A | 17 | 0 | `{path.stem}` (differs) | " in verification_table(records)
    # A mark of other bytes says nothing.
    write_json_atomic(verification_path(path), mark | {"record_sha256": "0" * 64})
    assert "| A | 17 | 0 | none | " in verification_table(records)


def test_what_the_readme_and_the_page_say_holds_in_the_records() -> None:
    entries = read_entries(FOLDER)
    lift, speck = ({name: entries[task, name] for name in ("recommended", "cnn")} for task in ("lift", "speck_4"))
    rates = {name: [sum(each.values()) / len(each) for each in entry.outcomes] for name, entry in speck.items()}
    verdicts = {name: [record["collapse"]["verdict"] for record in entry.records] for name, entry in speck.items()}
    assert lift["recommended"].rate == 1
    assert lift["recommended"].num_blind == 0
    slopes = {name: [record["collapse"]["cue_slope"] for record in entry.records] for name, entry in lift.items()}
    assert max(slopes["cnn"]) < min(slopes["recommended"])
    posted = entries["lift", "posted"]
    assert posted.rate < entries["lift", "time_mean"].rate
    assert posted.num_blind == 1
    per_seed = {
        recipe: [sum(each.values()) / len(each) for each in entries["lift", recipe].outcomes]
        for recipe in ("raw", "posted")
    }
    assert len(per_seed["raw"]) == 3
    assert min(per_seed["raw"]) > max(per_seed["posted"]) + 0.25
    assert {record["collapse"]["verdict"] for record in entries["lift", "raw"].records} == {"sees"}
    assert (max(rates["recommended"]), min(rates["recommended"])) == (rates["recommended"][2], rates["recommended"][1])
    assert (rates["recommended"][2], rates["recommended"][1]) == (1, 0)
    assert verdicts == {"recommended": ["sees", "blind", "sees", "sees", "sees"], "cnn": ["sees"] * 5}
    assert rates["cnn"] == [1] * 5
    as_posted = entries["speck_4", "posted"]
    assert as_posted.num_blind == len(as_posted.records) > 2
    tested = {(each.task, each.first): each for each in all_tested(COMPARISONS, BOARDS[0].tasks, entries)}
    for task in ("lift", "speck_4"):
        p_holm = tested[task, "recommended"].p_holm
        assert p_holm is not None
        assert p_holm > SIGNIFICANCE
    with_gain = entries["speck_4", "raw-centred-gain8"]
    assert [record["collapse"]["verdict"] for record in with_gain.records] == ["sees"] * 5
    assert min(sum(each.values()) / len(each) for each in with_gain.outcomes) >= 0.95
    added = all_tested(ADDED_COMPARISONS, BOARDS[-1].tasks, entries)
    on_speck = [each.p_holm for each in added if each.task == "speck_4"]
    assert len(on_speck) == 2
    assert all(p_holm is not None and p_holm > SIGNIFICANCE for p_holm in on_speck)


def test_what_the_page_says_of_the_claims_is_what_was_decided() -> None:
    plan = build_plan()
    results = decide_all(plan, read_records(CLAIMS, plan.arms), {})
    decided = {name: results[claim.contrast] for name, claim in plan.claims.items()}
    assert {name: decided[name].decision for name in ("C1", "C3", "C6")} == {
        "C1": "fails",
        "C3": "undecided",
        "C6": "holds",
    }
    assert all(decided[name].num_seeds == 30 for name in ("C1", "C3", "C6"))
