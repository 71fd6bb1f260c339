"""The plan of the search, ``plan.json``, committed before its runs: the arms in their order, and what each may cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from smidgen.experiments.stages import Size
from smidgen.runtime.errors import UserError
from smidgen.runtime.files import read_json, write_json_atomic
from smidgen.runtime.schemas import to_json
from studies.recipe.arms import Arm
from studies.recipe.jobs import SPLIT
from studies.recipe.records import read_records

PLAN_FILE = "plan.json"
SCHEMA_VERSION = 1
NOTES = (
    "One seed an arm: the screen finds what to repeat, on three seeds, and decides nothing by itself. With 50 episodes "
    "an interval of success is up to 27 points wide.",
    f"Episodes start at offset 0 of the {SPLIT} seeds; the bars are measured from offset 500 on, the leaderboard on "
    "test seeds.",
    "Always the final checkpoint. Sight is reported beside success: an arm that is felt must not stand in for a cue "
    "that is seen.",
    "Levers are compared with their baseline at four executed steps of each chunk. Arms that differ only in how they "
    "act share one training.",
    "Speck of 4 pixels is judged by sight: its dot is what a blind policy misses.",
    "Arms named dropout, one_frame and again ask whether the motion in a stack of frames hides the cue: on Speck of 4 "
    "pixels, three seeds each, by the final cue slope and by success, beside three frames with the same seeds. A "
    "prototype on one seed came before them.",
    "Arms named gain8 and gain64 ask whether position features drown what tokens show: on Speck of 4 pixels, three "
    "seeds each, by the final cue slope and by success, beside the same arms without the gain. Half of a training on "
    "one seed came before them, and was not evaluated.",
    "Every arm is measured on held-out demonstrations without noise or variation, with its own cameras.",
)


def plan_json(
    arms: Mapping[str, Arm], size: Size, hours: Mapping[str, float], notes: Sequence[str] = NOTES
) -> dict[str, Any]:
    """The plan as JSON.

    Args:
        arms: By name, in their order.
        size: Numbers of demonstrations, steps and episodes.
        hours: What each arm may cost at most, in core-hours; empty where steps were not measured.
        notes: What was settled beforehand.
    """
    described = {
        name: {"reason": arm.reason, **arm.content(), "sha256": arm.sha256, "at_most_core_hours": hours.get(name)}
        for name, arm in arms.items()
    }
    return {
        "schema_version": SCHEMA_VERSION,
        "size": to_json(size),
        "arms": described,
        "order": list(arms),
        "at_most_core_hours": round(sum(hours.values()), 1),
        "notes": list(notes),
    }


def settle_plan(
    arms: Mapping[str, Arm], size: Size, hours: Mapping[str, float], folder: Path, notes: Sequence[str] = NOTES
) -> None:
    """Writes the plan, unless it is there; arms may be added, and those with records may not change.

    Raises:
        UserError: If a record was run under another content than its arm has now, or under another size.
    """
    for name, record in read_records(folder, arms).items():
        if record.size != to_json(size):
            raise UserError(f"{folder}: {name} was run with {record.size}, not {to_json(size)}; choose another out=")
    path, new = folder / PLAN_FILE, plan_json(arms, size, hours, notes)
    if not path.exists() or read_json(path) != new:
        write_json_atomic(path, new)
