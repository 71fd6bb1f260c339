"""The parts of the page that show verdicts, collapse, seeds, transforms and demonstrations."""

import io
import json
from pathlib import Path

import pytest
from html_page import Page
from leaderboard_records import (
    BLIND,
    build_record,
    demo_records,
    episode,
    judged,
    rich_records,
    seed_record,
    unmeasured,
    video_entries,
)
from rich.console import Console

from smidgen.evaluation.collapse.labels import BLIND_TO, SEES_FROM, label_of, slope_text
from smidgen.evaluation.records import Record, summary_line
from smidgen.leaderboard.cells import deciding_slope_cell, verdict_cell, verdict_tone, verdict_values
from smidgen.leaderboard.columns import column
from smidgen.leaderboard.over_tasks import success_by_transform
from smidgen.leaderboard.page import render_page
from smidgen.leaderboard.page_entries import assign_colours, make_entry
from smidgen.leaderboard.page_panels import (
    MOST_SEEDS,
    RATE_AXIS,
    SLOPE_AXIS,
    bands,
    collapse_panel,
    demonstration_panel,
)
from smidgen.leaderboard.ranking import Group, rank_runs
from smidgen.leaderboard.row_card import row_card
from smidgen.leaderboard.rows import Row, Run
from smidgen.leaderboard.tables import LONG, board, latex_tables, markdown, print_terminal
from smidgen.runtime.charts import path_data


def ranked(*records: Record) -> list[Group]:
    return rank_runs(Run(f"{index}.json", f"{index:064d}", record) for index, record in enumerate(records))


def row_of(*records: Record) -> Row:
    ((row,),) = [group.rows for group in ranked(*records)]
    return row


def render(*records: Record) -> Page:
    return Page(render_page(ranked(*records), Path("outputs/leaderboard.html"), Path("outputs/videos")))


@pytest.fixture(scope="module")
def rich() -> Page:
    return render(*rich_records())


def test_a_verdict_comes_with_its_interval_and_the_slope_that_decided() -> None:
    row = row_of(build_record("a", [True], collapse=judged(0.93, "sees")))
    assert (verdict_cell(row).text, verdict_cell(row).value) == ("sees", 0.93)
    cell = deciding_slope_cell(row)
    assert (cell.text, cell.detail, cell.value) == ("cue slope 0.93", "[0.85\u20130.99]", 0.93)
    assert cell.note == verdict_cell(row).note == "cue slope 0.93, 95 % interval [0.85\u20130.99]"


def test_the_slope_that_is_shown_is_the_one_that_decided() -> None:
    """A policy that sees in closed loop alone: its cue slope says nothing of its verdict."""
    collapse = judged(0.15, "blind", "path_slope", path_slope=0.15, cue_slope=-0.01)
    row = row_of(build_record("a", [True], collapse=collapse))
    shown = {key: column(key).cell(row) for key in LONG}
    assert (shown["verdict"].text, shown["verdict_slope"].text) == ("blind, at the mean", "path slope 0.15")
    assert not any("0.01" in cell.text for cell in shown.values())
    assert "| decided by | path slope 0.15 \\[0.07\u20130.21\\] |" in row_card(row, [])
    line = summary_line(Path("results/a.json"), row.record)
    assert "blind, at the mean (path slope 0.15 in [0.07, 0.21])" in line
    assert "0.01" not in line


def test_every_table_shows_the_slope_that_decided_and_none_that_did_not() -> None:
    collapse = judged(0.15, "blind", "path_slope", path_slope=0.15, cue_slope=-0.01)
    groups = ranked(build_record("a", [True], collapse=collapse))
    console = Console(file=io.StringIO(), width=120)
    print_terminal(groups, console)
    for text in (console.file.getvalue(), board(groups), markdown(groups), latex_tables(groups)):  # type: ignore[attr-defined]
        assert "path slope 0.15" in text
        assert "0.01" not in text


@pytest.mark.parametrize(
    ("slope", "text"),
    [(0.8, "0.80"), (0.7996, "0.7996"), (0.2, "0.20"), (0.204, "0.204"), (-0.001, "0.00"), (0.5, "0.50")],
)
def test_a_slope_is_never_rounded_into_another_verdict(slope: float, text: str) -> None:
    assert slope_text(slope) == text
    assert label_of(float(text)) == label_of(slope)


def test_a_verdict_without_an_interval_is_shown_without_one() -> None:
    collapse = {**judged(0.9, "sees"), "verdict_interval": None}
    cell = deciding_slope_cell(row_of(build_record("a", [True], collapse=collapse)))
    assert (cell.text, cell.detail, cell.note) == ("cue slope 0.90", "", "cue slope 0.90")


def test_an_interval_that_reaches_into_another_band_says_so() -> None:
    cell = deciding_slope_cell(row_of(build_record("a", [True], collapse=judged(0.83, "sees"))))
    assert cell.note.endswith("which reaches into partly blind")


def test_blind_at_the_mean_and_blind_elsewhere_are_told_apart() -> None:
    at, off = (judged(0.1, "blind", mean_collapsed=flag) for flag in (True, False))
    assert verdict_cell(row_of(build_record("a", [True], collapse=at))).text == "blind, at the mean"
    assert verdict_cell(row_of(build_record("a", [True], collapse=off))).text == "blind"


def test_a_record_from_before_the_detector_has_a_dash_and_the_reason() -> None:
    cell = verdict_cell(row_of(build_record("a", [True])))
    assert cell.is_missing
    assert cell.note == "the record predates the versioned detector"
    reason = "needs ten episodes or more"
    none = dict.fromkeys(("verdict", "verdict_slope", "verdict_interval", "verdict_source"))
    collapse = {**judged(0.5, "partly_blind"), **none, "reasons": dict.fromkeys(none, reason)}
    assert verdict_cell(row_of(build_record("a", [True], collapse=collapse))).note == reason


def several(*verdicts: tuple[float, str]) -> Row:
    return row_of(*(seed_record("a", seed, [True], collapse=judged(*one)) for seed, one in enumerate(verdicts)))


def test_training_seeds_that_disagree_are_counted() -> None:
    agree = several((0.9, "sees"), (0.95, "sees"))
    assert (verdict_cell(agree).text, verdict_tone(agree)) == ("sees", "sees")
    assert deciding_slope_cell(agree).text == "cue slope 0.90, 0.95"
    assert deciding_slope_cell(several(*[(0.81 + 0.01 * seed, "sees") for seed in range(9)])).text == (
        "cue slope 0.81 to 0.89"
    )
    mixed = several((0.9, "sees"), (0.1, "blind"), (0.85, "sees"))
    assert (verdict_cell(mixed).text, verdict_tone(mixed)) == ("sees 2/3, blind, at the mean 1/3", "undecided")
    assert deciding_slope_cell(mixed).text == "cue slope 0.90, 0.85; cue slope 0.10"
    assert verdict_values(mixed)["verdict"] == "sees blind sees"
    assert verdict_values(mixed)["mean_collapsed"] == "false true false"


def test_the_verdict_sorts_by_its_slope(rich: Page) -> None:
    cells = [attrs for attrs, _ in rich.all("td", class_="verdict")]
    assert {attrs["class"] for attrs in cells} >= {"verdict sees", "verdict partly_blind", "verdict blind"}
    assert float(cells[0]["data-value"] or 0) == pytest.approx(0.89)


def test_the_bands_are_the_detector_s() -> None:
    assert [label for label, _, _ in bands()] == ["blind", "partly_blind", "sees"]
    edges = [start for _, start, _ in bands()][1:]
    assert edges == [SLOPE_AXIS.percent(BLIND_TO), SLOPE_AXIS.percent(SEES_FROM)]
    assert sum(width for _, _, width in bands()) == pytest.approx(100)


def panel_rows(*records: Record) -> list:
    groups = ranked(*records)
    colours = assign_colours(groups)
    panel = collapse_panel([make_entry(str(place), row, colours) for place, row in enumerate(groups[0].rows)])
    return list(panel.rows) if panel else []


def test_each_slope_has_a_mark_and_each_mark_a_lane() -> None:
    (row,) = panel_rows(*(seed_record("a", seed, [True], collapse=judged(0.9, "sees")) for seed in range(2)))
    assert [(mark.kind, mark.lane) for mark in row.marks] == [("cue", 0), ("path", 1), ("cue", 2), ("path", 3)]
    first = row.marks[0]
    assert first.value == SLOPE_AXIS.percent(0.9)
    assert first.ends == (SLOPE_AXIS.percent(0.82), SLOPE_AXIS.percent(0.96))
    assert first.text == "cue slope 0.90 [0.82 to 0.96]"


def test_a_slope_without_an_interval_is_a_mark_alone_and_no_slope_is_no_row() -> None:
    collapse = unmeasured("privileged")
    (row,) = panel_rows(build_record("a", [True]), build_record("expert", [True], "expert", collapse=collapse))
    assert [(mark.kind, mark.ends) for mark in row.marks] == [("cue", None)]
    assert panel_rows(build_record("expert", [True], "expert", collapse=collapse)) == []


def test_a_slope_beyond_the_axis_stays_on_it_and_keeps_its_figure() -> None:
    wild = {**BLIND, "cue_slope": -7.0}
    (row,) = panel_rows(build_record("a", [True], collapse=wild))
    assert row.marks[0].value == 0
    assert row.text == "cue slope -7.00; undecided"


def test_the_panel_shows_what_some_record_measured(rich: Page) -> None:
    old = render(*demo_records())
    headings = [text for attrs, text in old.all("th", scope="col") if "title" in attrs]
    assert headings == ["Skill vs time mean", "Spread ratio"]
    headings = [text for attrs, text in rich.all("th", scope="col") if "title" in attrs]
    assert headings[:4] == ["Prediction variance", "Skill vs time mean", "Spread ratio", "Distance to the mean path"]
    assert {"Copycat", "Latching"} <= set(headings)
    assert set(headings) <= {text for _, text in rich.all("dt")}


def grid(parsed: Page, index: int = 0) -> dict:
    data = next("".join(text) for _, attrs, text in parsed.elements if attrs.get("id") == "grids")
    return json.loads(data)[f"task-{index}"]


def cell_classes(parsed: Page) -> list[str]:
    kinds = {"won", "lost", "unrun"}
    return [attrs["class"] or "" for attrs, _ in parsed.all("td") if kinds & {*(attrs.get("class") or "").split()}]


def test_a_cell_for_each_seed_of_each_run() -> None:
    first = build_record("a", [True, False, True, True, False], videos=video_entries("a")[:2])
    parsed = render(first, build_record("b", [True, False], seed_start=3_000_002))
    assert cell_classes(parsed) == [
        "won video",
        "lost video",
        "won",
        "won",
        "lost",
        "unrun",
        "unrun",
        "won",
        "lost",
        "unrun",
    ]
    data = grid(parsed)
    assert data["seeds"] == list(range(3_000_000, 3_000_005))
    assert data["labels"] == ["missed grasp", "success"]
    assert data["rows"][0]["outcomes"] == [1, 0, 1, 1, 0]
    assert data["rows"][0]["steps"] == [50, 200, 50, 50, 200]
    assert data["rows"][0]["videos"] == {
        f"{entry['seed']}": f"videos/{entry['file']}" for entry in video_entries("a")[:2]
    }
    assert data["rows"][1]["outcomes"] == [None, None, 1, 0, None]
    assert [text for _, text in parsed.all("td", class_="total")] == ["3/5", "1/2"]


def test_training_seeds_have_a_row_each(rich: Page) -> None:
    names = [row["name"] for row in grid(rich, 1)["rows"]]
    assert names[:4] == ["dft3d-seed0", "dft3d-seed1", "dft3d-seed2", "raw-400"]


def test_of_very_many_seeds_those_are_drawn_that_most_runs_share() -> None:
    many = [True] * (MOST_SEEDS + 50)
    parsed = render(build_record("a", many), build_record("b", [True] * 60, seed_start=3_000_190))
    seeds = grid(parsed)["seeds"]
    assert len(seeds) == MOST_SEEDS
    assert set(range(3_000_190, 3_000_250)) <= set(seeds)
    assert "50 more seeds, run by fewer policies, are not shown" in parsed.html


def test_an_episode_s_label_is_read_out_not_its_success_alone() -> None:
    record = build_record("a", [True, False])
    record["episodes"][1] = {**episode(3_000_001, False), "label": "collapsed"}  # type: ignore[typeddict-item]
    assert grid(render(record))["labels"] == ["collapsed", "success"]


def test_the_heat_map_takes_the_best_of_a_transform_and_leaves_cells_empty(rich: Page) -> None:
    groups = ranked(*rich_records())
    heat = success_by_transform(groups, ["task-0", "task-1"])
    assert heat is not None
    assert [entry.task for entry in heat.columns] == ["door", "lift"]
    assert {entry.conditions for entry in heat.columns} == {""}
    texts = {transform: [cell.text if cell else None for cell in cells] for transform, cells in heat.rows}
    assert texts == {"dct": ["20 %", None], "dft3d": ["72.8 %", "90.6 %"], "raw": [None, "83 %"]}
    raw = dict(heat.rows)["raw"][1]
    assert raw is not None
    assert raw.note == "raw-400: 50/60, 95 % interval 72\u201391 %"
    shares = [attrs["style"] for attrs, _ in rich.all("td") if "--share" in (attrs.get("style") or "")]
    assert shares == ["--share:0.200", "--share:0.728", "--share:0.906", "--share:0.833"]
    assert len(rich.all("td", class_="empty")) == 2


def test_references_and_user_policies_without_a_transform_are_not_on_the_heat_map() -> None:
    user = build_record("mine", [True], "user")
    assert success_by_transform(ranked(user, build_record("noop", [True], "baseline")), ["a"]) is None
    assert success_by_transform(ranked(user, build_record("raw", [True])), ["a"]) is None


def test_one_task_under_two_conditions_is_two_columns_that_say_which() -> None:
    records = [build_record("raw", [True]), build_record("raw", [True], environment={"mujoco": "3.8.1"})]
    heat = success_by_transform(ranked(*records), ["a", "b"])
    assert heat is not None
    assert sorted("3.8.1" in entry.conditions for entry in heat.columns) == [False, True]


def test_success_by_number_of_demonstrations_is_drawn_with_intervals() -> None:
    lift = ranked(*rich_records())[1]
    panel = demonstration_panel(lift)
    assert panel is not None
    assert [tick.label for tick in panel.axis.ticks] == ["25", "100", "400"]
    (curve,) = panel.curves
    assert curve.name == "raw"
    assert [row.name for _, row in curve.points] == ["raw-25", "raw-100", "raw-400"]
    assert curve.whiskers.count("M") == curve.dots.count("M") == 3
    first = lift.rows[-3]
    assert curve.dots.startswith(f"M{10 * panel.axis.ticks[0].percent:.1f} {1000 - 10 * RATE_AXIS.percent(9 / 60):g} ")
    assert first.success["k"] == 9
    assert demonstration_panel(ranked(*demo_records())[0]) is None
    assert path_data([(panel.axis.low, 0.0)], panel.axis, RATE_AXIS) == "M0 1000 h0"


def test_recipes_over_tasks_are_on_the_page(rich: Page) -> None:
    assert [text for _, text in rich.all("th", scope="rowgroup") if text.startswith("over")] == ["over door, lift"]
    assert "Recipes over several tasks" not in render(*demo_records()).html


def test_ids_are_unique_on_a_page_with_all_its_parts(rich: Page) -> None:
    ids = [attrs["id"] for _, attrs, _ in rich.elements if "id" in attrs]
    assert len(ids) == len(set(ids))
    targets = {attrs["href"] for attrs, _ in rich.all("a") if (attrs["href"] or "").startswith("#")}
    assert {target[1:] for target in targets if target} <= set(ids)


def test_notes_say_how_small_a_difference_the_sample_shows(rich: Page) -> None:
    legends = [text for _, text in rich.all("p", class_="legend")]
    assert any(
        text.startswith("lift: 60 episodes tell one checkpoint from the best with 80 % probability") for text in legends
    )
    assert column("verdict").meaning
