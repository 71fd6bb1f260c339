"""Rows as a table: on the terminal, and in a Markdown page between two markers."""

from __future__ import annotations

import re
from pathlib import Path

from smidgen.runtime import markdown
from smidgen.runtime.files import write_atomic
from studies.bench.benchmarks import BENCHMARKS
from studies.bench.record import Measurement, read_measurements

HEADINGS = ("what", "peer", "ours", "theirs", "ratio", "must reach", "aim")
_FIGURES = ("ours", "theirs", "ratio")
TABLE_NAME = "benchmark"
_SHARE = re.compile(r"transforms: (\w+), standardised after: (\w+)")
_ANSWERS = {True: "met", False: "missed", None: "not measured"}


def cells(row: Measurement) -> tuple[str, ...]:
    """A row's figures in words, in the order of :data:`HEADINGS`."""
    figures = [_figure(row.ours, row.unit), _figure(row.theirs, row.unit)]
    ratio = "-" if row.ratio is None else f"{row.ratio:,.2f} x"
    return (row.name, row.peer, *figures, ratio, _answer(row, row.must_reach), _answer(row, row.aim))


def _figure(value: float | None, unit: str) -> str:
    return "-" if value is None else f"{value:,.0f} {unit}" if abs(value) >= 100 else f"{value:.3g} {unit}"


def _answer(row: Measurement, condition: str) -> str:
    return f"{condition}: {_ANSWERS[row.meets(condition)]}" if condition else ""


def print_table(rows: list[Measurement]) -> None:
    """Prints all rows, and below them the notes."""
    from rich.console import Console
    from rich.text import Text

    from smidgen.runtime.terminal_table import TerminalColumn, TerminalRow, print_table

    order = ("what", *_FIGURES, "must reach", "aim", "peer")
    columns = [
        TerminalColumn(heading, heading == "what", *(("right", "") if heading in _FIGURES else ())) for heading in order
    ]
    lines = [dict(zip(HEADINGS, cells(row), strict=True)) for row in rows]
    shown = [TerminalRow([Text(line[heading]) for heading in order]) for line in lines]
    print_table(Console(), "ratio: how many times better ours is", columns, shown)
    for row in rows:
        if row.note:
            print(f"{row.name}: {row.note}")


def stored_measurements(directory: Path) -> list[Measurement]:
    """All rows of a directory of records, in the registry's order."""
    paths = [directory / f"{name}.json" for name in BENCHMARKS]
    return [row for path in paths if path.exists() for row in read_measurements(path)]


def markdown_table(rows: list[Measurement]) -> str:
    """The rows as Markdown, with the machines and commits they come from."""
    if not rows:
        return "No record yet: `make bench` writes them."
    shares = {match.groups(): row for row in rows if (match := _SHARE.fullmatch(row.name))}
    others = [list(cells(row)) for row in rows if row not in shares.values()]
    tables = [markdown.markdown_table(markdown.left(*HEADINGS), others)] if others else []
    tables += [_table_of_shares(shares)] if shares else []
    origins = sorted({f"`{row.commit}` on {row.machine}" for row in rows})
    return "\n\n".join([*tables, f"Measured: {'; '.join(origins)}."])


def _table_of_shares(shares: dict[tuple[str, ...], Measurement]) -> str:
    """Transforms by standardisations; bold where a share misses what it must reach."""
    afters = list(dict.fromkeys(after for _, after in shares))
    conditions = sorted({row.must_reach for row in shares.values()})
    lines = []
    for name in dict.fromkeys(transform for transform, _ in shares):
        row = [shares.get((name, after)) for after in afters]
        lines.append([f"`{name}`", *("-" if cell is None else _share(cell) for cell in row)])
    heads = markdown.left("transform") + markdown.right(*(f"`{after}`" for after in afters))
    return (
        "Each input transform's share of a training step in per cent, by the standardisation after it; bold where it "
        f"misses {' and '.join(f'`{condition}`' for condition in conditions)}:\n\n"
        + markdown.markdown_table(heads, lines)
    )


def _share(row: Measurement) -> str:
    figure = "-" if row.ours is None else f"{row.ours:.2f}"
    return f"**{figure}**" if row.meets(row.must_reach) is False else figure


def update_page(page: Path, directory: Path) -> None:
    """Writes the table of a directory's records between the markers of a Markdown page.

    Raises:
        UserError: If the page is missing or has not both markers.
    """
    table = markdown_table(stored_measurements(directory))
    write_atomic(page, markdown.page_with_tables(page, {TABLE_NAME: table}).encode())
