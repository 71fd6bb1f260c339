"""Readers of a suite's plan, of its arms' records and of its withdrawn decisions."""

from __future__ import annotations

import functools
import json
import random
import tempfile
from pathlib import Path

from smidgen.runtime.files import canonical_json, write_json_atomic
from smidgen.runtime.schemas import to_json
from studies.first_round.decisions import decide
from studies.first_round.plan import Claim, Comparison, FirstRoundPlan
from studies.first_round.records import ARMS_FOLDER, PLAN_FILE, Suite, read_suite
from studies.first_round.tables import markdown
from studies.first_round.withdrawals import ARM_KINDS, PLANNED_KINDS, WITHDRAWN_FILE, Figure, Withdrawal, Withdrawals
from tests.fuzz.mutations import spoil_json_file, spoil_place
from tests.fuzz.reader import Case, Files, Reader, files_below
from tests.studies.first_round.claims_suites import (
    SEEDS,
    STUCK,
    hypothesis,
    make_plan,
    make_suite,
    ratio,
    times,
    write_suite,
)


@functools.cache
def _suite() -> Suite:
    """Every kind of comparison, on arms that all have a record."""
    arms = {"raw": STUCK, "dft1d": times(400), "dct": times(3000), "haar": times(900)}
    two = {"slow": ("raw", "dct"), "fast": ("dft1d", "haar")}
    comparisons = (
        ratio("raw", "dft1d"),
        Comparison(name="interaction", kind="interaction", **two),
        Comparison(name="fvu", kind="fvu", slow=("raw",), fast=("dft1d",)),
        Comparison(name="regret", kind="regret", rule="ours", against="coin", **two),
    )
    claim = Claim(statement="It escapes sooner.", hypotheses=("ratio", "not fvu/fvu"), rule="any")
    plan = make_plan(list(arms), {each.kind: hypothesis(each) for each in comparisons}, {"C1": claim})
    chosen = {slow: {"ours": {str(seed): fast for seed in SEEDS}} for slow, fast in zip(*two.values(), strict=True)}
    return make_suite(plan, arms, choices=chosen)


def _withdrawals(plan: FirstRoundPlan) -> Withdrawals:
    """A claim, a hypothesis and a comparison, with a figure of each kind."""
    comparisons = {f"{name}/{each.name}": each for name, found in plan.hypotheses.items() for each in found.comparisons}
    regret = next(entry for entry, comparison in comparisons.items() if comparison.kind == "regret")
    first, second, *_ = plan.arms
    lr = plan.tuning.lrs[0]
    figures = [
        Figure(what="Matched", kind=kind, slow=(first,), fast=(second,)) for kind in ("ratio", "fvu", "log_times")
    ]
    figures += [Figure(what="Planned", kind=kind, comparison=regret) for kind in PLANNED_KINDS]
    figures += [
        Figure(what="Arms", kind=kind, arms=(first, second), lr=lr if kind == "tuning" else None) for kind in ARM_KINDS
    ]
    withdrawn = (next(iter(plan.claims)), next(iter(plan.hypotheses)), next(iter(comparisons)))
    withdrawal = Withdrawal(verdicts=withdrawn, reason="Confounded.", figures=tuple(figures), lacks="a fair one")
    return Withdrawals(plan_sha256=plan.sha256, withdrawals=(withdrawal,))


@functools.cache
def _suite_files() -> Files:
    with tempfile.TemporaryDirectory() as scratch:
        write_suite(Path(scratch), _suite())
        write_json_atomic(Path(scratch, WITHDRAWN_FILE), to_json(_withdrawals(_suite().plan)))
        return files_below(Path(scratch))


def _spoil_plan(rng: random.Random, valid: Files) -> Case:
    if rng.random() < 0.05:
        return Case({PLAN_FILE: spoil_place(rng)})
    content = spoil_json_file(rng, valid[PLAN_FILE])
    if rng.random() < 0.5:
        return Case({PLAN_FILE: content})
    return Case({PLAN_FILE: content, **_signed_files(content, valid)})


def _signed_files(plan_file: bytes, valid: Files) -> dict[str, bytes]:
    """The other files under a spoiled plan's hash, if it is a plan at all."""
    try:
        digest = FirstRoundPlan.from_json(json.loads(plan_file.decode()), "plan.json").sha256
    except (ValueError, RecursionError):
        return {}
    signed = {name: json.loads(content) for name, content in valid.items() if name != PLAN_FILE}
    return {name: canonical_json({**content, "plan_sha256": digest}) for name, content in signed.items()}


def _spoil_arm(rng: random.Random, valid: Files) -> Case:
    """Spoils the record of an arm, or the list of withdrawn decisions beside them."""
    records = sorted(name for name in valid if name.startswith(ARMS_FOLDER))
    name = WITHDRAWN_FILE if rng.random() < 0.3 else rng.choice(records)
    return Case({name: spoil_place(rng) if rng.random() < 0.05 else spoil_json_file(rng, valid[name])})


def _read_suite(folder: Path, words: tuple[str, ...]) -> None:
    """Decisions and tables of a suite."""
    markdown(decide(read_suite(folder)))


CLAIM_READERS: dict[str, Reader] = {
    "claims plan": Reader(_suite_files, _spoil_plan, _read_suite),
    "arm record": Reader(_suite_files, _spoil_arm, _read_suite),
}
