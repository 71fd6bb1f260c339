"""Rows as every part of the page shows them: under one key, by one name, in one colour."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from smidgen.evaluation.ranking import Group
from smidgen.evaluation.rows import Row

NUM_COLOURS = 8  # --c0 .. --c7 in page.css


@dataclass(frozen=True)
class Entry:
    """A row of the page.

    Attributes:
        key: Ties its bar, curves, table row, seeds and videos together.
        row: The row.
        paint: Its colour.
        dashed: Whether the colour is used a second time.
        looks: Its saliency videos: address and what the link says.
    """

    key: str
    row: Row
    paint: str
    dashed: bool
    looks: tuple[tuple[str, str], ...] = ()


def assign_colours(groups: Iterable[Group]) -> dict[str, int]:
    """A number for each ranked policy by name, so that a policy keeps its colour in every chart and every task."""
    names = sorted({row.name for group in groups for row in group.ranked})
    return {name: index for index, name in enumerate(names)}


def make_entry(key: str, row: Row, colours: dict[str, int], looks: tuple[tuple[str, str], ...] = ()) -> Entry:
    """A row with its colour; references have colours of their own."""
    if row.rank is None:
        return Entry(key, row, "expert" if row.is_privileged else "baseline", False, looks)
    turn, colour = divmod(colours[row.name], NUM_COLOURS)
    return Entry(key, row, f"c{colour}", turn % 2 == 1, looks)
