"""Scripted experts: small phase machines that see privileged state and act through the policies' own interface."""

from smidgen.data_collection.experts.expert import Expert
from smidgen.data_collection.experts.lift import LiftExpert

EXPERTS: dict[str, type[Expert]] = {
    "lift": LiftExpert,
}

__all__ = ["EXPERTS", "Expert", "LiftExpert"]
