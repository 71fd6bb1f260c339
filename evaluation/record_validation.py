"""Checks a result record: against its schema, and whether it agrees with itself."""

from __future__ import annotations

import math
import typing
from collections.abc import Sequence
from typing import Any

from smidgen.data_collection.outcome import check_outcome
from smidgen.envs.seeds import SEED_RANGES
from smidgen.evaluation.collapse.labels import (
    BLIND,
    CUE_SLOPE,
    DETECTOR_VERSION,
    PATH_SLOPE,
    label_of,
)
from smidgen.evaluation.protocol import SUCCESS
from smidgen.evaluation.record_schema import (
    COLLAPSE_MEASURES,
    READABLE_VERSIONS,
    Collapse,
    FirstRecord,
    Record,
    count_errors,
    success_rate,
)
from smidgen.runtime.schemas import check_type, refuse, require_version


def validate_record(record: object, source: str) -> None:
    """Checks types, ranges and the record's agreement with itself.

    Args:
        record: Parsed JSON.
        source: The file's name, for the message.

    Raises:
        UserError: Naming source, field, expected and got.
    """
    require_version(record, READABLE_VERSIONS, source)
    is_first = isinstance(record, dict) and record["schema_version"] == 1
    check_type(record, FirstRecord if is_first else Record, source)
    checked = typing.cast(Record, record)
    _check_seeds(checked, source)
    for index, row in enumerate(checked["episodes"]):
        if row["success"] != (row["label"] == SUCCESS):
            refuse(source, f"episodes[{index}].label", f"{SUCCESS!r} exactly where success is true", row["label"])
        check_outcome(row, checked["protocol"]["horizon"], source, f"episodes[{index}].")
    _check_counts(checked, source)
    _check_collapse(checked["collapse"], source)
    if "detector_version" in checked["collapse"]:
        _check_verdict(checked, source)
    _check_videos(checked, source)


def _check_seeds(record: Record, source: str) -> None:
    protocol = record["protocol"]
    allowed = SEED_RANGES[protocol["split"]]
    seeds = [row["seed"] for row in record["episodes"]]
    if len(set(seeds)) != len(seeds):
        refuse(source, "episodes", "every seed once", f"seed {_first_repeated(seeds)} twice")
    if not seeds or len(seeds) != protocol["episodes"]:
        refuse(source, "episodes", f"{protocol['episodes']} rows (protocol.episodes), not none", len(seeds))
    for index, seed in enumerate(seeds):
        if seed not in allowed:
            refuse(source, f"episodes[{index}].seed", f"a seed of the {protocol['split']} range {allowed}", seed)
        if seed != protocol["seed_start"] + index:
            refuse(source, f"episodes[{index}].seed", f"{protocol['seed_start'] + index} (consecutive seeds)", seed)
    bounds = record["policy"]["data_set_seeds"]
    if bounds and bounds[0] <= seeds[-1] and seeds[0] <= bounds[1]:
        refuse(source, "policy.data_set_seeds", "seeds apart from the test seeds", bounds)


def _first_repeated(seeds: Sequence[int]) -> int:
    seen: set[int] = set()
    return next(seed for seed in seeds if seed in seen or seen.add(seed))  # type: ignore[func-returns-value]


def _check_counts(record: Record, source: str) -> None:
    episodes, confidence = record["episodes"], record["protocol"]["confidence"]
    outcomes = {
        "success": (record["success"], [row["success"] for row in episodes]),
        "success_once": (record["success_once"], [row["success_once"] for row in episodes]),
    }
    for field, (stored, flags) in outcomes.items():
        for name, value in success_rate(flags, confidence).items():
            got = typing.cast(dict[str, float], stored)[name]
            if not math.isclose(got, typing.cast(float, value), abs_tol=1e-9):
                refuse(source, f"{field}.{name}", f"{value} (recomputed from episodes)", got)
    if record["errors"] != count_errors(episodes):
        refuse(source, "errors", f"{count_errors(episodes)} (counted in episodes)", record["errors"])


def _check_collapse(collapse: Collapse, source: str) -> None:
    for name in ("r2", "explained_variance"):
        values = typing.cast(dict[str, Any], collapse)[name]
        if values is not None and len(values) != len(collapse["coordinates"]):
            refuse(source, f"collapse.{name}", f"{len(collapse['coordinates'])} values (collapse.coordinates)", values)
    for name, value in collapse.items():
        if value is None and name not in collapse["reasons"]:
            refuse(source, f"collapse.reasons.{name}", f"why collapse.{name} is null", "nothing (missing)")


def _check_verdict(record: Record, source: str) -> None:
    """The fields that came with the detector: all of them, and in agreement with each other."""
    found = typing.cast(dict[str, Any], record["collapse"])
    for name in COLLAPSE_MEASURES:
        if name not in found:
            refuse(source, f"collapse.{name}", "a value, as the record has detector_version", "nothing (missing)")
    labels = found["episode_verdicts"]
    if labels is not None and len(labels) != len(record["episodes"]):
        refuse(source, "collapse.episode_verdicts", f"{len(record['episodes'])} labels, one per episode", len(labels))
    if found["verdict"] is None:
        return
    slope = found["verdict_slope"]
    if found["verdict_source"] not in (CUE_SLOPE, PATH_SLOPE) or slope != found[found["verdict_source"]]:
        expected = f"{CUE_SLOPE} or {PATH_SLOPE}, whichever gave verdict_slope {slope}"
        refuse(source, "collapse.verdict_source", expected, found["verdict_source"])
    if found["detector_version"] == DETECTOR_VERSION and found["verdict"] != label_of(slope):
        refuse(source, "collapse.verdict", f"{label_of(slope)!r} for a slope of {slope}", found["verdict"])
    if found["mean_collapsed"] and found["verdict"] != BLIND:
        refuse(source, "collapse.mean_collapsed", f"false where the verdict is not {BLIND!r}", True)


def _check_videos(record: Record, source: str) -> None:
    seeds = {row["seed"] for row in record["episodes"]}
    for index, video in enumerate(record["videos"]):
        if video["seed"] not in seeds:
            refuse(source, f"videos[{index}].seed", "a seed of the episodes", video["seed"])
