"""Computed Markdown: tables, and the markers of a page that they stand between."""

from pathlib import Path

import pytest

from smidgen.runtime.errors import UserError
from smidgen.runtime.markdown import left, markdown_table, page_with_tables, right

MARKERS = "<!-- {0} table: begin -->{1}<!-- {0} table: end -->"


def test_tables_go_between_their_markers_and_nothing_else_changes(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"a\n{MARKERS.format('one', 'old')}\nb\n{MARKERS.format('two', '')}\nc\n")
    text = page_with_tables(page, {"two": "2", "one": "1"})
    one, two = (MARKERS.format(name, f"\n\n{table}\n\n") for name, table in (("one", "1"), ("two", "2")))
    assert text == f"a\n{one}\nb\n{two}\nc\n"
    page.write_text(text)
    assert page_with_tables(page, {"one": "1", "two": "2"}) == text


@pytest.mark.parametrize("text", ["", "<!-- one table: begin -->", "<!-- one table: end --><!-- one table: begin -->"])
def test_a_page_without_markers_is_refused(text: str, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(text)
    with pytest.raises(UserError, match="one table: begin"):
        page_with_tables(page, {"one": "1"})
    with pytest.raises(UserError, match=r"no\.md"):
        page_with_tables(tmp_path / "no.md", {"one": "1"})


def test_a_markdown_table_has_headings_alignment_and_rows() -> None:
    assert markdown_table(left("a") + right("b", ""), [["1", "2", ""]]) == (
        "| a | b |  |\n| --- | ---: | ---: |\n| 1 | 2 |  |"
    )
