"""Success by number of demonstrations, and recipes over several tasks."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from leaderboard_records import seed_record, write

from smidgen.evaluation.records import Record
from smidgen.leaderboard.command import leaderboard
from smidgen.leaderboard.demonstrations import demonstration_curves, demonstrations_markdown, demonstrations_svg
from smidgen.leaderboard.over_tasks import over_tasks_markdown, task_tables
from smidgen.leaderboard.ranking import Group, rank_runs
from smidgen.leaderboard.rows import Run
from smidgen.runtime.command_line import run_command


def ranked(*records: Record) -> list[Group]:
    return rank_runs(Run(f"{record['task']}-{record['policy']['name']}.json", "0" * 64, record) for record in records)


def trained_on(count: int, num_successes: int, seed: int = 0, name: str = "raw", **changes: Any) -> Record:
    """Twenty episodes of a recipe trained on some demonstrations."""
    flags = [index < num_successes for index in range(20)]
    record = seed_record(f"{name}-{count}", seed, flags, **changes)
    record["policy"]["training"]["num_demonstrations"] = count  # type: ignore[index]
    record["policy"]["data_set_sha256"] = f"{count:064x}"
    return record


def test_rows_that_differ_in_their_demonstrations_alone_are_one_curve() -> None:
    groups = ranked(
        *(trained_on(*point, seed) for point in ((300, 19), (30, 4), (100, 12)) for seed in (0, 1)),
        trained_on(30, 9, name="dft3d", policy={"transform": "dft3d"}),
    )
    (curve,) = demonstration_curves(groups)
    assert (curve.task, curve.name) == ("lift", "raw")
    assert [(count, row.success["k"], len(row.runs)) for count, row in curve.points] == [
        (30, 8, 2),
        (100, 24, 2),
        (300, 38, 2),
    ]
    table = demonstrations_markdown([curve]).splitlines()
    assert table[-3].startswith("| lift | raw | 30 | 8/40 = **20 %** [")
    assert table[-1].endswith("| 2 \u00d7 20 \u2020 |")
    assert len({line.count("|") for line in table[2:]}) == 1


@pytest.mark.parametrize(
    "change", [{"task": "door"}, {"environment": {"mujoco": "3.8"}}, {"config": {"image_size": 9}}]
)
def test_another_task_environment_or_setting_is_another_curve(change: dict[str, Any]) -> None:
    groups = ranked(trained_on(30, 4), trained_on(100, 9, **change))
    assert demonstration_curves(groups) == []
    assert demonstrations_markdown([]) == ""


def test_the_plot_shows_every_point_and_is_the_same_bytes_each_time() -> None:
    groups = ranked(
        trained_on(30, 4),
        trained_on(100, 9),
        trained_on(30, 4, name="a$b$", policy={"transform": "dft1d"}),
        trained_on(100, 15, name="a$b$", policy={"transform": "dft1d"}),
        trained_on(30, 4, task="door"),
        trained_on(100, 9, task="door"),
    )
    curves = demonstration_curves(groups)
    plot = demonstrations_svg(curves)
    assert plot == demonstrations_svg(curves)
    text = plot.decode()
    assert text.count(">success rate<") == 2
    assert ">a$b$<" in text
    assert [word for word in (">30<", ">100<", ">raw<", ">door<", ">lift<") if word not in text] == []


def test_the_command_writes_table_and_plot(tmp_path: Path) -> None:
    for record in (trained_on(30, 4), trained_on(100, 9)):
        write(tmp_path / "results", record)
    page = tmp_path / "leaderboard.md"
    page.write_text("<!-- leaderboard:begin -->\n<!-- leaderboard:end -->\n")
    arguments = [f"results={tmp_path / 'results'}", f"tables={page}", f"demonstrations={tmp_path / 'demos.svg'}"]
    assert run_command(leaderboard, arguments) == 0
    assert "**Success by number of demonstrations**" in page.read_text()
    assert (tmp_path / "demos.svg").read_bytes().startswith(b"<?xml")
    assert run_command(leaderboard, [*arguments, "check=true"]) == 0


def on_tasks(name: str, rates: dict[str, list[int]], transform: str) -> list[Record]:
    return [
        seed_record(name, seed, [index < count for index in range(10)], task=task, policy={"transform": transform})
        for task, counts in rates.items()
        for seed, count in enumerate(counts)
    ]


def test_recipes_on_the_same_tasks_are_compared_over_them() -> None:
    good = on_tasks("good", {"lift": [9, 10, 8], "door": [5, 4, 6]}, "raw")
    bad = on_tasks("bad", {"lift": [7, 9, 8], "door": [5, 1, 0]}, "dft3d")
    (table,) = task_tables(ranked(*good, *bad, *on_tasks("lone", {"lift": [10]}, "dft1d")))
    assert table.tasks == ("door", "lift")
    best, other = table.aggregates
    assert (best.name, other.name) == ("good", "bad")
    # The middle four of six sorted rates.
    assert best.interquartile_mean == pytest.approx(np.mean([0.5, 0.6, 0.8, 0.9]))
    # Pairs: door 5 against 5, 1, 0 and so on, ties half; then lift.
    door, lift = (2.5 + 2 + 3) / 9, (2.5 + 3 + 1.5) / 9
    assert other.best_improves == pytest.approx((door + lift) / 2)
    assert best.interval[0] <= best.interquartile_mean <= best.interval[1]
    lines = over_tasks_markdown([table]).splitlines()
    assert lines[0] == "**Over tasks: door, lift**"
    assert lines[4].startswith("| good | **70 %** [")
    assert lines[4].endswith("| 6 | \u2013 |")
    assert over_tasks_markdown([]) == ""


def test_different_environments_of_one_task_are_not_averaged() -> None:
    first = on_tasks("a", {"lift": [9, 8, 7]}, "raw")
    second = [
        seed_record("a", seed, [True], policy={"transform": "raw"}, environment={"mujoco": "3.8"}) for seed in range(3)
    ]
    assert task_tables(ranked(*first, *second)) == []
