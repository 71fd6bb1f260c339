"""The second round as one self-contained page: for each claim a paragraph, a picture, a number, then the tables."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import jinja2

from smidgen.runtime.charts import Axis, Tick, path_data
from studies.claims import design, report, survival
from studies.claims.decisions import ContrastResult, Results
from studies.claims.plan import StudyPlan
from studies.claims.records import Records
from studies.claims.tables import FORECAST_HEAD, FORECAST_TEXT

NUM_COLOURS = 4
SHARE_AXIS = Axis(0.0, 1.0, tuple(Tick(f"{share} %", share) for share in (0, 50, 100)))
_MOST_TICKS = 7


@dataclass(frozen=True)
class Curve:
    """Share of an arm's runs that are still on the plateau, as SVG path data."""

    name: str
    paint: str
    path: str
    learned: str


@dataclass(frozen=True)
class Picture:
    """Kaplan-Meier curves of a contrast's arms over a logarithmic axis of steps; empty until one has run."""

    curves: tuple[Curve, ...]
    steps: Axis


def render_page(plan: StudyPlan, results: Results, records: Records, folder: Path) -> str:
    """The page's HTML, a function of plan and records (in a folder) alone."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    reports = report.claim_reports(plan, results)
    pictures = {each.name: picture(each.primary, records) for each in reports}
    return environment.get_template("page.html.jinja").render(
        reports=reports,
        pictures=pictures,
        new=report.new_contrasts(results),
        forecast=report.forecast_contrasts(results),
        forecast_rows=report.forecast_rows(folder),
        forecast_head=FORECAST_HEAD,
        forecast_text=FORECAST_TEXT,
        arms=report.arm_reports(plan, records),
        num_runs=sum(len(records.runs(arm)) for arm in plan.arms),
        text=report,
        records=records,
        design=design,
        css=(Path(__file__).parent / "page.css").read_text(encoding="utf-8"),
        share=SHARE_AXIS,
    )


def picture(result: ContrastResult, records: Records) -> Picture:
    """Survival of the arms that have run; a run that never escaped stays on the plateau up to the horizon."""
    horizon = result.contrast.horizon
    steps = log_axis(1, horizon)
    curves: list[Curve] = []
    for arm in result.contrast.terms:
        counts = [run.escape_step for run in records.runs(arm).values()]
        if not counts:
            continue
        paint = f"c{len(curves) % NUM_COLOURS}"
        learned = f"{sum(step is not None for step in counts)}/{len(counts)}"
        at, shares = survival.share_on_plateau(records, arm, horizon)
        points = survival_points(steps.low, at.tolist(), shares.tolist(), horizon)
        curves.append(Curve(arm, paint, path_data(points, steps, SHARE_AXIS), learned))
    return Picture(tuple(curves), steps)


def log_axis(low: float, high: float) -> Axis:
    """A logarithmic axis: ``percent`` takes log10; ticks at 1, 2 and 5 times powers of ten, or fewer."""
    axis = Axis(math.log10(low), math.log10(high), ())
    decades = range(math.floor(axis.low), math.ceil(axis.high) + 1)
    for mantissas in ((1, 2, 5), (1,)):
        values = [mantissa * 10.0**decade for decade in decades for mantissa in mantissas]
        shown = [value for value in values if low <= value <= high]
        if len(shown) <= _MOST_TICKS:
            break
    return Axis(axis.low, axis.high, tuple(Tick(f"{value:,.10g}", axis.percent(math.log10(value))) for value in shown))


def survival_points(
    low: float, steps: Iterable[float], shares: Iterable[float], horizon: float
) -> list[tuple[float, float]]:
    """Corners of a survival curve up to a horizon, its steps as logarithms.

    Args:
        low: Where the axis begins, as a logarithm.
        steps: When something escaped, in order.
        shares: What is left on the plateau after each.
        horizon: The last step that is drawn.
    """
    points, share = [(low, 1.0)], 1.0
    for step, after in zip(steps, shares, strict=True):
        if step > horizon:
            break
        place = math.log10(max(float(step), 1.0))
        points += [(place, share), (place, float(after))]
        share = float(after)
    return [*points, (math.log10(horizon), share)]
