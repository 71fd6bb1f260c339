"""The detector's verdict on a row: in words for a table, and as values for a spreadsheet.

A record from before the detector had a version holds no verdict; a row of several training seeds may hold several.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from smidgen.evaluation.cells import OLD_RECORD, Cell, missing, number
from smidgen.evaluation.collapse.labels import BLIND, CUE_SLOPE, PATH_SLOPE, UNDECIDED, VERDICTS, label_of
from smidgen.evaluation.rows import Row

_SOURCES = {CUE_SLOPE: "cue slope", PATH_SLOPE: "path slope"}


def verdict_cell(row: Row) -> Cell:
    """Whether the policy sees, with the interval of the slope that decided; of several training seeds, how many."""
    parts: list[dict[str, Any]] = [dict(record["collapse"]) for record in row.records]
    found = [part for part in parts if part.get("verdict") is not None]
    if not found:
        return missing(parts[0]["reasons"].get("verdict", OLD_RECORD))
    note = "; ".join(_slope_note(part) for part in found)
    value = sum(part["verdict_slope"] for part in found) / len(found)
    if len(parts) == 1:
        return Cell(verdict_words(found), value, detail=_bounds(found[0]), note=note)
    detail = "" if len(found) == len(parts) else f"{len(found)} of {len(parts)} runs"
    return Cell(verdict_words(found), value, detail=detail, note=note)


def verdict_words(parts: Sequence[dict[str, Any]]) -> str:
    """The verdict that all collapse parts share, or how many have which."""
    counts = Counter(part["verdict"] for part in parts)
    named = [(_spoken(label, parts), counts[label]) for label in VERDICTS if counts[label]]
    if len(named) == 1:
        return named[0][0]
    return ", ".join(f"{words} {count}/{len(parts)}" for words, count in named)


def verdict_tone(row: Row) -> str:
    """The verdict that all of a row's runs share, else ``undecided``."""
    labels = {record["collapse"].get("verdict") for record in row.records}
    return (labels.pop() or UNDECIDED) if len(labels) == 1 else UNDECIDED


def _spoken(label: str, parts: Sequence[dict[str, Any]]) -> str:
    at_the_mean = [part.get("mean_collapsed") is True for part in parts if part["verdict"] == label]
    return f"{label.replace('_', ' ')}{', at the mean' if label == BLIND and all(at_the_mean) else ''}"


def _bounds(part: dict[str, Any]) -> str:
    low, high = part["verdict_interval"]
    return f"[{number(low)}\u2013{number(high)}]"


def _slope_note(part: dict[str, Any]) -> str:
    """Which slope decided, and whether its whole interval says the same."""
    source = _SOURCES.get(part["verdict_source"], part["verdict_source"])
    text = f"{source} {number(part['verdict_slope'])}, 95 % interval {_bounds(part)}"
    others = sorted({label_of(end) for end in part["verdict_interval"]} - {part["verdict"]})
    return f"{text}, which reaches into {' and '.join(others).replace('_', ' ')}" if others else text


def verdict_values(row: Row) -> dict[str, str | None]:
    """Verdict, slope, interval, source and mean collapse of each training seed, in their order."""
    parts: list[dict[str, Any]] = [dict(record["collapse"]) for record in row.records]
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
