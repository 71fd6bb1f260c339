"""Withdrawn decisions are always shown as withdrawn, with the reason and what a matched comparison gives."""

import dataclasses
import io
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from claims_suites import LRS, SEEDS, STUCK, arm_record, hypothesis, make_plan, make_suite, ratio, times, write_suite
from rich.console import Console

from smidgen.evaluation.collapse.monitor import ADVICE
from smidgen.policies.perceiver import PerceiverConfig
from smidgen.policies.transforms import build_transform
from smidgen.runtime.errors import UserError
from smidgen.runtime.files import write_json_atomic
from smidgen.runtime.schemas import to_json
from studies.first_round.decisions import HOLDS, WITHDRAWN, decide
from studies.first_round.levers import LEVERS, levers_table
from studies.first_round.matched import figure_text, log_time_ratio
from studies.first_round.plan import Claim, Comparison
from studies.first_round.records import Suite, read_suite
from studies.first_round.survival import Effect
from studies.first_round.tables import markdown, print_terminal
from studies.first_round.withdrawals import WITHDRAWN_FILE, Figure, Withdrawal, Withdrawals
from studies.first_round.wording import effect_value

ROOT = Path(__file__).resolve().parents[3]
REASON = "Positions <b>differed</b> as well."
LACKS = "ten seeds at one rate"
MATCHED = Figure(what="Both 1-D", kind="ratio", slow=("raw-n",), fast=("dft1d",))
WITHDRAWAL = Withdrawal(verdicts=("C1", "H1", "H1/raw-over-dft1d"), reason=REASON, figures=(MATCHED,), lacks=LACKS)


def demo(*withdrawals: Withdrawal) -> Suite:
    choosing = Comparison(
        name="coin", kind="regret", slow=("raw", "raw-n"), fast=("dft1d", "dct"), rule="ours", against="coin"
    )
    hypotheses = {
        "H1": hypothesis(ratio("raw", "dft1d"), ratio("raw", "dct")),
        "H2": hypothesis(ratio("raw", "dct")),
        "H3": hypothesis(choosing),
    }
    claims = {
        "C1": Claim(statement="first", hypotheses=("H1", "H1/raw-over-dft1d")),
        "C2": Claim(statement="second", hypotheses=("H2", "not H1")),
    }
    plan = make_plan(["raw", "raw-n", "dft1d", "dct", "haar"], hypotheses, claims)
    escapes = {"raw": STUCK, "raw-n": times(500), "dft1d": times(400, draw=1), "dct": times(450, draw=2)}
    choices = {raw: {"ours": {str(seed): other for seed in SEEDS}} for raw, other in (("raw", "raw"), ("raw-n", "dct"))}
    return replace(make_suite(plan, escapes, choices=choices), withdrawals=withdrawals)


def terminal(suite: Suite) -> str:
    console = Console(width=80, record=True, file=io.StringIO())
    print_terminal(decide(suite), console)
    return " ".join(console.export_text().split())


def test_a_withdrawn_decision_is_shown_as_withdrawn_everywhere() -> None:
    plain, result = decide(demo()), decide(demo(WITHDRAWAL))
    assert plain.hypotheses["H1"].decision == HOLDS
    for entry in (result.hypotheses["H1"], result.claims["C1"], *result.claims["C1"].parts):
        assert (entry.decision, entry.was) == (WITHDRAWN, HOLDS)
    first, second = result.hypotheses["H1"].comparisons
    assert (first.decision, first.was, second.decision, second.was) == (WITHDRAWN, HOLDS, HOLDS, "")
    assert [part.decision for part in result.claims["C2"].parts] == [HOLDS, WITHDRAWN]
    assert result.claims["C2"].decision == plain.claims["C2"].decision
    assert not result.hypotheses["H1"].was_demoted


def test_reason_matched_figure_and_gap_stand_beside_every_withdrawn_decision() -> None:
    suite = demo(WITHDRAWAL)
    figure = figure_text(MATCHED, suite)
    assert figure.startswith("Both 1-D: raw-n over dft1d 1.")
    rows = [line for line in markdown(decide(suite)).splitlines() if line.startswith(("| C1 ", "| H1 "))]
    assert len(rows) == 2
    for text in (*rows, terminal(suite)):
        assert "withdrawn" in text
        assert "was: holds" in text
        assert figure in text.replace("\\", "")
        assert f"No record holds {LACKS}." in text
    assert all("<b>" not in row for row in rows)


def test_nothing_is_withdrawn_without_a_file(tmp_path: Path) -> None:
    suite = demo()
    folder = write_suite(tmp_path, suite)
    assert read_suite(folder).withdrawals == ()
    assert "withdrawn" not in markdown(decide(suite)) + terminal(suite).lower()
    content = Withdrawals(plan_sha256=suite.plan.sha256, withdrawals=(WITHDRAWAL,))
    write_json_atomic(folder / WITHDRAWN_FILE, to_json(content))
    assert read_suite(folder).withdrawals == (WITHDRAWAL,)


def test_each_kind_of_figure() -> None:
    suite = demo()
    tuned = arm_record(suite.plan, "dct", STUCK)
    stuck = [replace(run, escape_step=None if run.seed == 101 else 100) for run in tuned.tuning]
    suite.arms["dct"] = replace(tuned, tuning=tuple(stuck))
    texts = {
        Figure(what="a", kind="escapes", arms=("raw", "dct")): "raw 0 of 10 (tuning runs 6 of 6) and dct 0 of 10 "
        "(tuning runs 3 of 6)",
        Figure(
            what="a", kind="tuning", lr=LRS[0], arms=("raw", "dct")
        ): "raw 500 and dct at least 1,050 (1 of 2 stuck)",
        Figure(what="a", kind="rates", arms=("raw",)): "raw 0.001",
        Figure(what="a", kind="choices", comparison="H3/coin"): "ours on 10 of 20 runs",
        Figure(
            what="a", kind="log_times", slow=("raw",), fast=("dct",)
        ): "raw over dct not measured, a run never escaped",
        Figure(
            what="a", kind="fvu", slow=("raw-n",), fast=("dft1d",)
        ): "held-out FVU of raw-n less that of dft1d +0.00 [0.00 to 0.00]",
    }
    for figure, text in texts.items():
        assert figure_text(figure, suite) == f"a: {text}"
    assert figure_text(Figure(what="a", kind="rates", arms=("haar",)), suite) == ""


def test_one_late_run_moves_the_geometric_mean_less() -> None:
    suite = demo()
    suite.arms["raw"] = arm_record(suite.plan, "raw", [1000] * 10)
    suite.arms["dct"] = arm_record(suite.plan, "dct", [100] * 9 + [10_000])
    effect = log_time_ratio("raw", "dct", suite)
    assert effect is not None
    assert effect.value == pytest.approx(math.exp((9 * math.log(10) + math.log(0.1)) / 10))


def test_a_ratio_is_not_rounded_on_to_a_margin_that_it_misses() -> None:
    shown = {
        ratio: effect_value(Effect(math.log(ratio), 0.1, 10, is_log=True)) for ratio in (1.4988, 1.5, 1.49, 0.6665)
    }
    assert list(shown.values()) == ["1.499\u00d7", "1.50\u00d7", "1.49\u00d7", "0.666\u00d7"]


def change(*path: str | int, to: Any) -> Callable[[dict[str, Any]], None]:
    def apply(value: dict[str, Any]) -> None:
        node: Any = value
        for key in path[:-1]:
            node = node[key]
        node[path[-1]] = to

    return apply


FIGURE = ("withdrawals", 0, "figures", 0)


@pytest.mark.parametrize(
    ("field", "alter"),
    [
        ("schema_version", change("schema_version", to=2)),
        ("plan_sha256", change("plan_sha256", to="0" * 64)),
        ("withdrawals[0].verdicts", change("withdrawals", 0, "verdicts", to=[])),
        ("withdrawals[0].verdicts", change("withdrawals", 0, "verdicts", to=["H1", "H1"])),
        ("withdrawals[0].verdicts", change("withdrawals", 0, "verdicts", to=["H1/none"])),
        ("withdrawals[0].figures[0].kind", change(*FIGURE, "kind", to="guess")),
        ("withdrawals[0].figures[0].slow", change(*FIGURE, "slow", to=["none"])),
        ("withdrawals[0].figures[0].fast", change(*FIGURE, "fast", to=[])),
        ("withdrawals[0].figures[0].lr", change(*FIGURE, "lr", to=0.001)),
        ("withdrawals[0].figures[0].arms", change(*FIGURE, to={"what": "a", "kind": "rates", "arms": ["none"]})),
        (
            "withdrawals[0].figures[0].lr",
            change(*FIGURE, to={"what": "a", "kind": "tuning", "arms": ["raw"], "lr": 7.0}),
        ),
        ("withdrawals[0].figures[0].comparison", change(*FIGURE, to={"what": "a", "kind": "planned"})),
        (
            "withdrawals[0].figures[0].comparison",
            change(*FIGURE, to={"what": "a", "kind": "choices", "comparison": "H2/raw-over-dct"}),
        ),
    ],
)
def test_what_the_plan_does_not_have_is_refused(
    field: str, alter: Callable[[dict[str, Any]], None], tmp_path: Path
) -> None:
    suite = demo()
    folder = write_suite(tmp_path, suite)
    value = to_json(Withdrawals(plan_sha256=suite.plan.sha256, withdrawals=(WITHDRAWAL,)))
    alter(value)
    write_json_atomic(folder / WITHDRAWN_FILE, value)
    with pytest.raises(UserError, match=r"withdrawn\.json: field ") as error:
        read_suite(folder)
    assert f"field {field}:" in str(error.value)


@pytest.fixture(scope="module")
def committed() -> Suite:
    return read_suite(ROOT / "results" / "claims")


def num_position_axes(suite: Suite, arm: str) -> int | str:
    """Over how many axes an arm's positions are encoded, or the name of an encoding that is neither."""
    plan = suite.plan.arms[arm]
    known = {each.name for each in dataclasses.fields(PerceiverConfig)}
    network = PerceiverConfig(**{"num_bands": None, **{key: plan.network[key] for key in known & {*plan.network}}})
    if network.position_encoding not in ("per_axis", "one_d"):
        return network.position_encoding
    options = {"full": network.full_spectrum, "drop_dc": network.drop_dc} if network.transform == "dft1d" else {}
    grid = build_transform(network.transform, tuple(plan.data["grid"]), 1, **options).grid
    return 1 if network.position_encoding == "one_d" else sum(length > 1 for length in grid)


def test_every_comparison_that_changes_positions_unasked_is_withdrawn(committed: Suite) -> None:
    result = decide(committed)
    about_positions = {"H10"}
    confounded = {
        f"{name}/{part.comparison.name}": part.decision
        for name, found in result.hypotheses.items()
        if name not in about_positions
        for part in found.comparisons
        for pair in zip(part.comparison.slow, part.comparison.fast, strict=True)
        if len({num_position_axes(committed, arm) for arm in pair}) > 1
    }
    assert len(confounded) > 20
    assert set(confounded.values()) == {WITHDRAWN}
    withdrawn = {entry.partition("/")[0] for entry in confounded}
    assert {result.hypotheses[name].decision for name in withdrawn} == {WITHDRAWN}


def test_every_comparison_of_other_data_or_size_at_another_rate_is_withdrawn(committed: Suite) -> None:
    def setting(arm: str) -> tuple[Any, ...]:
        plan = committed.plan.arms[arm]
        return plan.data, *(plan.network[name] for name in ("num_latents", "latent_dim", "num_layers"))

    result = decide(committed)
    parts = [part for found in result.hypotheses.values() for part in found.comparisons]
    checked = 0
    for part in parts:
        (slow, *_), (fast, *_) = part.comparison.slow, part.comparison.fast
        if part.comparison.kind == "ratio" and setting(slow) != setting(fast):
            is_same_rate = committed.arms[slow].lr == committed.arms[fast].lr
            # Scaled tokens are tuned to their scale: the rate is part of the treatment.
            is_scaled = committed.plan.arms[slow].data["scale"] != committed.plan.arms[fast].data["scale"]
            assert is_same_rate or is_scaled or part.decision == WITHDRAWN, part.comparison.name
            checked += 1
    assert checked > 5


def test_matched_figures_are_matched(committed: Suite) -> None:
    figures = [figure for withdrawal in committed.withdrawals for figure in withdrawal.figures]
    compared = [figure for figure in figures if figure.kind in ("ratio", "interaction", "fvu")]
    assert len(compared) > 10
    for figure in compared:
        for slow, fast in zip(figure.slow, figure.fast, strict=True):
            first, second = committed.plan.arms[slow], committed.plan.arms[fast]
            assert num_position_axes(committed, slow) == num_position_axes(committed, fast), figure.what
            assert (first.data, first.training) == (second.data, second.training), figure.what
            differing = {name for name in first.network if first.network[name] != second.network[name]}
            # A 1-D transform has one axis however positions are named.
            differing -= {"position_encoding"}
            intended = {"standardise_after"} if "centring" in figure.what else {"transform", "transform_scale"}
            assert differing <= intended, figure.what


def test_every_claim_of_the_first_round_is_withdrawn_with_what_the_records_give(committed: Suite) -> None:
    result = decide(committed)
    assert {name for name, entry in result.claims.items() if entry.decision == WITHDRAWN} == set(result.claims)
    assert {name for name, entry in result.hypotheses.items() if entry.decision != WITHDRAWN} == {"H6", "H10"}
    for withdrawal in committed.withdrawals:
        assert all(figure_text(figure, committed) for figure in withdrawal.figures)


def test_reasons_hold_no_figure_that_was_measured(committed: Suite) -> None:
    texts = [text for entry in committed.withdrawals for text in (entry.reason, entry.lacks)]
    assert all("\u00d7" not in text and "%" not in text and "[" not in text for text in texts)


def test_the_readme_says_so_too() -> None:
    readme = " ".join((ROOT / "README.md").read_text().split())
    sentence = next(part for part in readme.split(". ") if "Seven claims" in part)
    assert "withdrawn" in sentence


def test_the_table_of_levers_is_what_the_records_give(committed: Suite) -> None:
    document = (ROOT / "docs" / "my-policy-is-blind.md").read_text()
    between = document.partition("<!-- levers:begin -->\n")[2].partition("\n<!-- levers:end -->")[0]
    assert between == levers_table(committed), "run: python -m studies.first_round levers=docs/my-policy-is-blind.md"
    assert document.count("\n") < 70


def test_a_lever_changes_one_thing_and_rests_on_no_withdrawn_comparison(committed: Suite) -> None:
    parts = [part for found in decide(committed).hypotheses.values() for part in found.comparisons]
    withdrawn = {(part.comparison.slow, part.comparison.fast) for part in parts if part.decision == WITHDRAWN}
    for what, old, new in LEVERS:
        before, after = committed.plan.arms[old], committed.plan.arms[new]
        changed = [f"network.{name}" for name in before.network if before.network[name] != after.network[name]]
        changed += [f"training.{name}" for name in before.training if before.training[name] != after.training[name]]
        assert len(changed) == 1, (what, changed)
        assert before.data == after.data
        assert ((old,), (new,)) not in withdrawn


def test_the_page_for_blind_policies_runs_as_written_and_is_linked() -> None:
    document = (ROOT / "docs" / "my-policy-is-blind.md").read_text()
    code = document.partition("```python\n")[2].partition("```")[0]
    values: dict[str, Any] = {"step": 0, "prediction": [0.0, 0.0, 0.0], "target": [1.0, 2.0, 3.0]}
    exec(code, values)
    assert "; blind since step 0" in values["monitor"].status
    readme = (ROOT / "README.md").read_text()
    assert "docs/my-policy-is-blind.md" in readme.partition("## Leaderboard")[0]
    assert ADVICE.startswith("docs/my-policy-is-blind.md ")
