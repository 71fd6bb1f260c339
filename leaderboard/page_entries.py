"""A row's key, name and colour, which are the same in every part of the page."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from smidgen.leaderboard.ranking import Group
from smidgen.leaderboard.rows import Row, recipe_name

NUM_COLOURS = 8  # --c0 .. --c7 in page.css


@dataclass(frozen=True)
class Entry:
    """A row of the page.

    Attributes:
        key: Shared by its bar, curves, table row, seeds and videos.
        row: The row.
        paint: Its colour.
        dashed: Whether the colour is used a second time.
        looks: Its saliency videos: address and link text.
    """

    key: str
    row: Row
    paint: str
    dashed: bool
    looks: tuple[tuple[str, str], ...] = ()


def assign_colours(groups: Iterable[Group]) -> dict[str, int]:
    """A colour number for each recipe, the same for every task, training seed and page.

    The number depends only on the recipe's name, unless two recipes of a page collide: then the alphabetically first
    one gets it, and the other gets the next free number. Above ``2 * NUM_COLOURS`` recipes, colours repeat.
    """
    names = sorted({recipe_name(row.record) for group in groups for row in group.competing})
    turns = [NUM_COLOURS * turn for turn in range(1 + len(names) // NUM_COLOURS)]
    colours: dict[str, int] = {}
    for name in names:
        first = hashlib.sha256(name.encode()).digest()[0]
        wanted = (turn + (first + step) % NUM_COLOURS for turn in turns for step in range(NUM_COLOURS))
        taken = set(colours.values())
        colours[name] = next(colour for colour in wanted if colour not in taken)
    return colours


def make_entry(key: str, row: Row, colours: dict[str, int], looks: tuple[tuple[str, str], ...] = ()) -> Entry:
    """A row with its colour; references have colours of their own."""
    if not row.may_be_ranked:
        return Entry(key, row, "expert" if row.is_privileged else "baseline", False, looks)
    turn, colour = divmod(colours[recipe_name(row.record)], NUM_COLOURS)
    return Entry(key, row, f"c{colour}", turn % 2 == 1, looks)
