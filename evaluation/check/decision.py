"""The decision: does the policy use its cameras, and which?

The higher of two slopes decides, as in docs/collapse.md, by the same thresholds: the cue slope, where a set has
counterfactual pairs, and the slope on another episode's frames where the arm leaves open what comes next. A mixture
a * demonstrator + (1 - a) * mean has slope a in both, and no policy gets a high slope in either without looking. All
numbers are in ``thresholds``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from smidgen.evaluation.check.measures import Following, Response
from smidgen.evaluation.check.probes import CAMERA_SWAPPED, FRAMES_SWAPPED
from smidgen.evaluation.check.rows import UNDEFINED, Measured
from smidgen.evaluation.check.thresholds import CAMERA_FROM, SAME_BELOW
from smidgen.evaluation.collapse.labels import BLIND, PARTLY_BLIND, SEES, UNDECIDED, label_of
from smidgen.evaluation.collapse.verdict import MIN_EPISODES, PRECISE_WITHIN

EXIT_CODES = {SEES: 0, PARTLY_BLIND: 4, BLIND: 3, UNDECIDED: 4}
# What a decision rests on.
CUE, FRAMES, EPISODES = "cue_slope", "frames_slope", "episode_slope"
SAME_ANSWER, NO_FRAMES = "same_answer", "observes_no_frames"
# Why there is none.
ONLY_PREDICTIONS, FEW, WIDE, CLOSED = "only_predictions", "few_episodes", "wide_interval", "state_tells_all"
USED, IGNORED, UNCLEAR = "used", "ignored", "unclear"


@dataclass(frozen=True)
class Decision:
    """Whether a policy uses its cameras.

    Attributes:
        label: ``sees``, ``partly_blind``, ``blind`` or ``undecided``.
        reason: What it rests on, or why there is none.
        slope: The slope that decided; undefined if none did.
        is_certain: Whether the whole interval has this label.
        cameras: Of each camera, where there are several: ``used``, ``ignored`` or ``unclear``.
    """

    label: str
    reason: str
    slope: Measured
    is_certain: bool
    cameras: dict[str, str]


def decide(
    observes: Sequence[str] | None, found: Following, responses: Mapping[str, Response], num_episodes: int
) -> Decision:
    """The decision on a policy.

    Args:
        observes: What it observes; None if only its predictions are known.
        found: What it follows.
        responses: How far each probe moves it.
        num_episodes: Episodes that it was asked about.
    """
    if observes is None:
        # That an answer follows the episode does not say by what; that it does not follow it says enough.
        if found.both.is_known and label_of(found.both.high) == BLIND:
            return Decision(BLIND, EPISODES, found.both, True, {})
        return Decision(UNDECIDED, ONLY_PREDICTIONS, UNDEFINED, False, {})
    if "frames" not in observes:
        return Decision(BLIND, NO_FRAMES, UNDEFINED, True, {})
    cameras = {camera: _use(responses, camera) for camera in found.cameras}
    if responses[FRAMES_SWAPPED].change.high < SAME_BELOW:
        return Decision(BLIND, SAME_ANSWER, found.frames, True, cameras)
    slopes = {CUE: found.cue, FRAMES: found.frames}
    heard = {reason: slope for reason, slope in slopes.items() if is_heard(slope)}
    if heard:
        reason = max(heard, key=lambda each: heard[each].value)
        return Decision(label_of(heard[reason].value), reason, heard[reason], _is_certain(heard[reason]), cameras)
    if num_episodes < MIN_EPISODES:
        return Decision(UNDECIDED, FEW, found.frames, False, cameras)
    reason = WIDE if found.frames.is_known else CLOSED
    return Decision(UNDECIDED, reason, found.frames, False, cameras)


def is_heard(slope: Measured) -> bool:
    """Whether a slope is known well enough: to within 0.2, or with one label over its whole interval."""
    return slope.is_known and (slope.high - slope.low <= 2 * PRECISE_WITHIN or _is_certain(slope))


def _is_certain(slope: Measured) -> bool:
    return label_of(slope.low) == label_of(slope.high)


def _use(responses: Mapping[str, Response], camera: str) -> str:
    alone = responses[f"{CAMERA_SWAPPED}:{camera}"].change
    threshold = max(CAMERA_FROM * responses[FRAMES_SWAPPED].change.value, SAME_BELOW)
    if alone.low >= threshold:
        return USED
    return IGNORED if alone.high < threshold else UNCLEAR
