"""Every environment class by its name, for Gymnasium's registry: what keeps one from loading is said in one line."""

from __future__ import annotations

from typing import Any

from smidgen.envs.tasks import TASKS, load_environment_class


def __getattr__(name: str) -> Any:
    """Imports the environment class of a name.

    Raises:
        AttributeError: If no task has such a class.
        UserError: As :func:`smidgen.envs.tasks.load_environment_class` raises it.
    """
    for task in TASKS.values():
        if task.entry_point.partition(":")[2] == name:
            return load_environment_class(task)
    raise AttributeError(f"no task's environment is called {name!r}")
