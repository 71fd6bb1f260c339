"""Markdown pages with computed tables: each stands between two markers; the words around it stay as they are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from smidgen.runtime.errors import UserError


def page_with_tables(page: Path, tables: Mapping[str, str]) -> str:
    """A page's text with each table between its markers, ``<!-- NAME table: begin -->`` and the same with ``end``.

    Args:
        page: A Markdown file.
        tables: What goes between the markers, by name.

    Raises:
        UserError: If the page is missing or lacks a marker.
    """
    text = page.read_text(encoding="utf-8") if page.is_file() else ""
    for name, table in tables.items():
        begin, end = f"<!-- {name} table: begin -->", f"<!-- {name} table: end -->"
        before, found_begin, rest = text.partition(begin)
        _, found_end, after = rest.partition(end)
        if not found_begin or not found_end:
            raise UserError(f"{page}: expected a page with the lines {begin!r} and {end!r}")
        text = f"{before}{begin}\n\n{table}\n\n{end}{after}"
    return text


def markdown_table(heads: Mapping[str, str], rows: list[list[str]]) -> str:
    """A Markdown table.

    Args:
        heads: The alignment of each column (``---`` or ``---:``), by its heading.
        rows: Cells, as many a row as there are headings.
    """
    lines = [list(heads), list(heads.values()), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
