"""Escape times of the second round: Kaplan-Meier curves and the log-rank test, both SciPy's."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from studies.claims.records import Records

Array = NDArray[np.float64]


def escape_data(records: Records, arm: str, horizon: int) -> stats.CensoredData:
    """An arm's escape times; a run that never escaped is right-censored at the horizon."""
    steps = [run.escape_step for run in records.runs(arm).values()]
    escaped = [step for step in steps if step is not None]
    return stats.CensoredData(uncensored=escaped, right=[horizon] * (len(steps) - len(escaped)))


def share_on_plateau(records: Records, arm: str, horizon: int) -> tuple[Array, Array]:
    """Steps, and the share of runs still on the plateau just after each; the share is 1 before the first."""
    survival = stats.ecdf(escape_data(records, arm, horizon)).sf
    return survival.quantiles, survival.probabilities


def log_rank_p(records: Records, slow: str, fast: str, horizon: int) -> float:
    """Two-sided p-value of the log-rank test between two arms' escape times (not paired by seed)."""
    with np.errstate(all="ignore"):
        return float(stats.logrank(escape_data(records, slow, horizon), escape_data(records, fast, horizon)).pvalue)
