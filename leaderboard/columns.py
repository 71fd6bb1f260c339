"""The columns of every leaderboard table: one list for Markdown, CSV, terminal and page."""

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
from smidgen.leaderboard.rows import Row


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        key: Identifier.
        title: Heading.
        band: Heading of the group of columns.
        meaning: One or two sentences for a reader who is new to the measure.
        cell: Makes the column's cell of a row.
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
        "Share of episodes in which success was held for the required number of consecutive control steps, with a 95 %"
        " interval: Wilson's for one training seed, over training seeds and episodes for several. Every episode"
        " counts; a crash is a failure.",
        success_cell,
    ),
    Column(
        "seeds",
        "Seeds \u00d7 episodes",
        "In closed loop",
        "Number of training seeds, and of episodes for each, with final checkpoints. Its track says what a full entry"
        f" has; {SHORT_ENTRY} marks a partial one.",
        seeds_cell,
    ),
    Column(
        "success_once",
        "Success once",
        "In closed loop",
        "Share of episodes with success at one or more steps, held or not.",
        success_once_cell,
    ),
    Column(
        "spread_ratio",
        "Spread ratio",
        "In closed loop",
        "How much paths differ between episodes, relative to the expert's on the same seeds. Near 0, the policy follows"
        " one path whatever it is shown; near 1, it varies as much as the expert.",
        collapse_cell("spread_ratio"),
    ),
    Column(
        "verdict",
        "Verdict",
        "Does it see?",
        f"By the higher of cue slope and path slope: sees from {SEES_FROM}, blind up to {BLIND_TO}, partly blind in"
        " between. At the mean: the policy plays back the average.",
        verdict_cell,
        numeric=False,
    ),
    Column(
        "verdict_slope",
        "Decided by",
        "Does it see?",
        "The slope that the verdict is based on, with its 95 % interval over episodes; for several training seeds, the"
        " slope of each, in the order of the verdicts. The path slope is measured in closed loop: how far the arm's"
        " path moves from seed to seed, relative to the expert's.",
        deciding_slope_cell,
        numeric=False,
    ),
    Column(
        "cue_slope",
        "Cue slope",
        "On held-out demonstrations",
        "A stored state is rendered again with only the object moved; the change in the policy's output is regressed on"
        " the change in the expert's target. At 1 the policy sees the object, at 0 it is blind to it.",
        collapse_cell("cue_slope"),
    ),
    Column(
        "r2",
        "R\u00b2",
        "On held-out demonstrations",
        "1 minus squared error over variance, averaged over the position coordinates. 0 is the best constant."
        " End-effector positions vary mostly with time, so a blind policy can score well: read it together with the"
        " skills.",
        collapse_cell("r2"),
    ),
    Column(
        "skill_time_mean",
        "Skill vs time mean",
        "On held-out demonstrations",
        "1 minus the ratio of the error to that of the average trajectory at the same time step. 0 or less: no better"
        " than playing back the average movement.",
        collapse_cell("skill_time_mean"),
    ),
    Column(
        "skill_persistence",
        "Skill vs persistence",
        "On held-out demonstrations",
        "1 minus the ratio of the error to that of staying where the arm is. 0 or less: no better than copying its"
        " position.",
        collapse_cell("skill_persistence"),
    ),
    Column(
        "transform",
        "Transform",
        "Input and training",
        "How the frames are transformed before the network reads them: not at all (raw), or by a Fourier transform over"
        " one axis (dft1d) or over time, row and column (dft3d), for example.",
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
        "Whether episodes of the record have been run again, and whether the outcomes were the same.",
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
