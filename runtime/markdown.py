"""Generated Markdown: tables, escaped text, and the parts of a page between markers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from smidgen.runtime.errors import UserError

_SPECIAL = re.compile(r"([\\`*_{}\[\]()#+|~])")


Head = tuple[str, str]


def left(*headings: str) -> list[Head]:
    """Left-aligned headings, for columns of words in :func:`markdown_table`."""
    return [(heading, "---") for heading in headings]


def right(*headings: str) -> list[Head]:
    """Right-aligned headings, for columns of figures."""
    return [(heading, "---:") for heading in headings]


def markdown_table(heads: Sequence[Head], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table.

    Args:
        heads: Heading and alignment of each column: ``left("task") + right("success", "steps")``.
        rows: One cell for each heading; cells are Markdown, so see :func:`escape_markdown`.
    """
    lines = [*zip(*heads, strict=True), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def escape_markdown(text: str) -> str:
    """Escapes text so that Markdown shows it literally, on one line."""
    flat = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _SPECIAL.sub(r"\\\1", flat)


def replace_between_markers(document: str, content: str, name: str, topic: str = "leaderboard") -> str:
    """Replaces the content between the two markers of a topic; idempotent.

    Args:
        document: Contains ``<!-- TOPIC:begin -->`` and ``<!-- TOPIC:end -->``.
        content: What goes between them.
        name: The document's name, for the error.
        topic: The topic named in the markers.

    Raises:
        UserError: If each marker does not occur exactly once, in order.
    """
    return _replaced(document, f"<!-- {topic}:begin -->", f"<!-- {topic}:end -->", f"\n{content}\n", name)


def page_with_tables(page: Path, tables: Mapping[str, str]) -> str:
    """A page's text with each table between its markers, ``<!-- NAME table: begin -->`` and the same with ``end``.

    Args:
        page: A Markdown file.
        tables: The tables by name.

    Raises:
        UserError: If the page is missing or lacks a marker.
    """
    if not page.is_file():
        markers = ", ".join(f"<!-- {name} table: begin -->" for name in tables)
        raise UserError(f"{page}: no such file; expected a page with {markers} and their ends")
    text = page.read_text(encoding="utf-8")
    for name, table in tables.items():
        begin, end = f"<!-- {name} table: begin -->", f"<!-- {name} table: end -->"
        text = _replaced(text, begin, end, f"\n\n{table}\n\n", str(page))
    return text


def _replaced(document: str, begin: str, end: str, content: str, name: str) -> str:
    before, found_begin, rest = document.partition(begin)
    _, found_end, after = rest.partition(end)
    if not found_begin or not found_end or document.count(begin) > 1 or document.count(end) > 1:
        raise UserError(f"{name}: expected one {begin} and one {end} after it; add both where the table goes")
    return f"{before}{begin}{content}{end}{after}"
