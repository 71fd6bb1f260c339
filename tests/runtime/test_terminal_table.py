"""Tables at any width: no line wider than the terminal, no name cut, columns dropped from the right and named."""

import io

import pytest
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from smidgen.runtime.terminal_table import TerminalColumn, TerminalRow, folded, print_table

NAMES = ("perceiver-dft3d", "x" * 70, "机器人策略" * 9, "a name of some words", "[red]no markup[/red]", "e\u0301" * 30)
COLUMNS = [
    TerminalColumn("#", justify="right", joined=""),
    TerminalColumn("Policy", is_name=True),
    TerminalColumn("Success", joined=" ["),
    TerminalColumn("Verdict"),
    TerminalColumn("Runs", joined=""),
]


def printed(width: int, names: tuple[str, ...] = NAMES) -> list[str]:
    console = Console(file=io.StringIO(), width=width)
    cells = ["507/600 84.5 % [59-95]", "partly blind 2/3, blind 1/3", "3 x 200"]
    rows = [TerminalRow([Text(str(place)), Text(name), *map(Text, cells)]) for place, name in enumerate(names)]
    print_table(console, "a title", COLUMNS, rows)
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined]


@pytest.mark.parametrize("width", [12, 20, 40, 50, 80, 120, 200])
def test_every_name_is_whole_and_no_line_is_wider_than_the_terminal(width: int) -> None:
    lines = printed(width)
    assert max(map(cell_len, lines)) <= width
    for name in NAMES:
        alone = printed(width, (name,))
        # The name's column starts where its title does.
        head = next(line for line in alone if "Policy" in line)
        first, end = head.index("Policy"), head.index("Success") if "Success" in head else width
        kept = "".join(_cells(line, first, end) for line in alone[3:]).replace(" ", "")
        assert kept.startswith(name.replace(" ", ""))
        assert "\u2026" not in "".join(alone)


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("perceiver-dft3d-seed0", ["perceiver-dft3d-", "seed0"]),
        ("expert (privileged)", ["expert ", "(privileged)"]),
        ("time_mean_of_all_the_demos", ["time_mean_of_", "all_the_demos"]),
        ("x-" + "y" * 18, ["x-", "y" * 16, "yy"]),
        ("z" * 18, ["z" * 16, "zz"]),
        ("机器人-策略策略策略", ["机器人-", "策略策略策略"]),
        ("exactly-sixteen-", ["exactly-sixteen-"]),
    ],
)
def test_a_name_is_folded_behind_a_sign_where_it_has_one(name: str, lines: list[str]) -> None:
    assert folded(Text(name), 16).plain.split("\n") == lines


def _cells(line: str, first: int, end: int) -> str:
    """The part of a line that starts between two terminal cells."""
    place, kept = 0, ""
    for letter in line:
        # A mark without a width stands on the letter before it.
        kept += letter if first <= place - (cell_len(letter) == 0) < end else ""
        place += cell_len(letter)
    return kept


def test_columns_are_dropped_from_the_right_and_named() -> None:
    titles = ["Success", "Verdict", "Runs"]
    shown = {
        width: [title for title in titles if title in "".join(printed(width)[1:2])]
        for width in (12, 20, 30, 40, 50, 60, 80, 199)
    }
    assert shown[12] == []
    assert shown[199] == titles
    assert all(kept == titles[: len(kept)] for kept in shown.values())
    assert sorted(map(len, shown.values())) == list(map(len, shown.values()))
    for width, kept in shown.items():
        text = " ".join(" ".join(printed(width)).split())
        assert ("no room for" in text) == (kept != titles)


def test_what_is_joined_stays_on_one_line() -> None:
    for width in (40, 60, 80, 120):
        assert sum("507/600 84.5 %" in line for line in printed(width)) == len(NAMES)


def test_an_empty_table_is_a_heading() -> None:
    console = Console(file=io.StringIO(), width=40)
    print_table(console, "nothing", COLUMNS, [])
    assert "Policy" in console.file.getvalue()  # type: ignore[attr-defined]
