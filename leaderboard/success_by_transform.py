"""Success of every input transform on every task, as a heat map: what a reader of many tables wants to see first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from smidgen.leaderboard.cells import interval, percent
from smidgen.leaderboard.ranking import Group
from smidgen.leaderboard.rows import Row
from smidgen.leaderboard.tables import conditions


@dataclass(frozen=True)
class HeatCell:
    """The best ranked row of a transform on a task."""

    row: Row

    @property
    def share(self) -> float:
        """Its success rate."""
        return self.row.success["rate"]

    @property
    def text(self) -> str:
        """The rate for people."""
        return percent(self.row.success)

    @property
    def note(self) -> str:
        """Which row it is."""
        rate = self.row.success
        return f"{self.row.name}: {rate['k']}/{rate['n']}, 95 % interval {interval(rate)} %"


@dataclass(frozen=True)
class HeatColumn:
    """A task under one set of conditions; ``conditions`` is empty where the task's name says enough."""

    task: str
    section_id: str
    conditions: str


@dataclass(frozen=True)
class HeatMap:
    """Transforms by tasks; None where no ranked policy of the transform was run on the task."""

    columns: tuple[HeatColumn, ...]
    rows: tuple[tuple[str, tuple[HeatCell | None, ...]], ...]


def success_by_transform(groups: Sequence[Group], section_ids: Sequence[str]) -> HeatMap | None:
    """The heat map over every group with a ranked learned policy.

    Args:
        groups: The ranked groups.
        section_ids: For each group the page's section.

    Returns:
        Transforms in the order of their names; None where there are not two cells to compare.
    """
    best: dict[str, dict[int, Row]] = {}
    for place, group in enumerate(groups):
        for row in group.ranked:
            transform = row.record["policy"]["transform"]
            if transform:
                best.setdefault(transform, {}).setdefault(place, row)
    places = sorted({place for rows in best.values() for place in rows})
    if sum(map(len, best.values())) < 2:
        return None
    tasks = [groups[place].task for place in places]
    columns = tuple(
        HeatColumn(task, section_ids[place], conditions(groups[place]) if tasks.count(task) > 1 else "")
        for place, task in zip(places, tasks, strict=True)
    )
    rows = tuple(
        (transform, tuple(HeatCell(rows[place]) if place in rows else None for place in places))
        for transform, rows in sorted(best.items())
    )
    return HeatMap(columns, rows)
