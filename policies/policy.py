"""The policy protocol, and loading a policy by name: a baseline, a checkpoint, or your own class.

Letters: ``B`` parallel episodes, ``A`` action coordinates, ``T`` frames of history, ``K`` steps of a chunk, ``H W``
rows and columns, ``E`` end-effector state.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np

from smidgen.policies.baselines import DemoStatistics
from smidgen.policies.checkpoint import is_checkpoint, load_checkpoint
from smidgen.policies.foreign_policy import is_foreign, open_foreign_policy
from smidgen.policies.generators import BUILD_SEED, seed_generators
from smidgen.policies.registry import BASELINES, TRAINED, build_baseline, train_first
from smidgen.runtime.errors import UserError
from smidgen.runtime.user_modules import is_class_spec, load_class, user_code_errors

OBSERVABLES = ("frames", "eef_state", "privileged")


@runtime_checkable
class Policy(Protocol):
    """A policy that controls B parallel episodes.

    Every call goes through `smidgen.policies.policy_calls`. A policy owns its arguments: it may keep and modify them.
    Its return values are copied at once. The action of each row must depend only on that row's observations, not on
    other rows, and must be reproducible after the same ``reset``. The global generators of Python, NumPy and PyTorch
    are seeded before the policy is built and before each ``reset``; seed any generator of your own in ``reset``.

    Attributes:
        name: Its name in tables.
        observes: Which of :data:`OBSERVABLES` it reads; a ranked policy never reads ``"privileged"``.
    """

    name: str
    observes: tuple[str, ...]

    def reset(self, num_episodes: int = 1, seed: int = 0) -> None:
        """Starts ``num_episodes`` episodes; ``seed`` is the (first) episode's, for policies that draw."""

    def act(self, observations: dict[str, Any]) -> np.ndarray:
        """The next action of every episode.

        Args:
            observations: ``"frames"`` uint8 (B, cameras, H, W, 3), the newest only; ``"eef_state"`` (B, E): x, y, z
                in metres, and, if the task has them, the gripper's opening in metres and cos and sin of twice the
                yaw; ``"privileged"``: arrays (B, ...) by name.

        Returns:
            (B, A) in the units of the task's action, finite: a NumPy array, a tensor of any floating-point type, or
            lists.
        """


class ChunkPolicy(Policy, Protocol):
    """A policy that can also predict what it would do from a given moment on.

    The moment may be in any episode, so the result depends only on the arguments and must not affect running episodes.
    Held-out measures use chunks if available; otherwise they replay stored episodes through ``act``, one action at a
    time.

    Attributes:
        num_frames: How many of the newest frames ``chunk`` receives; 1 without this attribute.
    """

    num_frames: int

    def chunk(self, observations: dict[str, Any]) -> np.ndarray:
        """The actions that the policy would take from now on.

        Args:
            observations: As for ``act``, but ``"frames"`` uint8 (B, T, cameras, H, W, 3) hold the history, the
                newest last; a shorter history repeats its first frame.

        Returns:
            (B, K, A), finite, the next action first; K is the same in every call.
        """


def load_policy(
    spec: str,
    action_spec: Mapping[str, Any],
    statistics: DemoStatistics | None = None,
    expect_task: str | None = None,
    transform: str | None = None,
) -> Policy:
    """Loads the policy given as ``policy=``.

    Args:
        spec: A baseline's name, the path of a checkpoint or training run, ``zoo:TASK/NAME``, or
            ``their.module:Class``, which is imported (its constructor gets ``action_spec=`` if it takes one), or
            ``process:COMMAND``, which is run, or ``remote:HOST:PORT``. No other form runs a user's code.
        action_spec: The task's action as JSON: ``{"names", "low", "high", "kinds"}``.
        statistics: Statistics of the demonstrations, for the baselines that play them back.
        expect_task: Refuse checkpoints of other tasks.
        transform: ``their.module:Class`` of the checkpoint's input transform, if it was trained with one of yours.

    Raises:
        UserError: If the spec is unknown, or the policy cannot be used here.
    """
    if spec in BASELINES:
        return build_baseline(spec, action_spec, statistics)
    if is_foreign(spec):
        return check_policy(open_foreign_policy(spec, action_spec, expect_task or ""), spec)
    if is_checkpoint(spec):
        return load_checkpoint(spec, expect_task, transform)
    if is_class_spec(spec):
        return _build_users_policy(spec, action_spec)
    raise unknown_policy(spec)


def is_users_policy(spec: str) -> bool:
    """Whether a spec names code of the user's, here or in another process; a path that exists is a checkpoint."""
    return is_foreign(spec) or (is_class_spec(spec) and not is_checkpoint(spec))


def users_module(spec: str) -> str | None:
    """The user's module that a spec names; None of a policy in another process."""
    return None if is_foreign(spec) else spec.partition(":")[0]


def unknown_policy(spec: str, *others: str) -> UserError:
    """The error for an unknown policy; ``others`` are valid names in addition to ours."""
    if spec in TRAINED:
        return train_first(spec)
    valid = ", ".join(sorted((*others, *BASELINES)))
    return UserError(
        f"unknown policy {spec!r:.200}; valid: {valid}, the path of a checkpoint (no such path here), zoo:TASK/NAME, "
        "their.module:Class, process:COMMAND or remote:HOST:PORT"
    )


def _build_users_policy(spec: str, action_spec: Mapping[str, Any]) -> Policy:
    built = load_class(spec, "policy")
    arguments = _constructor_arguments(built, action_spec, spec)
    # The import may draw random numbers, and happens only once in a process, however often the class is built.
    seed_generators(BUILD_SEED)
    with user_code_errors("policy", spec, "constructing it"):
        policy = built(**arguments)
    return check_policy(policy, spec)


def _constructor_arguments(built: type, action_spec: Mapping[str, Any], spec: str) -> dict[str, Any]:
    """Arguments for a user's constructor; one that requires more is refused.

    Raises:
        UserError: If the class cannot be constructed with these.
    """
    try:
        signature = inspect.signature(built)
        arguments = {"action_spec": dict(action_spec)} if "action_spec" in signature.parameters else {}
        signature.bind(**arguments)
    except (TypeError, ValueError) as error:
        raise UserError(
            f"policy {spec!r:.200}: constructed with action_spec= or nothing, but {error}; see Policy"
        ) from error
    return arguments


def check_policy(policy: object, spec: str) -> Policy:
    """Returns an object as a policy if it implements the protocol.

    Raises:
        UserError: If it lacks a part of the protocol or observes something unknown.
    """
    with user_code_errors("policy", spec, "checking it"):
        missing = [part for part in ("name", "observes", "reset", "act") if not hasattr(policy, part)]
    if missing or not isinstance(policy, Policy):
        raise UserError(f"policy {spec!r:.200} lacks {', '.join(missing)}; see Policy in smidgen.policies.policy")
    if not isinstance(policy.observes, tuple | list) or not isinstance(policy.name, str):
        raise UserError(f"policy {spec!r:.200}: expected a string as name and a tuple as observes; see Policy")
    if unknown := sorted({str(each) for each in policy.observes} - set(OBSERVABLES)):
        raise UserError(f"policy {spec!r:.200} observes {unknown[0]!r}; valid: {', '.join(OBSERVABLES)}")
    return policy
