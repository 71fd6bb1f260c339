"""The result record: everything a leaderboard row is computed from, as one JSON file per evaluated policy.

`read_record` refuses a file that departs from the schema (record_schema.py) or contradicts itself (counts that differ
from the episodes, seeds missing or twice, seeds outside the test range), naming file and field. No time, date or host
name lives in a record, so the same evaluation always gives the same bytes; those go to ``*.host.json``.
"""

from __future__ import annotations

import typing
from pathlib import Path
from typing import Any

from smidgen.evaluation.record_schema import (
    KINDS,
    SCHEMA_VERSION,
    Collapse,
    EpisodeRow,
    PolicyCard,
    Protocol,
    Rate,
    Record,
    Video,
    count_errors,
    success_rate,
)
from smidgen.evaluation.record_validation import validate_record
from smidgen.runtime.files import read_json, write_json_atomic
from smidgen.runtime.schemas import check_type

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


# What stands beside a record: its host file, and the mark of whoever ran it again.
_BESIDE = (".host.json", ".verification.json")
# A policy's name with one of these would give its record the name of such a file.
RESERVED_ENDINGS = tuple(suffix.removesuffix(".json") for suffix in _BESIDE)


def record_path(directory: Path | str, task: str, policy_name: str) -> Path:
    """Where the record of a policy on a task stands."""
    return Path(directory) / f"{task}-{policy_name}.json"


def host_path(record: Path) -> Path:
    """Where wall times, dates and the host's name of a record stand."""
    return record.with_suffix(".host.json")


def read_host(record: Path) -> dict[str, Any]:
    """The machine of a record, as its host file describes it; {} where there is none or it does not say.

    Raises:
        UserError: If the file is no JSON object.
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
    """Validates a record and writes it, whole or not at all.

    Raises:
        UserError: If the record is not valid, or the disk is full.
    """
    validate_record(record, str(path))
    write_json_atomic(path, record)


def read_record(path: Path | str) -> Record:
    """Reads and validates a record.

    Raises:
        UserError: If the file is missing, no JSON, or not a valid record; the message names file and field.
    """
    record = read_json(path)
    validate_record(record, str(path))
    return typing.cast(Record, record)
