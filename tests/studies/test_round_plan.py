"""The second round's plan, searches, jobs and records, on arms so small that they train in a moment."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from smidgen.evaluation.collapse.escape import escape_step
from smidgen.experiments.costs import core_hours
from smidgen.experiments.jobs import take_job
from smidgen.experiments.suite import SuiteConfig
from smidgen.policies.latent_start import LookConfig
from smidgen.policies.perceiver import Perceiver, PerceiverConfig
from smidgen.policies.positions import PositionEncoding
from smidgen.policies.transforms import build_transform
from smidgen.runtime.errors import UserError
from smidgen.runtime.files import directory_lock
from studies.claims import design, jobs, measuring
from studies.claims.arms import LOOKS, WITHOUT_UNIFORM
from studies.claims.attention import remove_uniform_part
from studies.claims.jobs import BlockJob, Place, chosen_rate, num_waiting, open_jobs, run_plan
from studies.claims.measuring import area, completed_curve, measured_run, run_block
from studies.claims.plan import first_difference, settle_plan
from studies.claims.records import TUNING, Records, arm_sha256, read_records
from studies.claims.round_two import FOLDER, build_plan
from studies.claims.round_two_b import LEVERS, PLAN_PATH, ROUND_TWO_B, SHARES, build_plan_b, read_both_rounds
from studies.claims.settling import cut_when_settled
from studies.claims.step_costs import cost_key
from studies.ladder.escape import CONFIRM_STEPS, EscapeWatch, RunRecord
from studies.synthetic import LadderConfig
from tests.long_form import ROOT
from tests.studies.small_round import ARM, NETWORK, TRAINING, small_plan


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "out", tmp_path / "scratch", tmp_path / "costs.csv")


def test_area_of_a_curve_that_is_known() -> None:
    curve = [(0, 0.0, 0.0), (10, 0.0, 0.5), (20, 0.0, 1.0)]
    steps, fvu = completed_curve(curve, 20)
    assert area(steps, fvu, 20) == pytest.approx(10.0)
    assert area(steps, fvu, 10) == pytest.approx(7.5)


def test_a_prediction_worse_than_the_mean_is_no_more_blind_than_the_mean() -> None:
    _, fvu = completed_curve([(0, 0.0, -5.0), (20, 0.0, 1.5)], 20)
    assert (fvu.min(), fvu.max()) == (0.0, 1.0)


def test_a_run_that_settled_goes_on_as_its_last_steps_and_one_that_diverged_as_blind() -> None:
    settled = [(0, 1.0, 0.0), (2, 1.0, 0.995), (502, 1.0, 0.993)]
    steps, fvu = completed_curve(settled, 1_000)
    assert fvu[-1] == pytest.approx(0.006)
    assert area(steps, fvu, 1_000) == pytest.approx(area(steps, fvu, 502) + 498 * 0.006)
    steps, fvu = completed_curve([(0, 1.0, 0.0), (2, 1.0, 0.9), (4, math.nan, math.nan)], 100)
    assert area(steps, fvu, 100) > 97


def test_an_escape_counts_once_it_has_lasted_whatever_comes_later() -> None:
    points = [(step, 0.9 if 10 <= step <= 300 and step != 40 else 0.0) for step in range(0, 600, 2)]
    assert escape_step(points, CONFIRM_STEPS) == 42
    assert escape_step(points[:100], CONFIRM_STEPS) is None


def test_settling_is_found_where_the_trainer_ends_the_run() -> None:
    watch = EscapeWatch()
    curve = [(step, 0.0, 0.999 if step >= 100 and step != 300 else 0.5) for step in range(0, 1_200, 2)]
    ended = None
    for step, loss, r2 in curve:
        watch.update(step, loss, r2)
        if ended is None and watch.has_settled(design.SETTLE_STEPS):
            ended = step
    assert ended == cut_when_settled(curve)[-1][0] == 302 + design.SETTLE_STEPS
    assert not watch.has_settled(0)


def test_runs_go_on_after_their_escape_up_to_the_horizon() -> None:
    training = dataclasses.replace(TRAINING, max_steps=100, settle_steps=0, warmup_steps=20)
    arm = dataclasses.replace(ARM, training=training)
    runs = measuring.MeasuredRuns(arm, (0, 1), 3e-3)
    runs.train()
    assert [record.steps_run for record in runs.records] == [100, 100]
    assert [record.watch.curve[-1][0] for record in runs.records] == [100, 100]
    curves = ([(step, r2) for step, _, r2 in record.watch.curve] for record in runs.records)
    assert any(escape_step(curve, TRAINING.confirm_steps) is not None for curve in curves)


def test_measurements_become_sparse_where_they_cost() -> None:
    training = dataclasses.replace(TRAINING, sparse_after=8)
    assert [step for step in range(21) if training.is_measured(step)] == [0, 2, 4, 6, 8, 10, 20]


def test_uniform_attention_without_its_uniform_part_reads_nothing() -> None:
    network = Perceiver(NETWORK, grid=(1, 4, 4), channels=1, action_features=1)
    tokens = network.prepare(torch.rand(2, 1, 4, 4, 1))
    plain, bias = network.encoder.attention, network.encoder.attention.to_output.bias
    queries = torch.randn(2, 8)
    expected = plain.attention_map(queries, tokens) - 1 / 16
    remove_uniform_part(network)
    with torch.no_grad():
        network.encoder.attention.to_key.weight.zero_()
        flat = network.encoder.attention(queries, tokens)
        values = network.encoder.attention.to_value.bias
        norm = network.encoder.attention.norm
        constant = network.encoder.attention.to_output(values + network.encoder.attention.to_value.weight @ norm.bias)
    assert torch.allclose(flat, constant.expand_as(flat), atol=1e-6)
    assert expected.abs().max() > 0
    assert bias is network.encoder.attention.to_output.bias


def test_an_arm_without_the_uniform_part_trains_otherwise() -> None:
    scratch_free = [
        run_block(arm, (0, 1), 3e-3, Path("/nonexistent"))[0]
        for arm in (ARM, dataclasses.replace(ARM, attention=WITHOUT_UNIFORM))
    ]
    assert scratch_free[0][0].areas != scratch_free[1][0].areas


def test_work_is_done_once_in_the_plans_order(place: Place) -> None:
    plan = small_plan()
    ran = list(run_plan(plan, place))
    done = [(record.arm, record.block, record.lr) for _, record in ran]
    assert done[:2] == [("slow", TUNING, 3e-3), ("slow", TUNING, 1e-2)]
    assert [entry[:2] for entry in done[-2:]] == [("slow", "a"), ("fast", "a")]
    assert done[-1][2] == done[-2][2] == chosen_rate("fast", plan, read_records(place.folder, plan.arms))
    assert list(run_plan(plan, place)) == []
    with open(place.costs, newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["job"] for row in rows] == [label for label, _ in ran]
    assert ran[0][0] == "slow/tuning-0.003"
    assert core_hours(place.costs, jobs.SUITE) > 0


def test_a_job_that_another_process_holds_is_left_to_it(place: Place) -> None:
    plan = small_plan()
    first = next(open_jobs(plan, place))
    with directory_lock(first.scratch):
        taken = take_job(open_jobs(plan, place))
    assert taken is not None
    assert not isinstance(taken[1], UserError)
    assert taken[1].lr != first.lr


def test_a_killed_job_goes_on_to_the_same_record(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = BlockJob("slow", ARM, "a", 3e-3, place)
    elsewhere = Place(tmp_path / "whole", tmp_path / "scratch-whole", tmp_path / "whole.csv")
    whole = dataclasses.replace(job, place=elsewhere).run()
    monkeypatch.setattr("studies.ladder.side_by_side.SAVE_EVERY_S", 0.0)
    saved = measuring.MeasuredRuns.save
    job.scratch.mkdir(parents=True)

    def save_and_die(self: measuring.MeasuredRuns, path: Path) -> None:
        saved(self, path)
        if self.step == 11:
            raise KeyboardInterrupt

    monkeypatch.setattr(measuring.MeasuredRuns, "save", save_and_die)
    with pytest.raises(KeyboardInterrupt):
        job.run()
    monkeypatch.setattr(measuring.MeasuredRuns, "save", saved)
    assert job.run() == whole
    paths = [folder / "runs/slow/a-0.003.json" for folder in (place.folder, tmp_path / "whole")]
    assert paths[0].read_bytes() == paths[1].read_bytes()


# In processes that import nothing else.
APPEND = """
import sys
from pathlib import Path
from smidgen.experiments.costs import append_cost
for index in range(50):
    append_cost(Path(sys.argv[1]), "suite", f"job{index}", 1, 1.0, 1.0)
"""


def test_costs_of_two_processes_stay_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "costs.csv"
    processes = [subprocess.Popen([sys.executable, "-c", APPEND, path], cwd=ROOT) for _ in range(2)]
    assert [process.wait() for process in processes] == [0, 0]
    with open(path, newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["suite", "job", "runs", "wall_s", "core_s"]
    assert len(rows) == 101
    assert {len(row) for row in rows} == {5}


def test_a_record_of_another_content_is_refused(place: Place) -> None:
    plan = small_plan()
    take_job(open_jobs(plan, place))
    other = {**plan.arms, "slow": dataclasses.replace(ARM, lrs=(1e-3,))}
    with pytest.raises(UserError, match="arm_sha256"):
        read_records(place.folder, other)
    with pytest.raises(UserError, match="an arm of the plan"):
        read_records(place.folder, {})


def test_a_field_gained_since_changes_no_arm_at_its_default() -> None:
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Grown(LadderConfig):
        gained: int = 3

    grown = dataclasses.replace(ARM, data=Grown(kind="one_token", grid=(1, 4, 4)))
    assert arm_sha256(grown) == arm_sha256(ARM)
    assert arm_sha256(dataclasses.replace(ARM, data=dataclasses.replace(grown.data, gained=4))) != arm_sha256(ARM)


def test_a_plan_with_records_may_grow_but_not_change(place: Place) -> None:
    plan = small_plan()
    settle_plan(plan, place.folder)
    take_job(open_jobs(plan, place))
    grown = dataclasses.replace(plan, arms={**plan.arms, "new": ARM}, notes=("more",))
    settle_plan(grown, place.folder)
    assert "new" in json.loads((place.folder / "plan.json").read_text())["arms"]
    changed = dataclasses.replace(plan, arms={**plan.arms, "slow": dataclasses.replace(ARM, lrs=(1e-3,))})
    with pytest.raises(UserError, match=r"arms\.slow"):
        settle_plan(changed, place.folder)
    contrast = dataclasses.replace(plan.contrasts["C1.it"], least_ratio=1.1)
    with pytest.raises(UserError, match=r"contrasts\.C1\.it"):
        settle_plan(dataclasses.replace(plan, contrasts={"C1.it": contrast}), place.folder)


def test_every_claim_has_one_primary_contrast_and_no_other() -> None:
    plan = build_plan()
    primary = {contrast.claim: name for name, contrast in plan.contrasts.items() if contrast.claim}
    assert primary == {name: claim.contrast for name, claim in plan.claims.items()}
    assert sorted(primary) == [f"C{number}" for number in range(1, 8)]
    assert sum(bool(contrast.claim) for contrast in plan.contrasts.values()) == 7


def test_every_contrast_can_be_computed_from_its_arms() -> None:
    plan = build_plan()
    for contrast in plan.contrasts.values():
        assert sum(contrast.terms.values()) == 0
        for arm in contrast.terms:
            assert str(contrast.horizon) in {str(h) for h in (*design.AREA_HORIZONS, plan.arms[arm].horizon)}
            assert contrast.horizon <= plan.arms[arm].horizon
    steps = {(step.arm, step.block) for step in plan.order}
    assert {arm for arm, _ in steps} == set(plan.arms)
    for name, arm in plan.arms.items():
        assert (name, "a") in steps
        assert ((arm.rate_of or name), TUNING) in steps
        assert all(lr in design.RATES for lr in arm.lrs)


def test_the_plan_fits_its_budget_and_no_job_takes_two_hours() -> None:
    plan = build_plan()
    assert set(plan.at_most_core_hours) == set(plan.arms)
    assert sum(plan.at_most_core_hours.values()) <= design.BUDGET_CORE_HOURS
    costs = json.loads((FOLDER / "step_costs.json").read_text())["seconds_per_step_of_a_run"]
    for arm in plan.arms.values():
        assert design.FIRST_LOOK * arm.horizon * costs[cost_key(arm)] < 2 * 3600


def test_runs_of_primary_contrasts_never_end_early() -> None:
    plan = build_plan()
    primary = {arm for contrast in plan.contrasts.values() if contrast.claim not in ("", "C7") for arm in contrast.arms}
    for name, arm in plan.arms.items():
        assert (arm.training.settle_steps == 0) == (name in primary)


def test_seeds_are_apart_from_one_another_and_from_the_first_rounds() -> None:
    first_round = {*range(10), 100, 101}
    assert not set(design.SEEDS) & set(design.TUNING_SEEDS)
    assert not first_round & {*design.SEEDS, *design.TUNING_SEEDS}
    assert [seed for block in design.BLOCKS.values() for seed in block] == list(design.SEEDS)


def test_contrasted_arms_share_positions_and_data() -> None:
    """What the first round missed: two transforms are compared at the same positions, on the same data."""
    plan = build_plan()
    for name, contrast in plan.contrasts.items():
        if not name.startswith(("C3.", "C6.")):
            continue
        arms = [plan.arms[arm] for arm in contrast.terms]
        assert arms[0].data == arms[1].data
        networks = [dataclasses.replace(arm.network, transform="raw") for arm in arms]
        # A 1-D DFT's only axis is the flattened array: its positions per axis are 1-D positions.
        encodings = {"one_d" if arm.network.transform == "dft1d" else arm.network.position_encoding for arm in arms}
        assert len(encodings) == 1, name
        assert dataclasses.replace(networks[0], position_encoding="none") == dataclasses.replace(
            networks[1], position_encoding="none"
        )


def test_the_committed_plan_is_this_versions() -> None:
    settled = json.loads((FOLDER / "plan.json").read_text())
    arms = {path.parent.name for path in (FOLDER / "runs").glob("*/*.json")}
    assert first_difference(settled, build_plan().to_json(), arms) == ""


def test_the_committed_coverage_and_settling_allow_what_the_plan_does() -> None:
    coverage = json.loads((FOLDER / "coverage.json").read_text())
    assert coverage["lowest_signed_rank_at_95"] >= coverage["least_coverage_at_95"]
    settling = json.loads((FOLDER / "settling.json").read_text())
    assert settling["largest_change_of_a_log_ratio"] <= settling["allowed"]


def test_a_measured_run_keeps_its_areas_and_thins_its_curve() -> None:
    watch = EscapeWatch()
    for step in range(0, 2_002, 2):
        watch.update(step, 0.1, 1 - float(np.exp(-step / 100)))
    kept = measured_run(3, RunRecord(watch, steps_run=2_000), 2_000)
    assert kept.areas["2000"] == pytest.approx(100.0, rel=1e-3)
    assert kept.escape_step == 70
    assert len(kept.curve) <= measuring.NUM_CURVE_POINTS + 1
    assert arm_sha256(ARM) != arm_sha256(dataclasses.replace(ARM, attention=WITHOUT_UNIFORM))
    assert num_waiting(small_plan(), Records({})) == 3


@pytest.mark.parametrize(
    ("look", "network"),
    [
        (LOOKS["located"], NETWORK),
        (LOOKS["gain4"], NETWORK),
        (LOOKS["looks2"], dataclasses.replace(NETWORK, num_layers=2)),
    ],
)
def test_an_arm_whose_latents_look_otherwise_is_another_arm_and_trains_otherwise(
    look: LookConfig, network: PerceiverConfig
) -> None:
    plain = dataclasses.replace(ARM, network=network)
    changed = dataclasses.replace(plain, look=look)
    assert arm_sha256(plain) != arm_sha256(changed)
    runs = [run_block(arm, (0, 1), 3e-3, Path("/nonexistent"))[0] for arm in (plain, changed)]
    assert runs[0][0].curve != runs[1][0].curve


def test_runs_side_by_side_that_look_otherwise_equal_runs_alone() -> None:
    look = LookConfig(latent_start="located", query_gain=2.0, num_cross_attentions=2)
    arm = dataclasses.replace(ARM, network=dataclasses.replace(NETWORK, num_layers=2), look=look)
    together = run_block(arm, (0, 1), 3e-3, Path("/nonexistent"))[0]
    alone = run_block(arm, (1,), 3e-3, Path("/nonexistent"))[0]
    assert [step for step, _ in together[1].curve] == [step for step, _ in alone[0].curve]
    assert together[1].curve[-1][1] == pytest.approx(alone[0].curve[-1][1], rel=1e-3)
    assert together[0].curve != together[1].curve


def test_plan_2b_changes_how_latents_look_and_nothing_else() -> None:
    plan, second = build_plan_b(), build_plan()
    assert not plan.claims
    assert {step.arm for step in plan.order} == set(plan.arms) - set(second.arms)
    assert all(plan.arms[name] == second.arms[name] for name in set(plan.arms) & set(second.arms))
    starts = {name: contrast for name, contrast in plan.contrasts.items() if name.startswith("start.")}
    assert len(starts) == 2 * 2 * len(LEVERS)
    for contrast in starts.values():
        slow, fast = (plan.arms[name] for name in contrast.terms)
        assert (slow.look, slow.data, slow.horizon) == (LookConfig(), fast.data, fast.horizon)
        same = dataclasses.replace(fast.network, num_latents=slow.network.num_latents)
        assert same == slow.network
        assert (fast.look != LookConfig()) != (fast.network.num_latents == 32)


def test_plan_2b_compares_raw_tokens_and_a_dft_at_equal_shares_of_content() -> None:
    """By absolute values C g / P, by squares C g^2 / P (T21)."""
    plan = build_plan_b()
    shares = {name: contrast for name, contrast in plan.contrasts.items() if name.startswith("content.")}
    assert len(shares) == 2 * len(SHARES)
    matched = []
    for contrast in shares.values():
        # Arms of the second round run on after they have settled.
        slow, fast = (
            dataclasses.replace(arm, training=dataclasses.replace(arm.training, settle_steps=0))
            for arm in (plan.arms[name] for name in contrast.terms)
        )
        assert (slow.data, slow.horizon, slow.training) == (fast.data, fast.horizon, fast.training)
        power = 2 if "by squares" in contrast.title else 1
        ratios = []
        for arm in (slow, fast):
            transform = build_transform(arm.network.transform, grid=(3, 32, 32), channels=1)
            features = PositionEncoding(arm.network.position_encoding, transform.grid).num_features
            ratios.append(arm.look.content_gain**power * transform.channels / features)
        if slow.network.transform != fast.network.transform:
            assert ratios[0] == pytest.approx(ratios[1], rel=0.01)
            matched.append(power)
        else:
            assert dataclasses.replace(slow, look=fast.look) == fast
            assert ratios[1] > 10 * ratios[0]
    assert sorted(matched) == [1, 1, 1, 1, 2, 2]


def test_the_committed_plan_2b_is_this_versions() -> None:
    settled = json.loads(PLAN_PATH.read_text())
    assert settled == json.loads(json.dumps(build_plan_b().to_json()))
    assert sum(build_plan_b().at_most_core_hours.values()) <= 8
    assert read_both_rounds(build_plan_b()).blocks.keys() <= build_plan_b().arms.keys()


def test_plan_2b_runs_as_a_suite_of_its_own(tmp_path: Path) -> None:
    config = SuiteConfig(suite="studies.claims:ROUND_TWO_B", out=str(tmp_path / "out"), scratch=str(tmp_path))
    place = ROUND_TWO_B.place(config)
    assert (place.suite, place.scratch) == ("claims-round-2b", tmp_path / "claims-round-2b")
    first = ROUND_TWO_B.status(config).splitlines()
    assert first[0].startswith(f"0 of {len({step.arm for step in build_plan_b().order})} arms done")
    small = small_plan()
    take_job(open_jobs(small, dataclasses.replace(place, costs=tmp_path / "costs.csv")))
    assert core_hours(tmp_path / "costs.csv", "claims-round-2b") > 0
    assert core_hours(tmp_path / "costs.csv", jobs.SUITE) == 0
