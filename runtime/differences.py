"""Where two JSON mappings differ: what was found against what was requested."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Difference:
    """A value that differs between two mappings; None stands for a missing one.

    Attributes:
        path: Dotted path of the keys.
        there: The first mapping's value.
        here: The second mapping's value.
    """

    path: str
    there: Any
    here: Any


def differences(there: Mapping[str, Any], here: Mapping[str, Any], prefix: str = "") -> list[Difference]:
    """Every value that differs, in the order of the keys; mappings are compared key by key.

    Args:
        there: The first mapping.
        here: The second mapping.
        prefix: Prepended to every path.
    """
    found: list[Difference] = []
    for key in sorted({*there, *here}):
        first, second = there.get(key), here.get(key)
        if isinstance(first, Mapping) and isinstance(second, Mapping):
            found += differences(first, second, f"{prefix}{key}.")
        elif first != second:
            found.append(Difference(f"{prefix}{key}", first, second))
    return found
