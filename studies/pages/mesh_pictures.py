"""``python -m studies.pages.mesh_pictures``: every task drawn with whole and with decimated meshes, side by side.

Writes docs/meshes.png and the table in docs/meshes.md. A small variant: ``tasks=[lift]``; about 5 s a task.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from smidgen.envs.tasks import TASKS, get_task, make_env
from smidgen.runtime.command_line import command_help, compose_config, run_command, wants_help
from smidgen.runtime.files import write_atomic
from smidgen.runtime.markdown import left, markdown_table, page_with_tables, right
from smidgen.runtime.settings import PathText

USAGE = "python -m studies.pages.mesh_pictures [key=value ...]"
SUMMARY = """
Draws every task's first frame with whole meshes and with the decimated ones that v0 shows, both with v0's
flags, and computes how far they differ. Writes a picture and a table.
"""
TABLE_NAME = "mesh"
# Of the frames below, as many pixels a side.
ENLARGEMENT = 3
DIFFERENCE_GAIN = 8
CAPTION_HEIGHT_PX = 20
GAP_PX = 6
TASKS_ABREAST = 3


@dataclass(frozen=True)
class MeshPicturesConfig:
    """What is drawn, and where to."""

    tasks: tuple[str, ...] = field(default=tuple(TASKS), metadata={"help": "tasks to draw"})
    image_size: int = field(default=64, metadata={"help": "rows and columns of a frame"})
    num_seeds: int = field(default=8, metadata={"help": "demonstration seeds that the figures are averaged over"})
    picture: PathText = field(default="docs/meshes.png", metadata={"help": "PNG to write"})
    page: PathText = field(default="docs/meshes.md", metadata={"help": "page whose table is updated"})


@dataclass(frozen=True, eq=False)
class MeshComparison:
    """One task's frames with whole and with decimated meshes.

    Attributes:
        task: The task.
        whole: (S, H, W, 3) uint8 with every triangle.
        decimated: The same states as v0 draws them.
        difference_grey: Mean absolute difference, in grey levels of 0 to 255.
        silhouette_overlap: Intersection over union of the cue's pixels in both.
    """

    task: str
    whole: np.ndarray
    decimated: np.ndarray
    difference_grey: float
    silhouette_overlap: float


def compare_meshes(task: str, image_size: int, num_seeds: int) -> MeshComparison:
    """Renders the first frames of some episodes with both kinds of meshes.

    Args:
        task: A name in ``TASKS``.
        image_size: Rows and columns.
        num_seeds: Demonstration seeds 0 to ``num_seeds`` - 1.
    """
    frames: dict[str, np.ndarray] = {}
    masks: dict[str, np.ndarray] = {}
    for profile in ("whole_meshes", "v0"):
        env = make_env(task, image_size=image_size, render_profile=profile, cameras=get_task(task).cameras[:1])
        try:
            shown = [_shown_and_mask(env, seed) for seed in range(num_seeds)]
        finally:
            env.close()
        frames[profile], masks[profile] = (np.stack(part) for part in zip(*shown, strict=True))
    whole, decimated = frames["whole_meshes"], frames["v0"]
    difference = np.abs(whole.astype(float) - decimated).mean()
    union = (masks["whole_meshes"] | masks["v0"]).sum()
    overlap = (masks["whole_meshes"] & masks["v0"]).sum() / union if union else 1.0
    return MeshComparison(task, whole, decimated, float(difference), float(overlap))


def _shown_and_mask(env: Any, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A reset's frame (H, W, 3), and which pixels (H, W) change when the cue is hidden."""
    env.reset(seed=seed)
    frame = env.render_frames()[0]
    with env.cue_hidden():
        return frame, (frame != env.render_frames()[0]).any(-1)


def draw_comparisons(comparisons: list[MeshComparison]) -> Image.Image:
    """For each task whole, decimated, and the enlarged difference; :data:`TASKS_ABREAST` tasks side by side."""
    side = comparisons[0].whole.shape[1] * ENLARGEMENT
    task_width, row_height = 3 * (side + GAP_PX) + 2 * GAP_PX, side + CAPTION_HEIGHT_PX + GAP_PX
    abreast = min(TASKS_ABREAST, len(comparisons))
    num_rows = math.ceil(len(comparisons) / abreast)
    sheet = Image.new("RGB", (task_width * abreast - 3 * GAP_PX, row_height * num_rows), "white")
    for index, comparison in enumerate(comparisons):
        row, column = divmod(index, abreast)
        _draw_comparison(sheet, comparison, (column * task_width, row * row_height), side)
    return sheet


def _draw_comparison(sheet: Image.Image, comparison: MeshComparison, corner: tuple[int, int], side: int) -> None:
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    difference = np.abs(comparison.whole[0].astype(int) - comparison.decimated[0])
    pictures = {
        comparison.task: comparison.whole[0],
        "decimated (v0)": comparison.decimated[0],
        f"difference x {DIFFERENCE_GAIN}": np.minimum(255, DIFFERENCE_GAIN * difference).astype(np.uint8),
    }
    for column, (caption, pixels) in enumerate(pictures.items()):
        left, top = corner[0] + column * (side + GAP_PX), corner[1]
        pen.text((left + 2, top + 2), caption, fill="black", font=font)
        enlarged = Image.fromarray(pixels).resize((side, side), Image.Resampling.NEAREST)
        sheet.paste(enlarged, (left, top + CAPTION_HEIGHT_PX))


def mesh_table(comparisons: list[MeshComparison]) -> str:
    """The page's table, in Markdown."""
    figures = right("mean difference, grey levels of 255", "overlap of the cue's silhouettes")
    return markdown_table(
        left("task") + figures,
        [[c.task, f"{c.difference_grey:.2f}", f"{100 * c.silhouette_overlap:.0f} %"] for c in comparisons],
    )


def write_comparisons(config: MeshPicturesConfig) -> None:
    """Draws, computes and writes everything."""
    comparisons = [compare_meshes(task, config.image_size, config.num_seeds) for task in config.tasks]
    path = Path(config.picture)
    path.parent.mkdir(parents=True, exist_ok=True)
    draw_comparisons(comparisons).quantize(128).save(path, optimize=True)
    table = mesh_table(comparisons)
    print(table)
    page = Path(config.page)
    write_atomic(page, page_with_tables(page, {TABLE_NAME: table}).encode())


def run(arguments: list[str]) -> None:
    """Body of the command."""
    if wants_help(arguments):
        print(command_help(USAGE, SUMMARY, MeshPicturesConfig))
        return
    write_comparisons(compose_config(MeshPicturesConfig, arguments))


if __name__ == "__main__":
    sys.exit(run_command(run))
