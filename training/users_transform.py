"""A user's input transform in a training run: its code, the form of its output, and the blame for its failures."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from torch import Tensor

from smidgen.policies.learned_policy import LearnedPolicy
from smidgen.runtime.errors import UserError
from smidgen.runtime.user_code import hash_modules
from smidgen.runtime.user_modules import blaming, comes_from, is_class_spec
from smidgen.training.config import TrainConfig


def users_transform(config: TrainConfig) -> str | None:
    """The class of the user's, ``their.module:Class``, that a run transforms its input with; None for one of ours."""
    name = config.policy.transform
    return name if is_class_spec(name) else None


def transform_code(config: TrainConfig) -> dict[str, str]:
    """Hashes of its module and of those of the user's that it imports: by ``transform_code.FILE``, as settings."""
    spec = users_transform(config)
    hashes = {} if spec is None else hash_modules(spec.partition(":")[0])
    return {f"transform_code.{file}": digest for file, digest in hashes.items()}


@contextlib.contextmanager
def running_transform(config: TrainConfig) -> Iterator[None]:
    """Trains: what comes out of a user's transform is one line that blames their file, below the traceback.

    Raises:
        UserCodeError: For whatever it raises.
    """
    spec = users_transform(config)
    try:
        yield
    except (UserError, KeyboardInterrupt):
        raise
    except BaseException as error:
        if spec is None or not comes_from(error, spec.partition(":")[0]):
            raise
        with blaming("transform", spec, "training with it", shows_trace=True):
            raise


def require_fitting_output(config: TrainConfig, policy: LearnedPolicy, frames_BTHWC: Tensor) -> None:
    """Asks a user's transform about a few frames before the first step.

    Args:
        config: The run's settings.
        policy: The policy; its statistics are fitted.
        frames_BTHWC: Frames as the policy's network takes them, on its device.

    Raises:
        UserCodeError: If the transform's output has another shape than its ``grid`` and ``channels`` say, is no
            floating-point tensor, or is not finite.
    """
    if users_transform(config) is not None:
        policy.network.check_transform(frames_BTHWC)
