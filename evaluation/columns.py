"""The columns of every leaderboard table: one list that Markdown, CSV, terminal and page are drawn from.

A cell carries its text for people, its value for machines and sorting, and, when there is no value, the reason why.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from smidgen.evaluation.ranking import (
    ESCAPE_ABOVE,
    Row,
    escape_step,
    mean_position_r2,
    training_points,
)
from smidgen.evaluation.records import Rate, Record

MISSING = "\u2013"  # en dash
MINUS = "\u2212"
NOT_SEPARABLE = "\u2248"


@dataclass(frozen=True)
class Cell:
    """One cell: ``text`` for people, ``value`` for sorting; a missing value has a ``note`` that tells why."""

    text: str
    value: float | str | None
    detail: str = ""
    note: str = ""

    @property
    def is_missing(self) -> bool:
        """Whether there is no value to show."""
        return self.text == MISSING


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


def missing(reason: str) -> Cell:
    """A cell without a value."""
    return Cell(MISSING, None, note=reason)


def number(value: float, digits: int = 2) -> str:
    """A number with a true minus sign, and no minus before a rounded zero."""
    text = f"{value:.{digits}f}"
    if float(text) == 0:
        text = text.lstrip("-")
    return text.replace("-", MINUS)


def percent(rate: Rate) -> str:
    """A success rate in percent; a decimal once the episodes carry it, so that 199 of 200 does not read 100 %."""
    return f"{100 * rate['rate']:.{0 if rate['n'] <= 100 else 1}f} %"


def interval(rate: Rate) -> str:
    """The Wilson interval in percent."""
    return f"{100 * rate['low']:.0f}\u2013{100 * rate['high']:.0f}"


def num_demonstrations(record: Record) -> int | None:
    """How many demonstrations a policy was trained on, if its record says so."""
    count = (record["policy"]["training"] or {}).get("num_demonstrations")
    return count if isinstance(count, int) and not isinstance(count, bool) else None


def _rank(row: Row) -> Cell:
    if row.rank is None:
        kind = "an expert with privileged state" if row.is_privileged else "a baseline"
        return missing(f"{kind}: shown for reference, never ranked")
    if not row.not_separable:
        return Cell(str(row.rank), row.rank)
    note = f"not separable from the best: exact McNemar p = {row.p_best:.2f} on {row.num_shared_seeds} shared seeds"
    return Cell(str(row.rank), row.rank, detail=NOT_SEPARABLE, note=note)


def _policy(row: Row) -> Cell:
    tags = ["privileged"] if row.is_privileged else [row.record["policy"]["kind"]] * (row.rank is None)
    if row.may_be_ranked and "eef_state" in row.record["policy"]["observes"]:
        tags.append("sees end-effector state")
    return Cell(row.name, row.name, detail=", ".join(tags))


def _success(row: Row) -> Cell:
    rate = row.record["success"]
    return Cell(percent(rate), rate["rate"], detail=f"{rate['k']}/{rate['n']} \u00b7 {interval(rate)}")


def _success_once(row: Row) -> Cell:
    rate = row.record["success_once"]
    note = f"95 % interval {interval(rate)} %"
    return Cell(percent(rate), rate["rate"], detail=f"{rate['k']}/{rate['n']}", note=note)


def _collapse(field: str) -> Callable[[Row], Cell]:
    def cell(row: Row) -> Cell:
        collapse: dict[str, Any] = dict(row.record["collapse"])
        value = collapse[field]
        if isinstance(value, list):
            value = mean_position_r2(value, collapse["coordinates"])
        if value is None:
            return missing(collapse["reasons"].get(field, "undefined: the targets of every position are constant"))
        return Cell(number(value), value)

    return cell


def _transform(row: Row) -> Cell:
    transform = row.record["policy"]["transform"]
    return missing(_no_network(row)) if transform is None else Cell(transform, transform)


def _standardise(row: Row) -> Cell:
    before, after = row.record["policy"]["standardise_before"], row.record["policy"]["standardise_after"]
    if before is None and after is None:
        return missing(_no_network(row))
    text = f"{before or MISSING} \u2192 {after or MISSING}"
    return Cell(text, text)


def _no_network(row: Row) -> str:
    if row.may_be_ranked:
        return "the record does not say"
    return "no learned network, so nothing is transformed"


def _demonstrations(row: Row) -> Cell:
    count = num_demonstrations(row.record)
    if count is not None:
        return Cell(f"{count:,}", count)
    if row.record["policy"]["data_set_sha256"] is None:
        return missing("uses no demonstrations")
    seeds = row.record["policy"]["data_set_seeds"]
    if not seeds:
        return missing("the record does not say how many demonstrations were used")
    most = seeds[1] - seeds[0] + 1
    return Cell(
        f"\u2264 {most:,}", most, note=f"the record gives their seeds, {seeds[0]:,} to {seeds[1]:,}, not their number"
    )


def _escape(row: Row) -> Cell:
    points = training_points(row.record, "cue_slope")
    if not points:
        return missing("no cue slope was recorded during training" if row.may_be_ranked else "nothing was trained")
    step = escape_step(row.record)
    if step is not None:
        return Cell(f"{step:,}", step)
    last = points[-1][0]
    return Cell(f"> {last:,}", last + 0.5, note=f"had not escaped when training ended at step {last:,}")


def _verified(row: Row) -> Cell:
    return missing("nobody has run episodes of this record again yet")


COLUMNS: tuple[Column, ...] = (
    Column("rank", "#", "", "Rank by success rate; equal rates share a rank.", _rank, smaller_first=True),
    Column("policy", "Policy", "", "Name of the evaluated policy.", _policy, numeric=False, smaller_first=True),
    Column(
        "success",
        "Success",
        "In closed loop",
        "Episodes in which success held for the required consecutive control steps, out of all episodes run, with the"
        " 95 % Wilson interval. Every episode counts; a crash is a failure.",
        _success,
    ),
    Column(
        "success_once",
        "Success once",
        "In closed loop",
        "Episodes in which success was seen at one step or more, held or not.",
        _success_once,
    ),
    Column(
        "spread_ratio",
        "Spread ratio",
        "In closed loop",
        "How much the paths differ between episodes, over how much the expert's do on the same seeds. Near 0 the policy"
        " runs one path whatever it is shown; near 1 it varies as much as the expert.",
        _collapse("spread_ratio"),
    ),
    Column(
        "cue_slope",
        "Cue slope",
        "On held-out demonstrations",
        "The same stored state is rendered again with only the object moved, and the change of the policy's output is"
        " regressed on the change of the expert's target. 1 sees the object, 0 is blind to it.",
        _collapse("cue_slope"),
    ),
    Column(
        "r2",
        "R\u00b2",
        "On held-out demonstrations",
        "1 minus squared error over variance, averaged over the position coordinates. 0 is the best constant."
        " End-effector positions vary mostly with time, so a blind policy can score well: read it beside the skills.",
        _collapse("r2"),
    ),
    Column(
        "skill_time_mean",
        "Skill vs time mean",
        "On held-out demonstrations",
        "1 minus the error over that of the average trajectory at the same time step. 0 or less: no better than playing"
        " back the average movement.",
        _collapse("skill_time_mean"),
    ),
    Column(
        "skill_persistence",
        "Skill vs persistence",
        "On held-out demonstrations",
        "1 minus the error over that of staying where the arm is. 0 or less: no better than copying its position.",
        _collapse("skill_persistence"),
    ),
    Column(
        "transform",
        "Transform",
        "Input and training",
        "What is done to the byte array before the Perceiver reads it: raw pixels, or a Fourier transform over one axis"
        " (dft1d) or over time, row and column (dft3d).",
        _transform,
        numeric=False,
        smaller_first=True,
    ),
    Column(
        "standardise",
        "Standardise",
        "Input and training",
        "Standardisation before and after the transform.",
        _standardise,
        numeric=False,
        smaller_first=True,
    ),
    Column("demos", "Demos", "Input and training", "Demonstrations used for training.", _demonstrations),
    Column(
        "escape_step",
        "Escape step",
        "Input and training",
        f"First training step from which the cue slope stays above {ESCAPE_ABOVE}: where the policy leaves the plateau"
        " of predicting the average. A run that never left it shows > and its last step.",
        _escape,
        smaller_first=True,
    ),
    Column(
        "verified",
        "Verified",
        "Input and training",
        "Whether episodes of the record were run again and gave the same outcomes.",
        _verified,
        numeric=False,
    ),
)


def column(key: str) -> Column:
    """The column with that key."""
    return next(entry for entry in COLUMNS if entry.key == key)


def pick(keys: Sequence[str]) -> list[Column]:
    """Columns in the order of their keys."""
    return [column(key) for key in keys]
