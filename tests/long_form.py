"""The long form of the tests: ``make test-long`` sets SMIDGEN_LONG=1."""

import os
from typing import TypeVar

Value = TypeVar("Value")

IS_LONG = os.environ.get("SMIDGEN_LONG", "0") != "0"


def long_form(value: Value, otherwise: Value) -> Value:
    """The first in the long form, the other in what every change has to pass."""
    return value if IS_LONG else otherwise


# One task for each way in which a state is more than joints, and a model is more than another size of a dot.
ONE_OF_EACH_FAMILY = ("lift", "nut_assembly_square", "door", "wipe", "speck_16")
