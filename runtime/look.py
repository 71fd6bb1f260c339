"""The look of every page that we write: one stylesheet, for light and dark, wide and narrow."""

from __future__ import annotations

from pathlib import Path

_STYLE = Path(__file__).with_name("look.css")


def page_style(*own: Path) -> str:
    """The stylesheet of a page: the look, then the page's own rules."""
    return "\n".join(path.read_text(encoding="utf-8") for path in (_STYLE, *own))
