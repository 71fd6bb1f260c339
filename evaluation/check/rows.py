"""Answers of all episodes as rows, in units that can be compared, and ratios of them with intervals over episodes.

Every coordinate is divided by the standard deviation of what the demonstrator did; a coordinate that never varies is
left out.

Letters: ``N`` rows (measured steps), ``P`` measured coordinates, ``H`` chunk steps, ``X`` numbers of the arm's history.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from smidgen.data_collection.array_files import Array
from smidgen.evaluation import collapse
from smidgen.evaluation.check.answers import EpisodeAnswers
from smidgen.evaluation.check.probes import AS_RECORDED
from smidgen.evaluation.check.subject import Means
from smidgen.evaluation.collapse.values import as_float64
from smidgen.evaluation.collapse.verdict import MIN_EPISODES
from smidgen.runtime.action_spec import ActionSpec
from smidgen.runtime.errors import UserError

_NUM_RESAMPLES = 200


@dataclass(frozen=True)
class Measured:
    """A figure with its 95 % interval over episodes.

    Attributes:
        value: The figure; NaN where it is not defined.
        low: Lower end; NaN with fewer than ten episodes.
        high: Upper end.
    """

    value: float
    low: float = math.nan
    high: float = math.nan

    @property
    def is_known(self) -> bool:
        """Whether it has an interval."""
        return math.isfinite(self.low) and math.isfinite(self.high)

    def mapped(self, function: Callable[[float], float]) -> Measured:
        """The figure under a monotone function."""
        value, *ends = (function(each) for each in (self.value, self.low, self.high))
        return Measured(value, min(ends), max(ends))

    @classmethod
    def of(cls, parts: collapse.SlopeParts) -> Measured:
        """A slope with its interval."""
        interval = collapse.slope_interval(parts)
        return cls(parts.slope, interval.low, interval.high)


UNDEFINED = Measured(math.nan)


@dataclass(frozen=True, eq=False)
class Moves:
    """What is done at one place of a chunk, in units of deviations.

    Attributes:
        target_NP: By the demonstrator.
        other_NP: By the demonstrator in the episode whose frames were shown instead; after its end, its last action.
        by_probe: By the policy under each probe, by its key.
        other_answer_NP: By the policy in the other episode; NaN where it was not asked.
    """

    target_NP: Array
    other_NP: Array
    by_probe: dict[str, Array]
    other_answer_NP: Array

    @property
    def answer_NP(self) -> Array:
        """By the policy, as recorded."""
        return self.by_probe[AS_RECORDED]

    @property
    def change_NP(self) -> Array:
        """How far the demonstrator's action differs between the two episodes."""
        return self.other_NP - self.target_NP

    def moved_NP(self, key: str) -> Array:
        """How far a probe moves the answer."""
        return self.by_probe[key] - self.answer_NP


@dataclass(frozen=True, eq=False)
class Rows:
    """All measured steps of all episodes.

    Attributes:
        names: Names of the coordinates.
        indices: Which of the action's they are.
        deviation_P: What each coordinate was divided by, in its own unit.
        episode_N: The episode of each row, from 0.
        steps_N: Its step.
        is_pair_N: Whether the other episode has this step.
        now: What is done now.
        last: What is done at the end of the chunk; without chunks, the same.
        history_NX: How far the other episode's arm differs so far.
    """

    names: tuple[str, ...]
    indices: list[int]
    deviation_P: Array
    episode_N: np.ndarray
    steps_N: np.ndarray
    is_pair_N: np.ndarray
    now: Moves
    last: Moves
    history_NX: Array

    @property
    def num_episodes(self) -> int:
        """How many episodes."""
        return int(self.episode_N[-1]) + 1

    def scaled(self, parts: Sequence[Array]) -> Array:
        """Arrays (..., A) of each episode as rows (..., P) in units of deviations."""
        return np.concatenate(parts)[..., self.indices] / self.deviation_P

    def ratio(self, over_N: Array, under_N: Array) -> Measured:
        """Sum of the one over sum of the other, with its interval over episodes."""
        over_E, under_E = (as_float64(np.bincount(self.episode_N, each), "sums") for each in (over_N, under_N))
        return Measured.of(collapse.SlopeParts(over_E, under_E))

    def resampled(self, measure: Callable[[np.ndarray], float]) -> Measured:
        """A measure of some rows (their indices), with its percentile interval over episodes drawn anew."""
        rows = [np.flatnonzero(self.episode_N == episode) for episode in range(self.num_episodes)]
        value = measure(np.concatenate(rows))
        if self.num_episodes < MIN_EPISODES or not math.isfinite(value):
            return Measured(value)
        rng = np.random.default_rng(0)
        drawn = [rng.integers(0, len(rows), len(rows)) for _ in range(_NUM_RESAMPLES)]
        values = [measure(np.concatenate([rows[episode] for episode in episodes])) for episodes in drawn]
        low, high = np.nanquantile(values, [0.025, 0.975])
        return Measured(value, float(low), float(high))


def make_rows(answers: Sequence[EpisodeAnswers], action: ActionSpec) -> Rows:
    """Rows of all episodes.

    Raises:
        UserError: If the demonstrator's action never varies, so that nothing can be followed.
    """
    target_NA = np.concatenate([each.actions_SA[each.steps_K] for each in answers])
    kept = [index for index in action.measured_indices if np.ptp(target_NA[:, index]) > 0]
    if not kept:
        raise UserError("the demonstrator's action is the same at every step that was asked about: nothing to follow")
    deviation_P = target_NA[:, kept].std(axis=0)
    now, last = (_moves(answers, place, lambda parts: np.concatenate(parts)[:, kept] / deviation_P) for place in (0, 1))
    return Rows(
        names=tuple(action.names[index] for index in kept),
        indices=kept,
        deviation_P=deviation_P,
        episode_N=np.repeat(np.arange(len(answers)), [len(each.steps_K) for each in answers]),
        steps_N=np.concatenate([each.steps_K for each in answers]),
        is_pair_N=np.concatenate([each.steps_K < len(each.other_actions_SA) for each in answers]),
        now=now,
        last=last,
        history_NX=np.concatenate([each.history_change_KX() for each in answers]),
    )


def _moves(answers: Sequence[EpisodeAnswers], place: int, scaled: Callable[[Sequence[Array]], Array]) -> Moves:
    """What is done at the start (0) or the end (1) of the chunks."""
    targets, others, answers_there = [], [], []
    for each, other in zip(answers, [*answers[1:], answers[0]], strict=True):
        ahead = each.ahead_2[place : place + 1]
        targets.append(each.done_KXA(each.steps_K, ahead)[:, 0])
        others.append(each.done_there_KXA(each.steps_K, ahead)[:, 0])
        answer_KA = np.full_like(targets[-1], np.nan)
        _, here, there = np.intersect1d(each.steps_K, other.steps_K, return_indices=True)
        answer_KA[here] = other.by_probe[AS_RECORDED][there, place]
        answers_there.append(answer_KA)
    by_probe = {key: scaled([each.by_probe[key][:, place] for each in answers]) for key in answers[0].by_probe}
    return Moves(scaled(targets), scaled(others), by_probe, scaled(answers_there))


@dataclass(frozen=True, eq=False)
class Chunks:
    """Whole predicted chunks, and what could be said without looking: float64 (N, H, P), in units of deviations.

    Attributes:
        answer_NHP: The policy's.
        target_NHP: The demonstrator's; after the end, its last action.
        references: By name: the mean, the mean of each step, and the persistence of arm or action.
    """

    answer_NHP: Array
    target_NHP: Array
    references: dict[str, Array]


def make_chunks(answers: Sequence[EpisodeAnswers], action: ActionSpec, rows: Rows, means: Means) -> Chunks:
    """The chunks that belong to :func:`make_rows`; the means are those of all other episodes."""
    ahead_H = np.arange(answers[0].chunks_KHA.shape[1])
    found: dict[str, list[Array]] = {"mean": [], "time_mean": [], "persistence": []}
    for each in answers:
        statistics = means.without(each.actions_SA)
        time_mean_KHA = statistics.time_mean_at(each.steps_K[:, None] + ahead_H)
        found["mean"].append(np.broadcast_to(statistics.mean_action, time_mean_KHA.shape))
        found["time_mean"].append(time_mean_KHA)
        found["persistence"].append(np.broadcast_to(_persistence(each, action)[:, None], time_mean_KHA.shape))
    return Chunks(
        rows.scaled([each.chunks_KHA for each in answers]),
        rows.scaled([each.done_KXA(each.steps_K, ahead_H) for each in answers]),
        {name: rows.scaled(parts) for name, parts in found.items()},
    )


def _persistence(each: EpisodeAnswers, action: ActionSpec) -> Array:
    """Stay where the arm is; where the action is no position, repeat the last one (the first, at the start)."""
    if action.position_indices and each.state_SE.shape[1] >= len(action.position_indices):
        return action.hold(each.state_SE[each.steps_K])
    return each.actions_SA[np.maximum(each.steps_K - 1, 0)]
