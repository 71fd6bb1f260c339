"""LaTeX tables: their structure, and that no string of a record can do more than stand there."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from leaderboard_records import build_record, demo_records, judged, rich_records, write_demo

from smidgen.evaluation.records import Record
from smidgen.leaderboard.command import leaderboard
from smidgen.leaderboard.ranking import rank_runs
from smidgen.leaderboard.rows import Run
from smidgen.leaderboard.tables import escape_latex, latex_tables
from smidgen.runtime.command_line import run_command

# A backslash may begin these alone: escaped signs, the names that stand for a sign, and what the tables are made of.
SIGNS = r"\\[{}$&#_%]|\\textbackslash\{\}|\\text(asciitilde|asciicircum|less|greater|bar)\{\}|\\char34\{\}"
MATHEMATICS = r"\$(\^2|\^\\dagger|-|\\(times|approx|to|le|cdot))\$"


def tables(*records: Record) -> str:
    return latex_tables(
        rank_runs(Run(f"{index}.json", f"{index:064d}", record) for index, record in enumerate(records))
    )


def cells(line: str) -> list[str]:
    assert line.endswith(r" \\")
    return [cell.strip() for cell in re.split(r"(?<!\\)&", line.removesuffix(r"\\"))]


def test_a_table_for_each_task_between_booktabs_rules() -> None:
    text = tables(*rich_records())
    assert text.count(r"\begin{table}") == text.count(r"\end{table}") == 2
    assert text.count(r"\toprule") == text.count(r"\bottomrule") == 2
    # Below the heading, and between ranked rows and references.
    assert text.count(r"\midrule") == 4
    assert re.findall(r"\\label\{(.*?)\}", text) == ["tab:leaderboard-1", "tab:leaderboard-2"]
    assert "&amp;" not in text


def test_every_row_has_as_many_cells_as_columns() -> None:
    for body in re.findall(
        r"\\begin\{tabular\}\{([lr]+)\}\n(.*?)\\end\{tabular\}", tables(*rich_records()), flags=re.S
    ):
        alignment, lines = body[0], [line for line in body[1].splitlines() if not line.endswith("rule")]
        assert {len(cells(line)) for line in lines} == {len(alignment)}


def test_the_cells_of_a_row() -> None:
    collapse = judged(0.93, "sees")
    text = tables(build_record("a_b", [index < 37 for index in range(50)], collapse=collapse))
    (row,) = [line for line in text.splitlines() if line.startswith("1 &")]
    assert cells(row)[:6] == [
        "1",
        r"a\_b",
        r"37/50 = \textbf{74 \%} {[}60--84{]}",
        r"1 $\times$ 50 $^\dagger$",
        "sees",
        "cue slope 0.93 {[}0.85--0.99{]}",
    ]


@given(st.text())
def test_any_text_is_inert_and_stays_on_one_line(text: str) -> None:
    escaped = escape_latex(text)
    left = re.sub(rf"{SIGNS}|{MATHEMATICS}|\{{[\[\]]\}}|(?<=[-'`])\{{\}}", "", escaped)
    assert not re.search(r"[\\{}$&#_%~^<>|\[\]\"]", left)
    assert not re.search(r"[\x00-\x1f\x7f-\x9f]", escaped)


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("100 %", r"100 \%"),
        ("a\\b{c}", r"a\textbackslash{}b\{c\}"),
        ("a--b ''c``", "a-{}-b '{}'c`{}`"),
        ("x-y's", "x-y's"),
        ("\\input{/etc/passwd}\n%", r"\textbackslash{}input\{/etc/passwd\} \%"),
        ("[2]", "{[}2{]}"),
        ("\u2212\u2013\u2264", r"$-$--$\le$"),
    ],
)
def test_escapes(text: str, escaped: str) -> None:
    assert escape_latex(text) == escaped


def test_the_command_writes_and_checks_the_file(tmp_path: Path) -> None:
    results, path = write_demo(tmp_path), tmp_path / "board.tex"
    arguments = [f"results={results}", f"latex={path}"]
    assert run_command(leaderboard, arguments) == 0
    runs = [Run(f"lift-{record['policy']['name']}.json", "0" * 64, record) for record in demo_records()]
    assert path.read_text() == latex_tables(rank_runs(runs))
    assert run_command(leaderboard, [*arguments, "check=true"]) == 0
    path.write_text(path.read_text().replace("86", "96"))
    assert run_command(leaderboard, [*arguments, "check=true"]) == 2
