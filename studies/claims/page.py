"""The second round as one self-contained page: for each claim a paragraph, a picture, a number, then the tables."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2

from smidgen.leaderboard.charts import Axis, Tick, path_data
from studies.claims import design, report, survival
from studies.claims.plan import Plan
from studies.claims.records import Records
from studies.claims.tables import FORECAST_HEAD, FORECAST_TEXT
from studies.claims.verdicts import Judged

SHARE_AXIS = Axis(0.0, 1.0, (Tick("0 %", 0), Tick("50 %", 50), Tick("100 %", 100)))
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


def render_page(plan: Plan, judged: dict[str, Judged], records: Records, folder: Path) -> str:
    """The page's HTML, a function of plan and records (in a folder) alone."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    reports = report.claim_reports(plan, judged)
    pictures = {each.name: picture(each.primary, records) for each in reports}
    return environment.get_template("page.html.jinja").render(
        reports=reports,
        pictures=pictures,
        new=report.new_contrasts(judged),
        forecast=report.forecast_contrasts(judged),
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


def picture(judged: Judged, records: Records) -> Picture:
    """Survival of the arms that have run; a run that never escaped stays on the plateau up to the horizon."""
    horizon = judged.contrast.horizon
    steps = log_axis(horizon)
    curves: list[Curve] = []
    for arm in judged.contrast.terms:
        counts = [run.escape_step for run in records.runs(arm).values()]
        if not counts:
            continue
        paint = f"c{len(curves) % NUM_COLOURS}"
        learned = f"{sum(step is not None for step in counts)}/{len(counts)}"
        at, shares = survival.share_on_plateau(records, arm, horizon)
        points = survival_points(at.tolist(), shares.tolist(), horizon=horizon)
        curves.append(Curve(arm, paint, path_data(points, steps, SHARE_AXIS), learned))
    return Picture(tuple(curves), steps)


def survival_points(steps: Sequence[float], shares: Sequence[float], *, horizon: int) -> list[tuple[float, float]]:
    """Corners of a survival curve, its steps as logarithms."""
    points, share = [(0.0, 1.0)], 1.0
    for step, after in zip(steps, shares, strict=True):
        place = math.log10(max(step, 1.0))
        points += [(place, share), (place, float(after))]
        share = float(after)
    return [*points, (math.log10(horizon), share)]


def log_axis(horizon: int) -> Axis:
    """A logarithmic axis from step 1 to the horizon; ``percent`` takes logarithms."""
    axis = Axis(0.0, math.log10(horizon), ())
    labels = [10**power for power in range(int(math.log10(horizon)) + 1)]
    return Axis(axis.low, axis.high, tuple(Tick(f"{step:,}", axis.percent(math.log10(step))) for step in labels))
