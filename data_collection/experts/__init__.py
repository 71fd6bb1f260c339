"""Scripted experts: small phase machines that see privileged state and act through the policies' own interface."""

from smidgen.data_collection.experts.expert import Expert
from smidgen.data_collection.experts.lift import LiftExpert
from smidgen.data_collection.experts.stack import StackExpert
from smidgen.data_collection.experts.touch import TouchExpert
from smidgen.envs.smidgen_tasks import SMIDGEN_TASKS

EXPERTS: dict[str, type[Expert]] = {
    "lift": LiftExpert,
    "stack": StackExpert,
    **{task.name: TouchExpert for task in SMIDGEN_TASKS},
}

__all__ = ["EXPERTS", "Expert", "LiftExpert", "StackExpert", "TouchExpert"]
