"""Collapse measured offline: what a policy predicts on held-out demonstrations, with the cue moved, without its input.

Every policy is measured on the action that it would command now (the first of a chunk), so that rows compare. A
Perceiver is asked for that window by window; any other policy replays the stored observations through ``act``.

Letters: ``K`` measured steps or pairs, ``T`` frames of history, ``N`` cameras, ``A`` action coordinates, ``E``
end-effector state, ``H W`` rows and columns (``H`` before an ``A`` is the horizon).
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from smidgen.data_collection.episode import Episode
from smidgen.data_collection.store import EpisodeStore
from smidgen.evaluation.policy_source import PolicySource, open_policy
from smidgen.policies.learned_policy import LearnedPolicy, cameras_to_channels
from smidgen.policies.policy import Policy
from smidgen.runtime.errors import UserError

BATCH = 16
# Which answers an item gives: part of the name of its stored answer.
ANSWERS_VERSION = 2
# Every so-manieth measured step is also predicted from another episode's frames, and from blank ones.
PROBE_STRIDE = 4
BLANK = 128


@dataclass(frozen=True)
class HeldOutItem:
    """One held-out demonstration and the steps to predict; a twin is asked about pairs with the cue hidden.

    ``demos_sha256`` is the hash that the demonstrations had when the evaluation began; None where it does not matter.
    """

    source: PolicySource
    demos: str
    seed: int
    steps: tuple[int, ...]
    is_twin: bool = False
    demos_sha256: str | None = None


@functools.lru_cache(maxsize=1)
def open_store(directory: str, sha256: str | None = None) -> EpisodeStore:
    """The process's held-out demonstrations; the command has verified them.

    Raises:
        UserError: If they are no longer those with the hash.
    """
    store = EpisodeStore.open(directory, verify=False)
    if sha256 is not None and store.sha256 != sha256:
        raise UserError(f"{directory} changed while a policy was being evaluated on it; run the same command again")
    return store


def spread_steps(store: EpisodeStore, num_windows: int) -> dict[int, tuple[int, ...]]:
    """At most ``num_windows`` steps, evenly over all successful episodes and all their moments, by seed."""
    lengths = {
        row["seed"]: row["num_steps"] for row in store.manifest["episodes"] if row["seed"] in store.training_seeds
    }
    owners = [(seed, step) for seed, length in lengths.items() for step in range(length)]
    count = min(num_windows, len(owners))
    chosen = [owners[index] for index in np.unique(np.linspace(0, len(owners) - 1, count).round().astype(int))]
    return {seed: tuple(step for owner, step in chosen if owner == seed) for seed in lengths}


def partner_seed(store: EpisodeStore, seed: int) -> int:
    """Whose frames an episode is shown instead of its own: the next successful one's, after the last the first's."""
    seeds = store.training_seeds
    return seeds[(seeds.index(seed) + 1) % len(seeds)]


def predict_episode(item: HeldOutItem) -> dict[str, Any]:
    """Predictions (K, A) at an episode's steps, under other input, and for its counterfactual pairs.

    Returns:
        Nested lists: ``prediction``; ``shuffled`` and ``blanked`` for every ``PROBE_STRIDE``-th step; ``frames`` and
        ``frames_moved`` for the pairs; ``chunks`` (K, H, A) of a Perceiver. Of a twin ``frames_hidden`` alone. Or
        ``error`` alone if the policy fails.
    """
    store, policy = open_store(item.demos, item.demos_sha256), open_policy(item.source)
    try:
        if item.is_twin:
            answer = {"frames_hidden": _predict_pairs(policy, store, item, "frames_hidden")}
        else:
            answer = _predict_all(policy, store, item)
    except UserError:
        raise
    except Exception as error:
        # As in a rollout, a policy that fails is a finding about the policy; the message may name paths, the type not.
        return {"error": f"the policy raised {type(error).__name__} on held-out demonstrations"}
    if not all(np.isfinite(predicted).all() for predicted in answer.values()):
        return {"error": "the policy's predictions on held-out demonstrations are not finite"}
    return {name: predicted.tolist() for name, predicted in answer.items()}


def _predict_all(policy: Policy, store: EpisodeStore, item: HeldOutItem) -> dict[str, np.ndarray]:
    episode, steps_K = store.episode(item.seed), np.array(item.steps, dtype=int)
    answer: dict[str, np.ndarray] = {}
    if isinstance(policy, LearnedPolicy):
        answer["chunks"] = _chunks_at(policy, episode, steps_K)
        answer["prediction"] = answer["chunks"][:, 0]
    else:
        answer["prediction"] = predict_steps(policy, episode, steps_K)
    probed_K = steps_K[::PROBE_STRIDE]
    if "frames" in policy.observes:
        partner = store.episode(partner_seed(store, item.seed)).frames
        others = partner[np.minimum(np.arange(episode.num_steps), len(partner) - 1)]
        answer["shuffled"] = predict_steps(policy, replace(episode, frames=others), probed_K)
        grey = np.broadcast_to(np.uint8(BLANK), episode.frames.shape)
        answer["blanked"] = predict_steps(policy, replace(episode, frames=grey), probed_K)
    else:
        answer["shuffled"] = answer["blanked"] = answer["prediction"][::PROBE_STRIDE]
    return answer | {name: _predict_pairs(policy, store, item, name) for name in ("frames", "frames_moved")}


def _predict_pairs(policy: Policy, store: EpisodeStore, item: HeldOutItem, name: str) -> np.ndarray:
    pairs = store.counterfactuals([item.seed])
    if not len(pairs["step"]):
        return np.empty((0, len(store.manifest["action_spec"]["names"])))
    return predict_windows(policy, pairs[name], pairs["eef_state"])


def predict_steps(policy: Policy, episode: Episode, steps_K: np.ndarray) -> np.ndarray:
    """What the policy would command at some steps of a stored episode: float64 (K, A)."""
    if isinstance(policy, LearnedPolicy):
        return _chunks_at(policy, episode, steps_K)[:, 0]
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
    if isinstance(policy, LearnedPolicy):
        window_T = np.maximum(num_stored + np.arange(-policy.config.num_frames, 0), 0)
        return _chunks(policy, frames_KTNHWC[:, window_T], eef_state_KE)[:, 0]
    policy.reset(num_episodes=len(frames_KTNHWC), seed=0)
    for time in range(num_stored):
        actions_KA = policy.act(_observations(policy, frames_KTNHWC[:, time], eef_state_KE))
    return np.asarray(actions_KA, dtype=np.float64)


def _observations(policy: Policy, frames_BNHWC: np.ndarray, eef_state_BE: np.ndarray) -> dict[str, Any]:
    stored = {"frames": frames_BNHWC, "eef_state": eef_state_BE}
    return {name: np.asarray(stored[name]) for name in policy.observes}


def _chunks_at(policy: LearnedPolicy, episode: Episode, steps_K: np.ndarray) -> np.ndarray:
    window_KT = np.maximum(steps_K[:, None] + np.arange(1 - policy.config.num_frames, 1), 0)
    return _chunks(policy, episode.frames[window_KT], episode.eef_state[steps_K])


def _chunks(policy: LearnedPolicy, frames_KTNHWC: np.ndarray, eef_state_KE: np.ndarray) -> np.ndarray:
    """Predicted chunks (K, H, A); in batches of one fixed size, so that no bit depends on the caller."""
    frames_KTHWC = cameras_to_channels(frames_KTNHWC)
    batches = [slice(first, first + BATCH) for first in range(0, len(frames_KTHWC), BATCH)]
    chunks = [policy.predict_chunk(frames_KTHWC[batch], eef_state_KE[batch]) for batch in batches]
    return np.concatenate(chunks) if chunks else np.empty((0, policy.config.horizon, policy.interface.action.size))
