"""A few Kaplan-Meier curves of the claims for the leaderboard's page: the comparisons that the claims rest on first."""

from __future__ import annotations

from dataclasses import dataclass

from smidgen.evaluation.charts import Axis
from smidgen.evaluation.claims.plan import NEGATION
from smidgen.evaluation.claims.plots import Panel, panels, step_axis
from smidgen.evaluation.claims.records import Suite

_MOST_PANELS = 4


@dataclass(frozen=True)
class EscapeCurves:
    """Plots over one axis of steps; each with the hypothesis that it belongs to."""

    step_axis: Axis
    panels: tuple[tuple[str, str, Panel], ...]
    num_runs: int


def escape_curves(suite: Suite) -> EscapeCurves | None:
    """For each claim in turn the first plot with two curves or more of the first hypothesis that it rests on.

    Returns:
        At most four plots, each with its hypothesis's name and statement; None where no two arms can be compared yet.
    """
    axis = step_axis(suite)
    firsts = (claim.hypotheses[0].removeprefix(NEGATION).partition("/")[0] for claim in suite.plan.claims.values())
    chosen = []
    for name in dict.fromkeys([*firsts, *suite.plan.hypotheses]):
        hypothesis = suite.plan.hypotheses[name]
        comparable = [panel for panel in panels(hypothesis, suite, axis) if len(panel.curves) > 1]
        chosen += [(name, hypothesis.statement, panel) for panel in comparable[:1]]
    if not chosen:
        return None
    return EscapeCurves(axis, tuple(chosen[:_MOST_PANELS]), sum(len(record.seeds) for record in suite.arms.values()))
