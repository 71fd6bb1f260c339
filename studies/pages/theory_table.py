"""``python -m studies.pages.theory_table [page=docs/theory.md]``: how many tokens a change reaches.

For every input transform and four changes of the synthetic ladder, the participation ratio that theory predicts beside
the one that our transforms measure, in float64. Writes the table between the markers of the page and prints it; a few
seconds on one CPU core. A small variant: ``grid=[3,16,16] page=null``.
"""

from __future__ import annotations

import statistics
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from smidgen.policies.choose_transform import effective_number
from smidgen.policies.transforms import TRANSFORMS, InputTransform, build_transform
from smidgen.runtime import markdown
from smidgen.runtime.command_line import command_help, compose_config, run_command, wants_help
from smidgen.runtime.errors import UserError
from smidgen.runtime.files import write_atomic
from smidgen.runtime.settings import PathText
from studies.pages.closed_forms import FREQUENCY_SHIFT, Prediction, predict
from studies.synthetic import LadderConfig, make_ladder

USAGE = "python -m studies.pages.theory_table [key=value ...]"
SUMMARY = "Participation ratios of four changes under every input transform, predicted beside measured."
TABLE_NAME = "theory"
CHANGES = {
    "one_token": "one token",
    "moved_spot": "one-pixel shift",
    "higher_frequency": "frequency shift",
    "pictures": "1/f pictures",
}
# Enough that fitted axes are settled by the pictures, not by the draw.
NUM_FIT_PICTURES = 64
FIT_NOISE_SD = 0.05


@dataclass(frozen=True)
class TableConfig:
    """Configuration of the command."""

    grid: tuple[int, int, int] = field(default=(3, 64, 64), metadata={"help": "frames, rows, columns"})
    draws: int = field(default=9, metadata={"help": "number of draws of positions and textures; the median is shown"})
    page: PathText | None = field(
        default="docs/theory.md", metadata={"help": "page to write the table into; null: none"}
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "grid", tuple(self.grid))
        if self.draws < 1:
            raise UserError(f"expected draws of at least 1, got {self.draws}")


@dataclass(frozen=True)
class Cell:
    """One change under one transform.

    Attributes:
        predicted: The theoretical value, the median over the draws; None if there is none.
        measured: Median over the draws of the measured participation ratio.
    """

    predicted: Prediction | None
    measured: float


@dataclass(frozen=True)
class Line:
    """One transform: its number of tokens, and a cell for each of ``CHANGES``."""

    transform: str
    num_tokens: int
    cells: dict[str, Cell]


def ladder_config(change: str, grid: tuple[int, int, int]) -> LadderConfig:
    """The data set of two examples that differ by a change."""
    options: dict[str, dict[str, Any]] = {
        "one_token": {"kind": "one_token"},
        "moved_spot": {"kind": "moving_blob"},
        "higher_frequency": {"kind": "periodic", "position": "first", "frequency_shift": FREQUENCY_SHIFT},
        "pictures": {"kind": "texture"},
    }
    return LadderConfig(grid=grid, num_classes=2, **options[change])


def measure(config: TableConfig) -> list[Line]:
    """Measures and predicts every cell."""
    pairs = {
        change: [make_ladder(ladder_config(change, config.grid), seed).x_BNC.double() for seed in range(config.draws)]
        for change in CHANGES
    }
    lines = []
    for name in TRANSFORMS:
        transform = fitted_transform(name, config.grid)
        cells = {change: _cell(change, name, transform, pairs[change]) for change in CHANGES}
        lines.append(Line(name, transform.num_tokens, cells))
    return lines


def fitted_transform(name: str, grid: tuple[int, int, int]) -> InputTransform:
    """A transform in float64, fitted on noisy 1/f pictures where it learns from data; one that trains as it starts."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        transform = build_transform(name, grid, channels=1).double()
    if transform.needs_fit:
        noise: dict[str, Any] = {"background": "noise", "noise_sd": FIT_NOISE_SD, "num_train": NUM_FIT_PICTURES}
        config = LadderConfig(kind="texture", grid=grid, num_classes=NUM_FIT_PICTURES, **noise)
        transform.fit(make_ladder(config, seed=0).x_BNC.double())
    return transform.requires_grad_(False)


def _cell(change: str, name: str, transform: InputTransform, pairs: list[torch.Tensor]) -> Cell:
    measured, predicted = [], []
    for x_2NC in pairs:
        before_MD, after_MD = transform(x_2NC)
        measured.append(effective_number((after_MD - before_MD).square().sum(1)))
        frames, rows, columns = transform.input_grid
        frame, row, column = np.unravel_index(int((x_2NC[1] - x_2NC[0]).abs().argmax()), transform.input_grid)
        form = predict(change, name, (frames, rows, columns), (int(frame), int(row), int(column)))
        predicted += [] if form is None else [form]
    expected = (
        Prediction(statistics.median(form.value for form in predicted), predicted[0].exact) if predicted else None
    )
    return Cell(expected, statistics.median(measured))


def markdown_table(lines: list[Line]) -> str:
    """The lines as Markdown."""
    heads = [f"{title}, {what}" for title in CHANGES.values() for what in ("predicted", "measured")]
    rows = []
    for line in lines:
        figures = [
            text for cell in line.cells.values() for text in (_prediction(cell.predicted), _count(cell.measured))
        ]
        rows.append([f"`{line.transform}`", f"{line.num_tokens:,}", *figures])
    return markdown.markdown_table(markdown.left("transform") + markdown.right("tokens", *heads), rows)


def _prediction(predicted: Prediction | None) -> str:
    if predicted is None:
        return "-"
    return f"{'' if predicted.exact else '≈ '}{_count(predicted.value)}"


def _count(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


def _body(arguments: list[str]) -> None:
    if wants_help(arguments):
        print(command_help(USAGE, SUMMARY, TableConfig))
        return
    config = compose_config(TableConfig, arguments)
    page = None if config.page is None else Path(config.page)
    if page is not None and not page.is_file():
        raise UserError(f"{page} does not exist; run from the repository's root, or set page=null")
    table = markdown_table(measure(config))
    print(table)
    if page is not None:
        write_atomic(page, markdown.page_with_tables(page, {TABLE_NAME: table}).encode())


def main(argv: list[str] | None = None) -> int:
    """Entry point."""
    return run_command(_body, argv)


if __name__ == "__main__":
    sys.exit(main())
