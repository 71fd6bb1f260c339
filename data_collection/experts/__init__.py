"""Scripted experts: small phase machines that see privileged state and act through the policies' own interface."""

from smidgen.data_collection.experts.expert import Expert
from smidgen.data_collection.experts.lift import LiftExpert
from smidgen.data_collection.experts.stack import StackExpert

EXPERTS: dict[str, type[Expert]] = {
    "lift": LiftExpert,
    "stack": StackExpert,
}

__all__ = ["EXPERTS", "Expert", "LiftExpert", "StackExpert"]
