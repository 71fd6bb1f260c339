"""Scripted experts: small state machines that see privileged state and use the policies' interface."""

import inspect
import pkgutil

from smidgen.data_collection.experts.expert import Expert
from smidgen.data_collection.experts.lift import LiftExpert
from smidgen.data_collection.experts.stack import StackExpert
from smidgen.data_collection.experts.touch import TouchExpert
from smidgen.envs.tasks import TASKS, users_environment
from smidgen.runtime.errors import UserError
from smidgen.runtime.user_modules import is_class_spec

# Each task's spec names its expert, so that a task is registered in one place.
EXPERTS: dict[str, type[Expert]] = {
    task.name: pkgutil.resolve_name(task.expert) for task in TASKS.values() if task.expert
}

__all__ = ["EXPERTS", "Expert", "LiftExpert", "StackExpert", "TouchExpert", "find_expert"]


def find_expert(task: str) -> type[Expert] | None:
    """The expert of a task; None if it has none.

    Args:
        task: A task's name, or ``their.module:Class``, whose class attribute ``expert`` is used.

    Raises:
        UserError: If that attribute is not an expert.
    """
    if not is_class_spec(task):
        return EXPERTS.get(task)
    expert: type[Expert] | None = users_environment(task).expert
    if expert is None or (isinstance(expert, type) and issubclass(expert, Expert) and not inspect.isabstract(expert)):
        return expert
    raise UserError(f"task {task!r:.200}: expected expert to be a subclass of smidgen.Expert, got {expert!r:.100}")
