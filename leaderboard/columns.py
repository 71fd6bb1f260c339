"""The columns of every leaderboard table: one list that Markdown, CSV, terminal and page are drawn from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from smidgen.evaluation.collapse.escape import ESCAPE_ABOVE
from smidgen.evaluation.collapse.labels import BLIND_TO, SEES_FROM
from smidgen.leaderboard.cells import (
    SHORT_ENTRY,
    Cell,
    collapse_cell,
    deciding_slope_cell,
    demonstrations_cell,
    escape_cell,
    policy_cell,
    rank_cell,
    seeds_cell,
    standardise_cell,
    success_cell,
    success_once_cell,
    transform_cell,
    verdict_cell,
    verified_cell,
)
from smidgen.leaderboard.rows import ENTRY_EPISODES, ENTRY_TRAINING_SEEDS, Row


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        key: Identifier.
        title: Heading.
        band: Heading of the columns that belong together.
        meaning: One or two sentences for a reader who meets the measure for the first time.
        cell: Draws the column's cell of a row.
        numeric: Whether values are numbers.
        smaller_first: Whether a first click sorts ascending.
    """

    key: str
    title: str
    band: str
    meaning: str
    cell: Callable[[Row], Cell]
    numeric: bool = True
    smaller_first: bool = False


COLUMNS: tuple[Column, ...] = (
    Column("rank", "#", "", "Rank by success rate; equal rates share a rank.", rank_cell, smaller_first=True),
    Column("policy", "Policy", "", "Name of the evaluated policy.", policy_cell, numeric=False, smaller_first=True),
    Column(
        "success",
        "Success",
        "In closed loop",
        "Episodes in which success held for the required consecutive control steps, out of all episodes run, with the"
        " 95 % interval: Wilson's, or over training seeds and episodes where there are several training seeds. Every"
        " episode counts; a crash is a failure.",
        success_cell,
    ),
    Column(
        "seeds",
        "Seeds \u00d7 episodes",
        "In closed loop",
        f"Training seeds and the episodes that each was run on. A full entry has {ENTRY_TRAINING_SEEDS} x"
        f" {ENTRY_EPISODES} with the final checkpoints; {SHORT_ENTRY} marks what is not.",
        seeds_cell,
    ),
    Column(
        "success_once",
        "Success once",
        "In closed loop",
        "Episodes in which success was seen at one step or more, held or not.",
        success_once_cell,
    ),
    Column(
        "spread_ratio",
        "Spread ratio",
        "In closed loop",
        "How much the paths differ between episodes, over how much the expert's do on the same seeds. Near 0 the policy"
        " runs one path whatever it is shown; near 1 it varies as much as the expert.",
        collapse_cell("spread_ratio"),
    ),
    Column(
        "verdict",
        "Verdict",
        "Does it see?",
        f"Sees from a slope of {SEES_FROM}, blind up to {BLIND_TO}, partly blind between: by the higher of cue slope"
        " and path slope. At the mean: it plays back the average.",
        verdict_cell,
        numeric=False,
    ),
    Column(
        "verdict_slope",
        "Decided by",
        "Does it see?",
        "The slope that the verdict rests on, with its 95 % interval over episodes; of several training seeds the slope"
        " of each, in the order of the verdicts. The path slope is measured in closed loop: by how much the arm's path"
        " moves from seed to seed, over how much the expert's does.",
        deciding_slope_cell,
        numeric=False,
    ),
    Column(
        "cue_slope",
        "Cue slope",
        "On held-out demonstrations",
        "The same stored state is rendered again with only the object moved, and the change of the policy's output is"
        " regressed on the change of the expert's target. 1 sees the object, 0 is blind to it.",
        collapse_cell("cue_slope"),
    ),
    Column(
        "r2",
        "R\u00b2",
        "On held-out demonstrations",
        "1 minus squared error over variance, averaged over the position coordinates. 0 is the best constant."
        " End-effector positions vary mostly with time, so a blind policy can score well: read it beside the skills.",
        collapse_cell("r2"),
    ),
    Column(
        "skill_time_mean",
        "Skill vs time mean",
        "On held-out demonstrations",
        "1 minus the error over that of the average trajectory at the same time step. 0 or less: no better than playing"
        " back the average movement.",
        collapse_cell("skill_time_mean"),
    ),
    Column(
        "skill_persistence",
        "Skill vs persistence",
        "On held-out demonstrations",
        "1 minus the error over that of staying where the arm is. 0 or less: no better than copying its position.",
        collapse_cell("skill_persistence"),
    ),
    Column(
        "transform",
        "Transform",
        "Input and training",
        "What is done to the byte array before the Perceiver reads it: raw pixels, or a Fourier transform over one axis"
        " (dft1d) or over time, row and column (dft3d).",
        transform_cell,
        numeric=False,
        smaller_first=True,
    ),
    Column(
        "standardise",
        "Standardise",
        "Input and training",
        "Standardisation before and after the transform.",
        standardise_cell,
        numeric=False,
        smaller_first=True,
    ),
    Column("demos", "Demos", "Input and training", "Demonstrations used for training.", demonstrations_cell),
    Column(
        "escape_step",
        "Escape step",
        "Input and training",
        f"First training step from which the cue slope stays above {ESCAPE_ABOVE}; training starts blind, at 0."
        " A run that never escaped shows > and its last step.",
        escape_cell,
        smaller_first=True,
    ),
    Column(
        "verified",
        "Verified",
        "Input and training",
        "Whether somebody has run episodes of the record again, and whether they gave the same outcomes.",
        verified_cell,
        numeric=False,
    ),
)


def column(key: str) -> Column:
    """The column with that key."""
    return next(entry for entry in COLUMNS if entry.key == key)


def pick(keys: Sequence[str]) -> list[Column]:
    """Columns in the order of their keys."""
    return [column(key) for key in keys]
