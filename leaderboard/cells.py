"""The cells of leaderboard tables, computed from a row.

A cell has a text to display, a value to sort by and, if there is no value, the reason. Records that predate the
versioned detector have no verdict; a row with several training seeds may have several.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from smidgen.evaluation.collapse.labels import (
    BLIND,
    PARTLY_BLIND,
    SEES,
    SOURCES,
    UNDECIDED,
    VERDICTS,
    label_of,
    slope_text,
    spoken,
)
from smidgen.evaluation.record_schema import judged_collapse
from smidgen.evaluation.records import Rate, Record
from smidgen.evaluation.verification_mark import BITWISE, DIFFERS, NOT_REPRODUCIBLE, VERIFIED
from smidgen.leaderboard.ranking import escape_step, mean_position_r2, training_points
from smidgen.leaderboard.rows import Row

MISSING = "\u2013"  # en dash
MINUS = "\u2212"
NOT_SEPARABLE = "\u2248"
SHORT_ENTRY = "\u2020"  # dagger
OLD_RECORD = "the record predates the versioned detector"
_CONSTANT = "undefined: the targets of every position are constant"
_REPRODUCTION_WORDS = {VERIFIED: "verified", DIFFERS: "differs", NOT_REPRODUCIBLE: "not reproducible here"}
# More slopes of one verdict than this are shown as a range.
_MOST_LISTED = 4


@dataclass(frozen=True)
class Cell:
    """One cell: ``text`` to display, ``value`` to sort by; a missing value has a ``note`` with the reason."""

    text: str
    value: float | str | None
    detail: str = ""
    note: str = ""

    @property
    def is_missing(self) -> bool:
        """Whether there is no value to show."""
        return self.text == MISSING


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
    """A success rate in percent; with one decimal above 100 episodes, so that 199 of 200 does not read 100 %."""
    return f"{100 * rate['rate']:.{0 if rate['n'] <= 100 else 1}f} %"


def interval(rate: Rate) -> str:
    """The Wilson interval in percent."""
    return f"{100 * rate['low']:.0f}\u2013{100 * rate['high']:.0f}"


def num_demonstrations(record: Record) -> int | None:
    """How many demonstrations a policy was trained on, if its record says so."""
    count = (record["policy"]["training"] or {}).get("num_demonstrations")
    return count if isinstance(count, int) and not isinstance(count, bool) else None


def rank_cell(row: Row) -> Cell:
    """Rank, and whether the row is separable from the best."""
    if row.rank is None and row.may_be_ranked:
        return missing("blind: shown with its success, and not ranked")
    if row.rank is None:
        kind = "an expert with privileged state" if row.is_privileged else "a baseline"
        return missing(f"{kind}: shown for reference, never ranked")
    if not row.not_separable:
        return Cell(str(row.rank), row.rank)
    note = f"not separable from the best: p = {row.p_best:.2f}, {row.test} ({row.p_holm:.2f} after Holm's correction)"
    return Cell(str(row.rank), row.rank, detail=NOT_SEPARABLE, note=note)


def policy_cell(row: Row) -> Cell:
    """Name, with tags for privileged policies, references and end-effector state."""
    tags = ["privileged"] if row.is_privileged else [row.record["policy"]["kind"]] * (not row.may_be_ranked)
    if row.may_be_ranked and row.rank is None:
        tags.append("blind, not ranked")
    if row.may_be_ranked and "eef_state" in row.record["policy"]["observes"]:
        tags.append("sees end-effector state")
    return Cell(row.name, row.name, detail=", ".join(tags))


def success_cell(row: Row) -> Cell:
    """Success rate with k/n and interval."""
    rate, note = row.success, ""
    if len(row.runs) > 1:
        note = f"95 % interval over training seeds and test seeds; per training seed: {per_seed(row)}"
    return Cell(percent(rate), rate["rate"], detail=f"{rate['k']}/{rate['n']} \u00b7 {interval(rate)}", note=note)


def success_once_cell(row: Row) -> Cell:
    """Rate of success at one step or more."""
    rate = row.success_once
    note = f"95 % interval {interval(rate)} %"
    return Cell(percent(rate), rate["rate"], detail=f"{rate['k']}/{rate['n']}", note=note)


def per_seed(row: Row) -> str:
    """k/n of each training seed, in order."""
    rates = [record["success"] for record in row.records]
    return ", ".join(f"{rate['k']}/{rate['n']}" for rate in rates)


def seeds_cell(row: Row) -> Cell:
    """Training seeds x episodes, marked if less than a full entry."""
    counts = sorted({record["protocol"]["episodes"] for record in row.records})
    text = f"{len(row.runs)} \u00d7 {' or '.join(map(str, counts))}"
    num_episodes = row.success["n"]
    if not row.shortfalls:
        return Cell(text, num_episodes)
    return Cell(text, num_episodes, detail=SHORT_ENTRY, note=f"not a full entry: {', '.join(row.shortfalls)}")


def collapse_cell(field: str) -> Callable[[Row], Cell]:
    """Returns a function that makes the cell of a collapse measure, averaged over training seeds."""

    def cell(row: Row) -> Cell:
        collapse: dict[str, Any] = dict(row.record["collapse"])
        values = [value for record in row.records if (value := _measure(record, field)) is not None]
        if not values:
            unknown = _CONSTANT if field in collapse else OLD_RECORD
            return missing(collapse["reasons"].get(field, unknown))
        note = "" if len(row.runs) == 1 else f"mean over training seeds: {', '.join(map(number, values))}"
        return Cell(number(sum(values) / len(values)), sum(values) / len(values), note=note)

    return cell


def _measure(record: Record, field: str) -> float | None:
    value = dict(record["collapse"]).get(field)
    if isinstance(value, list):
        return mean_position_r2(value, record["collapse"]["coordinates"])
    return value  # type: ignore[return-value]


def mean_measure(row: Row, field: str) -> float | None:
    """A collapse measure averaged over the row's training seeds; None if none was measured."""
    return collapse_cell(field)(row).value  # type: ignore[return-value]


def transform_cell(row: Row) -> Cell:
    """Input transform."""
    transform = row.record["policy"]["transform"]
    return missing(_no_network(row)) if transform is None else Cell(transform, transform)


def standardise_cell(row: Row) -> Cell:
    """Standardisation before and after the transform."""
    before, after = row.record["policy"]["standardise_before"], row.record["policy"]["standardise_after"]
    if before is None and after is None:
        return missing(_no_network(row))
    text = f"{before or MISSING} \u2192 {after or MISSING}"
    return Cell(text, text)


def _no_network(row: Row) -> str:
    if row.may_be_ranked:
        return "the record does not say"
    return "no learned network, so nothing is transformed"


def demonstrations_cell(row: Row) -> Cell:
    """Number of demonstrations."""
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


def escape_cell(row: Row) -> Cell:
    """Escape step; with several training seeds their median."""
    runs = [(record, points[-1][0]) for record in row.records if (points := training_points(record, "cue_slope"))]
    if not runs:
        return missing("no cue slope was recorded during training" if row.may_be_ranked else "nothing was trained")
    cells = sorted((_escape_of(record, last) for record, last in runs), key=lambda cell: cell.value or 0)
    middle = cells[(len(cells) - 1) // 2]
    if len(cells) == 1:
        return middle
    texts = ", ".join(cell.text for cell in cells)
    return Cell(middle.text, middle.value, note=f"median of the training seeds: {texts}")


def _escape_of(record: Record, last: int) -> Cell:
    step = escape_step(record)
    if step is not None:
        return Cell(f"{step:,}", step)
    return Cell(f"> {last:,}", last + 0.5, note=f"had not escaped when training ended at step {last:,}")


def verified_cell(row: Row) -> Cell:
    """Result of running episodes again; the worst if there are several records."""
    if all(run.verification is None for run in row.runs):
        return missing("no episodes of this record have been run again yet")
    found = [run.reproduction for run in row.runs]
    if not any(found):
        return missing("the record has changed since its episodes were run again")
    worst = next(each for each in (DIFFERS, NOT_REPRODUCIBLE, VERIFIED) if each in found)
    text = _REPRODUCTION_WORDS[worst]
    marks = [run.verification for run in row.runs if run.verification is not None and run.reproduction == worst]
    if worst == VERIFIED and any(mark["comparison"] != BITWISE for mark in marks):
        text = f"{text} statistically"
    if len(row.runs) > 1:
        text = f"{text} {found.count(worst)}/{len(row.runs)}"
    notes = [
        f"{run.source}: {run.verification['num_equal']} of {len(run.verification['seeds'])} episodes equal"
        f"{' to the bit' if run.verification['comparison'] == BITWISE else ''}; {run.verification['reason']}"
        for run in row.runs
        if run.verification is not None and run.reproduction
    ]
    return Cell(text, text, note="; ".join(notes))


def verdict_cell(row: Row) -> Cell:
    """Whether the policy sees, with counts for several training seeds; undecided if the measurements cannot tell."""
    parts, found = _parts(row)
    if not found:
        reason = parts[0]["reasons"].get("verdict")
        return missing(OLD_RECORD) if reason is None else Cell(UNDECIDED, None, note=reason)
    detail = "" if len(found) == len(parts) else f"{len(found)} of {len(parts)} runs"
    return Cell(verdict_words(found), _mean_slope(found), detail=detail, note=_slope_notes(found))


def deciding_slope_cell(row: Row) -> Cell:
    """Name, value and interval of the slope that the verdict is based on; all slopes for several training seeds.

    Slopes are in the order of the verdicts in `verdict_cell`, with a semicolon between two verdicts.
    """
    parts, found = _parts(row)
    if not found:
        return missing(parts[0]["reasons"].get("verdict", OLD_RECORD))
    if len(parts) == 1:
        return Cell(deciding_slope(found[0]), _mean_slope(found), detail=_bounds(found[0]), note=_slope_notes(found))
    by_verdict = [[part for part in found if part["verdict"] == label] for label in VERDICTS]
    text = "; ".join(_listed(group) for group in by_verdict if group)
    return Cell(text, _mean_slope(found), note=_slope_notes(found))


def deciding_slope(part: dict[str, Any]) -> str:
    """Name and value of the slope that a collapse part's verdict is based on: ``path slope 0.15``."""
    return f"{_source(part)} {_slope(part)}"


def verdict_phrase(collapse: Mapping[str, Any]) -> str:
    """A collapse part's verdict and slope as the predicate of a sentence: ``is blind (cue slope 0.05)``."""
    label = collapse.get("verdict")
    if label is None:
        return "is undecided (too few episodes, or an uncertain slope)"
    words = {SEES: "sees", PARTLY_BLIND: "is partly blind", BLIND: "is blind"}[label]
    return f"{words} ({deciding_slope(dict(collapse))})"


def _parts(row: Row) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The collapse part of each record, and those that have a verdict."""
    parts = [judged_collapse(record) for record in row.records]
    return parts, [part for part in parts if part.get("verdict") is not None]


def _mean_slope(parts: Sequence[dict[str, Any]]) -> float:
    return float(sum(part["verdict_slope"] for part in parts) / len(parts))


def _listed(parts: Sequence[dict[str, Any]]) -> str:
    """Deciding slopes of one verdict, each name once: ``cue slope 0.90, 0.85, path slope 0.95``."""
    words = []
    for source in dict.fromkeys(map(_source, parts)):
        group = [part for part in parts if _source(part) == source]
        if len(group) > _MOST_LISTED:
            ends = sorted(group, key=lambda part: part["verdict_slope"])
            words.append(f"{source} {_slope(ends[0])} to {_slope(ends[-1])}")
        else:
            words.append(f"{source} {', '.join(map(_slope, group))}")
    return ", ".join(words)


def _source(part: dict[str, Any]) -> str:
    return SOURCES.get(part["verdict_source"], str(part["verdict_source"]))


def _slope(part: dict[str, Any]) -> str:
    return slope_text(part["verdict_slope"]).replace("-", MINUS)


def verdict_words(parts: Sequence[dict[str, Any]]) -> str:
    """The verdict that all collapse parts share, or the count of each."""
    counts = Counter(part["verdict"] for part in parts)
    named = [(_spoken(label, parts), counts[label]) for label in VERDICTS if counts[label]]
    if len(named) == 1:
        return named[0][0]
    return ", ".join(f"{words} {count}/{len(parts)}" for words, count in named)


def verdict_tone(row: Row) -> str:
    """The verdict that all of a row's runs share, else ``undecided``."""
    labels = {judged_collapse(record).get("verdict") for record in row.records}
    return (labels.pop() or UNDECIDED) if len(labels) == 1 else UNDECIDED


def _spoken(label: str, parts: Sequence[dict[str, Any]]) -> str:
    at_the_mean = [part.get("mean_collapsed") is True for part in parts if part["verdict"] == label]
    return f"{spoken(label)}{', at the mean' if label == BLIND and all(at_the_mean) else ''}"


def _bounds(part: dict[str, Any]) -> str:
    """The interval of the deciding slope in brackets; empty if the record has none."""
    if not part.get("verdict_interval"):
        return ""
    low, high = part["verdict_interval"]
    return f"[{number(low)}\u2013{number(high)}]"


def _slope_notes(parts: Sequence[dict[str, Any]]) -> str:
    return "; ".join(map(_slope_note, parts))


def _slope_note(part: dict[str, Any]) -> str:
    """The deciding slope, and which other verdicts its interval reaches."""
    if not part.get("verdict_interval"):
        return deciding_slope(part)
    text = f"{deciding_slope(part)}, 95 % interval {_bounds(part)}"
    others = sorted({label_of(end) for end in part["verdict_interval"]} - {part["verdict"]})
    return f"{text}, which reaches into {' and '.join(map(spoken, others))}" if others else text


def verdict_values(row: Row) -> dict[str, str | None]:
    """Verdict, slope, interval, source and mean collapse of each training seed, in order."""
    parts: list[dict[str, Any]] = [judged_collapse(record) for record in row.records]
    columns: dict[str, list[Any]] = {
        "verdict": [part.get("verdict") for part in parts],
        "verdict_slope": [part.get("verdict_slope") for part in parts],
        "verdict_low": [(part.get("verdict_interval") or [None])[0] for part in parts],
        "verdict_high": [(part.get("verdict_interval") or [None])[-1] for part in parts],
        "verdict_source": [part.get("verdict_source") for part in parts],
        "mean_collapsed": [part.get("mean_collapsed") for part in parts],
    }
    return {name: _joined(values) for name, values in columns.items()}


def _joined(values: Sequence[Any]) -> str | None:
    """Values for one spreadsheet cell, with ``none`` for a run that lacks one."""
    if all(value is None for value in values):
        return None
    return " ".join("none" if value is None else _plain(value) for value in values)


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.6g}" if isinstance(value, float) else str(value)
