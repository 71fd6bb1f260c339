"""What a policy answers at some steps of some episodes, as recorded and under every probe.

Two episodes are in memory at a time, and the first. Chunks are predicted in batches of windows; a policy without chunks
replays the whole episode once, with a row for every probe. Each probe is asked under a seed or a row of its own, so
that what a policy draws at random differs as much as it does from ``as_recorded`` to ``repeated``.

Letters: ``K`` measured steps of an episode, ``T`` frames of history, ``H`` chunk steps, ``A`` action coordinates, ``E``
state, ``N H W`` cameras, rows, columns, ``V`` probes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from smidgen.data_collection.array_files import Array
from smidgen.data_collection.episode import Episode
from smidgen.data_collection.formats.reader import EpisodeReader
from smidgen.evaluation.check.probes import AS_RECORDED, REPEATED, Moment, Probe
from smidgen.evaluation.held_out_predictions import BATCH, predict_windows, stored_observations
from smidgen.policies.generators import generators_kept
from smidgen.policies.policy_calls import PolicyCalls, PolicyError
from smidgen.runtime.errors import UserCodeError, UserError
from smidgen.runtime.progress import progress
from smidgen.runtime.spacing import evenly_spaced

# Of every probe a seed of its own.
_SEEDS_APART = 1_000_003


@dataclass(frozen=True, eq=False)
class PairAnswers:
    """Answers at counterfactual pairs, as recorded and with the cue moved, and the expert's."""

    answer_KA: Array
    moved_KA: Array
    target_KA: Array
    target_moved_KA: Array


@dataclass(frozen=True, eq=False)
class EpisodeAnswers:
    """One episode's answers, beside what the demonstrator did.

    Attributes:
        number: The episode's.
        steps_K: Where it was asked.
        actions_SA: The demonstrator's actions.
        state_SE: The recorded states.
        other_actions_SA: The demonstrator's actions in the episode whose frames were shown instead.
        other_state_SE: Its states.
        chunks_KHA: The answer as recorded; H is 1 for a policy without chunks.
        earlier_KA: The answer as recorded one step before; NaN at the first step, or if not known.
        by_probe: Under each probe, by its key, (K, 2, A): what it would do now, and at the end of the chunk.
        pairs: At its counterfactual pairs, if it has any.
    """

    number: int
    steps_K: np.ndarray
    actions_SA: Array
    state_SE: Array
    other_actions_SA: Array
    other_state_SE: Array
    chunks_KHA: Array
    earlier_KA: Array
    by_probe: Mapping[str, Array] = field(default_factory=dict)
    pairs: PairAnswers | None = None

    @property
    def ahead_2(self) -> np.ndarray:
        """Steps from now to the first and to the last step of a chunk."""
        return np.array([0, self.chunks_KHA.shape[1] - 1])

    def done_KXA(self, steps_K: np.ndarray, ahead_X: np.ndarray) -> Array:
        """What the demonstrator did so many steps after some steps; after the end, its last action."""
        return _held(self.actions_SA, steps_K[:, None] + ahead_X)

    def done_there_KXA(self, steps_K: np.ndarray, ahead_X: np.ndarray) -> Array:
        """The same in the other episode."""
        return _held(self.other_actions_SA, steps_K[:, None] + ahead_X)

    def history_change_KX(self) -> Array:
        """How far the other episode's arm differs so far: state now and one step ago, and the action before."""
        earlier_K = np.maximum(self.steps_K - 1, 0)
        states = [
            _held(self.other_state_SE, steps_K) - _held(self.state_SE, steps_K) for steps_K in (self.steps_K, earlier_K)
        ]
        acted_KA = _held(self.other_actions_SA, earlier_K) - _held(self.actions_SA, earlier_K)
        return np.concatenate([*states, np.where(self.steps_K[:, None] > 0, acted_KA, 0.0)], axis=1)


def _held(array_S: Array, steps: np.ndarray) -> Array:
    """An episode's rows at some steps; after its end, its last."""
    return array_S[np.clip(steps, 0, len(array_S) - 1)]


def common_steps(lengths: Sequence[int], num_windows: int) -> np.ndarray:
    """Steps to ask about in every episode that has them, spread so that there are about so many in all."""
    longest = max(lengths)
    per_episode = max(2, num_windows * longest // max(sum(lengths), 1))
    return evenly_spaced(longest, per_episode)


def neighbours(episodes: Iterator[Episode]) -> Iterator[Moment]:
    """Every episode with the next one, the last with the first."""
    first = own = next(episodes, None)
    if first is None or own is None:
        return
    for other in episodes:
        yield Moment(own, other)
        own = other
    if own is not first:
        yield Moment(own, first)


def ask(
    calls: PolicyCalls,
    reader: EpisodeReader,
    probes: Sequence[Probe],
    num_episodes: int,
    num_windows: int,
    *,
    shows_progress: bool = True,
) -> list[EpisodeAnswers]:
    """Asks a policy about the episodes of a set.

    Args:
        calls: The policy.
        reader: The set.
        probes: ``as_recorded`` first.
        num_episodes: How many episodes, at most.
        num_windows: How many steps, in all.
        shows_progress: Whether to say how far it has come.

    Raises:
        UserCodeError: If the policy fails.
        UserError: If fewer than two episodes are left once failures are.
    """
    places = reader.spread(num_episodes)
    steps = common_steps(
        [len(actions) for actions in reader.actions()], num_windows * reader.num_episodes // len(places)
    )
    found = []
    shown = progress(len(places), "asking the policy (episodes)")
    with shown if shows_progress else contextlib.nullcontext(_say_nothing) as advance, generators_kept():
        for moment in neighbours(reader.episodes(places)):
            try:
                found.append(_episode_answers(calls, reader, probes, moment, steps))
            except PolicyError as error:
                raise UserCodeError(f"the policy failed in episode {moment.own.seed}: {error}", error.trace) from error
            advance(1, "")
    if not found:
        raise UserError(f"{reader.path} has fewer than two successful episodes; frames are swapped between episodes")
    return found


def _say_nothing(num_items: int, note: str) -> None:
    pass


def _episode_answers(
    calls: PolicyCalls, reader: EpisodeReader, probes: Sequence[Probe], moment: Moment, steps: np.ndarray
) -> EpisodeAnswers:
    own, other = moment.own, moment.other
    steps_K = steps[steps < own.num_steps]
    asker = _ask_chunks if calls.has_chunks else _ask_by_replay
    chunks, earlier_KA = asker(calls, probes, moment, steps_K)
    return EpisodeAnswers(
        number=own.seed,
        steps_K=steps_K,
        actions_SA=own.actions,
        state_SE=own.eef_state,
        other_actions_SA=other.actions,
        other_state_SE=other.eef_state,
        chunks_KHA=chunks[AS_RECORDED],
        earlier_KA=earlier_KA,
        by_probe={probe.key: now_and_last(chunks[probe.key]) for probe in probes if probe.key in chunks},
        pairs=_pair_answers(calls, reader, own),
    )


def now_and_last(chunks_KHA: Array) -> Array:
    """First and last step of chunks, (K, 2, A); the same of chunks of one step."""
    return chunks_KHA[:, [0, -1]]


def is_blind_to(probe: Probe, observes: Sequence[str]) -> bool:
    """Whether a policy cannot notice a probe, for what it observes."""
    changed = "eef_state" if probe.swaps_state else "frames"
    return probe.name not in (AS_RECORDED, REPEATED) and changed not in observes


def _ask_chunks(
    calls: PolicyCalls, probes: Sequence[Probe], moment: Moment, steps_K: np.ndarray
) -> tuple[dict[str, Array], Array]:
    """Chunks (K, H, A) by probe, and the answer one step before."""
    found = {
        probe.key: _windows(calls, probe, moment, steps_K, moment.own.seed + index * _SEEDS_APART)
        for index, probe in enumerate(probes)
        if not is_blind_to(probe, calls.observes)
    }
    earlier_KA = _windows(calls, probes[0], moment, np.maximum(steps_K - 1, 0), moment.own.seed)[:, 0]
    return found, np.where(steps_K[:, None] > 0, earlier_KA, np.nan)


def _windows(calls: PolicyCalls, probe: Probe, moment: Moment, steps_K: np.ndarray, seed: int) -> Array:
    chunks, size = [], moment.own.actions.shape[1]
    for first in range(0, len(steps_K), BATCH):
        steps_B = steps_K[first : first + BATCH]
        window_BT = np.maximum(steps_B[:, None] + np.arange(1 - calls.num_frames, 1), 0)
        frames = probe.frames(moment, window_BT) if "frames" in calls.observes else None
        calls.reset(num_episodes=len(steps_B), seed=seed)
        chunks.append(calls.chunk(stored_observations(calls.observes, frames, probe.state(moment, steps_B)), size))
    return np.concatenate(chunks)


def _ask_by_replay(
    calls: PolicyCalls, probes: Sequence[Probe], moment: Moment, steps_K: np.ndarray
) -> tuple[dict[str, Array], Array]:
    """As :func:`_ask_chunks`, in chunks of one step."""
    noticed = [probe for probe in probes if probe.name != REPEATED and not is_blind_to(probe, calls.observes)]
    answers_VSA = _replay(calls, noticed, moment, moment.own.seed)
    found = {probe.key: answers_SA[steps_K, None] for probe, answers_SA in zip(noticed, answers_VSA, strict=True)}
    for probe in probes:
        if probe.name == REPEATED:
            # Alone, and under another seed: both may change the answer.
            found[probe.key] = _replay(calls, [probe], moment, moment.own.seed + _SEEDS_APART)[0][steps_K, None]
    earlier_KA = answers_VSA[0][np.maximum(steps_K - 1, 0)]
    return found, np.where(steps_K[:, None] > 0, earlier_KA, np.nan)


def _replay(calls: PolicyCalls, probes: Sequence[Probe], moment: Moment, seed: int) -> Array:
    """Actions (V, S, A) of a whole episode, probes side by side."""
    size, acted = moment.own.actions.shape[1], []
    calls.reset(num_episodes=len(probes), seed=seed)
    for step in range(moment.own.num_steps):
        at = np.array(step)
        frames = None
        if "frames" in calls.observes:
            frames = np.stack([probe.frames(moment, at) for probe in probes])
        state_VE = np.stack([probe.state(moment, at) for probe in probes])
        acted.append(calls.act(stored_observations(calls.observes, frames, state_VE), size))
    return np.stack(acted, axis=1)


def _pair_answers(calls: PolicyCalls, reader: EpisodeReader, episode: Episode) -> PairAnswers | None:
    pairs = reader.pairs(episode)
    if not len(pairs["step"]):
        return None
    size = episode.actions.shape[1]
    answer_KA, moved_KA = (
        predict_windows(calls, pairs[name], pairs["eef_state"], size) for name in ("frames", "frames_moved")
    )
    return PairAnswers(answer_KA, moved_KA, pairs["target"], pairs["target_moved"])
