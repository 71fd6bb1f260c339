"""The leaderboard as Markdown (a board for a README, every measure for a page), as CSV, on the terminal, and as LaTeX.

Nothing in a LaTeX table can be executed, whatever a record contains. It needs only the package booktabs; signs that an
old compiler cannot typeset (≈, †, ×) are written as mathematics.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.text import Text

from smidgen.evaluation.statistics import POWER, SIGNIFICANCE
from smidgen.evaluation.tracks import PILOT
from smidgen.leaderboard.cells import (
    NOT_SEPARABLE,
    SHORT_ENTRY,
    interval,
    mean_measure,
    num_demonstrations,
    per_seed,
    percent,
    verdict_values,
)
from smidgen.leaderboard.columns import Column, column, pick
from smidgen.leaderboard.ranking import Group, escape_step, training_points
from smidgen.leaderboard.rows import Row, data_sets, policy_id
from smidgen.leaderboard.training_seeds import interquartile_mean, probability_of_improvement
from smidgen.runtime.errors import UserError
from smidgen.runtime.files import canonical_json, sha256_bytes
from smidgen.runtime.markdown import escape_markdown, left, markdown_table, right
from smidgen.runtime.terminal_table import TerminalColumn, TerminalRow, print_table

NOT_SEPARABLE_LEGEND = (
    f"{NOT_SEPARABLE} not separable from the best on shared seeds (p > {SIGNIFICANCE} after Holm's correction; exact "
    "McNemar test, or over training seeds where both rows have several)"
)
# Most important first: a narrow terminal drops columns from the right.
_TERMINAL = ("rank", "policy", "success", "verdict", "verdict_slope", "seeds")
LONG = (
    "rank",
    "policy",
    "success",
    "seeds",
    "verdict",
    "verdict_slope",
    "r2",
    "skill_time_mean",
    "standardise",
    "demos",
    "verified",
)
_TERMINAL_TITLES = {"seeds": "Runs"}
_MARKDOWN_TITLES = {"rank": "Rank", "success": "Success [95 % interval]"}
# Columns that fit a README and need no legend.
_BOARD = ("rank", "policy", "success", "seeds", "verdict", "demos")
_BOARD_TITLES = _MARKDOWN_TITLES | {
    "verdict": "Sees the cue? (slope: 1 follows it, 0 ignores it)",
    "demos": "Demonstrations",
}
_SIMULATORS = (("mujoco", "MuJoCo"), ("robosuite", "robosuite"))
_RATE = ("k", "n", "rate", "low", "high")
_MEASURES = (
    "r2",
    "explained_variance",
    "skill_time_mean",
    "skill_persistence",
    "cue_slope",
    "prediction_variance_ratio",
    "spread_ratio",
    "path_slope",
    "mean_path_distance",
    "copycat_weight",
    "latching_index",
)
# Spreadsheets run text that begins with one of these as a formula.
_FORMULA_START = ("=", "+", "-", "@", "\t", "\r")
# Square brackets would be read as the optional argument of the line break before them.
_SPECIAL = {
    "\\": r"\textbackslash{}",
    **{sign: f"\\{sign}" for sign in "{}$&#_%"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "[": "{[}",
    "]": "{]}",
    '"': r"\char34{}",
    "\u2013": "--",
    "\u2212": "$-$",
    "\u00d7": r"$\times$",
    "\u2248": r"$\approx$",
    "\u2020": r"$^\dagger$",
    "\u2192": r"$\to$",
    "\u2264": r"$\le$",
    "\u00b2": "$^2$",
    "\u00b7": r"$\cdot$",
}
# Two hyphens would become one dash, two quotes another quote.
_TO_ESCAPE = re.compile(f"([-'`])(?=\\1)|[{re.escape(''.join(_SPECIAL))}]")
_LEFT_OUT = ("verified",)
_TITLES = {"success": "Success [95 % interval]"}


def board(groups: Sequence[Group]) -> str:
    """The README's table, one per group, without the markers and without signs that need a legend."""
    return "\n\n".join(_markdown_group(group, _BOARD, _BOARD_TITLES, _board_cell) for group in groups)


def markdown(groups: Sequence[Group]) -> str:
    """The long table, one per group, with a legend of its signs."""
    return "\n\n".join(
        [_markdown_group(group, LONG, _MARKDOWN_TITLES, _markdown_cell) for group in groups]
        + [f"{legend}." for legend in legends(groups, escape_markdown)]
    )


def column_legend() -> str:
    """What each column of the long table means, as a list."""
    titles = [(_MARKDOWN_TITLES.get(entry.key, entry.title), entry.meaning) for entry in pick(LONG)]
    return "\n".join(f"- **{title}**: {escape_markdown(meaning)}" for title, meaning in titles)


def legends(groups: Sequence[Group], escape: Callable[[str], str]) -> list[str]:
    """What the signs mean, and how small a difference the samples can show; ``escape`` is applied to names."""
    lines = [NOT_SEPARABLE_LEGEND, *short_entry_legends(groups)]
    for group in groups:
        rate = group.detectable_rate
        if rate is not None:
            best = group.ranked[0]
            lines.append(
                f"{escape(group.task)}: {best.record['protocol']['episodes']} episodes tell one checkpoint "
                f"from the best with {100 * POWER:.0f} % probability if its rate is {100 * rate:.0f} % or less "
                f"(best: {percent(best.success)})"
            )
    return lines


def short_entry_legends(groups: Sequence[Group]) -> list[str]:
    """What the sign of a partial entry means, for each track that has one."""
    tracks = {group.track.name: group.track for group in groups if any(row.shortfalls for row in group.competing)}
    of_track = (lambda track: f" of track {track.name}") if len(tracks) > 1 else (lambda track: "")
    return [
        f"{SHORT_ENTRY} not a full entry{of_track(track)}: {track.num_training_seeds} training seeds x "
        f"{track.num_episodes} episodes"
        for track in tracks.values()
    ]


def _markdown_group(
    group: Group, keys: Sequence[str], titles: Mapping[str, str], cell: Callable[[Column, Row], str]
) -> str:
    columns = pick(keys)
    heads = [
        head for entry in columns for head in (right if entry.numeric else left)(titles.get(entry.key, entry.title))
    ]
    table = markdown_table(heads, [[cell(entry, row) for entry in columns] for row in group.rows])
    return f"**{escape_markdown(group.task)}** ({escape_markdown(conditions(group))})\n\n{table}"


def _markdown_cell(entry: Column, row: Row) -> str:
    cell = entry.cell(row)
    text = escape_markdown(cell.text)
    if entry.key == "success":
        rate = row.success
        return f"{rate['k']}/{rate['n']} = **{text}** [{interval(rate)}]"
    if entry.key == "policy":
        return f"{text} ({escape_markdown(cell.detail)})" if cell.detail else text
    return f"{text} {cell.detail}".rstrip()


def _board_cell(entry: Column, row: Row) -> str:
    """As in the long table, with words instead of signs and the slope beside the verdict."""
    if entry.key == "rank" and row.not_separable:
        return f"{row.rank} (statistical tie)"
    if entry.key == "seeds" and row.shortfalls:
        return f"{entry.cell(row).text} (partial entry)"
    cell = _markdown_cell(entry, row)
    slope = column("verdict_slope").cell(row)
    if entry.key != "verdict" or slope.is_missing:
        return cell
    return f"{cell} ({escape_markdown(slope.text)})"


def conditions(group: Group) -> str:
    """The conditions under which a group was measured, in a few words."""
    environment = group.environment
    parts = [str(environment.get("env_id", "unnamed environment"))]
    if "image_size" in environment:
        parts.append(f"{setting(environment['image_size'])} pixels")
    parts += [f"{name} {environment[key]}" for key, name in _SIMULATORS if key in environment]
    if group.track.name != PILOT:
        parts.append(f"track {group.track.name}")
    return ", ".join(parts)


def setting(value: Any) -> str:
    """A value of the environment's fingerprint as text: ``64 × 64``, ``agentview, frontview``."""
    if isinstance(value, list):
        sign = " \u00d7 " if all(isinstance(entry, int) for entry in value) else ", "
        return sign.join(map(str, value))
    return str(value)


def check_outputs(outputs: dict[Path, bytes]) -> None:
    """Checks that files are up to date with the records.

    Raises:
        UserError: Naming every file that is missing or differs.
    """
    # Lengths first: the path may be a large file, or something that cannot be read.
    drifted = [
        str(path)
        for path, data in outputs.items()
        if not path.is_file() or path.stat().st_size != len(data) or path.read_bytes() != data
    ]
    if drifted:
        raise UserError(f"{', '.join(drifted)}: out of date with the records; run the same command without check=true")


def csv_table(groups: Sequence[Group]) -> str:
    """Every column of every row, with one header line; empty if there is no value."""
    records = [_csv_record(group, row) for group in groups for row in group.rows]
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, fieldnames=list(records[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: _csv_value(value) for key, value in record.items()} for record in records)
    return buffer.getvalue()


def _csv_record(group: Group, row: Row) -> dict[str, Any]:
    policy = row.record["policy"]
    rates = np.array([record["success"]["rate"] for record in row.records])
    return {
        "task": row.record["task"],
        "environment_sha256": sha256_bytes(canonical_json(group.environment)),
        "rank": row.rank,
        "policy": row.name,
        "policy_id": policy_id(row.record),
        "kind": policy["kind"],
        "privileged": row.is_privileged,
        "observes": " ".join(policy["observes"]),
        **{key: policy[key] for key in ("transform", "standardise_before", "standardise_after")},
        "num_demonstrations": num_demonstrations(row.record),
        "num_training_seeds": len(row.runs),
        "training_seeds": " ".join(map(str, row.training_seeds)),
        "shortfalls": ", ".join(row.shortfalls),
        **{f"success_{key}": row.success[key] for key in _RATE},  # type: ignore[literal-required]
        "success_per_seed": per_seed(row),
        "success_interquartile_mean": interquartile_mean(rates),
        **{f"success_once_{key}": row.success_once[key] for key in _RATE},  # type: ignore[literal-required]
        **{f"num_{key}s": sum(record["errors"][key] for record in row.records) for key in row.record["errors"]},
        "p_against_best": row.p_best,
        "p_against_best_holm": row.p_holm,
        "not_separable_from_best": row.not_separable if row.rank is not None else None,
        "probability_best_improves": _improvement(group, row),
        **{key: mean_measure(row, key) for key in _MEASURES},
        **verdict_values(row),
        **_escape(row),
        "verified": " ".join(run.reproduction or "" for run in row.runs).strip() or None,
        "checkpoint_sha256": _joined(record["policy"]["checkpoint_sha256"] for record in row.records),
        "data_set_sha256": " ".join(data_sets(row)) or None,
        "record": " ".join(run.source for run in row.runs),
        "record_sha256": " ".join(run.sha256 for run in row.runs),
    }


def _joined(values: Iterable[str | None]) -> str | None:
    return " ".join(value for value in values if value is not None) or None


def _improvement(group: Group, row: Row) -> float | None:
    """Probability that a training seed of the group's best row does better than one of this row."""
    if row.rank is None or len(row.runs) < 2 or len(group.ranked[0].runs) < 2:
        return None
    best, own = (np.array([record["success"]["rate"] for record in entry.records]) for entry in (group.ranked[0], row))
    return probability_of_improvement([best], [own])


def _escape(row: Row) -> dict[str, Any]:
    """Escape step of each training seed, and the last step of runs that never escaped."""
    ends = [(escape_step(record), training_points(record, "cue_slope")) for record in row.records]
    return {
        "escape_step": _joined(None if step is None else str(step) for step, _ in ends),
        "escape_censored_at": _joined(str(points[-1][0]) if points and step is None else None for step, points in ends),
    }


def _csv_value(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.6g}"
    text = str(value)
    return f"'{text}" if isinstance(value, str) and text.startswith(_FORMULA_START) else text


def print_terminal(groups: Sequence[Group], console: Console) -> None:
    """Prints the first measures of every group, as many as fit; text from records is never read as markup."""
    columns = pick(_TERMINAL)
    for group in groups:
        rows = [
            TerminalRow(
                cells=[Text(_terminal_text(entry, row)) for entry in columns],
                style="dim" if not row.may_be_ranked else "bold" if row.rank == 1 else "",
                ends_section=bool(group.references) and row is (group.competing or [None])[-1],
            )
            for row in group.rows
        ]
        print_table(
            console, f"{group.task} ({conditions(group)})", [_terminal_column(entry) for entry in columns], rows
        )
    if any(row.not_separable for group in groups for row in group.ranked):
        console.print(Text(NOT_SEPARABLE_LEGEND, style="dim"))
    for legend in short_entry_legends(groups):
        console.print(Text(legend, style="dim"))


def _terminal_column(entry: Column) -> TerminalColumn:
    joined = " [" if entry.key == "success" else "" if entry.numeric else None
    return TerminalColumn(
        title=_TERMINAL_TITLES.get(entry.key, entry.title),
        is_name=entry.key == "policy",
        justify="right" if entry.numeric else "left",
        joined=joined,
    )


def _terminal_text(entry: Column, row: Row) -> str:
    cell = entry.cell(row)
    if entry.key == "success":
        rate = row.success
        return f"{rate['k']}/{rate['n']} {cell.text:>6} [{interval(rate)}]"
    if entry.key == "policy":
        return f"{cell.text} (privileged)" if row.is_privileged else cell.text
    if entry.key == "verdict_slope":
        return cell.text
    return f"{cell.text} {cell.detail}".rstrip()


def escape_latex(text: str) -> str:
    """Text escaped for LaTeX, on one line; control characters become blanks."""
    flat = " ".join(re.sub(r"[\x00-\x1f\x7f-\x9f]", " ", text).split())
    return _TO_ESCAPE.sub(lambda found: _SPECIAL.get(found[0]) or f"{found[0]}{{}}", flat)


def latex_tables(groups: Sequence[Group]) -> str:
    """Every group's long table; ranked rows, a rule, then the references."""
    head = "% Written by smidgen-leaderboard from the records; needs \\usepackage{booktabs}.\n"
    return head + "\n".join(_table(index, group) for index, group in enumerate(groups))


def _table(index: int, group: Group) -> str:
    columns = [column for column in pick(LONG) if column.key not in _LEFT_OUT]
    alignment = "".join("r" if column.numeric else "l" for column in columns)
    titles = [escape_latex(_TITLES.get(column.key, column.title)) for column in columns]
    notes = escape_latex("; ".join(legends([group], str)))
    entered = [_line(columns, row) for row in group.competing]
    references = [_line(columns, row) for row in group.references]
    rows = [*entered, *([r"\midrule"] if entered and references else []), *references]
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{escape_latex(group.task)} ({escape_latex(conditions(group))}). {notes}.}}",
        rf"\label{{tab:leaderboard-{index + 1}}}",
        rf"\begin{{tabular}}{{{alignment}}}",
        r"\toprule",
        rf"{' & '.join(titles)} \\",
        r"\midrule",
        *rows,
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
        "",
    ]
    return "\n".join(lines)


def _line(columns: Sequence[Column], row: Row) -> str:
    return rf"{' & '.join(_cell(column, row) for column in columns)} \\"


def _cell(column: Column, row: Row) -> str:
    cell = column.cell(row)
    text = escape_latex(cell.text)
    if column.key == "success":
        rate = row.success
        best = rf"\textbf{{{text}}}" if row.rank == 1 else text
        return f"{rate['k']}/{rate['n']} = {best} {escape_latex(f'[{interval(rate)}]')}"
    if column.key == "policy":
        return f"{text} ({escape_latex(cell.detail)})" if cell.detail else text
    return f"{text} {escape_latex(cell.detail)}".rstrip()
