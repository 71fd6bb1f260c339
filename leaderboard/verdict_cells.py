"""The detector's verdict on a row and the slope that it rests on: in words for a table, as values for a spreadsheet.

A record from before the detector had a version holds no verdict; a row of several training seeds may hold several.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from smidgen.evaluation.collapse.labels import (
    BLIND,
    SOURCES,
    UNDECIDED,
    VERDICTS,
    label_of,
    slope_text,
    spoken,
)
from smidgen.evaluation.record_schema import judged_collapse
from smidgen.leaderboard.cells import MINUS, OLD_RECORD, Cell, missing, number
from smidgen.leaderboard.rows import Row

# Beyond, slopes of one verdict are given as a range.
_MOST_LISTED = 4


def verdict_cell(row: Row) -> Cell:
    """Whether the policy sees; of several training seeds, how many; undecided where what was measured cannot tell."""
    parts, found = _parts(row)
    if not found:
        reason = parts[0]["reasons"].get("verdict")
        return missing(OLD_RECORD) if reason is None else Cell(UNDECIDED, None, note=reason)
    detail = "" if len(found) == len(parts) else f"{len(found)} of {len(parts)} runs"
    return Cell(verdict_words(found), _mean_slope(found), detail=detail, note=_slope_notes(found))


def deciding_slope_cell(row: Row) -> Cell:
    """The slope that the verdict rests on, by its name, with its interval; of several training seeds all of them.

    Slopes stand in the order of the verdicts in `verdict_cell`, with a semicolon between two verdicts.
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
    """Name and value of the slope that a collapse part's verdict rests on: ``path slope 0.15``."""
    return f"{_source(part)} {_slope(part)}"


def _parts(row: Row) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The collapse part of each record, and those that hold a verdict."""
    parts = [judged_collapse(record) for record in row.records]
    return parts, [part for part in parts if part.get("verdict") is not None]


def _mean_slope(parts: Sequence[dict[str, Any]]) -> float:
    return float(sum(part["verdict_slope"] for part in parts) / len(parts))


def _listed(parts: Sequence[dict[str, Any]]) -> str:
    """Deciding slopes that led to one verdict, each name once: ``cue slope 0.90, 0.85, path slope 0.95``."""
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
    """The verdict that all collapse parts share, or how many have which."""
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
    """The interval of the deciding slope in brackets; empty where the record holds none."""
    if not part.get("verdict_interval"):
        return ""
    low, high = part["verdict_interval"]
    return f"[{number(low)}\u2013{number(high)}]"


def _slope_notes(parts: Sequence[dict[str, Any]]) -> str:
    return "; ".join(map(_slope_note, parts))


def _slope_note(part: dict[str, Any]) -> str:
    """Which slope decided, and whether its whole interval says the same."""
    if not part.get("verdict_interval"):
        return deciding_slope(part)
    text = f"{deciding_slope(part)}, 95 % interval {_bounds(part)}"
    others = sorted({label_of(end) for end in part["verdict_interval"]} - {part["verdict"]})
    return f"{text}, which reaches into {' and '.join(map(spoken, others))}" if others else text


def verdict_values(row: Row) -> dict[str, str | None]:
    """Verdict, slope, interval, source and mean collapse of each training seed, in their order."""
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
    """Values for one cell of a spreadsheet; ``none`` holds the place of a run that lacks one."""
    if all(value is None for value in values):
        return None
    return " ".join("none" if value is None else _plain(value) for value in values)


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.6g}" if isinstance(value, float) else str(value)
