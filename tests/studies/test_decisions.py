"""Decisions, looks, end states and survival of the second round on records that are made up."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from scipy import stats

from smidgen.policies.perceiver import PerceiverConfig
from studies.claims import decisions, design, survival
from studies.claims.arms import Arm
from studies.claims.contrasts import ABSENT, Contrast, larger_gain, lower_regret, slower
from studies.claims.decisions import FAILS, HOLDS, NO_EFFECT, NOT_RUN, UNDECIDED, decide, learning, seed_values
from studies.claims.plan import StudyPlan
from studies.claims.records import BlockRecord, Records, Run
from studies.ladder.side_by_side import LadderTraining
from studies.synthetic import LadderConfig

PRIMARY = slower("slow over fast", "slow", "fast", 100, claim="C1")
UNCENTRED = dataclasses.replace(PRIMARY, least_ratio=design.LEAST_RATIO_UNCENTRED)
EQUAL = dataclasses.replace(PRIMARY, predicted=ABSENT)


def values(ratio: float, spread: float = 0.1, num_seeds: int = 30) -> dict[int, float]:
    """One value per seed, symmetric about the ratio's logarithm."""
    offsets = np.linspace(-spread, spread, num_seeds)
    return {seed: math.log(ratio) + offset for seed, offset in zip(design.SEEDS, offsets, strict=False)}


@pytest.mark.parametrize(
    ("contrast", "ratio", "spread", "expected"),
    [
        (PRIMARY, 2.0, 0.1, HOLDS),
        (PRIMARY, 1.4, 0.1, UNDECIDED),
        (PRIMARY, 1.0, 0.1, NO_EFFECT),
        (PRIMARY, 1.0, 3.0, UNDECIDED),
        (PRIMARY, 0.7, 0.1, FAILS),
        (PRIMARY, 2.0, 9.0, UNDECIDED),
        (UNCENTRED, 2.9, 0.1, UNDECIDED),
        (UNCENTRED, 3.1, 0.1, HOLDS),
        (EQUAL, 1.0, 0.1, HOLDS),
        (EQUAL, 1.0, 3.0, UNDECIDED),
        (EQUAL, 1.3, 0.1, UNDECIDED),
        (EQUAL, 1.6, 0.1, FAILS),
        (EQUAL, 0.6, 0.1, FAILS),
    ],
)
def test_decision_follows_the_plans_margins(contrast: Contrast, ratio: float, spread: float, expected: str) -> None:
    assert decide("it", contrast, values(ratio, spread)).decision == expected


def test_nothing_is_decided_before_the_last_look() -> None:
    for num_seeds in (10, 20, 29):
        results = decide("it", PRIMARY, values(5.0, num_seeds=num_seeds))
        assert results.decision == NOT_RUN
        assert results.num_seeds == num_seeds
        assert results.effect is not None
        # A look sees whole blocks: the first ten seeds.
        assert results.effect.num_seeds == 10
    assert decide("it", PRIMARY, values(5.0, num_seeds=9)).effect is None


def test_an_interval_that_only_just_holds_one_side_of_one_is_seen_at_the_claims_level() -> None:
    """The deciding interval is that of alpha = 0.05 / 7, not the 95 % one."""
    results = decide("it", PRIMARY, values(1.8, 2.0))
    assert results.effect is not None
    assert results.effect.interval(0.95)[0] > 1
    assert results.effect.interval(results.look.confidence)[0] < 1
    assert results.decision == UNDECIDED


def test_descriptive_contrasts_have_no_decision_but_say_when_they_are_large() -> None:
    descriptive = dataclasses.replace(PRIMARY, claim="")
    large, small = (decide("it", descriptive, values(ratio, num_seeds=10)) for ratio in (3.5, 2.5))
    assert (large.decision, small.decision) == ("", "")
    assert (large.is_large, small.is_large) == (True, False)
    assert decide("it", descriptive, values(1 / 3.5, num_seeds=10)).is_large


def arm(horizon: int = 100) -> Arm:
    training = LadderTraining(max_steps=horizon)
    return Arm(data=LadderConfig(kind="one_token"), network=PerceiverConfig(), training=training)


def run(seed: int, area: float, escape: int | None = 5, entropy: float = 0.9) -> Run:
    return Run(
        seed=seed,
        areas={"100": area},
        fvu={},
        escape_step=escape,
        steps_run=100,
        diverged=False,
        curve=(),
        initial={},
        final={"attention_entropy": entropy},
    )


def block(name: str, runs: list[Run]) -> dict[str, tuple[BlockRecord, ...]]:
    return {name: (BlockRecord(arm=name, arm_sha256="", block="a", lr=1e-3, runs=tuple(runs)),)}


def records_of(**areas: float) -> Records:
    blocks = {}
    for name, area in areas.items():
        blocks |= block(name, [run(seed, area) for seed in design.SEEDS[:10]])
    return Records(blocks)


def plan_of(contrast: Contrast) -> StudyPlan:
    return StudyPlan(claims={}, contrasts={"it": contrast}, arms={name: arm() for name in contrast.arms}, order=())


def test_an_interaction_is_a_ratio_of_two_gains() -> None:
    contrast = larger_gain("gains", ("slow1", "fast1"), ("slow2", "fast2"), 100)
    records = records_of(slow1=80.0, fast1=10.0, slow2=60.0, fast2=30.0)
    found = seed_values(contrast, plan_of(contrast), records, {})
    assert list(found.values()) == pytest.approx([math.log(8 / 2)] * 10)


def test_a_missing_arm_leaves_a_contrast_without_values() -> None:
    contrast = larger_gain("gains", ("slow1", "fast1"), ("slow2", "fast2"), 100)
    records = records_of(slow1=80.0, fast1=10.0, slow2=60.0)
    assert seed_values(contrast, plan_of(contrast), records, {}) == {}
    assert decide("it", contrast, {}).decision == NOT_RUN


@pytest.mark.parametrize(("against", "expected"), [("first", 2.0), ("second", 1.0), ("coin", math.sqrt(2))])
def test_regret_compares_the_rules_choice_with_another(against: str, expected: float) -> None:
    contrast = lower_regret("regret", "rule", against, [("raw", "dft")], 100)
    choices = {"rule": {"raw": {str(seed): "dft" for seed in design.SEEDS[:10]}}}
    records = records_of(raw=20.0, dft=10.0)
    found = seed_values(contrast, plan_of(contrast), records, choices)
    assert list(found.values()) == pytest.approx([math.log(expected)] * 10)


def test_a_rule_that_never_chooses_is_found_out() -> None:
    contrast = dataclasses.replace(lower_regret("regret", "rule", "second", [("raw", "dft")], 100), claim="C7")
    choices = {"rule": {"raw": {str(seed): "dft" for seed in design.SEEDS[:10]}}}
    results = decide("it", contrast, seed_values(contrast, plan_of(contrast), records_of(raw=20.0, dft=10.0), choices))
    assert results.decision == NO_EFFECT
    assert results.effect is not None
    assert results.effect.interval(results.look.confidence) == (1.0, 1.0)


def test_runs_that_never_learned_are_told_apart_by_their_attention() -> None:
    runs = [run(200, 9.0), run(201, 99.0, None, 0.95), run(202, 99.0, None, 0.01), run(203, 99.0, None, 0.02)]
    counts = learning(Records(block("arm", runs)), "arm")
    assert (counts.num_runs, counts.num_escaped, counts.num_at_the_mean, counts.num_saturated) == (4, 1, 1, 2)


def test_survival_is_the_product_limit_estimate() -> None:
    runs = [run(200, 9.0, 10), run(201, 9.0, 20), run(202, 9.0, None), run(203, 9.0, 20)]
    steps, shares = survival.share_on_plateau(Records(block("arm", runs)), "arm", 100)
    assert list(steps) == [10, 20, 100]
    assert list(shares) == [0.75, 0.25, 0.25]


def test_the_log_rank_test_tells_two_arms_apart() -> None:
    slow = block("slow", [run(seed, 9.0, 80 + seed % 10) for seed in design.SEEDS[:10]])
    fast = block("fast", [run(seed, 9.0, 10 + seed % 10) for seed in design.SEEDS[:10]])
    records = Records(slow | fast)
    assert survival.log_rank_p(records, "slow", "fast", 100) < 1e-4
    same = survival.log_rank_p(records, "slow", "slow", 100)
    assert same == pytest.approx(1.0)
    expected = stats.logrank(survival.escape_data(records, "slow", 100), survival.escape_data(records, "fast", 100))
    assert survival.log_rank_p(records, "slow", "fast", 100) == pytest.approx(expected.pvalue)


def test_every_decision_word_is_one_of_five() -> None:
    words = {decisions.HOLDS, decisions.FAILS, decisions.NO_EFFECT, decisions.UNDECIDED, decisions.NOT_RUN}
    assert len(words) == 5
