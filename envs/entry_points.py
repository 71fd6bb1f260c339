"""Every environment class by name, for Gymnasium's registry; a failure to load one is reported in one line."""

from __future__ import annotations

from typing import Any

from smidgen.envs.tasks import TASKS, load_environment_class


def __getattr__(name: str) -> Any:
    """Imports an environment class by name.

    Raises:
        AttributeError: If no task has such a class.
        UserError: As :func:`smidgen.envs.tasks.load_environment_class` raises it.
    """
    for task in TASKS.values():
        if task.entry_point.partition(":")[2] == name:
            return load_environment_class(task)
    raise AttributeError(f"no task has an environment named {name!r}")
