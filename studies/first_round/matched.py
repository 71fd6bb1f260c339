"""The figures beside a withdrawn decision, measured from the arms' records and put into words."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from statistics import fmean

from studies.first_round.effects import measure
from studies.first_round.records import Suite
from studies.first_round.survival import Effect, mean_difference
from studies.first_round.withdrawals import Figure, Withdrawal, planned_comparison
from studies.first_round.wording import and_list, effect_interval, effect_value, prediction_sides


def withdrawal_text(withdrawal: Withdrawal, suite: Suite) -> str:
    """Why a decision was withdrawn, what the records give instead and what they lack, as sentences."""
    parts = [withdrawal.reason]
    figures = [text for figure in withdrawal.figures if (text := figure_text(figure, suite))]
    if figures:
        parts.append(f"{'. '.join(figures)}.")
    if withdrawal.lacks:
        parts.append(f"No record holds {withdrawal.lacks}.")
    return " ".join(parts)


def figure_text(figure: Figure, suite: Suite) -> str:
    """A figure in words; empty if one of its arms has not run.

    Raises:
        UserError: If a record lacks the choices that a figure of kind ``choices`` counts.
    """
    comparison = planned_comparison(suite.plan, figure.comparison)
    needed = figure.slow + figure.fast + figure.arms + (comparison.arms if comparison else ())
    if len(suite.finished(needed)) < len(needed):
        return ""
    return f"{figure.what}: {_MEASURED[figure.kind](figure, suite)}"


def log_time_ratio(slow: str, fast: str, suite: Suite) -> Effect | None:
    """Geometric mean over seeds of the ratio of two arms' escape times; None where a run of either never escaped."""
    arms = [suite.escape_times(name) for name in (slow, fast)]
    if any(arm.num_escaped < len(arm.seeds) for arm in arms):
        return None
    logs = [[math.log(max(time, 1.0)) for time in arm.times] for arm in arms]
    return replace(mean_difference(logs[0], logs[1], arms[0].seeds, arms[1].seeds), is_log=True)


def _shown(effect: Effect) -> str:
    return f"{effect_value(effect)} [{effect_interval(effect)}]"


def _measured(figure: Figure, suite: Suite) -> str:
    comparison = figure.as_comparison
    return f"{prediction_sides(comparison)} {_shown(measure(comparison, suite))}"


def _log_times(figure: Figure, suite: Suite) -> str:
    effect = log_time_ratio(figure.slow[0], figure.fast[0], suite)
    sides = prediction_sides(figure.as_comparison)
    return f"{sides} {_shown(effect)} (geometric mean)" if effect else f"{sides} not measured, a run never escaped"


def _planned(figure: Figure, suite: Suite) -> str:
    comparison = planned_comparison(suite.plan, figure.comparison)
    assert comparison is not None
    return f"{figure.comparison} {_shown(measure(comparison, suite))}"


def _choices(figure: Figure, suite: Suite) -> str:
    comparison = planned_comparison(suite.plan, figure.comparison)
    assert comparison is not None
    pairs = list(zip(comparison.slow, comparison.fast, strict=True))
    chosen = [suite.arms[slow].choices.get(comparison.rule, {}) for slow, _ in pairs]
    num_second = sum(
        name == fast for choices, (_, fast) in zip(chosen, pairs, strict=True) for name in choices.values()
    )
    return f"{comparison.rule} on {num_second} of {sum(map(len, chosen))} runs"


def _escapes(figure: Figure, suite: Suite) -> str:
    parts = []
    for name in figure.arms:
        runs, tuning = suite.escape_times(name), suite.arms[name].tuning
        num_tuned = sum(run.escape_step is not None for run in tuning)
        parts.append(f"{name} {runs.num_escaped} of {len(runs.seeds)} (tuning runs {num_tuned} of {len(tuning)})")
    return and_list(parts)


def _tuning(figure: Figure, suite: Suite) -> str:
    return and_list([f"{name} {_tuning_mean(name, figure.lr, suite)}" for name in figure.arms])


def _tuning_mean(name: str, lr: float | None, suite: Suite) -> str:
    runs = [run.escape_step for run in suite.arms[name].tuning if run.lr == lr]
    num_stuck = runs.count(None)
    last = suite.plan.tuning.max_steps
    mean = f"{fmean(last if step is None else step for step in runs):,.0f}"
    return f"at least {mean} ({num_stuck} of {len(runs)} stuck)" if num_stuck else mean


def _rates(figure: Figure, suite: Suite) -> str:
    return and_list([f"{name} {suite.arms[name].lr:g}" for name in figure.arms])


_MEASURED: dict[str, Callable[[Figure, Suite], str]] = {
    "ratio": _measured,
    "interaction": _measured,
    "fvu": _measured,
    "log_times": _log_times,
    "planned": _planned,
    "choices": _choices,
    "escapes": _escapes,
    "tuning": _tuning,
    "rates": _rates,
}
