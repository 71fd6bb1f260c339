"""``python -m studies.calibration.two_levels [page=docs/protocol.md]``: false alarms of the leaderboard's test.

Two recipes of equal success are simulated as tables of outcomes, training seeds by shared test episodes. The log-odds
of an outcome are the recipe's plus a training seed's deviation plus an episode's difficulty, which both recipes share.
The result goes to results/calibration/two_levels.json and into the page. Six minutes on one core, the same on every
run; a small variant: ``samples=20 page=null out=outputs/two_levels.json``, ten seconds.

Shape suffixes: S training seeds, E test episodes.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from smidgen.evaluation.statistics import SIGNIFICANCE
from smidgen.experiments.boards import BOARDS, COMPARISONS, TRACK
from smidgen.leaderboard.training_seeds import p_of_difference
from smidgen.runtime.command_line import command_help, compose_config, run_command, wants_help
from smidgen.runtime.errors import UserError
from smidgen.runtime.files import write_atomic, write_json_atomic
from smidgen.runtime.markdown import left, markdown_table, page_with_tables, right
from smidgen.runtime.settings import PathText

USAGE = "python -m studies.calibration.two_levels [key=value ...]"
SUMMARY = "Rate of false alarms of the test over training seeds and shared test episodes, simulated."
TABLE_NAME = "false alarms"
RECORD = "results/calibration/two_levels.json"
RATES = (0.5, 0.8, 0.95)
# Deviations in log-odds; 1.5 spreads a rate of 0.8 over 0.2 to 0.99 (95 % of training seeds).
SEED_DEVIATIONS = (0.0, 0.5, 1.5)
EPISODE_DEVIATIONS = (0.0, 2.0)
NUM_COMPARISONS = len(COMPARISONS) * len(BOARDS[0].tasks)
# The level of a single test, and the strictest that Holm's correction asks for.
LEVELS = {"one_test": SIGNIFICANCE, "strictest_of_all": SIGNIFICANCE / NUM_COMPARISONS}
# A quarter of the leaderboard's: only the variance of the draws is used, and it is known to 4 %.
NUM_DRAWS = 1_000
SEED = 20_261_129


@dataclass(frozen=True)
class TwoLevelConfig:
    """Configuration of the command."""

    samples: int = field(default=2_000, metadata={"help": "pairs of recipes for each row"})
    out: PathText = field(default=RECORD, metadata={"help": "file of the result"})
    page: PathText | None = field(
        default="docs/protocol.md", metadata={"help": "page to write the table into; null: none"}
    )

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise UserError(f"expected samples of at least 1, got {self.samples}")


def outcomes(
    generator: np.random.Generator, log_odds: float, seed_deviation: float, difficulty_E: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Outcomes (S, E) of one recipe on the track's seeds and episodes."""
    seeds_S = generator.normal(0.0, seed_deviation, TRACK.num_training_seeds)
    return (
        generator.random((len(seeds_S), len(difficulty_E))) < expit(log_odds + seeds_S[:, None] + difficulty_E)
    ) * 1.0


def false_alarms(rate: float, seed_deviation: float, episode_deviation: float, num_samples: int) -> dict[str, Any]:
    """Share of pairs of equal recipes that the test tells apart, at each level."""
    generator = np.random.default_rng(SEED)
    p_values = []
    for _ in range(num_samples):
        difficulty_E = generator.normal(0.0, episode_deviation, TRACK.num_episodes)
        first, second = (outcomes(generator, float(logit(rate)), seed_deviation, difficulty_E) for _ in range(2))
        p_values.append(p_of_difference(first, second, num_draws=NUM_DRAWS))
    found = {name: float(np.mean(np.array(p_values) <= level)) for name, level in LEVELS.items()}
    world = {"rate": rate, "seed_deviation": seed_deviation, "episode_deviation": episode_deviation}
    return {**world, **found}


def simulate(num_samples: int) -> dict[str, Any]:
    """Every row, and what they were made with."""
    rows = [false_alarms(*world, num_samples) for world in product(RATES, SEED_DEVIATIONS, EPISODE_DEVIATIONS)]
    about = {"training_seeds": TRACK.num_training_seeds, "episodes": TRACK.num_episodes, "samples": num_samples}
    return {"schema_version": 1, **about, "levels": LEVELS, "rows": rows}


def table(found: dict[str, Any]) -> str:
    """The result in Markdown."""
    levels = [f"false alarms at {100 * level:.2g} %" for level in found["levels"].values()]
    heads = left("success rate", "between training seeds", "between episodes") + right(*levels)
    rows = [
        [
            f"{row['rate']:.2f}",
            f"{row['seed_deviation']:.1f}",
            f"{row['episode_deviation']:.1f}",
            *(f"{100 * row[name]:.2f} %" for name in found["levels"]),
        ]
        for row in found["rows"]
    ]
    highest = [f"{100 * max(row[name] for row in found['rows']):.2f} %" for name in found["levels"]]
    told = " and ".join(
        f"{most} at {100 * level:.2g} %" for most, level in zip(highest, found["levels"].values(), strict=True)
    )
    return f"{markdown_table(heads, rows)}\n\nAt most {told}."


def two_levels(arguments: list[str]) -> None:
    """Simulates, and writes the record and the table."""
    if wants_help(arguments):
        print(command_help(USAGE, SUMMARY, TwoLevelConfig))
        return
    config = compose_config(TwoLevelConfig, arguments)
    found = simulate(config.samples)
    write_json_atomic(Path(config.out), found)
    print(table(found))
    if config.page:
        write_atomic(Path(config.page), page_with_tables(Path(config.page), {TABLE_NAME: table(found)}).encode())


if __name__ == "__main__":
    sys.exit(run_command(two_levels))
