"""Readers of a suite's plan, of its arms' records and of its withdrawn verdicts."""

from __future__ import annotations

import functools
import json
import random
import tempfile
from pathlib import Path

from smidgen.runtime.files import canonical_json, write_json_atomic
from studies.first_round.__main__ import ClaimsConfig, build_outputs
from studies.first_round.forms import build_form
from studies.first_round.plan import Plan
from studies.first_round.plan_file import settle_plan
from studies.first_round.records import (
    ARMS_FOLDER,
    PLAN_FILE,
    ArmRecord,
    SeedRecord,
    TuningRun,
    read_suite,
    write_arm_record,
)
from studies.first_round.verdicts import judge
from studies.first_round.withdrawals import (
    ARM_KINDS,
    PLANNED_KINDS,
    WITHDRAWN_FILE,
    Figure,
    Withdrawal,
    Withdrawals,
)
from tests.fuzz.mutations import spoil_json_file, spoil_place
from tests.fuzz.reader import Case, Files, Reader, files_below


def _seed_record(plan: Plan, name: str, seed: int) -> SeedRecord:
    steps = plan.arms[name].max_steps
    return SeedRecord(
        seed=seed,
        lr=plan.tuning.lrs[0],
        escape_step=5 + seed,
        steps_run=steps,
        curve=((0, 1.0, 0.0), (5, 0.5, None), (steps, 0.1, 0.9)),
        final={"fvu_held_out": 0.1, "separation_ratio": 0.5, "attention_entropy": None},
        oracle_r2=1.0,
    )


def _arm_record(plan: Plan, name: str) -> ArmRecord:
    comparisons = [each for hypothesis in plan.hypotheses.values() for each in hypothesis.comparisons]
    rivals = {each.rule: each.fast[each.slow.index(name)] for each in comparisons if each.rule and name in each.slow}
    return ArmRecord(
        arm=name,
        plan_sha256=plan.sha256,
        lr=plan.tuning.lrs[0],
        tuning=tuple(
            TuningRun(lr=lr, seed=seed, escape_step=3, final_loss=0.1)
            for lr in plan.tuning.lrs
            for seed in plan.tuning.seeds
        ),
        seeds=tuple(_seed_record(plan, name, seed) for seed in plan.seeds),
        choices={rule: {str(seed): rival for seed in plan.seeds} for rule, rival in rivals.items()},
    )


def _withdrawals(plan: Plan) -> Withdrawals:
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
    verdicts = (next(iter(plan.claims)), next(iter(plan.hypotheses)), next(iter(comparisons)))
    withdrawal = Withdrawal(verdicts=verdicts, reason="Confounded.", figures=tuple(figures), lacks="a fair one")
    return Withdrawals(plan_sha256=plan.sha256, withdrawals=(withdrawal,))


@functools.cache
def _suite_files() -> Files:
    plan = build_form("smoke").plan
    with tempfile.TemporaryDirectory() as scratch:
        write_json_atomic(Path(scratch, PLAN_FILE), plan.to_json())
        for name in plan.arms:
            write_arm_record(Path(scratch), _arm_record(plan, name), plan)
        write_json_atomic(Path(scratch, WITHDRAWN_FILE), _withdrawals(plan).to_json())
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
        digest = Plan.from_json(json.loads(plan_file.decode()), "plan.json").sha256
    except (ValueError, RecursionError):
        return {}
    signed = {name: json.loads(content) for name, content in valid.items() if name != PLAN_FILE}
    return {name: canonical_json({**content, "plan_sha256": digest}) for name, content in signed.items()}


def _spoil_arm(rng: random.Random, valid: Files) -> Case:
    """Spoils the record of an arm, or the list of withdrawn verdicts beside them."""
    records = sorted(name for name in valid if name.startswith(ARMS_FOLDER))
    name = WITHDRAWN_FILE if rng.random() < 0.3 else rng.choice(records)
    return Case({name: spoil_place(rng) if rng.random() < 0.05 else spoil_json_file(rng, valid[name])})


def _read_suite(folder: Path, words: tuple[str, ...]) -> None:
    """Verdicts, tables and page of a suite."""
    config = ClaimsConfig(results=str(folder))
    build_outputs(config, judge(read_suite(folder)))


def _read_plan(folder: Path, words: tuple[str, ...]) -> None:
    """The plan as a suite that goes on reads it, then everything that is computed from it."""
    settle_plan(build_form("smoke").plan, folder)
    _read_suite(folder, words)


CLAIM_READERS: dict[str, Reader] = {
    "claims plan": Reader(_suite_files, _spoil_plan, _read_plan),
    "arm record": Reader(_suite_files, _spoil_arm, _read_suite),
}
