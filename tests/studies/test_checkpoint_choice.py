"""How well checkpoints can be ordered without a simulator: correlations, what a choice costs, and the page's table."""

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr

from smidgen.runtime.errors import UserError
from smidgen.runtime.files import write_json_atomic
from smidgen.runtime.schemas import to_json
from studies.checkpoint_choice.__main__ import ChoiceConfig, page_text
from studies.checkpoint_choice.record import ScoredArm, read_scored, scored_path
from studies.checkpoint_choice.tables import (
    CRITERIA,
    Scored,
    choice_table,
    correlation,
    gather,
    lost_by_choosing,
    pooled,
)
from studies.recipe.arms import build_arms
from studies.recipe.records import ArmRecord, read_records
from studies.recipe.step_costs import FOLDER

ARMS = build_arms()
RECORDS = read_records(FOLDER, ARMS)
ANY_RECORD = next(iter(RECORDS.values()))
BY_SCORE, BY_LOSS = CRITERIA["`rank`, by `open_skill`"], CRITERIA["held-out loss"]


def policy(arm: str, rate: float, score: float | None, loss: float | None = 0.1) -> Scored:
    record = dataclasses.replace(
        ANY_RECORD, arm=arm, success={**ANY_RECORD.success, "rate": rate}, validation=({"step": 1, "loss": loss},)
    )
    scores = dict.fromkeys(("open_skill", "frames", "skill"), (score, None, None))
    return Scored(record, ScoredArm(arm=arm, checkpoint=record.hashes["checkpoint"], label="sees", scores=scores))


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


def test_only_policies_of_one_task_that_act_alike_are_compared() -> None:
    names = ["lift.perceiver", "lift.cnn", "lift.perceiver.executed4", "lift.cnn.executed4", "lift.located10.executed4"]
    names.append("lift.steady.executed4")
    members = {name: policy(name, 0.1 * index, float(index)) for index, name in enumerate(names)}
    groups = gather(ARMS, {n: m.record for n, m in members.items()}, {n: m.scored for n, m in members.items()})
    assert {name: [m.record.arm for m in group] for name, group in groups.items()} == {
        "lift (num_executed=4)": names[2:]
    }
    table = choice_table(groups)
    assert "| `rank`, by `open_skill` | 1.00 | 1.00 | 0 points |" in table
    assert "4 policies; an interval needs 20." in table
    many = choice_table({name: [policy(f"{name}{i}", i / 12, float(i)) for i in range(12)] for name in ("a", "b")})
    assert "| `rank`, by `open_skill` | 1.00 | 1.00 | 1.00 [1.00 to 1.00] | 0 points |" in many
    assert choice_table({}) == "Of no task have 4 policies been scored yet."


def test_scores_of_another_checkpoint_are_refused(tmp_path: Path) -> None:
    record: ArmRecord = ANY_RECORD
    scored = policy(record.arm, 0.5, 0.5).scored
    write_json_atomic(scored_path(tmp_path, record.arm), to_json(scored))
    assert read_scored(tmp_path, RECORDS) == {record.arm: scored}
    write_json_atomic(scored_path(tmp_path, record.arm), to_json(dataclasses.replace(scored, checkpoint="0" * 64)))
    with pytest.raises(UserError, match="checkpoint"):
        read_scored(tmp_path, RECORDS)


def test_the_page_is_what_the_scores_give() -> None:
    assert page_text(ChoiceConfig()) == Path("docs/check.md").read_text(encoding="utf-8")
