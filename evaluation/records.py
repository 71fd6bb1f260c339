"""The result record: everything a leaderboard row is computed from, as one JSON file per evaluated policy.

`read_record` refuses a file that departs from the schema (record_schema.py) or contradicts itself (counts that differ
from the episodes, seeds missing or twice, seeds outside the test range), naming file and field. No time, date or host
name is stored in a record, so the same evaluation always gives the same bytes; those go to ``*.host.json``.
"""

from __future__ import annotations

import math
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from smidgen.data_collection.outcome import check_outcome
from smidgen.envs.seeds import SEED_RANGES
from smidgen.envs.smidgen_tasks import chance_level
from smidgen.evaluation.collapse.labels import (
    BLIND,
    CUE_SLOPE,
    DETECTOR_VERSION,
    PATH_SLOPE,
    SOURCES,
    UNDECIDED,
    label_of,
    slope_text,
    spoken,
)
from smidgen.evaluation.protocol import SUCCESS
from smidgen.evaluation.record_schema import (
    COLLAPSE_MEASURES,
    KINDS,
    READABLE_VERSIONS,
    SCHEMA_VERSION,
    Collapse,
    EpisodeRow,
    FirstRecord,
    PolicyCard,
    Protocol,
    Rate,
    Record,
    Video,
    count_errors,
    judged_collapse,
    success_rate,
)
from smidgen.evaluation.video_files import video_folder
from smidgen.runtime.files import read_json, write_json_atomic
from smidgen.runtime.schemas import check_type, refuse, require_version

__all__ = [
    "KINDS",
    "SCHEMA_VERSION",
    "Collapse",
    "EpisodeRow",
    "PolicyCard",
    "Protocol",
    "Rate",
    "Record",
    "Video",
    "count_errors",
    "find_records",
    "host_path",
    "read_host",
    "read_record",
    "record_path",
    "success_rate",
    "validate_record",
    "write_record",
]


# Files beside a record: its host file and its verification mark.
_BESIDE = (".host.json", ".verification.json")
# A policy's name with one of these would give its record the name of such a file.
RESERVED_ENDINGS = tuple(suffix.removesuffix(".json") for suffix in _BESIDE)


def record_path(directory: Path | str, task: str, policy_name: str) -> Path:
    """The path of the record of a policy on a task."""
    return Path(directory) / f"{task}-{policy_name}.json"


def host_path(record: Path) -> Path:
    """The path of a record's host file, with wall times, dates and the host's name."""
    return record.with_suffix(".host.json")


def read_host(record: Path) -> dict[str, Any]:
    """The machine of a record, as its host file describes it; {} without a file or a description.

    Raises:
        UserError: If the file is not a JSON object.
    """
    path = host_path(record)
    if not path.is_file():
        return {}
    found = read_json(path)
    host = found.get("host", {}) if isinstance(found, dict) else None
    check_type(host, dict[str, Any], str(path), "host")
    return typing.cast(dict[str, Any], host)


def find_records(directory: Path | str) -> list[Path]:
    """Every record file directly in a directory, sorted by name; files beside records are left out."""
    return sorted(path for path in Path(directory).glob("*.json") if not path.name.endswith(_BESIDE))


def write_record(path: Path | str, record: Record) -> None:
    """Validates a record and writes it atomically.

    Raises:
        UserError: If the record is not valid, or the disk is full.
    """
    validate_record(record, str(path))
    write_json_atomic(path, record)


def read_record(path: Path | str) -> Record:
    """Reads and validates a record.

    Raises:
        UserError: If the file is missing, not JSON, or not a valid record; the message names file and field.
    """
    record = read_json(path)
    validate_record(record, str(path))
    return typing.cast(Record, record)


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
            refuse(source, f"episodes[{index}].label", f"{SUCCESS!r} if and only if success is true", row["label"])
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


def summary_line(path: Path, record: Record) -> str:
    """One line: policy, success with interval and chance level, R^2, verdict with its slope, and where things are."""
    success, collapse = record["success"], record["collapse"]
    r2 = [value for value in collapse["r2"] or [] if value is not None]
    parts = [
        f"{record['policy']['name']} on {record['task']}: success {success['k']}/{success['n']}"
        f" = {success['rate']:.0%} [{success['low']:.0%}, {success['high']:.0%}]{_chance(record['task'])}",
        f"R^2 {sum(r2) / len(r2):z.2f}" if r2 else "R^2 not measured",
        "spread ratio " + ("not measured" if collapse["spread_ratio"] is None else f"{collapse['spread_ratio']:.2f}"),
        _verdict(record),
    ]
    folder = video_folder(path.parent, record["schema_version"])
    videos = f", {len(record['videos'])} videos in {folder}" if record["videos"] else ""
    return f"{', '.join(parts)}; record {path}{videos}"


def _verdict(record: Record) -> str:
    collapse = judged_collapse(record)
    label, source, slope = collapse.get("verdict"), collapse.get("verdict_source"), collapse.get("verdict_slope")
    if label is None or source is None or slope is None:
        cue = collapse["cue_slope"]
        return f"{UNDECIDED}, cue slope {'not measured' if cue is None else f'{cue:z.2f}'}"
    at_the_mean = ", at the mean" if collapse.get("mean_collapsed") else ""
    interval = collapse["verdict_interval"]
    within = f" in [{interval[0]:z.2f}, {interval[1]:z.2f}]" if interval else ""
    return f"{spoken(label)}{at_the_mean} ({SOURCES[source]} {slope_text(slope)}{within})"


def _chance(task: str) -> str:
    level = chance_level(task)
    return "" if level is None else f" (chance {level:.1%})"
