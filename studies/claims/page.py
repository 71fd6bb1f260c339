"""The second round as one self-contained page: for each claim a paragraph, a picture, a number, then the tables."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import jinja2

from smidgen.leaderboard.charts import Axis, path_data
from studies.charts import SHARE_AXIS, log_axis, survival_points
from studies.claims import design, report, survival
from studies.claims.decisions import ContrastResult, Results
from studies.claims.plan import StudyPlan
from studies.claims.records import Records
from studies.claims.tables import FORECAST_HEAD, FORECAST_TEXT

NUM_COLOURS = 4


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
