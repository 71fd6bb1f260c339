"""Ranking rules, Markdown, CSV and the command, all from records made to measure."""

import csv
import io
import subprocess
import sys
from pathlib import Path

import pytest
from leaderboard_records import TEST_SEEDS_START, build_record, training_curve, unmeasured, write, write_demo
from rich.cells import cell_len
from rich.console import Console

from smidgen.evaluation.records import Record
from smidgen.leaderboard.cells import number, percent
from smidgen.leaderboard.columns import COLUMNS, column
from smidgen.leaderboard.command import leaderboard
from smidgen.leaderboard.ranking import (
    Group,
    escape_step,
    mean_position_r2,
    rank_runs,
    read_runs,
    training_points,
)
from smidgen.leaderboard.rows import Run
from smidgen.leaderboard.tables import board, csv_table, markdown, print_terminal
from smidgen.runtime.command_line import run_command
from smidgen.runtime.errors import UserError
from smidgen.runtime.markdown import escape_markdown, replace_between_markers

README = "# title\n\n<!-- leaderboard:begin -->\nold\n<!-- leaderboard:end -->\n\nafter\n"


def ranked(*records: Record) -> list[Group]:
    return rank_runs(Run(f"{index}.json", "0" * 64, record) for index, record in enumerate(records))


def first(count: int, num_episodes: int = 50) -> list[bool]:
    return [index < count for index in range(num_episodes)]


def csv_rows(groups: list[Group]) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(csv_table(groups))))


def run(*arguments: str) -> int:
    return run_command(leaderboard, arguments)


def test_rows_are_ranked_by_success_rate_and_equal_rates_share_a_rank() -> None:
    records = [build_record("c", first(10)), build_record("b", first(30)), build_record("a", first(30))]
    (group,) = ranked(*records, build_record("d", first(5)))
    assert [(row.name, row.rank) for row in group.ranked] == [("a", 1), ("b", 1), ("c", 3), ("d", 4)]


def test_rates_and_not_counts_are_compared() -> None:
    (group,) = ranked(build_record("many", first(30, 100)), build_record("few", first(20, 40)))
    assert [row.name for row in group.ranked] == ["few", "many"]


def test_the_order_of_the_files_does_not_matter() -> None:
    records = [build_record(name, first(count)) for name, count in (("a", 3), ("b", 9), ("c", 9), ("d", 1))]
    assert [row.name for row in ranked(*records)[0].rows] == [row.name for row in ranked(*records[::-1])[0].rows]


def test_experts_baselines_and_anything_privileged_are_never_ranked() -> None:
    (group,) = ranked(
        build_record("time_mean", first(20), "baseline"),
        build_record("expert", first(50), "expert"),
        build_record("peeks", first(40), policy={"observes": ["frames", "privileged"]}),
        build_record("mine", first(1), "user"),
    )
    assert [(row.name, row.rank) for row in group.ranked] == [("mine", 1)]
    assert [row.name for row in group.references] == ["expert", "peeks", "time_mean"]
    details = {row.name: column("policy").cell(row).detail for row in group.rows}
    assert details == {"mine": "", "expert": "privileged", "peeks": "privileged", "time_mean": "baseline"}


def test_a_learned_policy_that_sees_the_end_effector_says_so() -> None:
    ((row,),) = [ranked(build_record("both", first(1), policy={"observes": ["frames", "eef_state"]}))[0].rows]
    assert row.rank == 1
    assert column("policy").cell(row).detail == "sees end-effector state"


@pytest.mark.parametrize(
    "change",
    [
        {"task": "door"},
        {"environment": {"mujoco": "3.8.1"}},
        {"protocol": {"version": 2}},
        {"protocol": {"horizon": 300}},
    ],
)
def test_other_conditions_are_another_ranking(change: dict) -> None:
    groups = ranked(build_record("a", first(30)), build_record("b", first(20), **change))
    assert [[(row.name, row.rank) for row in group.rows] for group in groups] in (
        [[("a", 1)], [("b", 1)]],
        [[("b", 1)], [("a", 1)]],
    )


def test_other_seeds_and_numbers_of_episodes_stay_in_one_ranking() -> None:
    later = build_record("b", first(20, 30), seed_start=TEST_SEEDS_START + 100)
    (group,) = ranked(build_record("a", first(50)), later)
    assert [row.rank for row in group.ranked] == [1, 2]
    assert group.ranked[1].test == "exact McNemar on 0 shared seeds"
    assert group.ranked[1].not_separable


def test_five_lost_seeds_are_not_separable_and_six_are() -> None:
    (group,) = ranked(build_record("best", first(20)), build_record("five", first(15)))
    assert [row.not_separable for row in group.ranked] == [False, True]
    note = "not separable from the best: p = 0.06, exact McNemar on 50 shared seeds (0.06 after Holm's correction)"
    cell = column("rank").cell(group.ranked[1])
    assert (cell.detail, cell.note) == ("\u2248", note)
    (group,) = ranked(build_record("best", first(20)), build_record("six", first(14)))
    assert [row.not_separable for row in group.ranked] == [False, False]


def test_several_comparisons_with_the_best_are_corrected_for() -> None:
    (group,) = ranked(*(build_record(name, first(count)) for name, count in (("a", 20), ("b", 14), ("c", 12))))
    p_six, p_eight = 2 / 2**6, 2 / 2**8
    assert [row.p_best for row in group.ranked] == [None, pytest.approx(p_six), pytest.approx(p_eight)]
    assert [row.p_holm for row in group.ranked] == [None, pytest.approx(p_six), pytest.approx(2 * p_eight)]
    (group,) = ranked(*(build_record(name, first(count)) for name, count in (("a", 20), ("b", 14), ("c", 14))))
    assert [row.not_separable for row in group.ranked] == [False, True, True]


def test_r2_is_averaged_over_positions_that_vary() -> None:
    names = ["x_m", "y_m", "z_m", "gripper"]
    assert mean_position_r2([0.9, 0.5, None, -3.0], names) == pytest.approx(0.7)
    assert mean_position_r2([None, None, None, 0.5], names) is None
    assert mean_position_r2(None, names) is None


def test_training_points_leave_out_the_training_split_and_what_is_no_number() -> None:
    rows = [
        {"step": 100, "split": "validation", "cue_slope": 0.5},
        {"step": 100, "split": "train", "cue_slope": 0.9},
        {"step": 50, "cue_slope": 0.25},
        {"step": 150, "cue_slope": None},
        {"step": 200, "cue_slope": True},
        {"step": "250", "cue_slope": 0.5},
        {"loss": 0.5},
    ]
    assert training_points(build_record("a", first(1), training_curve=rows), "cue_slope") == [(50, 0.25), (100, 0.5)]


@pytest.mark.parametrize(
    ("slopes", "expected"), [([0.0, 0.8, 0.4, 0.6, 0.9], 30), ([0.8, 0.5], None), ([0.7, 0.6], 0), ([], None)]
)
def test_escape_is_the_first_step_from_which_the_slope_stays_above(slopes: list[float], expected: int | None) -> None:
    curve = [{"step": 10 * index, "cue_slope": slope} for index, slope in enumerate(slopes)]
    assert escape_step(build_record("a", first(1), training_curve=curve)) == expected


def test_the_run_s_own_mark_of_its_escape_is_taken() -> None:
    curve = [{"step": 0, "cue_slope": 0.0, "escape_step": None}, {"step": 400, "cue_slope": 0.9, "escape_step": 150}]
    assert escape_step(build_record("a", first(1), training_curve=curve)) == 150
    assert escape_step(build_record("a", first(1), training_curve=curve[:1])) is None


def test_a_training_curve_of_positions_alone_is_read_as_such() -> None:
    collapse = {"coordinates": ["gripper", "x_m", "y_m", "z_m"]}
    curve = [{"step": 1, "r2": [0.3, 0.6, 0.9]}, {"step": 2, "r2": [-9.0, 0.3, 0.6, 0.3]}]
    points = training_points(build_record("a", first(1), training_curve=curve, collapse=collapse), "r2")
    assert points == [(1, pytest.approx(0.6)), (2, pytest.approx(0.4))]


def test_a_run_that_never_escaped_is_censored_and_sorts_last() -> None:
    escaped, stuck = (
        build_record(name, first(1), training_curve=training_curve(at)) for name, at in (("a", 300), ("b", 9000))
    )
    cells = [column("escape_step").cell(row) for row in ranked(escaped, stuck)[0].ranked]
    assert [cell.text for cell in cells] == ["350", "> 1,500"]
    assert cells[0].value < cells[1].value  # type: ignore[operator]
    rows = csv_rows(ranked(escaped, stuck))
    assert [(row["escape_step"], row["escape_censored_at"]) for row in rows] == [("350", ""), ("", "1500")]


def test_every_missing_value_tells_why() -> None:
    reason = "needs demos=DIR, held-out demonstrations"
    (group,) = ranked(
        build_record("expert", first(50), "expert", collapse=unmeasured(reason)),
        build_record("noop", first(0), "baseline"),
        build_record("mine", first(3), "user"),
    )
    cells = {(row.name, entry.key): entry.cell(row) for row in group.rows for entry in COLUMNS}
    assert all(cell.note for cell in cells.values() if cell.is_missing)
    assert all(cell.text == "\u2013" for cell in cells.values() if cell.value is None)
    assert cells["expert", "cue_slope"].note == reason
    assert cells["noop", "rank"].note == "a baseline: shown for reference, never ranked"


def test_the_number_of_demonstrations_is_bounded_by_their_seeds_where_it_is_not_given() -> None:
    (row,) = ranked(build_record("a", first(1), policy={"training": {"step": 3}}))[0].rows
    assert column("demos").cell(row).text == "\u2264 85"


def test_numbers_are_written_with_a_true_minus_and_no_negative_zero() -> None:
    assert [number(value) for value in (-0.25, -0.001, 0.0, 1.0)] == ["\u22120.25", "0.00", "0.00", "1.00"]


def test_a_rate_short_of_everything_never_reads_100_percent() -> None:
    assert percent(build_record("a", first(199, 200))["success"]) == "99.5 %"
    assert percent(build_record("a", first(50))["success"]) == "100 %"


def test_csv_holds_every_row_and_figure() -> None:
    collapse = {"r2": [0.9, 0.6, 0.3, 0.0], "cue_slope": None, "reasons": {"cue_slope": "no pairs"}}
    rows = csv_rows(ranked(build_record("a", first(30), collapse=collapse), build_record("noop", first(0), "baseline")))
    assert [(row["rank"], row["policy"], row["kind"]) for row in rows] == [
        ("1", "a", "checkpoint"),
        ("", "noop", "baseline"),
    ]
    expected = {"success_k": "30", "success_n": "50", "success_rate": "0.6", "r2": "0.6", "cue_slope": ""}
    expected |= {"standardise_before": "none", "standardise_after": "centre", "num_demonstrations": "85"}
    expected |= {"not_separable_from_best": "false", "verified": "", "num_policy_errors": "0"}
    assert {key: rows[0][key] for key in expected} == expected
    assert rows[0]["record_sha256"] == "0" * 64
    assert rows[1]["not_separable_from_best"] == ""


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)"])
def test_csv_gives_a_spreadsheet_no_formula(text: str) -> None:
    (row,) = csv_rows(ranked(build_record("a", first(1), policy={"transform": text})))
    assert row["transform"] == f"'{text}"


def test_markdown_table() -> None:
    groups = ranked(build_record("time_mean", first(0), "baseline"), build_record("raw", first(37)))
    lines = markdown(groups).splitlines()
    assert lines[0] == "**lift** (smidgen/Lift-v0, 64 \u00d7 64 pixels, MuJoCo 3.9.0, robosuite 1.5.2)"
    cells = [cell.strip() for cell in lines[4].strip("|").split("|")]
    measures = ["\u2013", "\u2013", "0.80", "0.50", "none \u2192 centre", "85", "\u2013"]
    assert cells == ["1", "raw", "37/50 = **74 %** [60\u201384]", "1 \u00d7 50 \u2020", *measures]
    assert lines[5].startswith("| \u2013 | time\\_mean (baseline) | 0/50 = **0 %** [0\u20137] |")
    assert len({line.count("|") for line in lines[2:6]}) == 1


def test_the_board_reads_without_a_legend() -> None:
    groups = ranked(build_record("time_mean", first(0), "baseline"), build_record("raw", first(37)))
    lines = board(groups).splitlines()
    assert "Sees the cue? (slope: 1 follows it, 0 ignores it)" in lines[2]
    cells = [cell.strip() for cell in lines[4].strip("|").split("|")]
    assert cells == ["1", "raw", "37/50 = **74 %** [60\u201384]", "1 \u00d7 50 (partial entry)", "\u2013", "85"]
    assert len(lines) == 6
    tied = board(
        ranked(build_record("raw", first(37)), build_record("dft3d", first(36), policy={"transform": "dft3d"}))
    )
    assert "| 2 (statistical tie) |" in tied


def test_markdown_of_hostile_strings_stays_one_inert_row() -> None:
    text = "a|b\n<!-- leaderboard:end --><script>x</script>[y](z)`c`*d*"
    groups = ranked(build_record("a", first(1), policy={"standardise_after": text}, environment={"env_id": text}))
    table = markdown(groups)
    assert "<" not in table
    assert len(table.splitlines()) == 9
    once = replace_between_markers(README, table, "README.md")
    assert replace_between_markers(once, table, "README.md") == once
    assert escape_markdown("a|b") == "a\\|b"


def test_only_what_stands_between_the_markers_is_replaced() -> None:
    once = replace_between_markers(README, "table", "README.md")
    assert once == README.replace("old", "table")
    assert replace_between_markers(once, "table", "README.md") == once


@pytest.mark.parametrize(
    "document", ["", README.replace("begin", "start"), README.replace("end", "stop"), README + README]
)
def test_a_readme_without_its_two_markers_is_refused(document: str) -> None:
    with pytest.raises(UserError, match=r"README\.md: expected one <!-- leaderboard:begin -->"):
        replace_between_markers(document, "table", "README.md")


def test_terminal_table_reads_nothing_as_markup() -> None:
    console = Console(file=io.StringIO(), width=100)
    print_terminal(ranked(build_record("a", first(1), environment={"env_id": "[red]x[/blue]"})), console)
    assert "[red]x[/blue]" in console.file.getvalue()  # type: ignore[attr-defined]


@pytest.mark.parametrize("width", [40, 50, 80, 120, 200])
def test_terminal_table_names_every_policy_at_any_width(width: int) -> None:
    names = ["perceiver-dft3d", "\u673a\u5668\u4eba" * 8, "a" * 64]
    records = [
        build_record(name, first(place), task=task) for place, name in enumerate(names) for task in ("lift", "door")
    ]
    console = Console(file=io.StringIO(), width=width)
    print_terminal(ranked(*records), console)
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert max(map(cell_len, lines)) <= width
    assert sum("perceiver-dft3d" in line for line in lines) == 2
    letters = "".join(lines)
    assert letters.count("\u673a") == letters.count("\u5668") == letters.count("\u4eba") == 16
    assert "\u2026" not in letters


def test_command_writes_everything_and_a_second_run_changes_no_byte(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    results, readme = write_demo(tmp_path), tmp_path / "README.md"
    page = tmp_path / "tables.md"
    for path in (readme, page):
        path.write_text(README)
    outputs = [f"results={results}", f"readme={readme}", f"tables={page}"]
    assert run(*outputs) == 0
    written = [readme, page, results / "leaderboard.csv", tmp_path / "leaderboard.html"]
    before = [path.read_bytes() for path in written]
    assert "dft3d" in capsys.readouterr().out
    assert run(*outputs) == 0
    assert [path.read_bytes() for path in written] == before
    assert run(*outputs, "check=true") == 0
    assert "## What the columns mean" in page.read_text()
    assert "## What the columns mean" not in readme.read_text()


@pytest.mark.parametrize("name", ["README.md", "tables.md", "results/leaderboard.csv", "leaderboard.html"])
def test_check_finds_drift_and_writes_nothing(tmp_path: Path, name: str, capsys: pytest.CaptureFixture) -> None:
    results, drifted = write_demo(tmp_path), tmp_path / name
    for markdown_file in ("README.md", "tables.md"):
        (tmp_path / markdown_file).write_text(README)
    arguments = [f"results={results}", f"readme={tmp_path / 'README.md'}", f"tables={tmp_path / 'tables.md'}"]
    assert run(*arguments) == 0
    drifted.write_bytes(drifted.read_bytes().replace(b"86 %", b"96 %").replace(b"0.86", b"0.96"))
    changed = drifted.read_bytes()
    capsys.readouterr()
    assert run(*arguments, "--check") == 2
    assert str(drifted) in capsys.readouterr().err
    assert drifted.read_bytes() == changed


def test_check_finds_a_record_that_came_later(tmp_path: Path) -> None:
    results = write_demo(tmp_path)
    assert run(f"results={results}") == 0
    write(results, build_record("later", first(12)))
    assert run(f"results={results}", "check=true") == 2


def test_a_page_that_was_never_built_has_not_drifted_unless_it_is_named(tmp_path: Path) -> None:
    results = write_demo(tmp_path)
    assert run(f"results={results}") == 0
    (tmp_path / "leaderboard.html").unlink()
    assert run(f"results={results}", "check=true") == 0
    assert run(f"results={results}", "check=true", f"html={tmp_path / 'leaderboard.html'}") == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["results={folder}/none"], "is not a directory"),
        (["results={folder}"], "no record"),
        (["result={folder}"], "unknown key 'result'"),
        (["results={folder}/results", "readme={folder}/none.md"], "none.md does not exist"),
        (["results={folder}/results", "tables={folder}/none.md"], "pass tables=PATH"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    write(tmp_path / "results", build_record("a", first(1)))
    assert run(*(argument.format(folder=tmp_path) for argument in arguments)) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_an_invalid_record_stops_everything_by_name(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    results = write_demo(tmp_path)
    edited = results / "lift-raw.json"
    edited.write_text(edited.read_text().replace('"k": 37', '"k": 47'))
    assert run(f"results={results}") == 2
    assert f"{edited}: field success" in capsys.readouterr().err
    assert not (tmp_path / "leaderboard.html").exists()


def test_host_files_are_no_records(tmp_path: Path) -> None:
    results = write_demo(tmp_path)
    num_rows = len(read_runs(results))
    (results / "lift-raw.host.json").write_text("{}")
    assert len(read_runs(results)) == num_rows


def test_help_fits_a_screen(capsys: pytest.CaptureFixture) -> None:
    assert run("--help") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) < 24
    assert all(len(line) <= 120 for line in lines)


def test_the_command_loads_what_it_needs_and_no_more() -> None:
    slow = {"torch", "mujoco", "robosuite", "scipy.stats", "scipy.optimize"}
    code = f"import sys, smidgen.leaderboard.command as m; print({slow} & {{*sys.modules}})"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "set()\n"
