"""python -m studies.synthetic.preview [picture=docs/ladder.png] [page=docs/ladder.md]

Draws the ladder's rungs and computes the tables of their page. Small CPU variant: the command itself.
Run time: about ten seconds. Result: the picture, and the page's tables written anew.
"""

from __future__ import annotations

import io
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from scipy import fft

from smidgen.runtime.command_line import command_help, compose_config, run_command, wants_help
from smidgen.runtime.files import write_atomic
from smidgen.runtime.markdown import page_with_tables
from smidgen.runtime.settings import PathText
from studies.synthetic.ladder import make_ladder
from studies.synthetic.rungs import Array
from studies.synthetic.summary import EXAMPLES, SEED, difference, ladder_tables

USAGE = "python -m studies.synthetic.preview [key=value ...]"
SUMMARY = "Draws one pair of neighbouring examples of each rung, and computes the tables of the ladder's page."
_HEADINGS = ("an example", "its neighbour", "what differs", "its DFT, 1-D over all tokens", "its DFT, 3-D")


@dataclass(frozen=True)
class LadderPreviewConfig:
    """Configuration of the command."""

    picture: PathText = field(default="docs/ladder.png", metadata={"help": "PNG to write"})
    page: PathText = field(default="docs/ladder.md", metadata={"help": "page whose tables are updated"})


def main(argv: list[str] | None = None) -> int:
    """The command."""
    return run_command(_main, argv)


def _main(arguments: list[str]) -> None:
    if wants_help(arguments):
        print(command_help(USAGE, SUMMARY, LadderPreviewConfig))
        return
    config = compose_config(LadderPreviewConfig, arguments)
    page = Path(config.page)
    text = page_with_tables(page, ladder_tables())
    write_atomic(config.picture, draw_ladder())
    write_atomic(page, text.encode())
    print(f"{config.picture}\n{page}")


def draw_ladder() -> bytes:
    """A row for each rung of ``EXAMPLES``, as a PNG: two neighbouring examples, their difference, and its spectra."""
    # Imported here: a --help should not wait for it.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 1.42 * len(EXAMPLES) + 0.3), dpi=100, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.subplots(len(EXAMPLES), len(_HEADINGS), width_ratios=(3, 3, 3, 2.4, 1.1))
    for row, (name, config) in zip(axes, EXAMPLES.items(), strict=True):
        data = make_ladder(config, SEED)
        change_THW = difference(data).reshape(config.grid)
        first, second = (data.x_BNC[index, :, 0].numpy().reshape(config.grid) for index in (0, 1))
        _draw_pair(row, name, first, second, change_THW)
        _draw_spectra(row, change_THW)
    for axis, heading in zip(axes[0], _HEADINGS, strict=True):
        axis.set_title(heading, fontsize=10)
    content = io.BytesIO()
    canvas.print_png(content, metadata={"Software": None})
    return content.getvalue()


def _draw_pair(row: Any, name: str, first_THW: Array, second_THW: Array, change_THW: Array) -> None:
    for axis, example_THW in zip(row, (first_THW, second_THW), strict=False):
        axis.imshow(np.hstack(list(example_THW)), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    largest = np.abs(change_THW).max()
    row[2].imshow(np.hstack(list(change_THW)), cmap="PuOr", vmin=-largest, vmax=largest, interpolation="nearest")
    row[2].set_xlabel(f"largest {largest:.2g}", fontsize=8)
    row[0].set_ylabel(name.replace(", ", ",\n").replace(" in ", "\nin "), fontsize=8)
    for axis in row[:3]:
        axis.set(xticks=[], yticks=[])
        for frame in range(1, len(change_THW)):
            axis.axvline(frame * change_THW.shape[2] - 0.5, color="tab:red", linewidth=0.5)


def _draw_spectra(row: Any, change_THW: Array) -> None:
    spectrum_F = np.abs(fft.fft(change_THW.ravel(), norm="ortho"))
    row[3].plot(np.arange(len(spectrum_F)), spectrum_F, linewidth=0.6, color="tab:blue")
    row[3].set_ylim(0, 1.1 * spectrum_F.max())
    row[3].tick_params(labelsize=7)
    # The plane of no change over time, with the lowest frequencies in the middle.
    plane_HW = fft.fftshift(np.abs(fft.fftn(change_THW, norm="ortho"))[0])
    row[4].imshow(plane_HW, cmap="magma", vmin=0, interpolation="nearest")
    row[4].set(xticks=[], yticks=[])
    row[4].set_xlabel(f"largest {plane_HW.max():.2g}", fontsize=8)


if __name__ == "__main__":
    sys.exit(main())
