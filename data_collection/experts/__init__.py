"""Scripted experts: small state machines that see privileged state and use the policies' interface."""

import inspect

from smidgen.data_collection.experts.door import DoorExpert
from smidgen.data_collection.experts.expert import Expert
from smidgen.data_collection.experts.lift import LiftExpert
from smidgen.data_collection.experts.nut_assembly import RoundNutExpert, SquareNutExpert
from smidgen.data_collection.experts.pick_place import BreadExpert, CanExpert, CerealExpert, MilkExpert
from smidgen.data_collection.experts.stack import StackExpert
from smidgen.data_collection.experts.touch import TouchExpert
from smidgen.data_collection.experts.wipe import WipeExpert
from smidgen.envs.smidgen_tasks import SMIDGEN_TASKS
from smidgen.envs.tasks import users_environment
from smidgen.runtime.errors import UserError
from smidgen.runtime.user_modules import is_class_spec

EXPERTS: dict[str, type[Expert]] = {
    "lift": LiftExpert,
    "stack": StackExpert,
    "pick_place_can": CanExpert,
    "pick_place_milk": MilkExpert,
    "pick_place_bread": BreadExpert,
    "pick_place_cereal": CerealExpert,
    "nut_assembly_square": SquareNutExpert,
    "nut_assembly_round": RoundNutExpert,
    "door": DoorExpert,
    "wipe": WipeExpert,
    **{task.name: TouchExpert for task in SMIDGEN_TASKS},
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
