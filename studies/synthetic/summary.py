"""The ladder's tables: how much neighbouring examples differ, over how many tokens, and whether they can be told apart.

Axes: B examples, N tokens, C channels, F coefficients of a transform.
"""

from __future__ import annotations

import numpy as np
from scipy import fft

from smidgen.runtime.markdown import left, markdown_table, right
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
