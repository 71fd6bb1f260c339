"""Collapse measured offline: what a policy predicts on held-out demonstrations, and when only the cue is moved.

Every policy is measured on the action that it would command now (the first of a chunk), so that rows compare. A
Perceiver is asked for that window by window; any other policy replays the stored observations through ``act``.

Letters: ``K`` measured steps or pairs, ``T`` frames of history, ``N`` cameras, ``A`` action coordinates, ``E``
end-effector state, ``H W`` rows and columns.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np

from smidgen.data_collection.episode import Episode
from smidgen.data_collection.store import EpisodeStore
from smidgen.evaluation.policy_source import PolicySource, open_policy
from smidgen.policies.perceiver_policy import PerceiverPolicy, cameras_to_channels
from smidgen.policies.policy import Policy
from smidgen.runtime.errors import UserError

BATCH = 16


@dataclass(frozen=True)
class HeldOutItem:
    """One held-out demonstration and the steps to predict."""

    source: PolicySource
    demos: str
    seed: int
    steps: tuple[int, ...]


@functools.lru_cache(maxsize=1)
def open_store(directory: str) -> EpisodeStore:
    """The process's held-out demonstrations; the command has verified them."""
    return EpisodeStore.open(directory, verify=False)


def spread_steps(store: EpisodeStore, num_windows: int) -> dict[int, tuple[int, ...]]:
    """At most ``num_windows`` steps, evenly over all successful episodes and all their moments, by seed."""
    lengths = {
        row["seed"]: row["num_steps"] for row in store.manifest["episodes"] if row["seed"] in store.training_seeds
    }
    owners = [(seed, step) for seed, length in lengths.items() for step in range(length)]
    count = min(num_windows, len(owners))
    chosen = [owners[index] for index in np.unique(np.linspace(0, len(owners) - 1, count).round().astype(int))]
    return {seed: tuple(step for owner, step in chosen if owner == seed) for seed in lengths}


def predict_episode(item: HeldOutItem) -> dict[str, Any]:
    """Predictions (K, A) at an episode's steps, and for its counterfactual pairs: as seen, and with the cue moved.

    Returns:
        ``prediction``, ``frames`` and ``frames_moved`` as nested lists; or ``error`` alone if the policy fails.
    """
    store, policy = open_store(item.demos), open_policy(item.source)
    episode, pairs = store.episode(item.seed), store.counterfactuals([item.seed])
    answer = {}
    try:
        answer["prediction"] = predict_steps(policy, episode, np.array(item.steps, dtype=int))
        for name in ("frames", "frames_moved"):
            empty = np.empty((0, episode.actions.shape[1]))
            answer[name] = predict_windows(policy, pairs[name], pairs["eef_state"]) if len(pairs["step"]) else empty
    except UserError:
        raise
    except Exception as error:
        # As in a rollout, a policy that fails is a finding about the policy; the message may name paths, the type not.
        return {"error": f"the policy raised {type(error).__name__} on held-out demonstrations"}
    if not all(np.isfinite(predicted_KA).all() for predicted_KA in answer.values()):
        return {"error": "the policy's predictions on held-out demonstrations are not finite"}
    return {name: predicted_KA.tolist() for name, predicted_KA in answer.items()}


def predict_steps(policy: Policy, episode: Episode, steps_K: np.ndarray) -> np.ndarray:
    """What the policy would command at some steps of a stored episode: float64 (K, A)."""
    if isinstance(policy, PerceiverPolicy):
        window_KT = np.maximum(steps_K[:, None] + np.arange(1 - policy.config.num_frames, 1), 0)
        return _first_actions(policy, episode.frames[window_KT], episode.eef_state[steps_K])
    policy.reset(num_episodes=1, seed=episode.seed)
    actions = [
        policy.act(_observations(policy, episode.frames[step][None], episode.eef_state[step][None]))[0]
        for step in range(episode.num_steps)
    ]
    return np.asarray(actions, dtype=np.float64)[steps_K]


def predict_windows(policy: Policy, frames_KTNHWC: np.ndarray, eef_state_KE: np.ndarray) -> np.ndarray:
    """What the policy would command after seeing windows of frames, newest last: float64 (K, A).

    A Perceiver with a longer history than the windows hold sees their first frame repeated.
    """
    num_stored = frames_KTNHWC.shape[1]
    if isinstance(policy, PerceiverPolicy):
        window_T = np.maximum(num_stored + np.arange(-policy.config.num_frames, 0), 0)
        return _first_actions(policy, frames_KTNHWC[:, window_T], eef_state_KE)
    policy.reset(num_episodes=len(frames_KTNHWC), seed=0)
    for time in range(num_stored):
        actions_KA = policy.act(_observations(policy, frames_KTNHWC[:, time], eef_state_KE))
    return np.asarray(actions_KA, dtype=np.float64)


def _observations(policy: Policy, frames_BNHWC: np.ndarray, eef_state_BE: np.ndarray) -> dict[str, Any]:
    stored = {"frames": frames_BNHWC, "eef_state": eef_state_BE}
    return {name: np.asarray(stored[name]) for name in policy.observes}


def _first_actions(policy: PerceiverPolicy, frames_KTNHWC: np.ndarray, eef_state_KE: np.ndarray) -> np.ndarray:
    """First action of each predicted chunk; in batches of one fixed size, so that no bit depends on the caller."""
    frames_KTHWC = cameras_to_channels(frames_KTNHWC)
    batches = [slice(first, first + BATCH) for first in range(0, len(frames_KTHWC), BATCH)]
    chunks = [policy.predict_chunk(frames_KTHWC[batch], eef_state_KE[batch])[:, 0] for batch in batches]
    return np.concatenate(chunks) if chunks else np.empty((0, policy.interface.action.size))
