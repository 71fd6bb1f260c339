"""Comparisons over several tasks: recipes by their success on all of them, and every input transform on every task.

Recipes share a table if they were run on the same tasks under the same conditions, so that nothing is averaged over
different environments. A table has the interquartile mean of all training seeds' success rates and the probability of
improvement (R. Agarwal et al., "Deep Reinforcement Learning at the Edge of the Statistical Precipice", NeurIPS 2021,
arXiv:2108.13264).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from smidgen.leaderboard.cells import interval, percent
from smidgen.leaderboard.ranking import Group
from smidgen.leaderboard.rows import Row, method_id
from smidgen.leaderboard.tables import conditions
from smidgen.leaderboard.training_seeds import (
    Array,
    interquartile_interval,
    interquartile_mean,
    probability_of_improvement,
)
from smidgen.runtime.markdown import escape_markdown, left, markdown_table, right


@dataclass(frozen=True)
class Aggregate:
    """One recipe over the tasks of its table.

    Attributes:
        name: The recipe's name on the first task.
        rates: For each task, the success rate of each training seed.
        best_improves: Probability that a training seed of the table's best row does better; None for the best.
    """

    name: str
    rates: tuple[Array, ...]
    best_improves: float | None = None

    @property
    def interquartile_mean(self) -> float:
        """Over all training seeds of all tasks."""
        return interquartile_mean(np.concatenate(self.rates))

    @property
    def interval(self) -> tuple[float, float]:
        """Its 95 % interval."""
        return interquartile_interval(self.rates)


@dataclass(frozen=True)
class TaskTable:
    """Recipes that were run on the same tasks, best first."""

    tasks: tuple[str, ...]
    aggregates: tuple[Aggregate, ...]


def task_tables(groups: Sequence[Group]) -> list[TaskTable]:
    """One table for each set of two or more tasks on which a recipe was run."""
    recipes: dict[str, dict[int, Row]] = defaultdict(dict)
    for index, group in enumerate(groups):
        for row in group.competing:
            # Rows that differ only in their demonstrations' hash: the first is the best, as groups are ranked.
            recipes[method_id(row.record, task_matters=False)].setdefault(index, row)
    gathered: dict[tuple[int, ...], list[dict[int, Row]]] = defaultdict(list)
    for rows in recipes.values():
        places = tuple(sorted(rows))
        if len({groups[place].task for place in places}) == len(places) > 1:
            gathered[places].append(rows)
    return [
        TaskTable(tuple(groups[place].task for place in places), _aggregates(places, members))
        for places, members in sorted(gathered.items())
    ]


def _aggregates(places: tuple[int, ...], members: Sequence[dict[int, Row]]) -> tuple[Aggregate, ...]:
    own = [Aggregate(rows[places[0]].name, tuple(_rates(rows[place]) for place in places)) for rows in members]
    best, *others = sorted(own, key=lambda aggregate: (-aggregate.interquartile_mean, aggregate.name))
    return best, *(
        Aggregate(other.name, other.rates, probability_of_improvement(best.rates, other.rates)) for other in others
    )


def _rates(row: Row) -> Array:
    return np.array([record["success"]["rate"] for record in row.records])


def over_tasks_markdown(tables: Sequence[TaskTable]) -> str:
    """Every table; "" if no recipe was run on two tasks."""
    parts: list[str] = []
    figures = ("Interquartile mean of success [95 % interval]", "Runs", "P(the best improves on it)")
    heads = left("Policy") + right(*figures)
    for table in tables:
        rows = []
        for aggregate in table.aggregates:
            low, high = aggregate.interval
            mean = f"**{100 * aggregate.interquartile_mean:.0f} %** [{100 * low:.0f}\u2013{100 * high:.0f}]"
            improves = "\u2013" if aggregate.best_improves is None else f"{aggregate.best_improves:.2f}"
            rows.append([escape_markdown(aggregate.name), mean, str(sum(map(len, aggregate.rates))), improves])
        parts += [f"**Over tasks: {escape_markdown(', '.join(table.tasks))}**", markdown_table(heads, rows)]
    return "\n\n".join(parts)


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
        """The rate as text."""
        return percent(self.row.success)

    @property
    def note(self) -> str:
        """Which row it is."""
        rate = self.row.success
        return f"{self.row.name}: {rate['k']}/{rate['n']}, 95 % interval {interval(rate)} %"


@dataclass(frozen=True)
class HeatColumn:
    """A task under one set of conditions; ``conditions`` is empty if the task's name is unambiguous."""

    task: str
    section_id: str
    conditions: str


@dataclass(frozen=True)
class HeatMap:
    """Transforms by tasks; None if no ranked policy of the transform was run on the task."""

    columns: tuple[HeatColumn, ...]
    rows: tuple[tuple[str, tuple[HeatCell | None, ...]], ...]


def success_by_transform(groups: Sequence[Group], section_ids: Sequence[str]) -> HeatMap | None:
    """The heat map over every group with a learned policy.

    Args:
        groups: The ranked groups.
        section_ids: The page's section of each group.

    Returns:
        Transforms in the order of their names; None with fewer than two cells to compare.
    """
    best: dict[str, dict[int, Row]] = {}
    for place, group in enumerate(groups):
        for row in group.competing:
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
