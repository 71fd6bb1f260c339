r"""The leaderboard as LaTeX: one ``table`` per group, ruled by booktabs, nothing in it that a record could make run.

Needs ``\usepackage{booktabs}`` and nothing else; what an old compiler cannot set (≈, †, ×) is written as mathematics.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from smidgen.leaderboard.cells import interval
from smidgen.leaderboard.columns import Column, pick
from smidgen.leaderboard.ranking import Group
from smidgen.leaderboard.rows import Row
from smidgen.leaderboard.tables import LONG, conditions, legends

# Square brackets would be read as the optional argument of the line break before them.
_SPECIAL = {
    "\\": r"\textbackslash{}",
    **{sign: f"\\{sign}" for sign in "{}$&#_%"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "[": "{[}",
    "]": "{]}",
    '"': r"\char34{}",
    "\u2013": "--",
    "\u2212": "$-$",
    "\u00d7": r"$\times$",
    "\u2248": r"$\approx$",
    "\u2020": r"$^\dagger$",
    "\u2192": r"$\to$",
    "\u2264": r"$\le$",
    "\u00b2": "$^2$",
    "\u00b7": r"$\cdot$",
}
# Two hyphens would become one dash, two quotes another quote.
_TO_ESCAPE = re.compile(f"([-'`])(?=\\1)|[{re.escape(''.join(_SPECIAL))}]")
_LEFT_OUT = ("verified",)
_TITLES = {"success": "Success [95 % interval]"}


def escape_latex(text: str) -> str:
    """Text that LaTeX sets as it is, on one line, whatever it holds; control characters become blanks."""
    flat = " ".join(re.sub(r"[\x00-\x1f\x7f-\x9f]", " ", text).split())
    return _TO_ESCAPE.sub(lambda found: _SPECIAL.get(found[0]) or f"{found[0]}{{}}", flat)


def latex_tables(groups: Sequence[Group]) -> str:
    """Every group's long table; ranked rows, a rule, then the references."""
    head = "% Written by smidgen-leaderboard from the records; needs \\usepackage{booktabs}.\n"
    return head + "\n".join(_table(index, group) for index, group in enumerate(groups))


def _table(index: int, group: Group) -> str:
    columns = [column for column in pick(LONG) if column.key not in _LEFT_OUT]
    alignment = "".join("r" if column.numeric else "l" for column in columns)
    titles = [escape_latex(_TITLES.get(column.key, column.title)) for column in columns]
    notes = escape_latex("; ".join(legends([group], str)))
    ranked = [_line(columns, row) for row in group.ranked]
    references = [_line(columns, row) for row in group.references]
    rows = [*ranked, *([r"\midrule"] if ranked and references else []), *references]
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{escape_latex(group.task)} ({escape_latex(conditions(group))}). {notes}.}}",
        rf"\label{{tab:leaderboard-{index + 1}}}",
        rf"\begin{{tabular}}{{{alignment}}}",
        r"\toprule",
        rf"{' & '.join(titles)} \\",
        r"\midrule",
        *rows,
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
        "",
    ]
    return "\n".join(lines)


def _line(columns: Sequence[Column], row: Row) -> str:
    return rf"{' & '.join(_cell(column, row) for column in columns)} \\"


def _cell(column: Column, row: Row) -> str:
    cell = column.cell(row)
    text = escape_latex(cell.text)
    if column.key == "success":
        rate = row.success
        best = rf"\textbf{{{text}}}" if row.rank == 1 else text
        return f"{rate['k']}/{rate['n']} = {best} {escape_latex(f'[{interval(rate)}]')}"
    if column.key == "policy":
        return f"{text} ({escape_latex(cell.detail)})" if cell.detail else text
    return f"{text} {escape_latex(cell.detail)}".rstrip()
