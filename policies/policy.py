"""What every policy speaks, and how a policy is named on a command line: a baseline, a checkpoint, or your own class.

Letters: ``B`` episodes side by side, ``A`` action coordinates, ``T`` frames of history, ``K`` steps of a chunk, ``H W``
rows and columns, ``E`` end-effector state.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np

from smidgen.policies.baselines import DemoStatistics
from smidgen.policies.checkpoint import load_checkpoint
from smidgen.policies.generators import BUILD_SEED, seed_generators
from smidgen.policies.registry import BASELINES, TRAINED, build_baseline, train_first
from smidgen.runtime.errors import UserError
from smidgen.runtime.user_modules import blaming, is_class_spec, load_class

OBSERVABLES = ("frames", "eef_state", "privileged")


@runtime_checkable
class Policy(Protocol):
    """A policy that controls B episodes side by side.

    Every call goes through `smidgen.policies.policy_calls`. What a policy is given is its own: it may keep it and write
    to it. What it answers is copied at once. It answers each row by what that row has observed, whichever rows stand
    beside it, and after the same ``reset`` always the same. The global generators of Python, NumPy and PyTorch are
    seeded before it is made and before each ``reset``; a generator of its own is to be seeded in ``reset``.

    Attributes:
        name: What a table calls it.
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
                in metres, where the task has them the gripper's opening in metres and cos and sin of twice the yaw;
                ``"privileged"``: per name an array (B, ...).

        Returns:
            (B, A) in the units of the task's action, finite: a NumPy array, a tensor of any floating-point type, or
            lists.
        """


class ChunkPolicy(Policy, Protocol):
    """A policy that can also be asked what it would do from some moment on.

    The moment may be of any episode, so the answer follows from the arguments alone and leaves the episodes that the
    policy is in as they are. Held-out measures ask for chunks where they can; without them, they replay a stored
    episode through ``act`` and know one action at a time.

    Attributes:
        num_frames: How many of the newest frames ``chunk`` is shown; 1 where there is no such attribute.
    """

    num_frames: int

    def chunk(self, observations: dict[str, Any]) -> np.ndarray:
        """The actions that it would take from now on.

        Args:
            observations: As ``act`` has them, but ``"frames"`` uint8 (B, T, cameras, H, W, 3) hold the history, the
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
    """Turns what a user wrote after ``policy=`` into a policy.

    Args:
        spec: A baseline's name, the path of a checkpoint or training run, or ``their.module:Class``, which is imported
            (its constructor gets ``action_spec=`` if it takes one). Nothing else ever runs a user's code.
        action_spec: The task's action as JSON: ``{"names", "low", "high", "kinds"}``.
        statistics: Of the demonstrations, for the baselines that play them back.
        expect_task: A checkpoint of another task is refused.
        transform: ``their.module:Class`` of the checkpoint's input transform, where it was trained with one of yours.

    Raises:
        UserError: If the spec names nothing, or what it names cannot be used here.
    """
    if spec in BASELINES:
        return build_baseline(spec, action_spec, statistics)
    if os.path.exists(spec):  # unlike Path's, this is False for a name that no file can have
        return load_checkpoint(spec, expect_task, transform)
    if is_class_spec(spec):
        return _build_users_policy(spec, action_spec)
    raise unknown_policy(spec)


def unknown_policy(spec: str, *others: str) -> UserError:
    """An error that says what a policy can be named by; ``others`` are names that are known beside ours."""
    if spec in TRAINED:
        return train_first(spec)
    valid = ", ".join(sorted((*others, *BASELINES)))
    return UserError(
        f"unknown policy {spec!r:.200}; valid: {valid}, the path of a checkpoint (no such path here), or "
        "their.module:Class"
    )


def _build_users_policy(spec: str, action_spec: Mapping[str, Any]) -> Policy:
    built = load_class(spec, "policy")
    arguments = _constructor_arguments(built, action_spec, spec)
    # Importing the module may have drawn, and is done once in a process, however often the class is made.
    seed_generators(BUILD_SEED)
    with blaming("policy", spec, "making it"):
        policy = built(**arguments)
    return check_policy(policy, spec)


def _constructor_arguments(built: type, action_spec: Mapping[str, Any], spec: str) -> dict[str, Any]:
    """What a user's class is given: its own errors stay its own, but a constructor that asks for more is no policy's.

    Raises:
        UserError: If the class cannot be made with that.
    """
    try:
        signature = inspect.signature(built)
        arguments = {"action_spec": dict(action_spec)} if "action_spec" in signature.parameters else {}
        signature.bind(**arguments)
    except (TypeError, ValueError) as error:
        raise UserError(f"policy {spec!r:.200}: made with action_spec= or nothing, but {error}; see Policy") from error
    return arguments


def check_policy(policy: object, spec: str) -> Policy:
    """Returns an object as a policy if it speaks the protocol.

    Raises:
        UserError: If it lacks a part of it or observes something that does not exist.
    """
    with blaming("policy", spec, "looking at it"):
        missing = [part for part in ("name", "observes", "reset", "act") if not hasattr(policy, part)]
    if missing or not isinstance(policy, Policy):
        raise UserError(f"policy {spec!r:.200} lacks {', '.join(missing)}; see Policy in smidgen.policies.policy")
    if not isinstance(policy.observes, tuple | list) or not isinstance(policy.name, str):
        raise UserError(f"policy {spec!r:.200}: expected name, a string, and observes, a tuple; see Policy")
    if unknown := sorted({str(each) for each in policy.observes} - set(OBSERVABLES)):
        raise UserError(f"policy {spec!r:.200} observes {unknown[0]!r}; valid: {', '.join(OBSERVABLES)}")
    return policy
