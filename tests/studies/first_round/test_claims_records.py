"""Plans and arms' records: what comes back is what was written, and what contradicts itself is refused by name."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from claims_suites import STUCK, arm_record, hypothesis, make_plan, make_suite, ratio, times, write_suite

from smidgen.runtime.errors import UserError
from smidgen.runtime.files import sha256_file
from smidgen.runtime.schemas import to_json
from studies.first_round.plan import Claim, FirstRoundPlan
from studies.first_round.records import ArmRecord, Suite, read_suite


def two_arms() -> Suite:
    claims = {"C1": Claim(statement="c", hypotheses=("H1", "not H1/raw-over-dft1d"))}
    plan = make_plan(["raw", "dft1d"], {"H1": hypothesis(ratio("raw", "dft1d"))}, claims)
    return make_suite(plan, {"raw": STUCK, "dft1d": times(400)})


def test_a_suite_comes_back_as_it_was_written(tmp_path: Path) -> None:
    suite = two_arms()
    assert read_suite(write_suite(tmp_path, suite)) == suite


def test_the_plan_s_hash_is_its_file_s(tmp_path: Path) -> None:
    suite = two_arms()
    write_suite(tmp_path, suite)
    assert sha256_file(tmp_path / "plan.json") == suite.plan.sha256


def test_tuples_in_a_configuration_do_not_change_the_hash() -> None:
    plan = two_arms().plan
    value = plan.to_json()
    assert value["arms"]["raw"]["data"]["grid"] == [3, 32, 32]
    plan.arms["raw"].data["grid"] = (3, 32, 32)
    assert plan.to_json() == value
    assert FirstRoundPlan.from_json(value).sha256 == plan.sha256


def change(*path: str | int, to: Any) -> Callable[[dict[str, Any]], None]:
    def apply(value: dict[str, Any]) -> None:
        node: Any = value
        for key in path[:-1]:
            node = node[key]
        node[path[-1]] = to

    return apply


COMPARISON = ("hypotheses", "H1", "comparisons", 0)


@pytest.mark.parametrize(
    ("field", "alter"),
    [
        ("schema_version", change("schema_version", to=2)),
        ("seeds", change("seeds", to=[1, 1])),
        ("seeds[0]", change("seeds", to=[0.5, 1])),
        ("tuning.seeds", change("tuning", "seeds", to=[3])),
        ("tuning.lrs", change("tuning", "lrs", to=[])),
        ("arms.raw.training.max_steps", change("arms", "raw", "training", "max_steps", to=20_000)),
        ("arms.a/b", change("arms", "a/b", to={"data": {}, "network": {}, "training": {"max_steps": 5}})),
        ("arms.raw.typo", change("arms", "raw", "typo", to=1)),
        ("hypotheses.H1.rule", change("hypotheses", "H1", "rule", to="most")),
        ("hypotheses.H1.comparisons", change("hypotheses", "H1", "comparisons", to=[])),
        ("hypotheses.H1.comparisons[0].kind", change(*COMPARISON, "kind", to="gone")),
        ("hypotheses.H1.comparisons[0].predicted", change(*COMPARISON, "predicted", to="faster")),
        ("hypotheses.H1.comparisons[0].slow", change(*COMPARISON, "slow", to=["rwa"])),
        ("hypotheses.H1.comparisons[0].slow", change(*COMPARISON, "slow", to=[])),
        ("hypotheses.H1.comparisons[0].slow", change(*COMPARISON, "kind", to="interaction")),
        ("hypotheses.H1.comparisons[0].fast", change(*COMPARISON, "fast", to=["raw"])),
        ("hypotheses.H1.comparisons[0].against", change(*COMPARISON, "kind", to="regret")),
        ("hypotheses.H1.comparisons[0].rule", change(*COMPARISON, "rule", to="ours")),
        ("claims.C1.hypotheses", change("claims", "C1", "hypotheses", to=["H9"])),
        ("claims.C1.hypotheses", change("claims", "C1", "hypotheses", to=["H1/none"])),
        ("claims.C1.hypotheses", change("claims", "C1", "hypotheses", to=[])),
        ("claims.C1.rule", change("claims", "C1", "rule", to="")),
    ],
)
def test_a_plan_that_is_wrong_is_refused_by_field(field: str, alter: Callable[[dict[str, Any]], None]) -> None:
    value = json.loads(json.dumps(two_arms().plan.to_json()))
    alter(value)
    with pytest.raises(UserError, match="expected") as refusal:
        FirstRoundPlan.from_json(value, "x/plan.json")
    assert f"field {field}:" in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("field", "alter"),
    [
        ("schema_version", change("schema_version", to=0)),
        ("arm", change("arm", to="rwa")),
        ("plan_sha256", change("plan_sha256", to="0" * 64)),
        ("lr", change("lr", to=0.5)),
        ("tuning", change("tuning", to=[])),
        ("tuning[0].escape_step", change("tuning", 0, "escape_step", to=9_000)),
        ("seeds", change("seeds", to=[])),
        ("seeds", change("seeds", 1, "seed", to=0)),
        ("seeds[0].lr", change("seeds", 0, "lr", to=3e-4)),
        ("seeds[0].escape_step", change("seeds", 0, "escape_step", to=9_999)),
        ("seeds[0].steps_run", change("seeds", 0, "escape_step", to=None)),
        ("seeds[0].escape_step", change("seeds", 0, "diverged", to=True)),
        ("seeds[0].curve", change("seeds", 0, "curve", to=[[20, 1.0, 0.0], [10, 1.0, 0.0]])),
        ("seeds[0].curve[0][2]", change("seeds", 0, "curve", to=[[20, 1.0]])),
        ("seeds[0].final.fvu_held_out", change("seeds", 0, "final", "fvu_held_out", to="nan")),
        ("seeds[0].wall_s", change("seeds", 0, "wall_s", to=3)),
        ("choices.ours", change("choices", to={"ours": {"0": "raw"}})),
        ("choices.ours.4", change("choices", to={"ours": {str(seed): "x" for seed in range(4, 14)}})),
    ],
)
def test_a_record_that_is_wrong_is_refused_by_file_and_field(
    field: str, alter: Callable[[dict[str, Any]], None], tmp_path: Path
) -> None:
    folder = write_suite(tmp_path, two_arms())
    path = folder / "arms" / "dft1d.json"
    value = json.loads(path.read_text())
    alter(value)
    path.write_text(json.dumps(value))
    with pytest.raises(UserError, match="expected") as refusal:
        read_suite(folder)
    assert str(refusal.value).startswith(f"{path}: field {field if field != 'choices.ours.4' else 'choices.ours'}:")


def test_a_choice_that_names_no_arm_is_refused(tmp_path: Path) -> None:
    suite = two_arms()
    record = arm_record(suite.plan, "raw", STUCK, choices={"ours": {str(seed): "haar" for seed in suite.plan.seeds}})
    with pytest.raises(UserError, match=r"choices\.ours\.0: expected an arm of the plan, got 'haar'"):
        read_suite(write_suite(tmp_path, Suite(suite.plan, {**suite.arms, "raw": record})))


def test_a_record_under_another_name_is_refused(tmp_path: Path) -> None:
    folder = write_suite(tmp_path, two_arms())
    (folder / "arms" / "dft1d.json").rename(folder / "arms" / "dft3d.json")
    with pytest.raises(UserError, match=r"field arm: expected dft3d \(the file's name\), got 'dft1d'"):
        read_suite(folder)


def test_a_changed_plan_disowns_the_records(tmp_path: Path) -> None:
    folder = write_suite(tmp_path, two_arms())
    plan = json.loads((folder / "plan.json").read_text())
    plan["hypotheses"]["H1"]["comparisons"][0]["predicted"] = "equal"
    (folder / "plan.json").write_text(json.dumps(plan))
    with pytest.raises(UserError, match=r"field plan_sha256: expected [0-9a-f]{64} \(the plan beside it\)"):
        read_suite(folder)


def test_a_folder_without_a_plan_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no plan\.json in .*; pass results=DIR"):
        read_suite(tmp_path)


def test_a_diverged_run_never_escapes() -> None:
    suite = two_arms()
    value = to_json(suite.arms["dft1d"])
    value["seeds"][0] |= {"escape_step": None, "steps_run": 300, "diverged": True, "curve": []}
    suite.arms["dft1d"] = ArmRecord.from_json(value, "dft1d.json")
    runs = suite.escape_times("dft1d")
    assert (runs.times[0], runs.escaped[0]) == (10_000, False)


def test_a_run_may_go_on_after_the_last_step_to_see_whether_its_escape_lasts(tmp_path: Path) -> None:
    suite = two_arms()
    value = to_json(suite.arms["dft1d"])
    value["seeds"][0] |= {"escape_step": 9_990, "steps_run": 10_190, "curve": []}
    value["seeds"][1] |= {"escape_step": None, "steps_run": 10_100, "curve": []}
    suite.arms["dft1d"] = ArmRecord.from_json(value, "dft1d.json")
    runs = read_suite(write_suite(tmp_path, suite)).escape_times("dft1d")
    assert (runs.times[:2], runs.escaped[:2]) == ((9_990, 10_000), (True, False))
    value["seeds"][0]["escape_step"] = 10_010
    suite.arms["dft1d"] = ArmRecord.from_json(value, "dft1d.json")
    with pytest.raises(UserError, match=r"seeds\[0\]\.escape_step: expected 0\.\.10000"):
        read_suite(write_suite(tmp_path, suite))
