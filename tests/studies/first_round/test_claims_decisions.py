"""The decision rule, effects by kind, groups, Holm and claims."""

import itertools
import math

import pytest
from claims_suites import MAX_STEPS, SEEDS, STUCK, hypothesis, make_plan, make_suite, ratio, times
from hypothesis import given
from hypothesis import strategies as st

from smidgen.runtime.errors import UserError
from studies.first_round.decisions import (
    FAILS,
    FVU_MARGINS,
    HOLDS,
    INCONCLUSIVE,
    NOT_RUN,
    RATIO_MARGINS,
    Count,
    Decision,
    Decisions,
    decide,
    decide_effect,
    decide_interval,
    join,
)
from studies.first_round.effects import measure
from studies.first_round.plan import PREDICTIONS, Claim, Comparison
from studies.first_round.records import Suite
from studies.first_round.survival import Effect, restricted_mean


@pytest.mark.parametrize(
    ("value", "low", "high", "expected"),
    [
        # theory.md's rule, at its edges.
        (1.5, 1.01, 2.2, HOLDS),
        (1.49, 1.01, 2.2, INCONCLUSIVE),
        (3.0, 1.0, 9.0, INCONCLUSIVE),
        (1.0, 0.8, 1.25, FAILS),
        (1.0, 0.79, 1.25, INCONCLUSIVE),
        (1.0, 0.8, 1.26, INCONCLUSIVE),
        (1.1, 1.05, 1.2, FAILS),
        (0.6, 0.4, 0.99, FAILS),
        (0.6, 0.4, 1.0, INCONCLUSIVE),
        (1.0, 1.0, 1.0, FAILS),
    ],
)
def test_the_rule(value: float, low: float, high: float, expected: str) -> None:
    assert decide_interval(value, low, high) == expected
    mirrored = {HOLDS: FAILS, FAILS: HOLDS}.get(expected, expected)
    assert decide_interval(value, low, high, "not_slower") == mirrored


@pytest.mark.parametrize(
    ("value", "low", "high", "expected"),
    [
        (1.1, 1.05, 1.2, HOLDS),
        (1.0, 0.7, 1.2, INCONCLUSIVE),
        (1.5, 1.1, 2.0, FAILS),
        (1.4, 1.1, 2.0, INCONCLUSIVE),
        (0.66, 0.5, 0.9, FAILS),
        (0.7, 0.6, 0.9, INCONCLUSIVE),
    ],
)
def test_equality_is_judged_on_both_sides(value: float, low: float, high: float, expected: str) -> None:
    assert decide_interval(value, low, high, "equal") == expected
    assert decide_interval(1 / value, 1 / high, 1 / low, "equal") == expected


@pytest.mark.parametrize(
    ("value", "low", "high", "expected"),
    [
        (0.1, 0.01, 0.2, HOLDS),
        (0.09, 0.01, 0.2, INCONCLUSIVE),
        (0.02, -0.05, 0.05, FAILS),
        (-0.1, -0.2, -0.01, FAILS),
        (0.2, 0.0, 0.4, INCONCLUSIVE),
    ],
)
def test_differences_of_fvu_have_their_own_margins(value: float, low: float, high: float, expected: str) -> None:
    assert decide_interval(value, low, high, margins=FVU_MARGINS) == expected


effects = st.builds(Effect, st.floats(-1.5, 1.5), st.floats(0.001, 1), st.integers(3, 12), st.just(True))


@given(effects, st.sampled_from(PREDICTIONS))
def test_a_decision_stands_down_to_its_p_value_and_no_further(effect: Effect, predicted: str) -> None:
    decision = decide_effect(effect, predicted)
    if decision.value == INCONCLUSIVE:
        assert decision.p_value == 1
        return
    assert decision.p_value <= 0.05 + 1e-9
    # Nearer to 1, a confidence has no digits left.
    if decision.p_value > 1e-9:
        just_fits, too_wide = (effect.interval(1 - decision.p_value * share) for share in (1.001, 0.999))
        assert decide_interval(effect.value, *just_fits, predicted) == decision.value
        assert decide_interval(effect.value, *too_wide, predicted) == INCONCLUSIVE


def decided(*decisions: str, p_value: float = 0.01) -> list[Decision]:
    return [Decision(entry, p_value if entry in (HOLDS, FAILS) else 1.0) for entry in decisions]


@pytest.mark.parametrize(
    ("decisions", "every", "one"),
    [
        ((HOLDS, HOLDS), HOLDS, HOLDS),
        ((HOLDS, INCONCLUSIVE), INCONCLUSIVE, HOLDS),
        ((HOLDS, FAILS), FAILS, HOLDS),
        ((INCONCLUSIVE, FAILS), FAILS, INCONCLUSIVE),
        ((FAILS, FAILS), FAILS, FAILS),
        ((HOLDS, NOT_RUN), NOT_RUN, NOT_RUN),
        ((FAILS, NOT_RUN), NOT_RUN, NOT_RUN),
    ],
)
def test_joining(decisions: tuple[str, ...], every: str, one: str) -> None:
    for order in itertools.permutations(decisions):
        assert join(decided(*order), "all").value == every
        assert join(decided(*order), "any").value == one


def test_one_part_that_decides_pays_for_the_choice_and_parts_that_must_all_decide_do_not() -> None:
    holding = [Decision(HOLDS, 0.01), Decision(HOLDS, 0.04)]
    assert join(holding, "all") == Decision(HOLDS, 0.04)
    assert join(holding, "any") == Decision(HOLDS, 0.02)
    assert join([Decision(FAILS, 0.03), *holding], "all") == Decision(FAILS, 0.09)


def suite_of(comparison: Comparison, escapes: dict, **changes: dict) -> Suite:
    plan = make_plan(list(escapes), {"H1": hypothesis(comparison)})
    return make_suite(plan, escapes, **changes)


def mean_of(suite: Suite, name: str) -> float:
    return restricted_mean(suite.escape_times(name), MAX_STEPS)


def test_a_ratio_takes_geometric_means_over_each_side() -> None:
    comparison = Comparison(name="a", kind="ratio", slow=("raw-1", "raw-2"), fast=("dft1d",))
    suite = suite_of(comparison, {"raw-1": times(4000), "raw-2": times(1000, draw=1), "dft1d": times(500, draw=2)})
    expected = math.sqrt(mean_of(suite, "raw-1") * mean_of(suite, "raw-2")) / mean_of(suite, "dft1d")
    assert measure(comparison, suite).value == pytest.approx(expected)


def test_an_interaction_is_a_ratio_of_gains() -> None:
    comparison = Comparison(name="a", kind="interaction", slow=("raw-n", "raw-t"), fast=("dft1d-n", "dft1d-t"))
    escapes = {"raw-n": times(4000), "dft1d-n": times(500, draw=1), "raw-t": times(900, draw=2), "dft1d-t": times(800)}
    suite = suite_of(comparison, escapes)
    expected = mean_of(suite, "raw-n") / mean_of(suite, "dft1d-n") * mean_of(suite, "dft1d-t") / mean_of(suite, "raw-t")
    assert measure(comparison, suite).value == pytest.approx(expected)


def test_the_horizon_is_the_shortest_of_the_arms() -> None:
    plan = make_plan(["raw", "dft1d"], {"H1": hypothesis(ratio("raw", "dft1d"))}, max_steps={"dft1d": 2000})
    suite = make_suite(plan, {"raw": [6000] * 10, "dft1d": [500] * 10})
    assert measure(ratio("raw", "dft1d"), suite).value == pytest.approx(4)


def test_fvu_is_compared_by_difference_and_never_above_1() -> None:
    comparison = Comparison(name="a", kind="fvu", slow=("dft1d",), fast=("raw",))
    escapes = {"dft1d": times(500), "raw": times(500)}
    suite = suite_of(comparison, escapes, fvus={"dft1d": [7.0, None] + [0.9] * 8, "raw": [0.2] * 10})
    effect = measure(comparison, suite)
    assert effect.value == pytest.approx((2 * 1.0 + 8 * 0.9) / 10 - 0.2)
    assert decide_effect(effect, "slow_is_slower", FVU_MARGINS).value == HOLDS


def regret_suite(against: str, chosen: list[str]) -> tuple[Comparison, Suite]:
    comparison = Comparison(
        name="a",
        kind="regret",
        slow=("raw-1", "raw-2"),
        fast=("dft1d-1", "dft1d-2"),
        rule="ours",
        against=against,
    )
    escapes = {"raw-1": [4000] * 10, "dft1d-1": [500] * 10, "raw-2": [200] * 10, "dft1d-2": [3200] * 10}
    choices = {
        raw: {"ours": {str(seed): name for seed in SEEDS}} for raw, name in zip(comparison.slow, chosen, strict=True)
    }
    return comparison, suite_of(comparison, escapes, choices=choices)


@pytest.mark.parametrize(
    ("against", "chosen", "expected"),
    [
        ("always_slow", ["dft1d-1", "raw-2"], math.sqrt(4000 / 500)),
        ("always_slow", ["raw-1", "raw-2"], 1.0),
        ("always_slow", ["raw-1", "dft1d-2"], math.sqrt(200 / 3200)),
        ("coin", ["dft1d-1", "raw-2"], math.sqrt(math.sqrt(4000 / 500) * math.sqrt(3200 / 200))),
        ("coin", ["raw-1", "dft1d-2"], 1 / math.sqrt(math.sqrt(4000 / 500) * math.sqrt(3200 / 200))),
    ],
)
def test_regret_compares_the_chosen_with_the_baseline(against: str, chosen: list[str], expected: float) -> None:
    assert measure(*regret_suite(against, chosen)).value == pytest.approx(expected)


def test_a_rule_may_choose_otherwise_on_another_seed() -> None:
    comparison, suite = regret_suite("always_slow", ["dft1d-1", "raw-2"])
    suite.arms["raw-1"].choices["ours"]["0"] = "raw-1"
    assert measure(comparison, suite).value == pytest.approx(math.sqrt(4000 / (0.9 * 500 + 0.1 * 4000)))


def test_a_rule_without_choices_is_refused_by_file_and_field() -> None:
    comparison, suite = regret_suite("coin", ["raw-1", "raw-2"])
    suite.arms["raw-2"].choices.clear()
    with pytest.raises(UserError, match=r"arms/raw-2\.json: field choices\.ours: expected the rule's choice"):
        measure(comparison, suite)
    comparison, suite = regret_suite("coin", ["raw-1", "dft1d-1"])
    with pytest.raises(UserError, match=r"choices\.ours\.0: expected one of raw-2, dft1d-2, got 'dft1d-1'"):
        measure(comparison, suite)


def result(*comparisons: Comparison, rule: str = "all", **escapes: list) -> Decisions:
    plan = make_plan(["raw", "dft1d", "dct"], {"H1": hypothesis(*comparisons, rule=rule)})
    return decide(make_suite(plan, escapes))


def test_a_clear_gain_holds_and_the_same_arms_turned_round_fail() -> None:
    assert result(ratio("raw", "dft1d"), raw=STUCK, dft1d=times(400)).hypotheses["H1"].decision == HOLDS
    assert result(ratio("dft1d", "raw"), raw=STUCK, dft1d=times(400)).hypotheses["H1"].decision == FAILS


def test_nothing_escaped_is_no_gain_but_shows_no_equality() -> None:
    for predicted, expected in (("slow_is_slower", FAILS), ("equal", INCONCLUSIVE), ("not_slower", INCONCLUSIVE)):
        hypotheses = result(ratio("raw", "dft1d", predicted), raw=STUCK, dft1d=STUCK).hypotheses
        (part,) = hypotheses["H1"].comparisons
        assert (part.uncorrected.value, hypotheses["H1"].decision) == (expected, expected)
        assert (part.slow, part.fast) == (Count(0, 10), Count(0, 10))
        assert part.effect is not None
        assert (part.effect.value, *part.effect.interval(0.95)) == (1, 1, 1)


def test_an_arm_without_a_record_leaves_no_decision() -> None:
    hypotheses = result(ratio("raw", "dft1d"), ratio("raw", "dct"), raw=STUCK, dct=times(400)).hypotheses
    entry = hypotheses["H1"]
    assert (entry.decision, entry.num_finished, entry.num_arms) == (NOT_RUN, 2, 3)
    assert [part.uncorrected.value for part in entry.comparisons] == [NOT_RUN, HOLDS]
    assert entry.comparisons[0].effect is None


def test_alternatives_of_a_group_need_one_that_holds() -> None:
    escapes = {"raw": STUCK, "dft1d": times(400), "dct": times(300)}
    plain = [ratio("raw", "dft1d"), ratio("dft1d", "dct"), ratio("dct", "dft1d")]
    grouped = [plain[0], *(ratio(*pair, group="twin") for pair in (("raw", "dct"), ("dct", "dft1d")))]
    assert result(*plain, **escapes).hypotheses["H1"].decision != HOLDS
    assert result(*grouped, **escapes).hypotheses["H1"].decision == HOLDS


def spread_suite(num_hypotheses: int, num_clear: int) -> Decisions:
    """Hypotheses whose effect is just significant on its own, after some that are beyond doubt."""
    clear, borderline = times(400, 0.1), times(2500, 0.8, draw=9)
    arms = {"raw": times(4000, 0.1, draw=1), "dft1d": clear, "dct": borderline, "haar": times(1900, 0.2, draw=6)}
    comparisons = [ratio("raw", "dft1d")] * num_clear + [ratio("dct", "haar")] * (num_hypotheses - num_clear)
    hypotheses = {f"H{index}": hypothesis(entry) for index, entry in enumerate(comparisons)}
    claims = {
        "C1": Claim(statement="c", hypotheses=("H0", f"H{num_hypotheses - 1}")),
        "C2": Claim(statement="c", hypotheses=(f"H{num_hypotheses - 1}/dct-over-haar",)),
    }
    return decide(make_suite(make_plan(list(arms), hypotheses, claims), arms))


def test_holm_takes_away_what_many_hypotheses_make_likely_by_chance() -> None:
    alone, many = spread_suite(2, 1), spread_suite(8, 1)
    p_value = alone.hypotheses["H1"].uncorrected.p_value
    assert 0.05 / 7 < p_value < 0.05
    assert alone.hypotheses["H1"].p_holm == pytest.approx(p_value)
    assert (alone.hypotheses["H1"].decision, alone.hypotheses["H1"].was_demoted) == (HOLDS, False)
    assert many.hypotheses["H7"].p_holm == pytest.approx(min(1, 7 * p_value))
    assert (many.hypotheses["H7"].decision, many.hypotheses["H7"].was_demoted) == (INCONCLUSIVE, True)
    assert many.hypotheses["H7"].uncorrected.value == HOLDS
    assert many.hypotheses["H0"].decision == HOLDS


def test_claims_follow_from_what_holm_leaves() -> None:
    assert spread_suite(2, 1).claims["C1"].decision == HOLDS
    assert spread_suite(8, 1).claims["C1"].decision == INCONCLUSIVE
    assert spread_suite(8, 1).claims["C2"].decision == INCONCLUSIVE


def test_claims_rest_on_hypotheses_comparisons_and_their_opposites() -> None:
    arms = {"raw": STUCK, "dft1d": times(400), "dct": times(402)}
    hypotheses = {
        "H1": hypothesis(ratio("raw", "dft1d")),
        "H2": hypothesis(ratio("dct", "dft1d"), ratio("raw", "dct"), rule="any"),
        "H3": hypothesis(ratio("raw", "haar")),
    }
    claims = {
        "C1": Claim(statement="c", hypotheses=("H1", "H2")),
        "C2": Claim(statement="c", hypotheses=("H1", "not H2")),
        "C3": Claim(statement="c", hypotheses=("H1", "not H2/dct-over-dft1d")),
        "C4": Claim(statement="c", hypotheses=("not H1", "not H2/raw-over-dct"), rule="any"),
        "C5": Claim(statement="c", hypotheses=("H1", "not H3")),
    }
    result = decide(make_suite(make_plan([*arms, "haar"], hypotheses, claims), arms)).claims
    assert [result[name].decision for name in claims] == [HOLDS, FAILS, HOLDS, FAILS, NOT_RUN]
    parts = [(part.entry, part.decision, len(part.comparisons)) for part in result["C3"].parts]
    assert parts == [("H1", HOLDS, 1), ("not H2/dct-over-dft1d", HOLDS, 1)]
    assert (result["C5"].num_finished, result["C5"].num_arms) == (2, 3)


def test_margins_are_those_of_the_rule() -> None:
    assert (RATIO_MARGINS.effect, RATIO_MARGINS.band) == (1.5, (0.8, 1.25))
    assert RATIO_MARGINS.reverse_effect * RATIO_MARGINS.effect == 1
