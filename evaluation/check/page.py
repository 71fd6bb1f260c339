"""The report's files: an HTML page with the leaderboard's look, without script or network, Markdown and JSON."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from smidgen.evaluation.check import words
from smidgen.evaluation.check.pictures import Example
from smidgen.evaluation.check.report import Report, probe_rows, report_json, report_markdown, slope_rows
from smidgen.evaluation.check.rows import Measured
from smidgen.evaluation.check.thresholds import CHECK_VERSION
from smidgen.evaluation.collapse.labels import BLIND, BLIND_TO, PARTLY_BLIND, SEES, SEES_FROM
from smidgen.runtime.charts import Axis
from smidgen.runtime.files import write_atomic, write_json_atomic
from smidgen.runtime.look import page_style

_FOLDER = Path(__file__).parent
_SLOPES = Axis(-0.2, 1.2, ())


@dataclass(frozen=True)
class SlopeMark:
    """A slope on its axis, in percent from the left.

    Attributes:
        place: The slope.
        ends: Its interval; None if it is not known.
        text: Both in words.
    """

    place: float
    ends: tuple[float, float] | None
    text: str


def write_report(report: Report, example: Example, out: Path) -> list[Path]:
    """Writes the report's files, replacing those of an earlier check."""
    out.mkdir(parents=True, exist_ok=True)
    paths = [out / name for name in ("check.html", "check.md", "check.json")]
    write_atomic(paths[0], render_page(report, example).encode())
    write_atomic(paths[1], report_markdown(report).encode())
    write_json_atomic(paths[2], report_json(report))
    return paths


def render_page(report: Report, example: Example) -> str:
    """The page; the same report gives the same bytes."""
    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["sentence"] = words.sentence_case
    # The headline stands above, in large letters.
    said = words.first_screen(report)
    said[0] = said[0].removeprefix(f"{words.headline(report)}. ")
    return environment.get_template("page.html.jinja").render(
        report=report,
        example=example,
        headline=words.headline(report),
        said=said,
        advice=words.advice(report),
        remarks=words.remarks(report),
        slope=_mark(report.decision.slope),
        bands=_bands(),
        probe_rows=probe_rows(report),
        slope_rows=slope_rows(report),
        references=words.REFERENCES,
        uses=words.USES,
        title=words.probe_title,
        number=words.number,
        figure=words.figure,
        percent=words.percent,
        version=CHECK_VERSION,
        style=page_style(_FOLDER / "page.css"),
    )


def _mark(slope: Measured) -> SlopeMark | None:
    if not math.isfinite(slope.value):
        return None
    ends = (_SLOPES.percent(slope.low), _SLOPES.percent(slope.high)) if slope.is_known else None
    return SlopeMark(_SLOPES.percent(slope.value), ends, words.figure(slope))


def _bands() -> list[tuple[str, float, float]]:
    """Name, start and width of each label's part of the axis."""
    limits = [_SLOPES.low, BLIND_TO, SEES_FROM, _SLOPES.high]
    places = [_SLOPES.percent(limit) for limit in limits]
    return [
        (label, start, round(end - start, 3))
        for label, start, end in zip((BLIND, PARTLY_BLIND, SEES), places, places[1:], strict=False)
    ]
