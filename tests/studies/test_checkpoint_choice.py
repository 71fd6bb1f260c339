"""How well checkpoints can be ordered without a simulator: correlations, what a choice costs, and the page's table."""

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr

from smidgen.evaluation.records import read_record
from smidgen.experiments.boards import build_trial
from smidgen.policies.checkpoint import RUN_CHECKPOINT
from smidgen.runtime.errors import UserError
from smidgen.runtime.files import write_json_atomic
from smidgen.runtime.schemas import to_json
from studies.checkpoint_choice.__main__ import ChoiceConfig, all_candidates, page_text
from studies.checkpoint_choice.candidates import Candidate, candidates
from studies.checkpoint_choice.record import ScoredPolicy, read_scored, scored_path
from studies.checkpoint_choice.tables import (
    CRITERIA,
    Scored,
    choice_table,
    correlation,
    gather,
    lost_by_choosing,
    pooled,
)
from studies.recipe.step_costs import FOLDER

KNOWN = all_candidates(ChoiceConfig())
BY_SCORE, BY_LOSS = CRITERIA["`rank`, by `open_skill`"], CRITERIA["held-out loss"]


def policy(name: str, rate: float, score: float | None, loss: float | None = 0.1, group: str = "lift") -> Scored:
    candidate = Candidate(name, group, "0" * 64, rate, {"step": 1, "loss": loss})
    scores = dict.fromkeys(("open_skill", "frames", "skill"), (score, None, None))
    return Scored(candidate, ScoredPolicy(policy=name, checkpoint="0" * 64, label="sees", scores=scores))


def test_the_correlation_is_spearmans() -> None:
    generator = np.random.default_rng(0)
    values, successes = generator.integers(5, size=(2, 12)).astype(float)
    assert correlation(values, successes) == pytest.approx(spearmanr(values, successes).statistic)
    assert correlation([1, 2, math.nan], [0.2, 0.3, 0.1]) == pytest.approx(1.0), "without a value: ranked last"
    assert math.isnan(correlation([1, 2, 3], [0.5, 0.5, 0.5]))


def test_a_lower_loss_is_better_and_the_first_of_an_order_is_chosen() -> None:
    members = [policy("a", 0.9, 0.1, 0.3), policy("b", 0.4, 0.8, 0.1), policy("c", 0.6, None, None)]
    assert lost_by_choosing(members, BY_SCORE) == pytest.approx(0.5)
    assert lost_by_choosing(members, BY_LOSS) == pytest.approx(0.5)
    assert lost_by_choosing(members, lambda each: each.success) == 0.0


def test_groups_are_weighted_by_their_size_and_one_that_never_varies_is_left_out() -> None:
    right = [policy(f"a{index}", index / 10, float(index)) for index in range(6)]
    wrong = [policy(f"b{index}", index / 10, -float(index)) for index in range(4)]
    same = [policy(f"c{index}", 0.5, float(index)) for index in range(9)]
    value, low, high = pooled({"right": right, "wrong": wrong, "same": same}, BY_SCORE)
    assert value == pytest.approx((6 - 4) / 10)
    assert low <= value <= high


def test_only_policies_of_one_group_are_compared() -> None:
    members = [policy("other", 0.9, 0.0)]
    members += [policy(f"a{index}", 0.1 * index, float(index), group="lift (num_executed=4)") for index in range(4)]
    groups = gather({m.candidate.name: m.candidate for m in members}, {m.candidate.name: m.scored for m in members})
    assert groups == {"lift (num_executed=4)": members[1:]}
    table = choice_table(groups)
    assert "| `rank`, by `open_skill` | 1.00 | 1.00 | 0 points |" in table
    assert "4 policies; an interval needs 20." in table
    many = choice_table({name: [policy(f"{name}{i}", i / 12, float(i)) for i in range(12)] for name in ("a", "b")})
    assert "| `rank`, by `open_skill` | 1.00 | 1.00 | 1.00 [1.00 to 1.00] | 0 points |" in many
    assert choice_table({}) == "Of no task have 4 policies been scored yet."


def test_candidates_are_those_of_the_search_and_of_the_leaderboard() -> None:
    arm, entry = KNOWN["lift.perceiver.executed4"], KNOWN["cpu-standard-1.lift-recommended-seed0"]
    assert (arm.group, entry.group) == ("lift (num_executed=4)", "lift, leaderboard")
    assert 0 < arm.success <= 1
    assert {"loss", "skill_time_mean", "cue_slope"} <= {*arm.validation} & {*entry.validation}
    assert entry.success == read_record(Path("results/cpu-standard-1/lift-recommended-seed0.json"))["success"]["rate"]
    assert not any("expert" in name or "host" in name for name in KNOWN)


def test_a_policy_is_scored_only_by_the_checkpoint_that_was_evaluated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    board = "results/cpu-standard-1"
    entry = candidates(FOLDER, Path(board), str(tmp_path))["cpu-standard-1.lift-recommended-seed0"]
    assert entry.find() is None
    lr = read_record(Path(board, "lift-recommended-seed0.json"))["policy"]["training"]["training_config"]["lr"]
    scratch = tmp_path / "cpu-standard-1" / "full"
    trial = build_trial("recommended", "lift", 0, lr)
    (scratch / "runs" / trial.run_name / RUN_CHECKPOINT).mkdir(parents=True)
    found = []
    monkeypatch.setattr("studies.checkpoint_choice.candidates.checkpoint_sha256", lambda path: found.pop())
    found[:] = ["0" * 64]
    assert entry.find() is None
    found[:] = [entry.checkpoint_sha256]
    assert entry.find() == (scratch / "runs" / trial.run_name, scratch / "data" / trial.data_name / "validation")


def test_scores_of_another_checkpoint_are_refused(tmp_path: Path) -> None:
    candidate = next(iter(KNOWN.values()))
    scored = dataclasses.replace(policy(candidate.name, 0.5, 0.5).scored, checkpoint=candidate.checkpoint_sha256)
    write_json_atomic(scored_path(tmp_path, candidate.name), to_json(scored))
    assert read_scored(tmp_path, KNOWN) == {candidate.name: scored}
    write_json_atomic(scored_path(tmp_path, candidate.name), to_json(dataclasses.replace(scored, checkpoint="0" * 64)))
    with pytest.raises(UserError, match="checkpoint"):
        read_scored(tmp_path, KNOWN)


def test_the_page_is_what_the_scores_give() -> None:
    assert page_text(ChoiceConfig()) == Path("docs/check.md").read_text(encoding="utf-8")
