"""smidgen-check compare: outcomes of every format, the test, and the difference that could be found."""

import json

import pytest
from leaderboard_records import build_record

from smidgen.evaluation.check.command import main
from smidgen.evaluation.check.outcomes import read_outcomes
from smidgen.evaluation.statistics import exact_mcnemar, minimum_detectable_drop, wilson_interval

FIRST = [index % 4 > 0 for index in range(40)]
SECOND = [index % 4 > 1 for index in range(40)]
SEED = 2_000_000


def as_csv(path, successes, words=("true", "false"), seed=SEED):
    rows = "".join(f"{seed + index},{words[not won]},x\n" for index, won in enumerate(successes))
    path.write_text("Seed, success ,note\n" + rows)
    return path


def as_per_episode(path, successes, seed=SEED):
    rows = [{"episode_ix": at, "success": won, "seed": seed + at} for at, won in enumerate(successes)]
    path.write_text(json.dumps({"per_episode": rows, "aggregated": {"pc_success": 50.0}}))
    return path


def as_per_task(path, successes):
    halves = [successes[:20], successes[20:]]
    tasks = [{"task_group": "g", "task_id": at, "metrics": {"successes": half}} for at, half in enumerate(halves)]
    path.write_text(json.dumps({"per_task": tasks, "overall": {}}))
    return path


@pytest.mark.parametrize("write", [as_csv, as_per_episode, as_per_task])
def test_every_format_holds_the_same_outcomes(tmp_path, write):
    found = read_outcomes(write(tmp_path / f"a.{'csv' if write is as_csv else 'json'}", FIRST))
    assert list(found.success.values()) == FIRST
    assert found.is_by_seed == (write is not as_per_task)
    assert found.interval == wilson_interval(30, 40)


def test_a_record_of_ours_is_read_by_seed(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps(build_record("raw", [True, False, True])))
    found = read_outcomes(tmp_path / "a.json")
    assert (found.name, list(found.success.values()), found.is_by_seed) == ("raw", [True, False, True], True)


def test_two_policies_are_told_apart_on_shared_seeds(tmp_path, capsys):
    first, second = as_csv(tmp_path / "a.csv", FIRST), as_per_episode(tmp_path / "b.json", SECOND[:30])
    assert main(["compare", str(first), str(second), f"out={tmp_path / 'found.json'}"]) == 0
    printed, found = capsys.readouterr().out, json.loads((tmp_path / "found.json").read_text())
    p_value, shared = exact_mcnemar(*(dict(enumerate(each[:30])) for each in (FIRST, SECOND)))
    assert (found["num_shared"], found["p_value"], found["only_second"]) == (shared, p_value, 0)
    assert found["detectable"] == minimum_detectable_drop(sum(FIRST[:30]) / 30, 30)
    assert "30/40 = 75.0 %" in printed
    assert "a is better, at the 5% level." in printed


def test_the_same_policy_twice_is_not_told_apart(tmp_path, capsys):
    path = as_per_task(tmp_path / "a.json", FIRST)
    assert main(["compare", str(path), str(path)]) == 0
    printed = capsys.readouterr().out
    assert "p = 1" in printed
    assert "does not show that they are equal" in printed
    assert "paired by their order" in printed


BAD = [
    ("a.csv", "seed,success\n1,true\n1,false\n", "is there twice"),
    ("a.csv", "seed,success\n1,perhaps\n", "expected success as true or false, got 'perhaps'"),
    ("a.csv", "episode,won\n1,1\n", "expected the columns seed and success"),
    ("a.csv", "seed,success\nx,1\n", "expected a seed, got 'x'"),
    ("a.csv", "seed,success\n", "has no episodes"),
    ("a.json", "[]", "expected a record of smidgen-eval"),
    ("a.json", '{"per_task": [{"metrics": {}}]}', "metrics.successes"),
    ("a.json", '{"per_episode": [{"success": 1}]}', "got 1"),
    ("a.json", '{"schema_version": 1}', "a.json"),
]


@pytest.mark.parametrize(("name", "text", "words"), BAD, ids=[words for *_, words in BAD])
def test_bad_outcomes_end_in_one_line(tmp_path, capsys, name, text, words):
    (tmp_path / name).write_text(text)
    assert main(["compare", str(tmp_path / name), str(tmp_path / name)]) == 2
    errors = capsys.readouterr().err
    assert errors.count("\n") == 1
    assert words in errors


def test_what_cannot_be_compared_ends_in_one_line(tmp_path, capsys):
    here, there = as_csv(tmp_path / "a.csv", FIRST), as_csv(tmp_path / "b.csv", FIRST, seed=5)
    for arguments, words in (
        ([str(here), str(there)], "share no episodes"),
        ([str(here)], "expected two files"),
        ([str(here), str(tmp_path / "gone.csv")], "is not a file"),
    ):
        assert main(["compare", *arguments]) == 2
        assert words in capsys.readouterr().err
