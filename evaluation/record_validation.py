"""Checks a result record: types against the schema, ranges, and the record's agreement with itself."""

from __future__ import annotations

import math
import re
import typing
from collections.abc import Sequence
from typing import Any

from smidgen.envs.seeds import SEED_RANGES
from smidgen.evaluation.collapse.labels import (
    BLIND,
    CUE_SLOPE,
    DETECTOR_VERSION,
    PATH_SLOPE,
    UNDECIDED,
    VERDICTS,
    label_of,
)
from smidgen.evaluation.json_types import NAME_PATTERN, check_type, refuse
from smidgen.evaluation.protocol import LABELS, SPLITS, SUCCESS
from smidgen.evaluation.record_schema import (
    COLLAPSE_MEASURES,
    KINDS,
    READABLE_VERSIONS,
    SECOND_FIELDS,
    Collapse,
    EpisodeRow,
    Record,
    count_errors,
    success_rate,
)


def validate_record(record: object, source: str) -> None:
    """Checks types, ranges and the record's agreement with itself.

    Args:
        record: Parsed JSON.
        source: The file's name, for the message.

    Raises:
        UserError: Naming source, field, expected and got.
    """
    if isinstance(record, dict) and record.get("schema_version") not in READABLE_VERSIONS:
        refuse(source, "schema_version", " or ".join(map(str, READABLE_VERSIONS)), record.get("schema_version"))
    check_type(record, Record, source)
    checked = typing.cast(Record, record)
    _check_fields_of_version(checked, source)
    _check_names(checked, source)
    _check_seeds(checked, source)
    for index, row in enumerate(checked["episodes"]):
        _check_episode(row, checked["protocol"]["horizon"], source, f"episodes[{index}]")
    _check_counts(checked, source)
    _check_collapse(checked["collapse"], source)
    if "detector_version" in checked["collapse"]:
        _check_verdict(checked, source)
    _check_videos(checked, source)


def _check_fields_of_version(record: Record, source: str) -> None:
    """A record has the fields of its version and no others, so that it can be written again as it was."""
    parts = {"policy": ("policy", record["policy"])}
    parts |= {f"videos[{index}]": ("video", video) for index, video in enumerate(record["videos"])}  # type: ignore[misc]
    for place, (kind, part) in parts.items():
        for name in SECOND_FIELDS[kind]:
            if record["schema_version"] == 1 and name in part:
                refuse(source, f"{place}.{name}", "no such field in a record of schema_version 1", dict(part)[name])
            if record["schema_version"] > 1 and name not in part:
                refuse(source, f"{place}.{name}", "a value, as the record has schema_version 2", "nothing (missing)")


def _check_names(record: Record, source: str) -> None:
    names = {"task": record["task"], "policy.name": record["policy"]["name"]}
    for field, name in names.items():
        if not NAME_PATTERN.fullmatch(name):
            refuse(source, field, "letters, digits, '.', '_', '+' and '-'", name)
    if record["policy"]["kind"] not in KINDS:
        refuse(source, "policy.kind", f"one of {', '.join(KINDS)}", record["policy"]["kind"])
    hashes: dict[str, str | None] = {
        "policy.checkpoint_sha256": record["policy"]["checkpoint_sha256"],
        "policy.data_set_sha256": record["policy"]["data_set_sha256"],
        "collapse.demos_sha256": record["collapse"]["demos_sha256"],
        **{f"policy.code.{file}": digest for file, digest in record["policy"].get("code", {}).items()},
        **{f"policy.files.{file}": digest for file, digest in record["policy"].get("files", {}).items()},
    }
    for index, video in enumerate(record["videos"]):
        hashes[f"videos[{index}].frames_sha256"] = video.get("frames_sha256")
    for field, digest in hashes.items():
        if digest is not None and not re.fullmatch(r"[0-9a-f]{64}", digest):
            refuse(source, field, "64 hexadecimal digits or null", digest)


def _check_seeds(record: Record, source: str) -> None:
    protocol = record["protocol"]
    if protocol["split"] not in SPLITS:
        refuse(source, "protocol.split", " or ".join(SPLITS), protocol["split"])
    if not 0 < protocol["confidence"] < 1:
        refuse(source, "protocol.confidence", "a level between 0 and 1", protocol["confidence"])
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
    if bounds and (len(bounds) != 2 or bounds[0] > bounds[1]):
        refuse(source, "policy.data_set_seeds", "[first, last] or []", bounds)
    if bounds and bounds[0] <= seeds[-1] and seeds[0] <= bounds[1]:
        refuse(source, "policy.data_set_seeds", "seeds apart from the test seeds", bounds)


def _first_repeated(seeds: Sequence[int]) -> int:
    seen: set[int] = set()
    return next(seed for seed in seeds if seed in seen or seen.add(seed))  # type: ignore[func-returns-value]


def _check_episode(row: EpisodeRow, horizon: int, source: str, field: str) -> None:
    first = row["first_success_step"]
    if row["label"] not in LABELS:
        refuse(source, f"{field}.label", f"one of {', '.join(LABELS)}", row["label"])
    if row["success"] != (row["label"] == SUCCESS):
        refuse(source, f"{field}.label", f"{SUCCESS!r} exactly where success is true", row["label"])
    if row["success"] and not row["success_once"]:
        refuse(source, f"{field}.success_once", "true where success is true", False)
    if not 0 <= row["num_steps"] <= horizon:
        refuse(source, f"{field}.num_steps", f"0..{horizon} (protocol.horizon)", row["num_steps"])
    if (first is not None) != row["success_once"]:
        refuse(source, f"{field}.first_success_step", "a step exactly where success_once is true", first)
    if first is not None and not 0 <= first <= row["num_steps"]:
        refuse(source, f"{field}.first_success_step", f"0..{row['num_steps']} (num_steps)", first)
    if row["success_at_reset"] != (first == 0):
        refuse(source, f"{field}.success_at_reset", "true where first_success_step is 0", row["success_at_reset"])


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
    for index, label in enumerate(labels or []):
        if label not in (*VERDICTS, UNDECIDED):
            refuse(source, f"collapse.episode_verdicts[{index}]", ", ".join((*VERDICTS, UNDECIDED)), label)
    for name in ("cue_slope", "path_slope", "verdict"):
        _check_interval(found, name, source)
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


def _check_interval(found: dict[str, Any], name: str, source: str) -> None:
    bounds = found[f"{name}_interval"]
    if bounds is not None and (len(bounds) != 2 or bounds[0] > bounds[1]):
        refuse(source, f"collapse.{name}_interval", "[low, high]", bounds)


def _check_videos(record: Record, source: str) -> None:
    seeds = {row["seed"] for row in record["episodes"]}
    for index, video in enumerate(record["videos"]):
        if video["seed"] not in seeds:
            refuse(source, f"videos[{index}].seed", "a seed of the episodes", video["seed"])
        if not (NAME_PATTERN.fullmatch(video["file"]) and video["file"].endswith(".mp4")):
            refuse(source, f"videos[{index}].file", "a bare file name that ends with .mp4", video["file"])
