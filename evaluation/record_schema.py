"""Schema of the result record, and the figures that follow from its episodes.

The TypedDicts are the schema: the validator walks them, so there is no second description to keep in step.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypedDict

from smidgen.evaluation.protocol import POLICY_ERROR, SIMULATOR_ERROR
from smidgen.evaluation.statistics import wilson_interval

SCHEMA_VERSION = 1
KINDS = ("expert", "baseline", "checkpoint", "user")

# Episode rows carry the field's usual name for the sum of rewards, a Python keyword: hence the functional form.
EpisodeRow = TypedDict(
    "EpisodeRow",
    {
        "seed": int,
        "success": bool,  # success held for HOLD_STEPS: the headline
        "success_once": bool,
        "success_at_reset": bool,
        "first_success_step": int | None,  # control steps taken when success was first seen; 0 at reset
        "num_steps": int,
        "return": float,
        "label": str,  # one of protocol.LABELS
    },
)


class Rate(TypedDict):
    """k successes of n episodes with the Wilson interval at protocol.confidence."""

    k: int
    n: int
    rate: float
    low: float
    high: float


class PolicyCard(TypedDict):
    """What was evaluated, and the hashes of what it came from."""

    name: str  # the row's label; also in file names
    kind: str  # one of KINDS
    observes: list[str]
    transform: str | None
    standardise_before: str | None
    standardise_after: str | None
    checkpoint_sha256: str | None
    data_set_sha256: str | None  # demonstrations that the policy was trained on or took its statistics from
    data_set_seeds: list[int]  # [first, last] of those demonstrations, or []
    training: dict[str, Any] | None


class Collapse(TypedDict):
    """Collapse measures on held-out demonstrations; every null has its reason."""

    coordinates: list[str]  # the action's position coordinates, in the order of the lists below
    r2: list[float | None] | None
    explained_variance: list[float | None] | None
    skill_time_mean: float | None
    skill_persistence: float | None
    cue_slope: float | None
    spread_ratio: float | None
    num_windows: int
    num_counterfactuals: int
    demos_sha256: str | None
    reasons: dict[str, str]


class Protocol(TypedDict):
    """Which episodes, and when one ends."""

    version: int
    split: str
    seed_start: int
    episodes: int
    horizon: int
    hold_steps: int
    control_hz: int
    confidence: float
    inference: str


class Video(TypedDict):
    """An episode's video, ``<folder of the record>/../videos/<file>``."""

    seed: int
    file: str


class Record(TypedDict):
    """One policy, one task, one evaluation."""

    schema_version: int
    task: str
    policy: PolicyCard
    success: Rate
    success_once: Rate
    errors: dict[str, int]  # {"policy_error": ..., "simulator_error": ...}, counted among the failures
    episodes: list[EpisodeRow]
    collapse: Collapse
    protocol: Protocol
    environment: dict[str, Any]  # fingerprint, ranked part: only rows with the same one are ranked together
    config: dict[str, Any]
    versions: dict[str, str]
    training_curve: list[dict[str, Any]]  # rows of the run's metrics.jsonl
    videos: list[Video]


def success_rate(outcomes: Sequence[bool], confidence: float) -> Rate:
    """Counts outcomes and adds the Wilson interval."""
    k, n = sum(outcomes), len(outcomes)
    low, high = wilson_interval(k, n, confidence)
    return {"k": k, "n": n, "rate": k / n, "low": low, "high": high}


def count_errors(episodes: Sequence[EpisodeRow]) -> dict[str, int]:
    """How many episodes failed by an error of the policy's or the simulator's."""
    return {label: sum(row["label"] == label for row in episodes) for label in (POLICY_ERROR, SIMULATOR_ERROR)}
