"""A record in one line, for the terminal."""

from __future__ import annotations

from pathlib import Path

from smidgen.envs.smidgen_tasks import chance_level
from smidgen.evaluation.collapse.labels import SOURCES, UNDECIDED, slope_text, spoken
from smidgen.evaluation.record_schema import judged_collapse
from smidgen.evaluation.records import Record
from smidgen.evaluation.video_files import video_folder


def summary_line(path: Path, record: Record) -> str:
    """One line: policy, success with interval and chance level, R^2, verdict with its slope, and where things are."""
    success, collapse = record["success"], record["collapse"]
    r2 = [value for value in collapse["r2"] or [] if value is not None]
    parts = [
        f"{record['policy']['name']} on {record['task']}: success {success['k']}/{success['n']}"
        f" = {success['rate']:.0%} [{success['low']:.0%}, {success['high']:.0%}]{_chance(record['task'])}",
        f"R^2 {sum(r2) / len(r2):z.2f}" if r2 else "R^2 not measured",
        "spread ratio " + ("not measured" if collapse["spread_ratio"] is None else f"{collapse['spread_ratio']:.2f}"),
        _verdict(record),
    ]
    folder = video_folder(path.parent, record["schema_version"])
    videos = f", {len(record['videos'])} videos in {folder}" if record["videos"] else ""
    return f"{', '.join(parts)}; record {path}{videos}"


def _verdict(record: Record) -> str:
    collapse = judged_collapse(record)
    label, source, slope = collapse.get("verdict"), collapse.get("verdict_source"), collapse.get("verdict_slope")
    if label is None or source is None or slope is None:
        cue = collapse["cue_slope"]
        return f"{UNDECIDED}, cue slope {'not measured' if cue is None else f'{cue:z.2f}'}"
    at_the_mean = ", at the mean" if collapse.get("mean_collapsed") else ""
    interval = collapse["verdict_interval"]
    within = f" in [{interval[0]:z.2f}, {interval[1]:z.2f}]" if interval else ""
    return f"{spoken(label)}{at_the_mean} ({SOURCES[source]} {slope_text(slope)}{within})"


def _chance(task: str) -> str:
    level = chance_level(task)
    return "" if level is None else f" (chance {level:.1%})"
