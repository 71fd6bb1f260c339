"""The registry of tasks and their specifications, and the factory of their environments.

Imports the simulator only when an environment is made or a user's task is loaded.
"""

from __future__ import annotations

from typing import Any

import gymnasium
from gymnasium.envs.registration import load_env_creator

from smidgen.envs.backend import simulator_imports
from smidgen.envs.robosuite_tasks import ROBOSUITE_TASKS
from smidgen.envs.smidgen_tasks import SMIDGEN_TASKS
from smidgen.envs.specs import TaskSpec
from smidgen.envs.user_tasks import check_made, load_task_class, running_task
from smidgen.runtime.errors import unknown_name
from smidgen.runtime.user_modules import is_class_spec

TASKS: dict[str, TaskSpec] = {task.name: task for task in (*ROBOSUITE_TASKS, *SMIDGEN_TASKS)}


def get_task(name: str) -> TaskSpec:
    """Looks up one of our tasks by name, which may come from a file.

    Raises:
        UserError: If there is no such task; the message lists the valid names.
    """
    if name not in TASKS:
        raise unknown_name("task", name, TASKS)
    return TASKS[name]


def named_task(spec: str) -> TaskSpec:
    """Looks up a task given by a command line or a caller: one of ours, or a user's class, which is imported.

    For names from files use :func:`get_task`, which imports nothing.

    Args:
        spec: A name in :data:`TASKS`, or ``their.module:Class``.

    Raises:
        UserError: If there is no such task, or the class is not a valid task.
    """
    if is_class_spec(spec):
        task: TaskSpec = users_environment(spec).task
        return task
    if spec not in TASKS:
        raise unknown_name("task", spec, (*TASKS, "their.module:Class"))
    return TASKS[spec]


def users_environment(spec: str) -> Any:
    """The validated environment class of a user's task; importing it imports the simulator.

    Raises:
        UserError: As :func:`smidgen.envs.user_tasks.load_task_class` raises it.
    """
    return load_task_class(spec, TASKS)


def make_env(task: str, **kwargs: Any) -> Any:
    """Makes a task's bare environment, without Gymnasium's checking wrappers.

    Args:
        task: A name in :data:`TASKS`, or ``their.module:Class``, which is imported.
        **kwargs: As :class:`smidgen.envs.robosuite_env.RobosuiteEnv` takes them.

    Raises:
        UserError: For an unknown task, a machine without the requested OpenGL backend, or a user's class that
            fails.
    """
    if is_class_spec(task):
        with running_task(task, "making its environment"):
            env = users_environment(task)(**kwargs)
            check_made(env, task)
            return env
    return load_environment_class(get_task(task))(**kwargs)


def load_environment_class(task: TaskSpec) -> Any:
    """Imports a task's environment class, and with it the simulator.

    Raises:
        UserError: On a machine without the requested OpenGL backend, or with contradictory variables.
    """
    with simulator_imports():
        return load_env_creator(task.entry_point)


def register_environments() -> None:
    """Registers every task's environment id with Gymnasium."""
    for task in TASKS.values():
        if task.env_id not in gymnasium.registry:
            class_name = task.entry_point.partition(":")[2]
            gymnasium.register(task.env_id, f"smidgen.envs.entry_points:{class_name}")
