"""Decimated meshes beside whole ones: every task is on the page, and none is off by more than two grey levels."""

import re
from pathlib import Path

import numpy as np
import pytest

from smidgen.envs.tasks import TASKS
from studies.pages.mesh_pictures import (
    CAPTION_HEIGHT_PX,
    DIFFERENCE_GAIN,
    ENLARGEMENT,
    GAP_PX,
    MeshComparison,
    compare_meshes,
    draw_comparisons,
    mesh_table,
)

PAGE = Path(__file__).parents[2] / "docs" / "meshes.md"
MAX_DIFFERENCE_GREY = 2.0
MIN_OVERLAP_PERCENT = 95


def test_every_task_is_on_the_page_and_fair() -> None:
    rows = re.findall(r"^\| (\w+) \| ([\d.]+) \| (\d+) % \|$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert [task for task, _, _ in rows] == list(TASKS)
    assert all(float(difference) <= MAX_DIFFERENCE_GREY for _, difference, _ in rows)
    assert all(int(overlap) >= MIN_OVERLAP_PERCENT for _, _, overlap in rows)


@pytest.mark.simulator
@pytest.mark.parametrize("task", ["door", "wipe"])
def test_the_pages_figures_are_those_of_the_renderer(task: str) -> None:
    # The two that differ most; one seed of the page's eight.
    comparison = compare_meshes(task, image_size=64, num_seeds=1)
    assert 0 < comparison.difference_grey <= MAX_DIFFERENCE_GREY
    assert 100 * comparison.silhouette_overlap >= MIN_OVERLAP_PERCENT


def test_the_picture_shows_three_frames_of_each_task() -> None:
    frames = np.full((1, 8, 8, 3), 200, np.uint8)
    comparisons = [MeshComparison(f"task {index}", frames, frames - 1, 1.0, 1.0) for index in range(4)]
    sheet = np.asarray(draw_comparisons(comparisons))
    side, top = 8 * ENLARGEMENT, CAPTION_HEIGHT_PX
    second_row = sheet[2 * top + side + GAP_PX :][:side]
    for column, level in enumerate((200, 199, DIFFERENCE_GAIN)):
        left = column * (side + GAP_PX)
        assert (sheet[top : top + side, left : left + side] == level).all()
        assert (second_row[:, left : left + side] == level).all()
    assert (second_row[:, 3 * (side + GAP_PX) :] == 255).all()
    assert "| task 3 | 1.00 | 100 % |" in mesh_table(comparisons)
