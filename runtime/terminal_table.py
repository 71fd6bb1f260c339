"""A table for a terminal of any width: names are never cut, text wraps, what does not fit is dropped from the right.

rich draws it; what is decided here is how wide each column is, since rich itself shrinks every column, names too, until
nothing of them can be read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

# A name is folded only beyond this width, or this part of the terminal's.
_NAME_WIDTH = 12
_NAME_SHARE = 3
_BREAK_BEHIND = " -_./:,"


@dataclass(frozen=True)
class TerminalColumn:
    """One column.

    Attributes:
        title: Its heading.
        is_name: Whether its cells name the row: kept at any width, folded rather than cut.
        justify: Where its text stands.
        joined: Text that must stay on one line in each cell, up to this string; the whole cell where it is empty.
            None for text that wraps between any two words.
    """

    title: str
    is_name: bool = False
    justify: Literal["left", "right"] = "left"
    joined: str | None = None


@dataclass(frozen=True)
class TerminalRow:
    """One row: a text for each column, shown as it is; ``ends_section`` leaves a gap below."""

    cells: Sequence[Text]
    style: str = ""
    ends_section: bool = field(default=False)


def print_table(
    console: Console, title: str, columns: Sequence[TerminalColumn], rows: Sequence[TerminalRow], gap: bool = True
) -> None:
    """Prints a table as wide as the console at most, and below it the titles of the columns that had no room.

    Args:
        console: Where to.
        title: Stands above the table.
        columns: From the most to the least needed; those up to the name's are always shown.
        rows: With a cell for each column.
        gap: Whether an empty line follows.
    """
    naturals = [_width([column.title, *_texts(rows, place)]) for place, column in enumerate(columns)]
    leasts = [
        _least(column, natural, _texts(rows, place), console.width)
        for place, (column, natural) in enumerate(zip(columns, naturals, strict=True))
    ]
    num_kept = _num_kept(columns, leasts, console)
    widths = _shares(naturals[:num_kept], leasts[:num_kept], _names(columns), console.width - _frame(console, num_kept))
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for column, width in zip(columns, widths, strict=False):
        table.add_column(Text(column.title), justify=column.justify, width=width, overflow="fold")
    for row in rows:
        cells = [
            folded(cell, width) if column.is_name else cell
            for cell, width, column in zip(row.cells, widths, columns, strict=False)
        ]
        table.add_row(*cells, style=row.style, end_section=row.ends_section)
    console.print(Text(title, style="italic"))
    console.print(table)
    dropped = [column.title for column in columns[num_kept:]]
    if dropped:
        console.print(Text(f"no room for {', '.join(dropped)}; a wider terminal shows more", style="dim"))
    if gap:
        console.print()


def folded(name: Text, width: int) -> Text:
    """A name in lines of a width, broken behind a space or a sign; inside a word only where that is wider."""
    ends: list[int] = []
    begin, best, used = 0, 0, 0
    for place, letter in enumerate(name.plain):
        if used + cell_len(letter) > width:
            end = best if best > begin else place
            ends.append(end)
            used = cell_len(name.plain[end:place])
            begin, best = end, end
        used += cell_len(letter)
        if letter in _BREAK_BEHIND:
            best = place + 1
    return Text("\n").join(name.divide(ends)) if ends else name


def _texts(rows: Sequence[TerminalRow], place: int) -> list[str]:
    return [row.cells[place].plain for row in rows]


def _width(texts: Sequence[str]) -> int:
    """Terminal cells of the widest text: a Chinese letter takes two."""
    return max((cell_len(text) for text in texts), default=1)


def _least(column: TerminalColumn, natural: int, texts: Sequence[str], terminal: int) -> int:
    """The width below which a column is not worth showing."""
    words = [word for text in (column.title, *texts) for word in text.split()]
    if column.is_name:
        return min(natural, max(_NAME_WIDTH, terminal // _NAME_SHARE))
    if column.joined is not None:
        joined = [text.partition(column.joined)[0] if column.joined else text for text in texts]
        return _width([*column.title.split(), *joined])
    return _width(words)


def _names(columns: Sequence[TerminalColumn]) -> list[int]:
    return [place for place, column in enumerate(columns) if column.is_name]


def _num_kept(columns: Sequence[TerminalColumn], leasts: Sequence[int], console: Console) -> int:
    """As many columns, from the left, as have room for their least width; those up to the name whatever the width."""
    fewest = max(_names(columns), default=0) + 1
    fitting = (
        count
        for count in range(len(columns), fewest, -1)
        if sum(leasts[:count]) + _frame(console, count) <= console.width
    )
    return next(fitting, fewest)


def _frame(console: Console, num_columns: int) -> int:
    """Cells that rules and gaps between columns take."""
    bare = Table(*[""] * num_columns, box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for column in bare.columns:
        column.width = 1
    return console.measure(bare, options=console.options.update(max_width=10_000)).maximum - num_columns


def _shares(naturals: Sequence[int], leasts: Sequence[int], names: Sequence[int], room: int) -> list[int]:
    """Widths that fill the room: the widest column gives way first, a name only when no other can."""
    widths = list(naturals)
    floors = [naturals[place] if place in names else least for place, least in enumerate(leasts)]
    for floor in (floors, leasts, [1] * len(widths)):
        while sum(widths) > room and any(width > low for width, low in zip(widths, floor, strict=True)):
            widest = max(range(len(widths)), key=lambda place: (widths[place] > floor[place], widths[place]))
            widths[widest] -= 1
    return widths
