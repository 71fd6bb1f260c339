"""Where two mappings of JSON differ: what was asked for against what is there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Difference:
    """A value that is not the same in both; None stands for one that is missing.

    Attributes:
        path: Where, with a dot between the keys of nested mappings.
        there: The first mapping's value.
        here: The second one's.
    """

    path: str
    there: Any
    here: Any


def differences(there: Mapping[str, Any], here: Mapping[str, Any], prefix: str = "") -> list[Difference]:
    """Every value that differs, in the order of the keys; mappings are compared key by key.

    Args:
        there: One mapping.
        here: The other.
        prefix: What the paths begin with.
    """
    found: list[Difference] = []
    for key in sorted({*there, *here}):
        first, second = there.get(key), here.get(key)
        if isinstance(first, Mapping) and isinstance(second, Mapping):
            found += differences(first, second, f"{prefix}{key}.")
        elif first != second:
            found.append(Difference(f"{prefix}{key}", first, second))
    return found
