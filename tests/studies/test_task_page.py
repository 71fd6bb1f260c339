"""The page of tasks is what the committed datasheets and records give."""

from pathlib import Path

import pytest

from smidgen.envs.tasks import TASKS
from smidgen.runtime.markdown import page_with_tables
from studies.pages.task_page import TABLE_NAME, TaskPageConfig, run, task_table

ROOT = Path(__file__).parents[2]


def test_the_page_is_what_the_datasheets_and_records_give() -> None:
    page, config = ROOT / "docs/tasks.md", TaskPageConfig()
    table = task_table(ROOT / config.datasheets, ROOT / config.experts)
    assert page.read_text(encoding="utf-8") == page_with_tables(page, {TABLE_NAME: table})


@pytest.mark.parametrize("task", TASKS)
def test_every_task_has_a_datasheet(task: str) -> None:
    directory = ROOT / TaskPageConfig().datasheets / task
    assert f"# Data set: {task}" in (directory / "datasheet.md").read_text(encoding="utf-8")


def test_a_task_without_figures_has_dashes(tmp_path: Path) -> None:
    rows = task_table(tmp_path, tmp_path).splitlines()[2:]
    assert [row.split("`")[1] for row in rows] == list(TASKS)
    assert all(row.count("| - ") >= 4 for row in rows)


@pytest.mark.simulator
def test_a_small_run_writes_datasheet_and_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- tasks table: begin -->\n<!-- tasks table: end -->\nafter\n")
    run(["tasks=[speck_64]", "episodes=2", "workers=0", f"page={page}"])
    (row,) = [line for line in page.read_text().splitlines() if "`speck_64`" in line]
    assert "datasheets/speck_64/datasheet.md" in row
    assert (tmp_path / "results/datasheets/speck_64/datasheet.json").exists()
