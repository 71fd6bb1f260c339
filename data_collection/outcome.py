"""The outcome of an attempt at a task, made by an expert for a data set or by a policy under evaluation."""

from __future__ import annotations

from typing import Annotated

from typing_extensions import TypedDict

from smidgen.runtime.schemas import refuse, within

MAX_SEED = 999_999_999


class Outcome(TypedDict):
    """The fields shared by the rows of data sets and of records."""

    seed: Annotated[int, within(0, MAX_SEED)]  # of the reset; task and seed identify the episode
    success: bool  # success held for as long as the task requires: the headline figure
    success_once: bool
    success_at_reset: bool
    first_success_step: int | None  # control steps taken before the first success; 0: at reset
    num_steps: int


OUTCOME_FIELDS = tuple(Outcome.__annotations__)


def make_outcome(seed: int, success: bool, first_success_step: int | None, num_steps: int) -> Outcome:
    """An outcome, with what follows from the step of the first success."""
    return {
        "seed": seed,
        "success": success,
        "success_once": first_success_step is not None,
        "success_at_reset": first_success_step == 0,
        "first_success_step": first_success_step,
        "num_steps": num_steps,
    }


def check_outcome(row: Outcome, max_steps: int, source: str, prefix: str) -> None:
    """Checks that an outcome is consistent.

    Args:
        row: The outcome, with types already checked.
        max_steps: The most steps an attempt may have.
        source: The file's name, for the message.
        prefix: Prefix of its fields, if they are nested in the file.

    Raises:
        UserError: Naming source and field.
    """
    first = row["first_success_step"]
    if row["success"] and not row["success_once"]:
        refuse(source, f"{prefix}success_once", "true if success is true", False)
    if not 0 <= row["num_steps"] <= max_steps:
        refuse(source, f"{prefix}num_steps", f"0..{max_steps}", row["num_steps"])
    if (first is not None) != row["success_once"]:
        refuse(source, f"{prefix}first_success_step", "a step if and only if success_once is true", first)
    if first is not None and not 0 <= first <= row["num_steps"]:
        refuse(source, f"{prefix}first_success_step", f"0..{row['num_steps']} (num_steps)", first)
    if row["success_at_reset"] != (first == 0):
        refuse(source, f"{prefix}success_at_reset", "true if first_success_step is 0", row["success_at_reset"])
