"""One closed-loop episode: a policy and an environment, from reset to success held or the horizon."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from smidgen.data_collection.outcome import make_outcome
from smidgen.envs.play import Moment, play
from smidgen.envs.selfcheck import confirm_pixels
from smidgen.evaluation.failures import FailureObserver
from smidgen.evaluation.protocol import HOLD_STEPS, POLICY_ERROR, SIMULATOR_ERROR
from smidgen.evaluation.record_schema import EpisodeRow
from smidgen.policies.generators import generators_kept
from smidgen.policies.policy import Policy
from smidgen.policies.policy_calls import PolicyCalls, PolicyError
from smidgen.runtime.errors import UserError


class Recorder(Protocol):
    """Receives the environment after reset and after every control step, e.g. to record a video."""

    def capture(self, env: Any) -> None:
        """Reads the current state without changing it."""


@dataclass(frozen=True)
class EpisodeResult:
    """The result of one episode.

    Attributes:
        row: Its outcome, as stored in the record.
        path_S3: The end effector's position (m, world) at reset and after every step.
        error: The error of the policy or the simulator, or "".
        trace: The traceback of a policy's error.
    """

    row: EpisodeRow
    path_S3: np.ndarray
    error: str = ""
    trace: str = ""


@dataclass
class _Progress:
    """The progress of an episode."""

    path: list[np.ndarray] = field(default_factory=list)
    num_steps: int = 0
    held_steps: int = 0
    first_success_step: int | None = None
    return_: float = 0.0

    def see(self, moment: Moment) -> None:
        self.num_steps = len(self.path)
        self.return_ += moment.reward
        if moment.is_success and self.first_success_step is None:
            self.first_success_step = self.num_steps
        self.held_steps = self.held_steps + 1 if moment.is_success and self.num_steps > 0 else 0
        self.path.append(np.array(moment.observation["eef_state"][:3], dtype=np.float64))


class _EpisodeError(Exception):
    """Ends an episode as a failure that counts; carries the label and the traceback of the policy's error."""

    def __init__(self, label: str, message: str, trace: str = "") -> None:
        super().__init__(message)
        self.label, self.trace = label, trace


def policy_observations(env: Any, observes: tuple[str, ...]) -> dict[str, Any]:
    """The policy's observations of the current state, as a batch of one: only those that it requests.

    Args:
        env: The environment; its frames are rendered only if requested.
        observes: Subset of ("frames", "eef_state", "privileged").

    Returns:
        ``frames`` uint8 (1, num_cameras, H, W, 3), ``eef_state`` float64 (1, E), ``privileged`` name -> (1, ...).
    """
    given: dict[str, Any] = {}
    if "frames" in observes:
        given["frames"] = env.unwrapped.render_frames()[None]
    if "eef_state" in observes:
        given["eef_state"] = np.asarray(env.unwrapped.eef_state(), dtype=np.float64)[None]
    if "privileged" in observes:
        given["privileged"] = {name: np.asarray(value)[None] for name, value in env.unwrapped.privileged().items()}
    return given


def rollout(
    env: Any,
    policy: Policy | PolicyCalls,
    seed: int,
    recorder: Recorder | None = None,
    counted: tuple[type[Exception], ...] = (Exception,),
) -> EpisodeResult:
    """Runs one episode; an exception or a non-finite number ends it as a failure that counts.

    Global generators (Python's, NumPy's, PyTorch's) are seeded from the episode's seed, and restored after it.

    Args:
        env: A smidgen environment, best with ``observe_pixels=False``: frames are rendered here, if requested.
        policy: Implements the policy protocol; reset with the episode's seed.
        seed: The episode's seed.
        recorder: Receives the environment after reset and after every step.
        counted: What the environment's reset and step may raise to end the episode as a failure; the rest is passed on.

    Raises:
        UserError: Passed on: a user's mistake is not a property of the policy, nor are frames that cannot be trusted.
    """
    progress, observer, error, trace = _Progress(), FailureObserver(env.unwrapped.task), "", ""
    calls = PolicyCalls.of(policy)
    try:
        with generators_kept():
            _run(env, calls, seed, progress, observer, recorder, counted)
        label = observer.label(progress.held_steps >= HOLD_STEPS, progress.first_success_step is not None)
    except _EpisodeError as raised:
        label, error, trace = raised.label, str(raised), raised.trace
    if recorder is not None or "frames" in calls.observes:
        confirm_pixels(env.unwrapped)
    success = not error and progress.held_steps >= HOLD_STEPS
    outcome = make_outcome(seed, success, progress.first_success_step, progress.num_steps)
    return EpisodeResult(
        row={**outcome, "return": progress.return_, "label": label},
        path_S3=np.array(progress.path, dtype=np.float64).reshape(-1, 3),
        error=error,
        trace=trace,
    )


def _run(
    env: Any,
    calls: PolicyCalls,
    seed: int,
    progress: _Progress,
    observer: FailureObserver,
    recorder: Recorder | None,
    counted: tuple[type[Exception], ...],
) -> None:
    def act() -> np.ndarray:
        observations = policy_observations(env, calls.observes)
        with _counting_policy_errors():
            return calls.act(observations, env.unwrapped.task.action.size)[0]

    with _counting_policy_errors():
        calls.reset(num_episodes=1, seed=seed)
    for moment in play(_Counting(env, counted), seed, act):
        progress.see(moment)
        observer.see(env.unwrapped.privileged())
        if recorder is not None:
            recorder.capture(env)
        if progress.held_steps >= HOLD_STEPS:
            return


class _Counting:
    """An environment whose errors, and states that are not finite, end the episode."""

    def __init__(self, env: Any, counted: tuple[type[Exception], ...]) -> None:
        self._env, self._counted = env, counted

    def reset(self, *, seed: int) -> Any:
        return self._checked(lambda: self._env.reset(seed=seed))

    def step(self, action_A: np.ndarray) -> Any:
        outcome = self._checked(lambda: self._env.step(action_A))
        if not math.isfinite(outcome[1]):
            raise _EpisodeError(SIMULATOR_ERROR, "reward is not finite")
        return outcome

    def _checked(self, call: Callable[[], Any]) -> Any:
        try:
            outcome = call()
        except UserError:
            raise
        except self._counted as error:
            raise _EpisodeError(SIMULATOR_ERROR, f"{type(error).__name__}: {error}") from error
        if not np.isfinite(outcome[0]["eef_state"]).all():
            raise _EpisodeError(SIMULATOR_ERROR, "end-effector state is not finite")
        return outcome


@contextlib.contextmanager
def _counting_policy_errors() -> Iterator[None]:
    """Ends the episode if the policy fails."""
    try:
        yield
    except PolicyError as error:
        raise _EpisodeError(POLICY_ERROR, str(error), error.trace) from error
