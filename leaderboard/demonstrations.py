"""Success by number of demonstrations: rows that differ only in their demonstrations form one curve.

Curves are taken from within a group, so everything else is equal: settings, task, environment and protocol.
"""

from __future__ import annotations

import io
import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass

from smidgen.leaderboard.cells import interval, num_demonstrations, percent, seeds_cell
from smidgen.leaderboard.ranking import Group
from smidgen.leaderboard.rows import Row, method_id
from smidgen.runtime.markdown import escape_markdown, left, markdown_table, right

_SALT = "smidgen"


@dataclass(frozen=True)
class DemonstrationCurve:
    """One recipe on one task.

    Attributes:
        task: The task.
        name: The common part of the rows' names.
        points: Number of demonstrations and row, fewest first.
    """

    task: str
    name: str
    points: tuple[tuple[int, Row], ...]


def demonstration_curves(groups: Sequence[Group]) -> list[DemonstrationCurve]:
    """Every recipe that was trained on two or more numbers of demonstrations, in the order of the ranking."""
    curves = []
    for group in groups:
        gathered: dict[str, list[tuple[int, Row]]] = {}
        for row in group.competing:
            count = num_demonstrations(row.record)
            if count is not None:
                gathered.setdefault(method_id(row.record), []).append((count, row))
        for points in gathered.values():
            if len({count for count, _ in points}) > 1:
                points.sort(key=lambda point: (point[0], point[1].name))
                curves.append(DemonstrationCurve(group.task, _common_name([row for _, row in points]), tuple(points)))
    return curves


def _common_name(rows: Sequence[Row]) -> str:
    names = [row.name for row in rows]
    alike = itertools.takewhile(lambda letters: len(set(letters)) == 1, zip(*names, strict=False))
    return re.sub(r"[-_.+]*\d*$", "", "".join(letters[0] for letters in alike)) or names[0]


def demonstrations_markdown(curves: Sequence[DemonstrationCurve]) -> str:
    """The curves as one table; "" if there are none."""
    if not curves:
        return ""
    heads = left("Task", "Recipe") + right("Demos", "Success [95 % interval]", "Seeds \u00d7 episodes")
    rows = [
        [escape_markdown(curve.task), escape_markdown(curve.name), f"{count:,}", *_cells(row)]
        for curve in curves
        for count, row in curve.points
    ]
    return f"**Success by number of demonstrations**\n\n{markdown_table(heads, rows)}"


def _cells(row: Row) -> list[str]:
    rate, seeds = row.success, seeds_cell(row)
    success = f"{rate['k']}/{rate['n']} = **{percent(rate)}** [{interval(rate)}]"
    return [success, f"{seeds.text} {seeds.detail}".rstrip()]


def demonstrations_svg(curves: Sequence[DemonstrationCurve]) -> bytes:
    """The curves with their intervals, one panel per task, over a logarithmic axis; equal records give equal bytes."""
    # Imported here: it takes a second, and printing a table should be fast.
    import matplotlib
    from matplotlib.figure import Figure

    tasks = list(dict.fromkeys(curve.task for curve in curves))
    with matplotlib.rc_context({"svg.hashsalt": _SALT, "svg.fonttype": "none"}):
        figure = Figure(figsize=(4.5 * max(len(tasks), 1), 3.2), layout="constrained")
        for index, task in enumerate(tasks):
            axes = figure.add_subplot(1, len(tasks), index + 1)
            own = [curve for curve in curves if curve.task == task]
            for curve in own:
                counts = [count for count, _ in curve.points]
                rates = [row.success for _, row in curve.points]
                below = [rate["rate"] - rate["low"] for rate in rates]
                above = [rate["high"] - rate["rate"] for rate in rates]
                values = [rate["rate"] for rate in rates]
                axes.errorbar(counts, values, yerr=(below, above), marker="o", capsize=3, label=_plain(curve.name))
            ticks = sorted({count for curve in own for count, _ in curve.points})
            axes.set(xscale="log", ylim=(-0.03, 1.03), xlabel="demonstrations", ylabel="success rate")
            axes.set_title(_plain(task))
            axes.set_xticks(ticks, [f"{count:,}" for count in ticks])
            axes.minorticks_off()
            axes.legend()
        buffer = io.BytesIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()


def _plain(text: str) -> str:
    """A record's text, escaped so that matplotlib does not read it as mathematics."""
    return text.replace("$", r"\$")
