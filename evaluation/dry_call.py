"""A dry call: tries a policy on a few observations before the first episode, in the same way as the evaluation.

Closed loop uses batches of one, held-out measures use larger batches, and every worker builds its own policy. So a
fresh instance is reset and called for two steps with a batch of one and a larger batch. After another reset, and when
built again, it must return the same actions; each row's actions must not depend on the other rows or their order.

The independence of rows is not required of a policy that samples, since a row's action then depends on its place in the
stream of random numbers. A policy counts as sampling if another seed gives other actions. The form of its actions, and
that the same seed gives the same actions, are still checked.

Letters: ``R`` rows, ``T`` steps, ``A`` action coordinates.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from smidgen.data_collection.store import EpisodeStore
from smidgen.evaluation.held_out_predictions import stored_observations
from smidgen.evaluation.policy_source import PolicySource
from smidgen.evaluation.rollout import policy_observations
from smidgen.policies.generators import generators_kept
from smidgen.policies.policy_calls import PolicyCalls, PolicyError, own_arrays
from smidgen.runtime.action_spec import ActionSpec
from smidgen.runtime.errors import UserCodeError, UserError

NUM_ROWS = 3
NUM_STEPS = 2
# Shares of a coordinate's range. The same calls again may differ in last bits (on a GPU); another size or order of the
# batch also in what bfloat16 rounds away.
SAME_CALLS, OTHER_BATCH = 1e-4, 0.02
_SEED, _OTHER_SEED = 0, 1

Observations = Mapping[str, Any]


class ContractError(PolicyError):
    """The policy's actions violate the protocol, so no measurement would be valid."""


@dataclass(frozen=True, eq=False)
class Rows:
    """Observations of R rows, one per step."""

    num_rows: int
    steps: Sequence[Observations]


def stored_rows(store: EpisodeStore, observes: Sequence[str]) -> Rows:
    """Observations of two steps of stored episodes; from several parts of an episode if there are few."""
    places = [(seed, part) for part in range(NUM_ROWS) for seed in store.training_seeds[:NUM_ROWS]][:NUM_ROWS]
    steps: list[Observations] = []
    for step in range(NUM_STEPS):
        frames, eef_states = [], []
        for seed, part in places:
            episode = store.episode(seed)
            index = min(part * episode.num_steps // NUM_ROWS + step, episode.num_steps - 1)
            frames.append(episode.frames[index])
            eef_states.append(episode.eef_state[index])
        steps.append(stored_observations(observes, np.stack(frames), np.stack(eef_states)))
    return Rows(NUM_ROWS, steps)


def reset_rows(env: Any, observes: Sequence[str]) -> Rows:
    """Observations of an environment at reset, with a few seeds; the same for every step.

    Fewer rows, down to none, if the simulator fails; the episodes will count those failures.
    """
    rows = []
    for seed in range(NUM_ROWS):
        try:
            env.reset(seed=seed)
            rows.append(own_arrays(policy_observations(env, tuple(observes))))
        except UserError:
            raise
        except Exception:
            continue
    return Rows(len(rows), [_joined(rows)] * NUM_STEPS if rows else [])


def dry_call(source: PolicySource, action: ActionSpec, rows: Rows, keep_going: bool = False) -> None:
    """Calls a fresh instance of a policy, and then another one.

    Args:
        source: Where the policy comes from.
        action: The task's action.
        rows: The observations; without any, nothing is called.
        keep_going: Whether a failure is a warning, as the episodes will count it.

    Raises:
        UserCodeError: If the policy fails; also, whether to keep going or not, if it answers as no policy may: nothing
            that is measured of it would be true.
    """
    named = f"policy {source.spec!r:.200} failed a dry call, before the first episode"
    try:
        with generators_kept():
            if rows.num_rows:
                _check(source, action, rows)
    except ContractError as error:
        raise UserCodeError(f"{named}: {error}") from error
    except PolicyError as error:
        if not keep_going:
            raise UserCodeError(f"{named}: {error}; fix it, or add keep_going=true", error.trace) from error
        print(f"{error.trace}warning: {named}: {error}", file=sys.stderr, flush=True)


def _joined(rows: Sequence[Observations]) -> dict[str, Any]:
    """Observations of several batches as one batch."""
    return {
        name: _joined([row[name] for row in rows])
        if isinstance(value, Mapping)
        else np.concatenate([row[name] for row in rows])
        for name, value in rows[0].items()
    }


def _taken(observations: Observations, rows_R: np.ndarray) -> dict[str, Any]:
    """Some rows of observations."""
    return {
        name: _taken(value, rows_R) if isinstance(value, Mapping) else np.asarray(value)[rows_R]
        for name, value in observations.items()
    }


@dataclass(frozen=True, eq=False)
class _RepeatedCalls:
    """The observations, and the tolerance between two answers."""

    action: ActionSpec
    rows: Rows

    def answers(self, calls: PolicyCalls, rows_R: np.ndarray, seed: int = _SEED) -> np.ndarray:
        """The answers (T, R, A) for some rows, after a reset; the steps of chunks, if any, come last."""
        try:
            calls.reset(num_episodes=len(rows_R), seed=seed)
            acted = [calls.act(_taken(step, rows_R), self.action.size) for step in self.rows.steps]
            return np.stack(acted + self._chunks(calls, rows_R))
        except PolicyError as error:
            raise PolicyError(f"called on a batch of {len(rows_R)}: {error}", error.summary, error.trace) from error

    def _chunks(self, calls: PolicyCalls, rows_R: np.ndarray) -> list[np.ndarray]:
        if not calls.has_chunks:
            return []
        newest = _taken(self.rows.steps[0], rows_R)
        if "frames" in newest:
            newest["frames"] = np.repeat(newest["frames"][:, None], calls.num_frames, axis=1)
        return list(calls.chunk(newest, self.action.size).swapaxes(0, 1))

    def are_close(self, one: np.ndarray, other: np.ndarray, tolerance: float) -> bool:
        range_A = np.subtract(self.action.high, self.action.low)
        scale = np.maximum(np.maximum(np.abs(one), np.abs(other)), range_A)
        return bool((np.abs(one - other) <= tolerance * scale).all())


def _check(source: PolicySource, action: ActionSpec, rows: Rows) -> None:
    calls, repeated = source.open(), _RepeatedCalls(action, rows)
    all_R, order_R = np.arange(rows.num_rows), np.roll(np.arange(rows.num_rows), 1)
    alone_T1A, together_TRA = repeated.answers(calls, all_R[:1]), repeated.answers(calls, all_R)
    if not repeated.are_close(repeated.answers(calls, all_R), together_TRA, SAME_CALLS):
        raise ContractError(
            "after the same reset(seed=0) it acts differently: clear the last episode's state in reset, and use only "
            "generators that reset seeds"
        )
    draws = not repeated.are_close(repeated.answers(calls, all_R, _OTHER_SEED), together_TRA, SAME_CALLS)
    if not draws:
        if not repeated.are_close(repeated.answers(calls, order_R), together_TRA[:, order_R], OTHER_BATCH):
            raise ContractError("its actions do not match the rows that it observes: in another order they differ")
        if not repeated.are_close(alone_T1A, together_TRA[:, :1], OTHER_BATCH):
            raise ContractError(
                "it acts differently on a row alone and in a batch; is anything computed over the batch (BatchNorm "
                "in training mode)?"
            )
    # One at a time: a large policy may not fit twice.
    del calls
    if not repeated.are_close(repeated.answers(source.open(), all_R), together_TRA, SAME_CALLS):
        raise ContractError(
            "a second instance acts differently, as it would in every worker process; build the same policy each "
            "time (are its weights drawn from an unseeded generator?)"
        )
