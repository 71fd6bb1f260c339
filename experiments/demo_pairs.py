"""The pairs of Perceivers that the demo may train, and what it says of them at the end."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from smidgen.evaluation.records import Record, read_record, record_path
from smidgen.experiments.boards import RECIPES
from smidgen.leaderboard.cells import verdict_phrase
from smidgen.runtime.errors import unknown_name

# The two of a pair differ only in what is compared, and take the same number of steps. By the demo's name: the board's.
PAIRS: dict[str, dict[str, str]] = {
    "recommended": {"posted": "posted", "recommended": "recommended"},
    "transforms": {"raw": "raw-centred", "dft3d": "dft3d-centred"},
}
SUCCESS_IS_NOT_SIGHT = (
    "Why success is not sight: the cube starts within a few centimetres of the table's middle, so that a gripper that "
    "always goes to the middle often closes around it. The verdict asks instead whether the output follows the cube: "
    "the slope is 1 for a policy whose target moves as far as the cube does, and 0 for one that ignores it."
)


def runs_of(pair: str) -> dict[str, tuple[str, ...]]:
    """Settings of a pair's two trainings, by name.

    Raises:
        UserError: If there is no such pair.
    """
    if pair not in PAIRS:
        raise unknown_name("pair", pair, PAIRS)
    return {
        name: tuple(f"{key}={value}" for key, value in RECIPES[recipe].items()) for name, recipe in PAIRS[pair].items()
    }


def closing_words(results: Path, task: str, runs: Iterable[str]) -> str:
    """The table's conclusion in three sentences, computed from its records.

    Args:
        results: Directory of the records.
        task: Their task.
        runs: Names of the two Perceivers.
    """
    records = {name: read_record(record_path(results, task, f"perceiver-{name}")) for name in runs}
    rates = " and ".join(f"{name} succeeds in {_share(record)}" for name, record in records.items())
    verdicts = " and ".join(f"{name} {verdict_phrase(record['collapse'])}" for name, record in records.items())
    blind = read_record(record_path(results, task, "time_mean"))
    return (
        f"Of the two Perceivers, {rates} episodes. By the deciding slope, {verdicts}. Success alone does not show "
        f"that: time_mean plays back the demonstrations' average without looking, and succeeds in {_share(blind)}."
    )


def _share(record: Record) -> str:
    return f"{record['success']['k']} of {record['success']['n']}"
