"""A policy's predictions on held-out demonstrations, also with the cue moved or without input.

Every policy is measured on the action that it would command now (the first of a chunk), so that rows are comparable. A
policy with ``chunk`` predicts each window separately; any other policy gets the stored observations through ``act``.

Letters: ``K`` measured steps or pairs, ``T`` frames of history, ``N`` cameras, ``A`` action coordinates, ``E``
end-effector state, ``H W`` rows and columns (``H`` before an ``A`` is the horizon).
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from smidgen.data_collection.episode import Episode
from smidgen.data_collection.store import EpisodeStore
from smidgen.evaluation.policy_source import PolicySource, open_policy
from smidgen.policies.generators import generators_kept, seed_generators
from smidgen.policies.policy import Policy
from smidgen.policies.policy_calls import PolicyCalls, PolicyError
from smidgen.runtime.errors import UserCodeError, UserError
from smidgen.runtime.spacing import evenly_spaced

BATCH = 16
# Version of the answers: part of the name of a stored answer.
ANSWERS_VERSION = 2
# Every PROBE_STRIDE-th measured step is also predicted from another episode's frames, and from blank ones.
PROBE_STRIDE = 4
BLANK = 128


@dataclass(frozen=True)
class HeldOutItem:
    """One held-out demonstration and the steps to predict; a twin predicts the pairs with the cue hidden.

    ``demos_sha256`` is the hash of the demonstrations when the evaluation began; None if it does not matter.
    ``cameras`` are those that the policy sees; empty for all of the demonstrations'.

    If the policy fails, the answer contains the failure; without ``keep_going`` it is an error.
    """

    source: PolicySource
    demos: str
    seed: int
    steps: tuple[int, ...]
    is_twin: bool = False
    demos_sha256: str | None = None
    cameras: tuple[str, ...] = ()
    keep_going: bool = field(default=True, compare=False)


@functools.lru_cache(maxsize=1)
def open_store(directory: str, sha256: str | None = None, cameras: tuple[str, ...] = ()) -> EpisodeStore:
    """The process's held-out demonstrations, which the command has already verified, as the cameras saw them.

    Raises:
        UserError: If they no longer have the expected hash.
    """
    store = EpisodeStore.open(directory, verify=False)
    if sha256 is not None and store.sha256 != sha256:
        raise UserError(f"{directory} changed while a policy was being evaluated on it; run the same command again")
    return store.with_cameras(cameras or store.cameras)


def spread_steps(store: EpisodeStore, num_windows: int) -> dict[int, tuple[int, ...]]:
    """At most ``num_windows`` steps by seed, spread evenly over all steps of all successful episodes."""
    lengths = {
        row["seed"]: row["num_steps"] for row in store.manifest["episodes"] if row["seed"] in store.training_seeds
    }
    owners = [(seed, step) for seed, length in lengths.items() for step in range(length)]
    chosen = [owners[index] for index in evenly_spaced(len(owners), num_windows)]
    return {seed: tuple(step for owner, step in chosen if owner == seed) for seed in lengths}


def partner_seed(store: EpisodeStore, seed: int) -> int:
    """The episode whose frames replace an episode's own: the next successful one, after the last the first."""
    seeds = store.training_seeds
    return seeds[(seeds.index(seed) + 1) % len(seeds)]


def predict_episode(item: HeldOutItem) -> dict[str, Any]:
    """Predictions (K, A) at an episode's steps, also with other input, and for its counterfactual pairs.

    Returns:
        Nested lists: ``prediction``; ``shuffled`` and ``blanked`` for every ``PROBE_STRIDE``-th step; ``frames`` and
        ``frames_moved`` for the pairs; ``chunks`` (K, H, A) if the policy has them. Only ``frames_hidden`` for a twin.
        Only ``error`` and ``trace`` if the policy fails.

    Raises:
        UserCodeError: If the policy fails and ``keep_going`` is false.
    """
    store, calls = open_store(item.demos, item.demos_sha256, item.cameras), open_policy(item.source)
    try:
        with generators_kept():
            seed_generators(item.seed)
            if item.is_twin:
                answer = {"frames_hidden": _predict_pairs(calls, store, item, "frames_hidden")}
            else:
                answer = _predict_all(calls, store, item)
    except PolicyError as error:
        if not item.keep_going:
            raise _failure(item, error) from error
        # As in a rollout, a failure is a finding about the policy; the message may contain paths, the summary does not.
        return {"error": f"the policy failed on held-out demonstrations: {error.summary}", "trace": error.trace}
    return {name: predicted.tolist() for name, predicted in answer.items()}


def _failure(item: HeldOutItem, error: PolicyError) -> UserCodeError:
    return UserCodeError(
        f"policy {item.source.spec!r:.200} failed on the held-out demonstration of seed {item.seed}: {error}; fix it, "
        "or add keep_going=true to omit these measures",
        error.trace,
    )


def _predict_all(calls: PolicyCalls, store: EpisodeStore, item: HeldOutItem) -> dict[str, np.ndarray]:
    episode, steps_K = store.episode(item.seed), np.array(item.steps, dtype=int)
    answer: dict[str, np.ndarray] = {}
    if calls.has_chunks:
        answer["chunks"] = _chunks_at(calls, episode, steps_K)
        answer["prediction"] = answer["chunks"][:, 0]
    else:
        answer["prediction"] = predict_steps(calls, episode, steps_K)
    probed_K = steps_K[::PROBE_STRIDE]
    if "frames" in calls.observes:
        partner = store.episode(partner_seed(store, item.seed)).frames
        others = partner[np.minimum(np.arange(episode.num_steps), len(partner) - 1)]
        answer["shuffled"] = predict_steps(calls, replace(episode, frames=others), probed_K)
        grey = np.broadcast_to(np.uint8(BLANK), episode.frames.shape)
        answer["blanked"] = predict_steps(calls, replace(episode, frames=grey), probed_K)
    else:
        answer["shuffled"] = answer["blanked"] = answer["prediction"][::PROBE_STRIDE]
    return answer | {name: _predict_pairs(calls, store, item, name) for name in ("frames", "frames_moved")}


def _predict_pairs(calls: PolicyCalls, store: EpisodeStore, item: HeldOutItem, name: str) -> np.ndarray:
    pairs, width = store.counterfactuals([item.seed]), len(store.manifest["action_spec"]["names"])
    if not len(pairs["step"]):
        return np.empty((0, width))
    return predict_windows(calls, pairs[name], pairs["eef_state"], width)


def predict_steps(policy: Policy | PolicyCalls, episode: Episode, steps_K: np.ndarray) -> np.ndarray:
    """The policy's commands at some steps of a stored episode: float64 (K, A).

    Raises:
        PolicyError: If it fails, or returns anything but finite numbers of the right shape.
    """
    calls = PolicyCalls.of(policy)
    if calls.has_chunks:
        return _chunks_at(calls, episode, steps_K)[:, 0]
    calls.reset(num_episodes=1, seed=episode.seed)
    width, actions = episode.actions.shape[1], []
    for step in range(episode.num_steps):
        seen = stored_observations(calls.observes, episode.frames[step][None], episode.eef_state[step][None])
        actions.append(calls.act(seen, width)[0])
    return np.stack(actions)[steps_K]


def predict_windows(
    policy: Policy | PolicyCalls, frames_KTNHWC: np.ndarray, eef_state_KE: np.ndarray, action_size: int
) -> np.ndarray:
    """The policy's commands after windows of frames, newest last: float64 (K, A).

    If a policy's chunks need a longer history than the windows have, their first frame is repeated.

    Args:
        policy: Any.
        frames_KTNHWC: The windows.
        eef_state_KE: The end-effector's state at the end of each window.
        action_size: Number A of coordinates.

    Raises:
        PolicyError: If it fails, or returns anything but finite numbers of the right shape.
    """
    num_stored, calls = frames_KTNHWC.shape[1], PolicyCalls.of(policy)
    if calls.has_chunks:
        window_T = np.maximum(num_stored + np.arange(-calls.num_frames, 0), 0)
        return _chunks(calls, frames_KTNHWC[:, window_T], eef_state_KE, action_size)[:, 0]
    calls.reset(num_episodes=len(frames_KTNHWC), seed=0)
    for time in range(num_stored):
        seen = stored_observations(calls.observes, frames_KTNHWC[:, time], eef_state_KE)
        actions_KA = calls.act(seen, action_size)
    return actions_KA


def stored_observations(observes: Iterable[str], frames_BNHWC: Any, eef_state_BE: Any) -> dict[str, Any]:
    """The observations of stored steps for a policy that observes some parts."""
    stored = {"frames": frames_BNHWC, "eef_state": eef_state_BE}
    return {name: stored[name] for name in observes}


def _chunks_at(calls: PolicyCalls, episode: Episode, steps_K: np.ndarray) -> np.ndarray:
    window_KT = np.maximum(steps_K[:, None] + np.arange(1 - calls.num_frames, 1), 0)
    size = episode.actions.shape[1]
    return _chunks(calls, episode.frames[window_KT], episode.eef_state[steps_K], size, episode.seed)


def _chunks(
    calls: PolicyCalls, frames_KTNHWC: np.ndarray, eef_state_KE: np.ndarray, action_size: int, seed: int = 0
) -> np.ndarray:
    """Predicted chunks (K, H, A), in batches of a fixed size, so that the result does not depend on the caller."""
    chunks = [np.empty((0, 1, action_size))]
    for first in range(0, len(frames_KTNHWC), BATCH):
        batch = slice(first, first + BATCH)
        calls.reset(num_episodes=len(frames_KTNHWC[batch]), seed=seed)
        seen = stored_observations(calls.observes, frames_KTNHWC[batch], eef_state_KE[batch])
        chunks.append(calls.chunk(seen, action_size))
    return np.concatenate(chunks[1:] or chunks)
