"""``plan.json``: written before the first run, and from then on what counts."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from smidgen.policies.perceiver import PerceiverConfig
from smidgen.runtime.errors import UserError
from smidgen.runtime.files import read_json, write_json_atomic
from smidgen.runtime.schemas import to_json
from studies.first_round.plan import ArmPlan, Plan
from studies.first_round.records import ARMS_FOLDER, PLAN_FILE
from studies.ladder.side_by_side import LadderTraining
from studies.synthetic.config import LadderConfig

_CONFIGS: dict[str, type[Any]] = {"data": LadderConfig, "network": PerceiverConfig, "training": LadderTraining}


def settle_plan(plan: Plan, folder: Path) -> Plan:
    """Writes the plan, unless there is one that arms were run under already; gives the one that counts.

    Args:
        plan: This version's plan.
        folder: Of the plan and the records.

    Raises:
        UserError: If there are records of another plan.
    """
    path = folder / PLAN_FILE
    has_records = any((folder / ARMS_FOLDER).glob("*.json"))
    if has_records:
        settled = Plan.from_json(read_json(path), str(path))
        difference = first_difference(settled, plan)
        if difference:
            raise UserError(
                f"arms were run under {path}, and this version's plan differs from it in {difference}: check out the "
                f"version that wrote it, or move {folder} away (or choose another out=) to start afresh"
            )
        return settled
    if not path.exists() or read_json(path) != plan.to_json():
        write_json_atomic(path, plan.to_json())
    return plan


def first_difference(settled: Plan, plan: Plan) -> str:
    """Where a plan departs from one that was settled earlier; empty where nowhere.

    A field that a configuration class has gained since is no departure where every arm leaves it at its default.
    """
    old, new = (dataclasses.replace(each, arms={}, hypotheses={}, claims={}).to_json() for each in (settled, plan))
    for name in old:
        if old[name] != new[name]:
            return name
    for part in ("arms", "hypotheses", "claims"):
        old_part, new_part = getattr(settled, part), getattr(plan, part)
        for name in [*old_part, *new_part]:
            if name not in old_part or name not in new_part or not _agree(old_part[name], new_part[name]):
                return f"{part}.{name}"
    return ""


def _agree(settled: Any, planned: Any) -> bool:
    if not isinstance(settled, ArmPlan):
        return bool(settled == planned)
    for part, config in _CONFIGS.items():
        fields = [each for each in dataclasses.fields(config) if each.default is not dataclasses.MISSING]
        defaults = {each.name: to_json(each.default) for each in fields}
        old, new = getattr(settled, part), getattr(planned, part)
        if any(new.get(name) != value for name, value in old.items()):
            return False
        if any(name not in defaults or new[name] != defaults[name] for name in set(new) - set(old)):
            return False
    return settled.title == planned.title
