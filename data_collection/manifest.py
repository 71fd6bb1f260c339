"""What a data set says about itself: one header for the whole set, one row for each episode, each field checked.

The header stands in ``manifest.json`` and in every ``episode.json``, so that an interrupted collection needs no other
memory than its finished episodes. Neither holds a date, a host or a path: the same settings give the same bytes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from smidgen.data_collection.array_files import require_regular_file
from smidgen.runtime.action_spec import ActionSpec
from smidgen.runtime.differences import differences
from smidgen.runtime.errors import UserError
from smidgen.runtime.files import read_json

SCHEMA_VERSION = 1
MANIFEST_NAME = "manifest.json"
EPISODE_SIDECAR = "episode.json"
ARRAY_FILES = ("arrays.npz", "counterfactuals.npz", "frames.npy")

HEADER_FIELDS: dict[str, tuple[type, ...]] = {
    "schema_version": (int,),
    "task": (str,),
    "environment": (dict,),
    "versions": (dict,),
    "expert": (dict,),
    "phases": (list,),
    "action_spec": (dict,),
    "eef_state_names": (list,),
    "cameras": (list,),
    "image_size": (int,),
    "control_hz": (int, float),
    "history": (int,),
    "config": (dict,),
}
ROW_FIELDS: dict[str, tuple[type, ...]] = {
    "seed": (int,),
    "success": (bool,),
    "success_once": (bool,),
    "success_at_reset": (bool,),
    "first_success_step": (int, type(None)),
    "num_steps": (int,),
    "num_counterfactuals": (int,),
    "error": (str, type(None)),
    "files": (dict,),
}
_COUNT_FIELDS: dict[str, tuple[type, ...]] = {"num_episodes": (int,), "num_successes": (int,), "episodes": (list,)}

MAX_SEED = 999_999_999
_MAX_STEPS = 1_000_000
MAX_IMAGE_SIZE = 4096
_MAX_NAMES = 1024
_MAX_NAME_CHARACTERS = 200
_MAX_CONTROL_HZ = 1_000_000
_SHA256 = re.compile(r"[0-9a-f]{64}")


def episode_directory_name(seed: int) -> str:
    """Name of an episode's directory: its seed in nine digits."""
    return f"{seed:09d}"


def read_object(path: Path) -> dict[str, Any]:
    """Reads a JSON object from a regular file of bounded size.

    Raises:
        UserError: If the file is missing, no regular file, too large, or holds no JSON object.
    """
    require_regular_file(path)
    value = read_json(path)
    if not isinstance(value, dict):
        raise UserError(f"{path}: expected a JSON object, got {type(value).__name__}")
    return value


def check_header(path: Path, value: Mapping[str, Any]) -> dict[str, Any]:
    """The header's fields out of a manifest or an episode's sidecar, checked.

    Raises:
        UserError: If the schema version is another, or a field is missing or of the wrong kind.
    """
    version = value.get("schema_version")
    if version != SCHEMA_VERSION or type(version) is not int:
        raise UserError(
            f"{path}: expected data set schema_version {SCHEMA_VERSION}, got {version!r:.40}; collect it again"
        )
    header = _require_fields(path, value, HEADER_FIELDS)
    for key in ("phases", "eef_state_names", "cameras"):
        _require_names(path, key, header[key])
    _require_names(path, "task", [header["task"]])
    for key in ("environment", "versions", "expert", "config"):
        _require_finite(path, key, header[key])
    try:
        ActionSpec.from_json(header["action_spec"])
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    _require_range(path, "image_size", header["image_size"], 1, MAX_IMAGE_SIZE)
    _require_range(path, "history", header["history"], 1, _MAX_STEPS)
    _require_range(path, "control_hz", header["control_hz"], 1e-6, _MAX_CONTROL_HZ)
    return header


def check_row(path: Path, value: Any, file_names: Iterable[str]) -> dict[str, Any]:
    """One episode's row, checked.

    Args:
        path: The file that it comes from, for the message.
        value: The row as JSON gave it.
        file_names: The files whose hashes it must hold.

    Raises:
        UserError: If a field is missing, of the wrong kind, or out of range.
    """
    if not isinstance(value, dict):
        raise UserError(f"{path}: expected an episode's row, got {type(value).__name__}")
    row = _require_fields(path, value, ROW_FIELDS)
    _require_range(path, "seed", row["seed"], 0, MAX_SEED)
    _require_range(path, "num_steps", row["num_steps"], 0, _MAX_STEPS)
    _require_range(path, "num_counterfactuals", row["num_counterfactuals"], 0, _MAX_STEPS)
    if row["success"] and row["error"] is None and not (row["num_steps"] and row["success_once"]):
        raise UserError(f"{path}: seed {row['seed']}: a success without steps, or one that was never seen")
    if set(row["files"]) != set(file_names):
        raise UserError(f"{path}: seed {row['seed']}: expected the files {', '.join(sorted(file_names))} and no others")
    for name, digest in row["files"].items():
        if not isinstance(digest, str) or not _SHA256.fullmatch(digest):
            raise UserError(f"{path}: seed {row['seed']}: {name} has no SHA-256, got {digest!r:.40}")
    return row


def check_manifest(path: Path, value: Mapping[str, Any]) -> dict[str, Any]:
    """A whole manifest, checked.

    Raises:
        UserError: If anything in it is missing, of the wrong kind, or contradicts the rest.
    """
    header = check_header(path, value)
    counts = _require_fields(path, value, _COUNT_FIELDS)
    unknown = sorted(set(value) - set(HEADER_FIELDS) - set(_COUNT_FIELDS))
    if unknown:
        raise UserError(f"{path}: unknown fields {', '.join(unknown)[:80]}")
    rows = [check_row(path, row, (*ARRAY_FILES, EPISODE_SIDECAR)) for row in counts["episodes"]]
    seeds = [row["seed"] for row in rows]
    if sorted(set(seeds)) != seeds:
        raise UserError(f"{path}: the episodes' seeds should rise and be different")
    got = (counts["num_episodes"], counts["num_successes"])
    expected = (len(rows), sum(row["success"] for row in rows))
    if got != expected:
        raise UserError(f"{path}: num_episodes, num_successes should be {expected}, the number of rows, are {got}")
    return {**header, **counts, "episodes": rows}


def build_manifest(header: Mapping[str, Any], rows: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The manifest of a finished set; the same whatever order its rows come in."""
    ordered = sorted(rows, key=lambda row: int(row["seed"]))
    num_successes = sum(bool(row["success"]) for row in ordered)
    return {**header, "num_episodes": len(ordered), "num_successes": num_successes, "episodes": ordered}


def changed_fields(present: Mapping[str, Any], asked: Mapping[str, Any]) -> str:
    """Where two headers differ, in words; "" where nowhere."""
    found = differences(present, asked)
    return "; ".join(f"{each.path}: {each.there!r:.60} there, {each.here!r:.60} asked" for each in found)


def array_sizes(header: Mapping[str, Any]) -> dict[str, int]:
    """Lengths of the named axes that the header fixes for every episode."""
    return {
        "cameras": len(header["cameras"]),
        "height": header["image_size"],
        "width": header["image_size"],
        "action": len(header["action_spec"]["names"]),
        "eef_state": len(header["eef_state_names"]),
        "history": header["history"],
    }


def _require_fields(path: Path, value: Mapping[str, Any], fields: Mapping[str, tuple[type, ...]]) -> dict[str, Any]:
    for name, types in fields.items():
        if name not in value:
            raise UserError(f"{path}: field {name!r} is missing")
        # Exact types: to isinstance, True is an int.
        if type(value[name]) not in types:
            expected = " or ".join(kind.__name__ for kind in types)
            raise UserError(f"{path}: field {name!r} should be {expected}, is {type(value[name]).__name__}")
    return {name: value[name] for name in fields}


def _require_names(path: Path, field: str, value: Any) -> None:
    names = value if isinstance(value, list) else []
    fit = [isinstance(name, str) and name.isprintable() and len(name) <= _MAX_NAME_CHARACTERS for name in names]
    if not 0 < len(names) <= _MAX_NAMES or not all(fit):
        raise UserError(f"{path}: {field} should be a list of names, is {value!r:.60}")


def _require_finite(path: Path, field: str, value: Any) -> None:
    """JSON in Python knows NaN and infinity; written again, they would be an error."""
    parts = [value]
    while parts:
        part = parts.pop()
        if isinstance(part, dict | list):
            parts.extend(part.values() if isinstance(part, dict) else part)
        elif isinstance(part, float) and not math.isfinite(part):
            raise UserError(f"{path}: field {field!r} holds NaN or infinity")


def _require_range(path: Path, field: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise UserError(f"{path}: field {field!r} should lie in {low}..{high}, is {str(value)[:20]}")
