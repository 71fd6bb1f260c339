"""Scripted experts: small phase machines that see privileged state and act through the policies' own interface."""

from smidgen.data_collection.experts.door import DoorExpert
from smidgen.data_collection.experts.expert import Expert
from smidgen.data_collection.experts.lift import LiftExpert
from smidgen.data_collection.experts.nut_assembly import RoundNutExpert, SquareNutExpert
from smidgen.data_collection.experts.pick_place import BreadExpert, CanExpert, CerealExpert, MilkExpert
from smidgen.data_collection.experts.stack import StackExpert
from smidgen.data_collection.experts.touch import TouchExpert
from smidgen.data_collection.experts.wipe import WipeExpert
from smidgen.envs.smidgen_tasks import SMIDGEN_TASKS

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

__all__ = ["EXPERTS", "Expert", "LiftExpert", "StackExpert", "TouchExpert"]
