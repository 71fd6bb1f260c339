"""Suites made to measure, in the format of the suite's records, so that decisions and tables need no training."""

import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from smidgen.runtime.files import write_json_atomic
from smidgen.runtime.schemas import to_json
from studies.first_round.plan import ArmPlan, Claim, Comparison, FirstRoundPlan, Hypothesis, Tuning
from studies.first_round.records import ARMS_FOLDER, PLAN_FILE, ArmRecord, SeedRecord, Suite, TuningRun

SEEDS = tuple(range(10))
MAX_STEPS = 10_000
LRS = (3e-4, 1e-3, 3e-3)


def arm_plan(transform: str = "raw", max_steps: int = MAX_STEPS, **data: Any) -> ArmPlan:
    return ArmPlan(
        data={"kind": "one_token", "grid": [3, 32, 32], **data},
        network={"transform": transform, "standardise_after": "token"},
        training={"optimiser": "adam", "betas": [0.9, 0.999], "max_steps": max_steps},
    )


def make_plan(
    arms: Sequence[str],
    hypotheses: dict[str, Hypothesis],
    claims: dict[str, Claim] | None = None,
    max_steps: dict[str, int] | None = None,
) -> FirstRoundPlan:
    steps = max_steps or {}
    return FirstRoundPlan(
        form="full",
        seeds=SEEDS,
        tuning=Tuning(seeds=(100, 101), lrs=LRS, max_steps=2000),
        max_steps=MAX_STEPS,
        arms={name: arm_plan(name.split("-")[0], steps.get(name, MAX_STEPS)) for name in arms},
        hypotheses=hypotheses,
        claims=claims or {},
    )


def hypothesis(*comparisons: Comparison, rule: str = "all") -> Hypothesis:
    return Hypothesis(
        statement="the DFT shortens the plateau", refuted_if="no gain over raw", comparisons=comparisons, rule=rule
    )


def ratio(slow: str, fast: str, predicted: str = "slow_is_slower", **changes: Any) -> Comparison:
    name = changes.pop("name", f"{slow}-over-{fast}")
    return Comparison(name=name, kind="ratio", slow=(slow,), fast=(fast,), predicted=predicted, **changes)


def seed_record(seed: int, escape: int | None, max_steps: int = MAX_STEPS, fvu: float | None = 0.1) -> SeedRecord:
    steps_run = max_steps if escape is None else min(escape + 200, max_steps)
    curve = []
    for share in range(11):
        step = steps_run * share // 10
        level = 0.0 if escape is None else 1 / (1 + math.exp(-(step - escape) / (0.05 * steps_run + 1)))
        curve.append((step, 1 - level, level))
    final = {"fvu_held_out": fvu, "separation_ratio": 0.5, "attention_entropy": 0.9, "preconditioned_sharpness": None}
    return SeedRecord(
        seed=seed, lr=LRS[1], escape_step=escape, steps_run=steps_run, curve=tuple(curve), final=final, oracle_r2=1.0
    )


def arm_record(
    plan: FirstRoundPlan,
    name: str,
    escapes: Sequence[int | None],
    fvus: Sequence[float | None] | None = None,
    choices: dict[str, dict[str, str]] | None = None,
) -> ArmRecord:
    fvus = fvus or [None if escape is None else 0.1 for escape in escapes]
    return ArmRecord(
        arm=name,
        plan_sha256=plan.sha256,
        lr=LRS[1],
        tuning=tuple(
            TuningRun(lr=lr, seed=seed, escape_step=500, final_loss=0.1) for lr in LRS for seed in plan.tuning.seeds
        ),
        seeds=tuple(
            seed_record(seed, escape, plan.arms[name].max_steps, fvu)
            for seed, escape, fvu in zip(plan.seeds, escapes, fvus, strict=True)
        ),
        choices=choices or {},
    )


def times(median: float, spread: float = 0.25, draw: int = 0, max_steps: int = MAX_STEPS) -> list[int | None]:
    """Ten log-normal escape steps in steps of ten; None beyond the last step."""
    generator = random.Random(draw)
    steps = [round(median * math.exp(spread * generator.gauss(0, 1)), -1) for _ in SEEDS]
    return [int(step) if step <= max_steps else None for step in steps]


STUCK: list[int | None] = [None] * len(SEEDS)


def make_suite(plan: FirstRoundPlan, escapes: dict[str, Sequence[int | None]], **changes: dict[str, Any]) -> Suite:
    """A suite from escape steps by arm; ``fvus`` and ``choices`` by arm as well."""
    options = {name: {key: change[name] for key, change in changes.items() if name in change} for name in escapes}
    return Suite(plan, {name: arm_record(plan, name, steps, **options[name]) for name, steps in escapes.items()})


def write_suite(folder: Path, suite: Suite) -> Path:
    write_json_atomic(folder / PLAN_FILE, suite.plan.to_json())
    for record in suite.arms.values():
        write_json_atomic(folder / ARMS_FOLDER / f"{record.arm}.json", to_json(record))
    return folder
