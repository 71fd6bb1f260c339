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

    While no run escaped at any rate the grid grows at both ends; once one has, beyond its best rate where that lies
    at an end. It ends where ``RATES`` does, or after ``MAX_RATES``.

    Args:
        start: Rates that the search begins with, neighbours in ``RATES``.
        searched: Records that are there, by rate.
        horizon: Of the arm.
    """
    missing = tuple(lr for lr in start if lr not in searched)
    if missing:
        return missing
    places = sorted(RATES.index(lr) for lr in searched)
    if len(searched) >= MAX_RATES:
        return ()
    below, above = places[0] - 1, places[-1] + 1
    if any_escaped(searched):
        best = RATES.index(best_rate(searched, horizon))
        wanted = [below] * (best == places[0]) + [above] * (best == places[-1])
    else:
        wanted = [below, above]
    return tuple(RATES[place] for place in wanted if 0 <= place < len(RATES))
