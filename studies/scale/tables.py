"""The computed part of docs/scale.md: core-hours of the leaderboard by board, and what numbers of cores make of it."""

from __future__ import annotations

import statistics
import textwrap
from collections.abc import Mapping, Sequence

from smidgen.experiments.costs import Cost
from smidgen.experiments.entry_jobs import COLLECTING, ENTRY, REFERENCE, TUNING, VERIFICATION, TrackJob
from smidgen.experiments.snapshot import duration
from smidgen.runtime.markdown import left, markdown_table, right
from studies.scale.efficiency import Efficiency
from studies.scale.many_windows import ManyWindows
from studies.scale.simulation import NUM_CORES, Outcome, fewest_cores, longest_chain_s, planned, ratios_of, simulate
from studies.scale.unit_costs import UnitCosts

PAGE_WIDTH = 120
TOLD = {
    COLLECTING: "demonstrations",
    REFERENCE: "references",
    TUNING: "searches",
    ENTRY: "entries",
    VERIFICATION: "runs again",
}
KINDS = tuple(TOLD)


def page_part(
    jobs: Mapping[str, Sequence[TrackJob]],
    costs: UnitCosts,
    known: Sequence[tuple[str, Cost]],
    overhead_s: float,
    efficiencies: Sequence[Efficiency],
    windows: ManyWindows | None,
) -> str:
    """The page's part between its markers.

    Args:
        jobs: Of each board, in order.
        costs: Of a step, a prediction and a control step.
        known: Finished jobs, and what each took.
        overhead_s: Of a job beyond its work.
        efficiencies: What two workers were measured to make of one's work.
        windows: What a training on many windows was measured to take; None: not measured.
    """
    every = [job for its in jobs.values() for job in its]
    ratios = ratios_of(every, costs, known)
    whole = planned(every, costs, ratios, overhead_s)
    outcomes = [simulate(whole, num_cores) for num_cores in NUM_CORES]
    parts = [
        "Core-hours by board, and in brackets the number of jobs; each counts at the first board that needs it:",
        board_table(jobs, {job.label: job.wall_s for job in whole}),
        f"The same {len(whole)} jobs on some numbers of cores, one job at a time on each, in the suite's order, with "
        f"{1e3 * overhead_s:.1f} ms added to each for the pool:",
        core_table(outcomes),
        "The longest chain, from demonstrations through the search for a rate to an entry, takes "
        f"{duration(longest_chain_s(whole))}; more than {fewest_cores(whole)} cores gain nothing.",
        basis(costs, ratios),
        efficiency_part(efficiencies),
        windows_part(windows),
    ]
    return "\n\n".join(part if part.startswith("|") else _prose(part) for part in parts)


def _prose(text: str) -> str:
    return textwrap.fill(text, PAGE_WIDTH, break_on_hyphens=False)


def board_table(jobs: Mapping[str, Sequence[TrackJob]], core_s: Mapping[str, float]) -> str:
    """Core-hours by board and kind of job, from the seconds that each is expected to take."""
    rows, whole = [], [job for its in jobs.values() for job in its]
    for board, its in {**jobs, "all": whole}.items():
        cells = []
        for kind in (*KINDS, ""):
            alike = [job for job in its if not kind or job.kind == kind]
            cells.append(f"{sum(core_s[job.label] for job in alike) / 3600:.1f} ({len(alike)})")
        rows.append([board, *cells])
    return markdown_table(left("board") + right(*TOLD.values(), "all"), rows)


def core_table(outcomes: Sequence[Outcome]) -> str:
    """What numbers of cores make of the jobs."""
    rows = []
    for each in outcomes:
        times = outcomes[0].wall_s / each.wall_s
        rows.append((f"{each.num_cores:,}", duration(each.wall_s), f"{times:.1f}", f"{100 * each.efficiency:.0f} %"))
    return markdown_table(right("cores", "time", "times faster", "efficiency"), rows)


def basis(costs: UnitCosts, ratios: Mapping[str, Sequence[float]]) -> str:
    """Where the times come from."""
    parts = [
        f"{TOLD[kind]} {statistics.median(ratios[kind]):.2f} ({min(ratios[kind]):.2f} to {max(ratios[kind]):.2f}, "
        f"n = {len(ratios[kind])})"
        for kind in KINDS
        if kind in ratios
    ]
    dearest = max(costs.step_s, key=lambda name: costs.step_s[name])
    steps_s = statistics.median(costs.step_s.values())
    times = f"{1e3 * steps_s:.0f} ms at the median of the recipes, {1e3 * costs.step_s[dearest]:.0f} ms for `{dearest}`"
    return (
        "A job's time is that of a model times a ratio. The model counts training steps, predictions and control "
        f"steps, every episode to its horizon, at measured core times: {times} for a training step, "
        f"{1e3 * costs.control_s:.1f} ms for a control step. The ratio is the median of the core time in "
        "`results/costs.csv` over the model, by kind of finished job (range, and number of jobs): "
        f"{', '.join(parts)}."
    )


def efficiency_part(efficiencies: Sequence[Efficiency]) -> str:
    """What two workers make of one's work, or how to measure it."""
    if not efficiencies:
        return "Efficiency of two workers: not measured yet (`python -m studies.scale.efficiency`, on an idle machine)."
    told = [
        f"{100 * each.efficiency:.0f} % with engine={each.engine} ({each.one_worker_s:.0f} s by one worker, "
        f"{each.two_workers_s:.0f} s by two, load {each.load_before:.1f} before)"
        for each in efficiencies
    ]
    first = efficiencies[0]
    return f"Efficiency of two workers on {first.num_jobs} equal trainings: {'; '.join(told)}; {first.machine}."


def windows_part(windows: ManyWindows | None) -> str:
    """What a training on many windows takes, or how to measure it."""
    if windows is None:
        return "Training on 1,000,000 windows: not measured yet (`python -m studies.scale.many_windows`)."
    small, large = windows.small, windows.large
    return (
        f"A training on {large.num_windows:,} windows takes {windows.extra_mb:.0f} MB more memory of its own than one "
        f"on {small.num_windows:,} ({large.memory_mb:.0f} against {small.memory_mb:.0f} MB at most) and waits for its "
        f"data {large.waiting_percent:.1f} % of a step of {large.step_ms:.0f} ms, with nothing in the page cache at "
        f"first. Before the first step, verifying and indexing take {duration(large.preparing_s)}; {windows.machine}."
    )
