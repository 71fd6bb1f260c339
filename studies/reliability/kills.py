"""What the kill campaigns of tests/faults found, as one JSON record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from smidgen.runtime.schemas import read_versioned, to_json

RECORD_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Count:
    """Blows of one kind.

    Attributes:
        signal: Name of the signal; SIGSTOP makes a worker hang.
        target: ``parent`` (the command itself) or ``worker``.
        count: How many there were.
        before_output: How many of them came before anything was written.
    """

    signal: str
    target: str
    count: int
    before_output: int


@dataclass(frozen=True, kw_only=True)
class CommandRecord:
    """What one command took.

    Attributes:
        kills: Signals that kill, sent in all.
        stops: Workers made to hang.
        replaced: Workers that were found hanging and replaced; one that was stopped with nothing to do is not missed.
        starts: Times that it was started under fire.
        runs_with_undisturbed_bytes: Runs that ended, after all their blows, in the undisturbed run's bytes. A run that
            does not ends the campaign without a record.
        files_compared: Files and folders in each of them.
        workers_left_behind: Workers that outlived a killed parent.
        undisturbed_wall_s: How long an undisturbed run took.
        blows: The counts by signal and target.
    """

    kills: int
    stops: int
    replaced: int
    starts: int
    runs_with_undisturbed_bytes: int
    files_compared: int
    workers_left_behind: int
    undisturbed_wall_s: float
    blows: tuple[Count, ...]


@dataclass(frozen=True, kw_only=True)
class FaultsRecord:
    """The whole record."""

    version: int
    form: str
    seed: int
    machine: str
    commit: str
    kills: int
    stops: int
    commands: dict[str, CommandRecord]


def read_faults_record(path: str) -> FaultsRecord:
    """Reads a record.

    Raises:
        UserError: If the file is missing or no such record, naming the field.
    """
    return read_versioned(FaultsRecord, path, RECORD_VERSION)


def record_json(record: FaultsRecord) -> dict[str, Any]:
    """The record in JSON's types."""
    return dict(to_json(record))
