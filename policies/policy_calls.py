"""All calls of a policy: it gets its own copies of arrays, and its return values are copied and checked at once.

A policy is foreign code. It may keep or modify its arguments, return a buffer that it reuses, draw from global
generators, or change NumPy's and PyTorch's settings. None of that affects other code, and any exception that it raises,
``SystemExit`` included, becomes a :class:`PolicyError`.

Letters: ``B`` parallel episodes, ``A`` action coordinates, ``K`` steps of a chunk, ``...`` any other axes.
"""

from __future__ import annotations

import contextlib
import os
import signal
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import GeneratorType
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np
import torch
from jaxtyping import Float

from smidgen.policies.generators import BUILD_SEED, generators_kept, seed_generators
from smidgen.runtime.errors import UserError
from smidgen.runtime.user_modules import is_ours, user_code_location, user_traceback


@dataclass
class ProcessSettings:
    """A set of settings; :meth:`installed` applies it to a block of code and keeps the block's changes."""

    numpy_errors: Any
    dtype: torch.dtype
    device: torch.device
    has_gradients: bool
    num_threads: int
    directory: str | None

    @classmethod
    def read(cls) -> ProcessSettings:
        """The process's current settings."""
        return cls(
            np.geterr(),
            torch.get_default_dtype(),
            torch.get_default_device(),
            torch.is_grad_enabled(),
            torch.get_num_threads(),
            _working_directory(),
        )

    @contextlib.contextmanager
    def installed(self) -> Iterator[None]:
        """Applies these settings inside the block and records its changes; restores the process's afterwards."""
        before = ProcessSettings.read()
        self._replace(before)
        try:
            yield
        finally:
            after = ProcessSettings.read()
            before._replace(after)
            self.__dict__.update(after.__dict__)

    def _replace(self, present: ProcessSettings) -> None:
        """Applies the settings that differ from the current ones."""
        if self.numpy_errors != present.numpy_errors:
            np.seterr(**self.numpy_errors)
        if self.dtype != present.dtype:
            torch.set_default_dtype(self.dtype)
        if self.device != present.device:
            # If the policy sets no device, PyTorch keeps its default and is not slowed down by a mode.
            torch.set_default_device(None if self.device.type == "cpu" else self.device)
        if self.has_gradients != present.has_gradients:
            torch.set_grad_enabled(self.has_gradients)
        if self.num_threads != present.num_threads:
            torch.set_num_threads(self.num_threads)
        if self.directory not in (None, present.directory):
            os.chdir(str(self.directory))


def _working_directory() -> str | None:
    """None if it was deleted."""
    with contextlib.suppress(FileNotFoundError):
        return os.getcwd()
    return None


if TYPE_CHECKING:
    from smidgen.policies.policy import ChunkPolicy, Policy

Answer = TypeVar("Answer")

# The documented dtypes; privileged state keeps its own.
_TYPES: dict[str, Any] = {"frames": np.uint8, "eef_state": np.float64}


class PolicyError(Exception):
    """A call of a policy failed, or its return value is invalid.

    Attributes:
        summary: What went wrong, independent of the machine: the exception's type, or what was wrong with the return
            value. The exception's message has the details.
        trace: The traceback from the policy's own code on; "" if it raised nothing.
    """

    def __init__(self, message: str, summary: str = "", trace: str = "") -> None:
        super().__init__(message)
        self.summary = summary or message
        self.trace = trace


class PolicyCalls:
    """Wraps a policy; all calls go through this class.

    Args:
        policy: Implements the policy protocol.
        settings: The process settings that the policy runs under; the current ones by default. Its changes to them
            apply only to its own calls.

    Attributes:
        policy: The wrapped policy.
    """

    def __init__(self, policy: Policy, settings: ProcessSettings | None = None) -> None:
        self.policy = policy
        self._settings = ProcessSettings.read() if settings is None else settings
        self._num_episodes = 1
        self._chunk_length = 0

    @classmethod
    def of(cls, policy: Policy | PolicyCalls) -> PolicyCalls:
        """Wraps a policy unless it is wrapped already."""
        return policy if isinstance(policy, PolicyCalls) else cls(policy)

    @classmethod
    def built(cls, make: Callable[[], Policy]) -> PolicyCalls:
        """Builds a policy with seeded global generators, so that every process builds the same one."""
        settings = ProcessSettings.read()
        with generators_kept(), settings.installed():
            seed_generators(BUILD_SEED)
            policy = make()
        return cls(policy, settings)

    @property
    def observes(self) -> tuple[str, ...]:
        """Which parts of an observation the policy reads."""
        return tuple(self.policy.observes)

    @property
    def has_chunks(self) -> bool:
        """Whether the policy predicts chunks; not if a class overrides only ``act``, which differs from its chunks."""
        for part in type(self.policy).__mro__:
            if "chunk" in vars(part) or "act" in vars(part):
                return callable(vars(part).get("chunk"))
        return self.call(lambda: callable(getattr(self.policy, "chunk", None)))

    @property
    def num_frames(self) -> int:
        """How many of the newest frames ``chunk`` receives."""
        num_frames = self.call(lambda: getattr(self.policy, "num_frames", 1))
        if type(num_frames) is not int or num_frames < 1:
            raise PolicyError(f"expected num_frames a whole number from 1, got {num_frames!r:.40}")
        return num_frames

    def reset(self, num_episodes: int = 1, seed: int = 0) -> None:
        """Starts episodes; global generators are seeded as well.

        Raises:
            PolicyError: If the policy fails.
        """
        self._num_episodes = num_episodes
        seed_generators(seed)
        self.call(lambda: self.policy.reset(num_episodes=num_episodes, seed=seed))

    def act(self, observations: Mapping[str, Any], action_size: int) -> Float[np.ndarray, "B A"]:
        """The next action of every episode.

        Args:
            observations: As in the ``Policy`` protocol; copied.
            action_size: Number A of coordinates.

        Returns:
            float64 (B, A), finite, a copy.

        Raises:
            PolicyError: If the policy fails, or does not return numbers of that shape.
        """
        own = own_arrays(observations)
        actions_BA = self.call(lambda: numbers(self.policy.act(own), "act"))
        expected = (self._num_episodes, action_size)
        if actions_BA.shape != expected:
            got = actions_BA.shape
            raise PolicyError(f"expected actions of shape {expected}, got {got}{_hint(got, expected)}")
        if not np.isfinite(actions_BA).all():
            raise PolicyError("action is not finite")
        return actions_BA

    def chunk(self, observations: Mapping[str, Any], action_size: int) -> Float[np.ndarray, "B K A"]:
        """The actions that the policy would take from now on; only if ``has_chunks``.

        Args:
            observations: As in the ``ChunkPolicy`` protocol; copied.
            action_size: Number A of coordinates.

        Returns:
            float64 (B, K, A), finite, a copy.

        Raises:
            PolicyError: If the policy fails, or does not return numbers of that shape.
        """
        own, policy = own_arrays(observations), cast("ChunkPolicy", self.policy)
        chunks_BKA = self.call(lambda: numbers(policy.chunk(own), "chunk"))
        num_steps = self._chunk_length or (chunks_BKA.shape[1:2] or (0,))[0]
        if not num_steps or chunks_BKA.shape != (self._num_episodes, num_steps, action_size):
            expected = f"({self._num_episodes}, {self._chunk_length or 'K'}, {action_size})"
            raise PolicyError(f"expected chunks of shape {expected}, got {chunks_BKA.shape}")
        if not np.isfinite(chunks_BKA).all():
            raise PolicyError("chunk is not finite")
        self._chunk_length = num_steps
        return chunks_BKA

    def call(self, function: Callable[[], Answer]) -> Answer:
        """Runs the policy's code, under its own settings.

        Raises:
            PolicyError: For any exception, except Ctrl-C, termination signals and :class:`UserError`, which pass
                unchanged.
        """
        try:
            with self._settings.installed():
                return function()
        except (PolicyError, UserError):
            raise
        except BaseException as error:
            if _ends_the_process(error):
                raise
            raise _as_policy_error(error, type(self.policy).__module__) from error


def own_arrays(observations: Mapping[str, Any]) -> dict[str, Any]:
    """Copies of observations that the policy may keep and modify."""
    return {
        name: own_arrays(value) if isinstance(value, Mapping) else np.array(value, dtype=_TYPES.get(name), order="C")
        for name, value in observations.items()
    }


def numbers(answer: Any, method: str = "act") -> np.ndarray:
    """Converts a policy's return value to a new float64 array.

    Args:
        answer: An array, a tensor of any device and floating-point dtype, or nested lists of numbers.
        method: The method that returned it.

    Raises:
        PolicyError: If it is anything else.
    """
    if answer is None:
        raise PolicyError(f"expected actions, got None; does {method} return them?")
    array = _as_array(answer)
    if array.dtype.kind not in "iuf":
        raise PolicyError(f"expected actions as real numbers (float64), got {_kind_name(answer, array.dtype)}")
    if np.ma.is_masked(answer):
        raise PolicyError("expected actions, got a masked array with masked entries")
    with np.errstate(all="ignore"):
        return np.array(array, dtype=np.float64, order="C", subok=False)


def _as_array(answer: Any) -> np.ndarray:
    if isinstance(answer, torch.Tensor):
        return _from_torch(answer)
    if isinstance(answer, Sequence) and not isinstance(answer, str | bytes):
        answer = [_from_torch(part) if isinstance(part, torch.Tensor) else part for part in answer]
        try:
            return np.asarray(answer)
        except ValueError as error:
            raise PolicyError("expected actions as rows of one length, got ragged ones") from error
    return np.asarray(answer)


def _from_torch(tensor: torch.Tensor) -> np.ndarray:
    """NumPy supports neither bfloat16 nor gradients."""
    exact = tensor.detach().cpu()
    return (exact.double() if exact.is_floating_point() else exact).numpy(force=True)


def _kind_name(answer: Any, dtype: np.dtype[Any]) -> str:
    if dtype.kind in "US":
        return "text"
    if dtype.kind != "O":
        return str(dtype)
    if isinstance(answer, GeneratorType):
        return "a generator (yield instead of return?)"
    if isinstance(answer, np.ndarray | Sequence):
        return f"{type(answer).__name__} of objects"
    return type(answer).__name__


def _hint(shape: tuple[int, ...], expected: tuple[int, int]) -> str:
    """How to fix a common wrong shape."""
    if shape == expected[1:]:
        return ": return a batch, one row for every row that is observed (actions[None] where there is one)"
    if shape[1:] == expected[1:]:
        return ": return one row for every row that is observed"
    if len(shape) == 3 and (shape[0], shape[2]) == expected:
        return ": return the next action, not the whole chunk"
    return ""


def _ends_the_process(error: BaseException) -> bool:
    """Whether it came from outside the policy: Ctrl-C, or one of our signal handlers that ran during the call."""
    if isinstance(error, KeyboardInterrupt | SystemExit) and is_ours(error):
        return True
    # Workers ignore Ctrl-C, so in a worker only the policy can have raised it.
    return isinstance(error, KeyboardInterrupt) and signal.getsignal(signal.SIGINT) != signal.SIG_IGN


def _as_policy_error(error: BaseException, module_name: str) -> PolicyError:
    inner = error.__traceback__
    while inner is not None and inner.tb_frame.f_globals.get("__name__") == __name__:
        inner = inner.tb_next
    name = "sys.exit" if isinstance(error, SystemExit) else type(error).__name__
    text = str(traceback.TracebackException(type(error), error, None, compact=True))
    message = f"{name}: {text}" if text else name
    return PolicyError(f"{message} ({user_code_location(error, module_name)})", name, user_traceback(error, inner))
