"""Tasks of a user's own: an environment class named ``their.module:Class``, imported, checked and blamed.

The class is a subclass of ``RobosuiteEnv``, or of one of our tasks' environments. It carries ``task``, its
``TaskSpec``, and ``expert``, a subclass of ``Expert``, where demonstrations are wanted. Files hold a task's name and
never a class: nothing is imported on the word of a manifest, card or record, only on that of a command line or caller.
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
from smidgen.runtime.user_modules import blaming, is_class_spec, load_class

# Part of the names of records and videos.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}")
_RESERVED_NAMES = ("all",)


def load_task_class(spec: str, ours: Mapping[str, TaskSpec]) -> Any:
    """Imports a user's environment class, and with it the simulator; it is as it is on the disk now.

    Args:
        spec: ``their.module:Class``.
        ours: The registered tasks, by name.

    Raises:
        UserError: If there is no such class, or it cannot be a task's; also as :func:`simulator_imports` raises it.
    """
    with simulator_imports():
        # First, so that what keeps the simulator from loading is not taken for the user's mistake.
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
    """Hashes of a user's task: of the module that is named and the modules of theirs that it imports.

    Args:
        spec: ``their.module:Class``, or the name of one of our tasks.

    Returns:
        SHA-256 by file; {} for one of ours, whose version stands in its environment's id.
    """
    return hash_modules(spec.partition(":")[0]) if is_class_spec(spec) else {}


def task_code_sha256(spec: str) -> str | None:
    """One hash of a user's task; None for one of ours."""
    return sha256_bytes(canonical_json(task_code(spec))) if is_class_spec(spec) else None


def require_same_task_code(spec: str, before: Mapping[str, str]) -> None:
    """Refuses a user's task whose code has changed since; called when an episode of it is complete.

    Args:
        spec: As for :func:`task_code`.
        before: What that function gave.

    Raises:
        UserError: Naming what has changed.
    """
    if changed := changed_files(before, task_code(spec)):
        raise UserError(
            f"{' and '.join(changed)} changed while episodes of the task {spec:.200} were being made; run the same "
            "command again"
        )


@contextlib.contextmanager
def running_task(spec: str, doing: str) -> Iterator[None]:
    """Runs a user's environment or expert: a bug in it becomes one line that blames their file, below the traceback.

    What counts as a failed episode (``SIMULATOR_ERRORS``) and every ``UserError`` pass, and so does all that one of our
    tasks raises.

    Args:
        spec: As for :func:`task_code`.
        doing: What is being done, e.g. ``"making its environment"``.

    Raises:
        UserCodeError: For whatever else is raised.
    """
    with (
        blaming("task", spec, doing, passing=(UserError, *SIMULATOR_ERRORS), shows_trace=True)
        if is_class_spec(spec)
        else contextlib.nullcontext()
    ):
        yield


def check_made(env: Any, spec: str) -> None:
    """Looks at a user's environment after a reset: what the rest relies on.

    Args:
        env: The environment; it has to be reset again before use.
        spec: ``their.module:Class``.

    Raises:
        UserError: If a part of its state does not have the form that its ``TaskSpec`` declares.
    """
    env.reset(seed=0)
    num_names = len(env.task.eef_state_names)
    privileged = env.privileged()
    if not isinstance(privileged, Mapping) or "eef_position_m" not in privileged:
        raise UserError(f"task {spec!r:.200}: expected privileged() to hold eef_position_m, got {privileged!r:.80}")
    arrays = {
        "eef_state()": (env.eef_state(), (num_names,), f"{num_names} numbers, as task.eef_state_names"),
        "privileged()['eef_position_m']": (privileged["eef_position_m"], (3,), "x, y, z"),
        "cue_pose()": (env.cue_pose(), None, "a vector"),
    }
    for name, (value, shape, expected) in arrays.items():
        array = np.asarray(value)
        if array.dtype.kind not in "iuf" or array.ndim != 1 or (shape is not None and array.shape != shape):
            raise UserError(f"task {spec!r:.200}: expected {name} to give {expected}, got {value!r:.80}")


def _check_names(task: TaskSpec, spec: str, place: str, ours: Mapping[str, TaskSpec]) -> None:
    if not isinstance(task.name, str) or not _NAME.fullmatch(task.name):
        raise _refused(spec, "name", "of letters, digits, '.', '_', '+' and '-'", task.name)
    # Some file systems do not tell capitals apart.
    if task.name.lower() in (*ours, *_RESERVED_NAMES):
        raise _refused(spec, "name", "that is none of smidgen's", task.name)
    if not isinstance(task.env_id, str) or not task.env_id.isprintable() or not task.env_id:
        raise _refused(spec, "env_id", "such as 'me/Mine-v0'", task.env_id)
    if task.env_id in {each.env_id for each in ours.values()}:
        raise _refused(spec, "env_id", "of its own, such as 'me/Mine-v0'", task.env_id)
    if task.entry_point != place:
        raise _refused(spec, "entry_point", repr(place), task.entry_point)


def _check_numbers(task: TaskSpec, spec: str) -> None:
    if not isinstance(task.action, ActionSpec) or len(task.action.position_indices) != 3:
        raise _refused(spec, "action", "a smidgen.ActionSpec with three positions", task.action)
    for field in ("horizon", "hold_steps", "control_hz"):
        if type(value := getattr(task, field)) is not int or value < 1:
            raise _refused(spec, field, "a whole number from 1", value)
    for field in ("cameras", "eef_state_names"):
        value = getattr(task, field)
        if not isinstance(value, tuple) or not value or not all(isinstance(name, str) for name in value):
            raise _refused(spec, field, "a tuple of names", value)


def _refused(spec: str, field: str, expected: str, got: object) -> UserError:
    return UserError(f"task {spec!r:.200}: expected task.{field} {expected}, got {got!r:.80}")
