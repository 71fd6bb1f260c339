"""The verification mark: ``RECORD.verification.json`` beside a record whose episodes were run again, tied to its bytes.

The record's hash and a salt determine which episodes are run again. The verifier chooses the salt after the record was
submitted, so that nobody can edit a record until its edited episodes are not drawn. Cheating means to call a failure a
success, so most episodes are drawn from those that the record calls successes.
"""

from __future__ import annotations

import hashlib
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from typing_extensions import TypedDict

from smidgen.data_collection.outcome import OUTCOME_FIELDS
from smidgen.evaluation.protocol import POLICY_ERROR, SIMULATOR_ERROR
from smidgen.evaluation.record_schema import EpisodeRow, Record
from smidgen.runtime.files import read_json, sha256_file, write_json_atomic
from smidgen.runtime.schemas import check_type, one_of, require_version

VERIFICATION_VERSION = 1
SUFFIX = ".verification.json"
VERIFIED, DIFFERS, NOT_REPRODUCIBLE = "verified", "differs", "not_reproducible_here"
REPRODUCTIONS = (VERIFIED, DIFFERS, NOT_REPRODUCIBLE)
BITWISE, STATISTICAL, NONE = "bitwise", "statistical", "none"
COMPARISONS = (BITWISE, STATISTICAL, NONE)
# Without the label: its rules may improve over time, while the other fields contain what happened.
COMPARED = tuple(field for field in (*OUTCOME_FIELDS, "return") if field != "seed")
# One in this many of the drawn episodes is a failure in the record.
_FAILURES_EVERY = 4


class Verification(TypedDict):
    """The result of running episodes of one record again."""

    schema_version: int
    record_sha256: str  # of the record file's bytes: any edit invalidates the mark
    verdict: Annotated[str, one_of(REPRODUCTIONS)]
    comparison: Annotated[str, one_of(COMPARISONS)]
    reason: str  # one sentence
    salt: str
    seeds: list[int]  # that were run again
    num_equal: int  # of them, equal to the bit
    first_difference: dict[str, Any] | None  # {"seed" or "link", "field", "record", "here"}
    p_value: float | None  # of the statistical comparison
    links: dict[str, str]  # links of the chain from demonstrations to this record: holds, broken, not checked
    environment: dict[str, Any]  # fingerprint, ranked part, of the machine that verified
    host: dict[str, Any]  # and its other part
    versions: dict[str, str]


def verification_path(record: Path | str) -> Path:
    """The path of a record's mark."""
    return Path(record).with_suffix(SUFFIX)


def write_verification(record: Path | str, verification: Verification) -> Path:
    """Writes a record's mark and returns its path."""
    path = verification_path(record)
    write_json_atomic(path, verification)
    return path


def read_verification(record: Path | str) -> Verification | None:
    """The mark beside a record; None if there is none.

    Raises:
        UserError: If the file is not a valid mark; the message names file and field.
    """
    path = verification_path(record)
    if not path.exists():
        return None
    mark = read_json(path)
    require_version(mark, (VERIFICATION_VERSION,), str(path))
    check_type(mark, Verification, str(path))
    return typing.cast(Verification, mark)


def mark_of(record: Path | str) -> Verification | None:
    """The mark of exactly a record's bytes; None if there is no such record, no mark, or one of other bytes.

    Raises:
        UserError: As :func:`read_verification`.
    """
    mark = read_verification(record) if Path(record).exists() else None
    return mark if mark is not None and mark["record_sha256"] == sha256_file(record) else None


def drawn_seeds(record: Record, record_sha256: str, salt: str, num_episodes: int) -> list[int]:
    """Which episodes to run again.

    Args:
        record: The record.
        record_sha256: The hash of its file.
        salt: Chosen after the record was submitted.
        num_episodes: How many; all of them if the record has no more.

    Returns:
        Seeds in increasing order: three in four (or as many as exist) from the episodes called successes.
    """
    order = sorted(
        record["episodes"],
        key=lambda row: hashlib.sha256(f"{record_sha256} {salt} {row['seed']}".encode()).digest(),
    )
    claimed, failed = ([row["seed"] for row in order if row["success"] is flag] for flag in (True, False))
    num_claimed = num_claimed_drawn(len(claimed), len(failed), num_episodes)
    return sorted(claimed[:num_claimed] + failed[: num_episodes - num_claimed])


def num_claimed_drawn(num_claimed: int, num_failed: int, num_episodes: int) -> int:
    """How many of the drawn episodes are successes in the record."""
    return min(num_claimed, num_episodes - min(num_episodes // _FAILURES_EVERY, num_failed))


def catch_probability(record: Record, num_episodes: int, num_false: int) -> float:
    """Probability that running some episodes again finds a failure that the record calls a success.

    Args:
        record: The record.
        num_episodes: How many episodes are drawn.
        num_false: How many of its successes are false.

    Returns:
        1 minus the chance that none of the false ones is drawn (hypergeometric).
    """
    # It takes as long to import as NumPy and the simulator together.
    from scipy.stats import hypergeom

    k, n = record["success"]["k"], record["success"]["n"]
    drawn = num_claimed_drawn(k, n - k, min(num_episodes, n))
    return float(1 - hypergeom.pmf(0, k, min(num_false, k), drawn))


def episode_difference(recorded: EpisodeRow, here: Mapping[str, Any]) -> dict[str, Any] | None:
    """The first field in which an episode run again differs from its row; None if it is equal to the bit."""
    stored: dict[str, Any] = dict(recorded)
    for field in COMPARED:
        if stored[field] != here[field]:
            return {"seed": stored["seed"], "field": field, "record": stored[field], "here": here[field]}
    errors = (POLICY_ERROR, SIMULATOR_ERROR)
    if stored["label"] != here["label"] and (stored["label"] in errors or here["label"] in errors):
        return {"seed": stored["seed"], "field": "label", "record": stored["label"], "here": here["label"]}
    return None
