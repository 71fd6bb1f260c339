"""A table for a terminal of any width: names are never cut, text wraps, and columns are dropped from the right.

rich draws it; this module decides the widths, because rich itself shrinks every column, names too, until nothing is
readable.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

# A name is folded only beyond this width, or this fraction of the terminal's.
_NAME_WIDTH = 12
_NAME_SHARE = 3
_BREAK_BEHIND = " -_./:,"


@dataclass(frozen=True)
class TerminalColumn:
    """One column.

    Attributes:
        title: Its heading.
        is_name: Whether its cells name the row: always shown, folded rather than cut.
        justify: Alignment of its text.
        joined: Text up to this string stays on one line in each cell; the whole cell if it is empty.
            None for text that may wrap between any two words.
    """

    title: str
    is_name: bool = False
    justify: Literal["left", "right"] = "left"
    joined: str | None = None


@dataclass(frozen=True)
class TerminalRow:
    """One row: a literal text for each column; ``ends_section`` leaves a gap below."""

    cells: Sequence[Text]
    style: str = ""
    ends_section: bool = field(default=False)


@dataclass(frozen=True)
class TerminalTable:
    """A table that rich prints no wider than it is allowed, and below it the titles of the columns that did not fit.

    Attributes:
        title: Printed above the table.
        columns: From most to least important; those up to the name's are always shown.
        rows: One cell for each column.
    """

    title: str
    columns: Sequence[TerminalColumn]
    rows: Sequence[TerminalRow]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """What rich asks for."""
        columns, rows = self.columns, self.rows
        naturals = [_width([column.title, *_texts(rows, place)]) for place, column in enumerate(columns)]
        leasts = [
            _least(column, natural, _texts(rows, place), console.width)
            for place, (column, natural) in enumerate(zip(columns, naturals, strict=True))
        ]
        num_kept = _num_kept(columns, leasts, console)
        room = console.width - _frame(console, num_kept)
        widths = _shares(naturals[:num_kept], leasts[:num_kept], _names(columns), room)
        table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
        for column, width in zip(columns, widths, strict=False):
            table.add_column(Text(column.title), justify=column.justify, width=width, overflow="fold")
        for row in rows:
            cells = [
                folded(cell, width) if column.is_name else cell
                for cell, width, column in zip(row.cells, widths, columns, strict=False)
            ]
            table.add_row(*cells, style=row.style, end_section=row.ends_section)
        yield Text(self.title, style="italic")
        yield table
        if dropped := [column.title for column in columns[num_kept:]]:
            yield Text(f"no room for {', '.join(dropped)}; a wider terminal shows more", style="dim")


def print_table(
    console: Console, title: str, columns: Sequence[TerminalColumn], rows: Sequence[TerminalRow], gap: bool = True
) -> None:
    """Prints a :class:`TerminalTable`.

    Args:
        console: Where to print.
        title: Printed above the table.
        columns: From most to least important; those up to the name's are always shown.
        rows: One cell for each column.
        gap: Whether to print an empty line afterwards.
    """
    console.print(TerminalTable(title, columns, rows))
    if gap:
        console.print()


def folded(name: Text, width: int) -> Text:
    """Folds a name to a width, after a space or punctuation; inside a word only if the word is wider."""
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
    """Terminal cells of the widest text: a Chinese character takes two."""
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
    """How many columns fit, from the left, at their minimum width; those up to the name always count."""
    fewest = max(_names(columns), default=0) + 1
    fitting = (
        count
        for count in range(len(columns), fewest, -1)
        if sum(leasts[:count]) + _frame(console, count) <= console.width
    )
    return next(fitting, fewest)


def _frame(console: Console, num_columns: int) -> int:
    """Cells taken by rules and gaps between columns."""
    bare = Table(*[""] * num_columns, box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for column in bare.columns:
        column.width = 1
    return console.measure(bare, options=console.options.update(max_width=10_000)).maximum - num_columns


def _shares(naturals: Sequence[int], leasts: Sequence[int], names: Sequence[int], room: int) -> list[int]:
    """Widths that fill the room: the widest column shrinks first, a name only if no other column can."""
    widths = list(naturals)
    floors = [naturals[place] if place in names else least for place, least in enumerate(leasts)]
    for floor in (floors, leasts, [1] * len(widths)):
        while sum(widths) > room and any(width > low for width, low in zip(widths, floor, strict=True)):
            widest = max(range(len(widths)), key=lambda place: (widths[place] > floor[place], widths[place]))
            widths[widest] -= 1
    return widths
