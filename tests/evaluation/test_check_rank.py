"""smidgen-check rank: the better a policy sees, the further up it stands."""

import json

import pytest
from check_sets import write_set

from smidgen.evaluation.check.command import main

POLICIES = [f"check_policies:{name}" for name in ("FollowsState", "Sees", "Wavers", "SeesByChunk")]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_set(tmp_path_factory.mktemp("rank") / "theirs.hdf5")


def test_those_that_see_stand_above_those_that_do_not(data, tmp_path, capsys):
    out = tmp_path / "found" / "rank.json"
    assert main(["rank", *POLICIES, "time_mean", f"data={data}", f"out={out}"]) == 0
    order = json.loads(out.read_text())["order"]
    names = [row["policy"].removeprefix("check_policies:") for row in order]
    assert set(names[:2]) == {"Sees", "SeesByChunk"}
    assert set(names[2:]) == {"FollowsState", "Wavers", "time_mean"}
    assert [row["label"] for row in order[:2]] == ["sees", "sees"]
    printed = capsys.readouterr().out
    assert "policies on theirs.hdf5, by open_skill" in printed


@pytest.mark.parametrize("by", ["frames", "skill"])
def test_another_score_is_taken_on_request(data, tmp_path, by):
    out = tmp_path / "rank.json"
    assert main(["rank", *POLICIES[:2], f"data={data}", f"out={out}", f"by={by}"]) == 0
    order = json.loads(out.read_text())["order"]
    assert order[0]["policy"].endswith("Sees")
    assert order[0]["scores"][by][0] > order[1]["scores"][by][0]


def test_a_policy_that_fails_is_left_out_and_said(data, capsys):
    assert main(["rank", "check_policies:AnswersNan", "check_policies:Sees", f"data={data}"]) == 0
    printed = capsys.readouterr()
    assert "left out: check_policies:AnswersNan" in printed.err
    assert "check_policies:Sees" in printed.out


@pytest.mark.parametrize(
    ("words", "text"),
    [([], "expected policies"), (["check_policies:AnswersNan"], "no policy could"), (["noop", "by=luck"], "'luck'")],
    ids=["nobody", "only failures", "score"],
)
def test_bad_input_ends_in_one_line(data, capsys, words, text):
    assert main(["rank", f"data={data}", *words]) == 2
    assert text in capsys.readouterr().err.splitlines()[-1]
