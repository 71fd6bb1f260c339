"""Compares a record with its repetition: verdict, method and reason.

On the same kind of machine, episodes are compared bit for bit, otherwise by their success rates."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from smidgen.evaluation.fixed_part import PACKAGES
from smidgen.evaluation.provenance import Link
from smidgen.evaluation.record_schema import EpisodeRow, Record
from smidgen.evaluation.records import host_path, read_host
from smidgen.evaluation.repetition import Repetition, in_words
from smidgen.evaluation.statistics import exact_mcnemar
from smidgen.evaluation.verification_mark import (
    BITWISE,
    DIFFERS,
    NONE,
    NOT_REPRODUCIBLE,
    STATISTICAL,
    VERIFIED,
    episode_difference,
)
from smidgen.runtime.differences import differences

# On another machine the last bits may differ and change an occasional outcome: only a shift of the rate counts.
SIGNIFICANCE_ELSEWHERE = 0.01
# With fewer, even a completely invented record would not differ at that level often enough.
MIN_EPISODES_ELSEWHERE = 30
_HOST_KEYS = ("cpu", "gl_backend", "renderer", "omp_num_threads")


def present_versions() -> dict[str, str]:
    """Versions of Python and of the packages that affect an episode, as in records."""
    return {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}


def compare(record: Record, record_path: Path, repetition: Repetition, broken: Link | None) -> dict[str, Any]:
    """Verdict, method and reason."""
    found: dict[str, Any] = {"num_equal": 0, "first_difference": None, "p_value": None, "comparison": NONE}
    if broken is not None:
        return {**found, "verdict": DIFFERS, "reason": broken.detail, "first_difference": broken.difference}
    if repetition.reason:
        return {**found, "verdict": NOT_REPRODUCIBLE, "reason": repetition.reason}
    recorded = {row["seed"]: row for row in record["episodes"]}
    differences = [
        difference
        for seed, row in sorted(repetition.rows.items())
        if (difference := episode_difference(recorded[seed], row)) is not None
    ]
    num_episodes = len(repetition.rows)
    found |= {"num_equal": num_episodes - len(differences), "first_difference": differences[0] if differences else None}
    if not differences:
        reason = f"{num_episodes} episodes gave the same outcomes, steps and returns to the bit"
        return {**found, "verdict": VERIFIED, "comparison": BITWISE, "reason": reason}
    elsewhere = other_machine(record, record_path, repetition.host)
    if not elsewhere:
        first = differences[0]
        reason = (
            f"on the same kind of machine {len(differences)} of {num_episodes} episodes differ, the first seed "
            f"{first['seed']}: {first['field']} is {first['record']} in the record and {first['here']} here"
        )
        return {**found, "verdict": DIFFERS, "comparison": BITWISE, "reason": reason}
    return {**found, **_compare_statistically(recorded, repetition.rows, elsewhere)}


def _compare_statistically(
    recorded: Mapping[int, EpisodeRow], rows: Mapping[int, Mapping[str, Any]], elsewhere: str
) -> dict[str, Any]:
    """Whether the rates differ by more than a machine's last bits explain."""
    first, second = ({seed: bool(table[seed]["success"]) for seed in rows} for table in (recorded, rows))
    p_value, num_episodes = exact_mcnemar(first, second)
    counts = f"{sum(first.values())} of {num_episodes} successes in the record, {sum(second.values())} here"
    if p_value <= SIGNIFICANCE_ELSEWHERE:
        verdict, reason = DIFFERS, f"{counts}, exact McNemar p = {p_value:.2g}, too far apart for {elsewhere}"
    elif num_episodes < MIN_EPISODES_ELSEWHERE:
        verdict = NOT_REPRODUCIBLE
        reason = f"{elsewhere}; compared statistically from --episodes {MIN_EPISODES_ELSEWHERE} on"
    else:
        verdict, reason = VERIFIED, f"{counts}, exact McNemar p = {p_value:.2g} ({elsewhere})"
    return {"verdict": verdict, "comparison": STATISTICAL, "p_value": p_value, "reason": reason}


def other_machine(record: Record, record_path: Path, host: Mapping[str, Any]) -> str:
    """Why the last bits may differ from the record's; "" on the same CPU model, renderer and versions."""
    here = present_versions()
    for each in differences(record["versions"], {name: here.get(name) for name in record["versions"]}):
        return f"another version: {each.path} is {each.there} in the record and {each.here} here"
    if not host_path(record_path).is_file():
        return f"the machine of the record is not known (no {host_path(record_path).name})"
    there = read_host(record_path)
    recorded, present = ({name: each.get(name) for name in _HOST_KEYS} for each in (there, host))
    return next((f"another machine: {in_words(each)}" for each in differences(recorded, present)), "")
