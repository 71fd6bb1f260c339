"""Records of the arms, ``plan.json`` and ``arms/<arm>.json`` of one folder, checked against each other.

A file that departs from the schema, or a record that contradicts the plan, is refused with its name and the field.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from smidgen.runtime.errors import UserError
from smidgen.runtime.files import read_json
from smidgen.runtime.schemas import from_json, refuse, require_version
from studies.first_round.plan import ArmPlan, FirstRoundPlan
from studies.first_round.survival import EscapeTimes
from studies.first_round.withdrawals import Withdrawal, read_withdrawals

SCHEMA_VERSION = 1
PLAN_FILE = "plan.json"
ARMS_FOLDER = "arms"


@dataclass(frozen=True, kw_only=True)
class TuningRun:
    """One run that helped to choose the learning rate."""

    lr: float
    seed: int
    escape_step: int | None
    final_loss: float | None


@dataclass(frozen=True, kw_only=True)
class SeedRecord:
    """One run.

    Attributes:
        seed: Of the plan's seeds.
        lr: Learning rate, one of the plan's.
        escape_step: T0.5, at most the arm's ``max_steps``; None where the run did not escape until then.
        steps_run: Steps that were run; at least ``max_steps`` where the run neither escaped nor diverged (it may go on
            for a while to see whether an escape lasts).
        curve: Step, loss and R^2 along the run; null where a value was not finite.
        final: Measures at the end by name (``fvu_held_out``, ``separation_ratio``, ...); null where not finite or not
            measured.
        initial: The same before the first step, where measured.
        oracle_r2: Held-out R^2 of the solvability oracle on this seed's data.
        diverged: Whether loss or parameters stopped being finite; the run counts as one that never escapes.
    """

    seed: int
    lr: float
    escape_step: int | None
    steps_run: int
    curve: tuple[tuple[int, float | None, float | None], ...]
    final: dict[str, float | None]
    initial: dict[str, float | None] = field(default_factory=dict)
    oracle_r2: float | None = None
    diverged: bool = False


@dataclass(frozen=True, kw_only=True)
class ArmRecord:
    """Everything that was measured on one arm.

    Attributes:
        arm: Its name in the plan.
        plan_sha256: `FirstRoundPlan.sha256` of the plan that it was run under.
        lr: The learning rate that tuning chose.
        tuning: Every run of the tuning.
        seeds: Every run that counts, one per seed of the plan.
        choices: For comparisons of kind ``regret``: the rule's name, then the seed (as a string), then the name of the
            arm that the rule chooses on this seed's data.
        schema_version: Of this format.
    """

    arm: str
    plan_sha256: str
    lr: float
    tuning: tuple[TuningRun, ...]
    seeds: tuple[SeedRecord, ...]
    choices: dict[str, dict[str, str]] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION

    @classmethod
    def from_json(cls, value: Any, source: str) -> ArmRecord:
        """Reads a parsed record.

        Raises:
            UserError: If it departs from the schema; the message names source and field.
        """
        require_version(value, (SCHEMA_VERSION,), source)
        return from_json(cls, value, source)


@dataclass(frozen=True)
class Suite:
    """A plan, the records of the arms that have finished, and the decisions that were withdrawn since."""

    plan: FirstRoundPlan
    arms: dict[str, ArmRecord]
    withdrawals: tuple[Withdrawal, ...] = ()

    def finished(self, names: Iterable[str]) -> list[str]:
        """Those of some arms that have a record."""
        return [name for name in names if name in self.arms]

    def escape_times(self, name: str) -> EscapeTimes:
        """Escape times of an arm's runs; one that diverged never escapes, so it is censored at the arm's last step."""
        runs, last = self.arms[name].seeds, self.plan.arms[name].max_steps
        return EscapeTimes(
            seeds=tuple(run.seed for run in runs),
            times=tuple(float(last if run.escape_step is None else run.escape_step) for run in runs),
            escaped=tuple(run.escape_step is not None for run in runs),
        )


def read_suite(folder: Path | str) -> Suite:
    """Reads a suite's plan, its records and, where there is one, its list of withdrawn decisions.

    Raises:
        UserError: If the folder or the plan is missing, or a file is not valid; the message names file and field.
    """
    folder = Path(folder)
    if not (folder / PLAN_FILE).is_file():
        raise UserError(f"no {PLAN_FILE} in {folder}; pass results=DIR, the folder of the first round's records")
    plan = FirstRoundPlan.from_json(read_json(folder / PLAN_FILE), str(folder / PLAN_FILE))
    arms = {}
    for path in sorted((folder / ARMS_FOLDER).glob("*.json")):
        record = ArmRecord.from_json(read_json(path), str(path))
        _check_arm_record(record, plan, str(path))
        if path.stem != record.arm:
            refuse(str(path), "arm", f"{path.stem} (the file's name)", record.arm)
        arms[record.arm] = record
    return Suite(plan, arms, read_withdrawals(folder, plan))


def _check_arm_record(record: ArmRecord, plan: FirstRoundPlan, source: str) -> None:
    """Checks that a record agrees with the plan and with itself.

    Raises:
        UserError: Naming source and field.
    """
    arm = plan.arms.get(record.arm)
    if arm is None:
        refuse(source, "arm", "an arm of the plan", record.arm)
    if record.plan_sha256 != plan.sha256:
        refuse(source, "plan_sha256", f"{plan.sha256} (the plan beside it)", record.plan_sha256)
    _check_tuning(record, plan, source)
    seeds = [run.seed for run in record.seeds]
    if sorted(seeds) != sorted(plan.seeds):
        refuse(source, "seeds", f"each seed of the plan once, {list(plan.seeds)}", seeds)
    for index, run in enumerate(record.seeds):
        _check_run(run, record, arm, source, f"seeds[{index}]")
    for rule, chosen in record.choices.items():
        if set(chosen) != {str(seed) for seed in plan.seeds}:
            refuse(source, f"choices.{rule}", "a choice for each seed of the plan", sorted(chosen))
        for seed, name in chosen.items():
            if name not in plan.arms:
                refuse(source, f"choices.{rule}.{seed}", "an arm of the plan", name)


def _check_tuning(record: ArmRecord, plan: FirstRoundPlan, source: str) -> None:
    planned = sorted((lr, seed) for lr in plan.tuning.lrs for seed in plan.tuning.seeds)
    if sorted((run.lr, run.seed) for run in record.tuning) != planned:
        refuse(source, "tuning", "every learning rate of the plan on every tuning seed, once", len(record.tuning))
    if record.lr not in plan.tuning.lrs:
        refuse(source, "lr", f"one of {list(plan.tuning.lrs)}", record.lr)
    for index, run in enumerate(record.tuning):
        if run.escape_step is not None and not 0 <= run.escape_step <= plan.tuning.max_steps:
            refuse(source, f"tuning[{index}].escape_step", f"0..{plan.tuning.max_steps} or null", run.escape_step)


def _check_run(run: SeedRecord, record: ArmRecord, arm: ArmPlan, source: str, path: str) -> None:
    if run.lr != record.lr:
        refuse(source, f"{path}.lr", f"{record.lr} (lr of the arm)", run.lr)
    latest = min(run.steps_run, arm.max_steps)
    if run.escape_step is not None and (run.diverged or not 0 <= run.escape_step <= latest):
        refuse(source, f"{path}.escape_step", f"0..{latest}, or null if diverged", run.escape_step)
    if run.escape_step is None and not run.diverged and run.steps_run < arm.max_steps:
        least = f"{arm.max_steps} or more: the run neither escaped nor diverged"
        refuse(source, f"{path}.steps_run", least, run.steps_run)
    steps = [step for step, _, _ in run.curve]
    if steps != sorted(set(steps)) or (steps and not 0 <= steps[0] <= steps[-1] <= run.steps_run):
        refuse(source, f"{path}.curve", f"rising steps within 0..{run.steps_run}", steps)
