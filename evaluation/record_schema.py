"""Schema of the result record, and the figures that follow from its episodes.

The TypedDicts are the schema: the validator reads them, so there is no second description to keep in step. Version 2
names the code and the files of a user's policy, and the frames of every video; a record of version 1 lacks these fields
and is read, ranked, verified and written unchanged: `FirstRecord` is its schema, and code treats both as a `Record`.
"""

from __future__ import annotations

import typing
from collections.abc import Sequence
from typing import Annotated, Any, NotRequired

from typing_extensions import TypedDict

from smidgen.data_collection.outcome import Outcome
from smidgen.evaluation.collapse.labels import UNDECIDED, VERDICTS
from smidgen.evaluation.protocol import LABELS, POLICY_ERROR, SIMULATOR_ERROR, SPLITS
from smidgen.evaluation.statistics import wilson_interval
from smidgen.evaluation.tracks import TRACKS
from smidgen.runtime.schemas import NAME_PATTERN, Name, Rule, Sha256, one_of

SCHEMA_VERSION = 2
READABLE_VERSIONS = (1, 2)
KINDS = ("expert", "baseline", "checkpoint", "user")
VERDICT_MEASURES = ("verdict", "verdict_slope", "verdict_interval", "verdict_source", "mean_collapsed")
# The reason why there is no verdict on a policy that never acted.
ALL_FAILED = "every episode ended with an error"


def is_interval(bounds: Sequence[float]) -> bool:
    """Whether it is a low and a high end."""
    return len(bounds) == 2 and bounds[0] <= bounds[1]


def is_video_name(name: str) -> bool:
    """Whether it is the name of a video and not a path to another folder."""
    return bool(NAME_PATTERN.fullmatch(name)) and name.endswith(".mp4")


Interval = Annotated[list[float], Rule(is_interval, "[low, high]")]

# The field's usual name for the sum of rewards is a Python keyword: hence the functional form.
_Return = TypedDict("_Return", {"return": float})


class EpisodeRow(Outcome, _Return):
    """One episode."""

    label: Annotated[str, one_of(LABELS)]


class Rate(TypedDict):
    """k successes of n episodes with the Wilson interval at protocol.confidence."""

    k: int
    n: int
    rate: float
    low: float
    high: float


class FirstPolicyCard(TypedDict):
    """The evaluated policy and the hashes of its sources, as in every record."""

    name: Name  # the row's label; also in file names
    kind: Annotated[str, one_of(KINDS)]
    observes: list[str]
    transform: str | None
    standardise_before: str | None
    standardise_after: str | None
    checkpoint_sha256: Sha256 | None
    data_set_sha256: Sha256 | None  # demonstrations that the policy was trained on or took its statistics from
    data_set_seeds: Annotated[list[int], Rule(lambda seeds: not seeds or is_interval(seeds), "[first, last] or []")]
    training: dict[str, Any] | None


class PolicyCard(FirstPolicyCard):
    """The same with the hashes of a user's policy, {} for any other policy; a record of version 1 lacks both."""

    code: dict[str, Sha256]  # by file: the class's module, and the user's modules that it imports
    files: dict[str, Sha256]  # by path as the class declares it


class TimeBin(TypedDict):
    """Measures in one part of the episodes."""

    first_step: int
    last_step: int
    num_windows: int
    num_counterfactuals: int
    r2: float | None
    skill_time_mean: float | None
    cue_slope: float | None


class FirstCollapse(TypedDict):
    """Collapse measures that every record has; every null has its reason."""

    coordinates: list[str]  # the action's position coordinates, in the order of the lists below
    r2: list[float | None] | None
    explained_variance: list[float | None] | None
    skill_time_mean: float | None
    skill_persistence: float | None
    cue_slope: float | None
    spread_ratio: float | None
    num_windows: int
    num_counterfactuals: int
    demos_sha256: Sha256 | None
    reasons: dict[str, str]


class Collapse(FirstCollapse, total=False):
    """Collapse measures and the verdict; a record that predates the versioned detector lacks all of these.

    docs/collapse.md defines each; every null has its reason.
    """

    detector_version: int
    verdict: str | None  # sees, partly_blind or blind
    verdict_slope: float | None  # the slope that decided
    verdict_interval: Interval | None  # its bootstrap interval over episodes
    verdict_source: str | None  # cue_slope or path_slope
    mean_collapsed: bool | None
    # On held-out demonstrations.
    prediction_variance_ratio: list[float | None] | None
    r2_by_chunk_step: list[list[float | None]] | None
    skill_global_mean: float | None
    cue_slope_interval: Interval | None
    cue_skill: float | None
    response_to_shuffling: float | None
    response_to_blanking: float | None
    copycat_weight: float | None
    mean_distance: float | None
    recalibration_gain: float | None
    over_time: list[TimeBin] | None
    # In closed loop.
    path_slope: float | None
    path_slope_interval: Interval | None
    mean_path_distance: float | None
    goal_r2: float | None
    goal_information_bits: float | None
    latching_index: float | None
    episode_verdicts: list[Annotated[str, one_of((*VERDICTS, UNDECIDED))]] | None  # one per episode


_NEVER_NULL = {"coordinates", "reasons", "num_windows", "num_counterfactuals", "demos_sha256", "detector_version"}
COLLAPSE_MEASURES = tuple(name for name in typing.get_type_hints(Collapse) if name not in _NEVER_NULL)


class Protocol(TypedDict):
    """Which episodes, and when one ends."""

    version: int
    split: Annotated[str, one_of(SPLITS)]
    seed_start: int
    episodes: int
    horizon: int
    hold_steps: int
    control_hz: int
    confidence: Annotated[float, Rule(lambda level: 0 < level < 1, "a level between 0 and 1")]
    inference: str
    track: NotRequired[Annotated[str, one_of(TRACKS)]]


class FirstVideo(TypedDict):
    """An episode's video, as in every record; `smidgen.evaluation.video_files` has its path."""

    seed: int
    file: Annotated[str, Rule(is_video_name, "a bare file name that ends with .mp4")]


class Video(FirstVideo):
    """The same with its frames, which tell it from any other video; a record of version 1 lacks them."""

    frames_sha256: Sha256  # of the frames before they are encoded


class _AnyRecord(TypedDict):
    schema_version: int
    task: Name
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


class FirstRecord(_AnyRecord):
    """A record of version 1."""

    policy: FirstPolicyCard
    videos: list[FirstVideo]


class Record(_AnyRecord):
    """One policy, one task, one evaluation."""

    policy: PolicyCard
    videos: list[Video]


def success_rate(outcomes: Sequence[bool], confidence: float) -> Rate:
    """Counts outcomes and adds the Wilson interval."""
    k, n = sum(outcomes), len(outcomes)
    low, high = wilson_interval(k, n, confidence)
    return {"k": k, "n": n, "rate": k / n, "low": low, "high": high}


def count_errors(episodes: Sequence[EpisodeRow]) -> dict[str, int]:
    """How many episodes failed because of an error of the policy or the simulator."""
    return {label: sum(row["label"] == label for row in episodes) for label in (POLICY_ERROR, SIMULATOR_ERROR)}


def have_all_failed(episodes: Sequence[EpisodeRow]) -> bool:
    """Whether every episode ended with an error, so that nothing is known about the policy's sight."""
    return sum(count_errors(episodes).values()) == len(episodes)


def judged_collapse(record: Record) -> dict[str, Any]:
    """A record's collapse part; without a verdict if every episode failed, although older records have one."""
    part: dict[str, Any] = dict(record["collapse"])
    if part.get("verdict") is None or not have_all_failed(record["episodes"]):
        return part
    reasons = {**part["reasons"], **dict.fromkeys(VERDICT_MEASURES, ALL_FAILED)}
    return {**part, **dict.fromkeys(VERDICT_MEASURES), "reasons": reasons}
