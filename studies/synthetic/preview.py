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
from smidgen.runtime.markdown import left, markdown_table, page_with_tables, right
from smidgen.runtime.settings import PathText
from studies.synthetic.config import LadderConfig
from studies.synthetic.ladder import LadderData, make_ladder
from studies.synthetic.oracle import (
    bayes_r2,
    interpolation_r2,
    linear_probe,
    matched_filter_r2,
    solvability_oracle,
    sparse_probe,
)
from studies.synthetic.rungs import Array

USAGE = "python -m studies.synthetic.preview [key=value ...]"
SUMMARY = "Draws one pair of neighbouring examples of each rung, and computes the tables of the ladder's page."
SEED = 0
EXAMPLES: dict[str, LadderConfig] = {
    "one_token": LadderConfig(kind="one_token"),
    "one_token in noise of sd 0.1": LadderConfig(kind="one_token", background="noise", noise_sd=0.1),
    "k_tokens, k = 16": LadderConfig(kind="k_tokens", num_changed=16),
    "moving_blob": LadderConfig(kind="moving_blob"),
    "periodic, a quarter bin apart": LadderConfig(kind="periodic"),
    "periodic, a whole bin apart": LadderConfig(kind="periodic", frequency_shift=1.0),
    "texture": LadderConfig(kind="texture"),
    "frames": LadderConfig(kind="frames"),
}
NOISE_GRIDS = ((1, 16, 16), (3, 32, 32), (3, 64, 64), (3, 128, 128))
NOISE_SDS = (0.03, 0.1, 0.3)
_NOISE_HELD_OUT = 256
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


def difference(data: LadderData) -> Array:
    """The pool's second example minus its first, float64 (N,): neighbouring classes, or one arm twice."""
    return (data.x_BNC[1, :, 0] - data.x_BNC[0, :, 0]).numpy().astype(np.float64)


def participation_ratio(coefficients: Array) -> float:
    """How many coefficients carry the energy: ``(sum |z|^2)^2 / sum |z|^4``, 1 for one of them, F for F equal ones."""
    energy_F = np.abs(coefficients.ravel()) ** 2
    return float(energy_F.sum() ** 2 / (energy_F**2).sum())


def rung_row(name: str) -> dict[str, str]:
    """One rung's line of the table."""
    config = EXAMPLES[name]
    data = make_ladder(config, SEED)
    change_N = difference(data)
    return {
        "rung": f"`{config.kind}`{name.removeprefix(config.kind)}",
        "tokens that differ": f"{np.count_nonzero(change_N):,}",
        "squared distance": f"{(change_N**2).sum():.3g}",
        "raw": f"{participation_ratio(change_N):,.0f}",
        "DFT 1-D": f"{participation_ratio(fft.fft(change_N)):,.0f}",
        "DFT 3-D": f"{participation_ratio(fft.fftn(change_N.reshape(config.grid))):,.0f}",
        "oracle": f"{solvability_oracle(data):.2f}",
    }


def noise_row(grid: tuple[int, int, int], noise_sd: float) -> dict[str, str]:
    """One line of the table of ``one_token`` in noise."""
    config = LadderConfig(
        kind="one_token", grid=grid, background="noise", noise_sd=noise_sd, num_held_out=_NOISE_HELD_OUT
    )
    data = make_ladder(config, SEED)
    return {
        "N": f"{config.num_tokens:,}",
        "s": f"{noise_sd:g}",
        "linear probe": f"{linear_probe(data):.2f}",
        "predicted": f"{interpolation_r2(config):.2f}" if config.num_tokens > len(data.labels) else "-",
        "sparse probe": f"{sparse_probe(data):.2f}",
        "matched filter": f"{matched_filter_r2(config):.2f}",
        "Bayes rule": f"{bayes_r2(config, SEED):.2f}",
    }


def ladder_tables() -> dict[str, str]:
    """Both tables as Markdown, by the name of their place on the page."""
    rungs = [rung_row(name) for name in EXAMPLES]
    noise = [noise_row(grid, noise_sd) for grid in NOISE_GRIDS for noise_sd in NOISE_SDS]
    return {"rungs": _markdown(rungs), "noise": _markdown(noise)}


def _markdown(rows: list[dict[str, str]]) -> str:
    first, *others = rows[0]
    return markdown_table(left(first) + right(*others), [list(row.values()) for row in rows])


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
