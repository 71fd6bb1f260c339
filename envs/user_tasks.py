"""Users' tasks: an environment class named ``their.module:Class`` is imported and validated; its errors are reported.

The class is a subclass of ``RobosuiteEnv``, or of one of our tasks' environments. It has the attributes ``task``, its
``TaskSpec``, and, to collect demonstrations, ``expert``, a subclass of ``Expert``. Files store a task's name, never a
class: only a command line or a caller can cause an import, never a manifest, card or record.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from smidgen.envs.backend import simulator_imports
from smidgen.envs.errors import SIMULATOR_ERRORS
from smidgen.envs.specs import TaskSpec
from smidgen.runtime.action_spec import ActionSpec
from smidgen.runtime.errors import UserError
from smidgen.runtime.files import canonical_json, sha256_bytes
from smidgen.runtime.user_code import changed_files, fresh_import, hash_modules
from smidgen.runtime.user_modules import is_class_spec, load_class, user_code_errors

# Part of the names of records and videos.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}")
_RESERVED_NAMES = ("all",)


def load_task_class(spec: str, ours: Mapping[str, TaskSpec]) -> Any:
    """Imports a user's environment class from disk, and with it the simulator.

    Args:
        spec: ``their.module:Class``.
        ours: The registered tasks, by name.

    Raises:
        UserError: If there is no such class, or it is not a valid task; also as :func:`simulator_imports` raises it.
    """
    with simulator_imports():
        # First, so that a simulator that fails to load is not blamed on the user's code.
        from smidgen.envs.robosuite_env import RobosuiteEnv
    with fresh_import(spec.partition(":")[0]):
        found = load_class(spec, "task")
    if not issubclass(found, RobosuiteEnv):
        raise UserError(f"task {spec!r:.200}: expected a subclass of smidgen.RobosuiteEnv, got {found.__name__}")
    task = getattr(found, "task", None)
    if not isinstance(task, TaskSpec):
        raise UserError(f"task {spec!r:.200}: expected the attribute task, a smidgen.TaskSpec, got {task!r:.80}")
    _check_names(task, spec, f"{found.__module__}:{found.__qualname__}", ours)
    _check_numbers(task, spec)
    return found


def task_code(spec: str) -> dict[str, str]:
    """Hashes of a user's task: of its module and of the user's modules that it imports.

    Args:
        spec: ``their.module:Class``, or the name of one of our tasks.

    Returns:
        SHA-256 by file; {} for ours, whose version is part of the environment's id.
    """
    return hash_modules(spec.partition(":")[0]) if is_class_spec(spec) else {}


def task_code_sha256(spec: str) -> str | None:
    """One hash of a user's task; None for one of ours."""
    return sha256_bytes(canonical_json(task_code(spec))) if is_class_spec(spec) else None


def require_same_task_code(spec: str, before: Mapping[str, str]) -> None:
    """Refuses a user's task whose code has changed; called after each episode.

    Args:
        spec: As for :func:`task_code`.
        before: The earlier return value of that function.

    Raises:
        UserError: Naming the changed files.
    """
    if changed := changed_files(before, task_code(spec)):
        raise UserError(
            f"{' and '.join(changed)} changed while episodes of the task {spec:.200} were being collected; run "
            "the same command again"
        )


@contextlib.contextmanager
def running_task(spec: str, doing: str) -> Iterator[None]:
    """Runs a user's environment or expert: a bug in it becomes one line that names their file, below the traceback.

    Failed episodes (``SIMULATOR_ERRORS``), every ``UserError`` and all exceptions from our own tasks pass unchanged.

    Args:
        spec: As for :func:`task_code`.
        doing: What is being done, e.g. ``"making its environment"``.

    Raises:
        UserCodeError: For any other exception.
    """
    with (
        user_code_errors("task", spec, doing, passing=(UserError, *SIMULATOR_ERRORS), shows_trace=True)
        if is_class_spec(spec)
        else contextlib.nullcontext()
    ):
        yield


def check_made(env: Any, spec: str) -> None:
    """Checks a user's environment after a reset.

    Args:
        env: The environment; it must be reset again before use.
        spec: ``their.module:Class``.

    Raises:
        UserError: If its state does not match its ``TaskSpec``.
    """
    env.reset(seed=0)
    num_names = len(env.task.eef_state_names)
    privileged = env.privileged()
    if not isinstance(privileged, Mapping) or "eef_position_m" not in privileged:
        raise UserError(f"task {spec!r:.200}: expected privileged() to contain eef_position_m, got {privileged!r:.80}")
    arrays = {
        "eef_state()": (env.eef_state(), (num_names,), f"{num_names} numbers, as task.eef_state_names"),
        "privileged()['eef_position_m']": (privileged["eef_position_m"], (3,), "x, y, z"),
        "cue_pose()": (env.cue_pose(), None, "a vector"),
    }
    for name, (value, shape, expected) in arrays.items():
        array = np.asarray(value)
        if array.dtype.kind not in "iuf" or array.ndim != 1 or (shape is not None and array.shape != shape):
            raise UserError(f"task {spec!r:.200}: expected {name} to return {expected}, got {value!r:.80}")


def _check_names(task: TaskSpec, spec: str, place: str, ours: Mapping[str, TaskSpec]) -> None:
    if not isinstance(task.name, str) or not _NAME.fullmatch(task.name):
        raise _refused(spec, "name", "to consist of letters, digits, '.', '_', '+' and '-'", task.name)
    # Some file systems are case-insensitive.
    if task.name.lower() in (*ours, *_RESERVED_NAMES):
        raise _refused(spec, "name", "to differ from smidgen's tasks", task.name)
    if not isinstance(task.env_id, str) or not task.env_id.isprintable() or not task.env_id:
        raise _refused(spec, "env_id", "like 'me/Mine-v0'", task.env_id)
    if task.env_id in {each.env_id for each in ours.values()}:
        raise _refused(spec, "env_id", "to be unique, like 'me/Mine-v0'", task.env_id)
    if task.entry_point != place:
        raise _refused(spec, "entry_point", repr(place), task.entry_point)


def _check_numbers(task: TaskSpec, spec: str) -> None:
    if not isinstance(task.action, ActionSpec) or len(task.action.position_indices) != 3:
        raise _refused(spec, "action", "to be a smidgen.ActionSpec with three positions", task.action)
    for field in ("horizon", "hold_steps", "control_hz"):
        if type(value := getattr(task, field)) is not int or value < 1:
            raise _refused(spec, field, "to be a whole number of at least 1", value)
    for field in ("cameras", "eef_state_names"):
        value = getattr(task, field)
        if not isinstance(value, tuple) or not value or not all(isinstance(name, str) for name in value):
            raise _refused(spec, field, "to be a tuple of names", value)


def _refused(spec: str, field: str, expected: str, got: object) -> UserError:
    return UserError(f"task {spec!r:.200}: expected task.{field} {expected}, got {got!r:.80}")
