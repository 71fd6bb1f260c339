"""How an arm's learning rate is chosen: on the tuning seeds, over a grid that grows until its best rate is inside."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from studies.claims.design import MAX_RATES, RATES
from studies.claims.records import BlockRecord


def rank(record: BlockRecord, horizon: int) -> tuple[float, float, float]:
    """Sort key of a rate, best first: median T0.5, then mean area, then the rate.

    A run that never escaped counts as one that escapes at the horizon.
    """
    steps = [horizon if run.escape_step is None else run.escape_step for run in record.runs]
    areas = [run.areas[str(horizon)] for run in record.runs]
    return statistics.median(steps), statistics.fmean(areas), record.lr


def best_rate(searched: Mapping[float, BlockRecord], horizon: int) -> float:
    """The best of the rates that were searched."""
    return min(searched.values(), key=lambda record: rank(record, horizon)).lr


def any_escaped(searched: Mapping[float, BlockRecord]) -> bool:
    """Whether a tuning run escaped at any rate."""
    return any(run.escape_step is not None for record in searched.values() for run in record.runs)


def rates_to_search(start: Sequence[float], searched: Mapping[float, BlockRecord], horizon: int) -> tuple[float, ...]:
    """Rates whose records are still missing; none once the best lies inside the grid and a run has escaped.

    The grid grows in rounds, each by what is known once all rates of the rounds before have records, so it does not
    depend on how many processes search or in which order their runs end.

    Args:
        start: Rates that the search begins with, neighbours in ``RATES``.
        searched: Records that are there, by rate.
        horizon: Of the arm.
    """
    grid: dict[float, BlockRecord] = {}
    wanted = tuple(start)
    while wanted:
        missing = tuple(lr for lr in wanted if lr not in searched)
        if missing:
            return missing
        grid |= {lr: searched[lr] for lr in wanted}
        wanted = _next_round(grid, horizon)
    return ()


def _next_round(grid: Mapping[float, BlockRecord], horizon: int) -> tuple[float, ...]:
    """The neighbours that a complete grid lacks.

    While no run escaped at any rate they are those at both ends; once one has, those beyond its best rate where that
    lies at an end. There are none where ``RATES`` ends, or after ``MAX_RATES``.
    """
    places = sorted(RATES.index(lr) for lr in grid)
    below, above = places[0] - 1, places[-1] + 1
    neighbours = [below, above]
    if any_escaped(grid):
        best = RATES.index(best_rate(grid, horizon))
        neighbours = [below] * (best == places[0]) + [above] * (best == places[-1])
    growth = [RATES[place] for place in neighbours if 0 <= place < len(RATES)]
    return tuple(growth[: max(0, MAX_RATES - len(grid))])
