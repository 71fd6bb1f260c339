"""T0.5, when a run leaves the mean: the first step from which a signal (R^2, cue slope) stays above one half."""

from __future__ import annotations

from collections.abc import Iterable

ESCAPE_ABOVE = 0.5


def held_since(since: int | None, step: int, holds: bool) -> int | None:
    """The first step of the current run of consecutive measurements for which a condition holds.

    Args:
        since: The result for the previous measurement; None if the condition did not hold then.
        step: Training step of this measurement.
        holds: Whether it holds now; comparisons with NaN are false.
    """
    if not holds:
        return None
    return step if since is None else since


def escape_step(points: Iterable[tuple[int, float]], confirm_steps: int | None = None) -> int | None:
    """T0.5 of a whole curve; None if the run has not escaped by its end (right-censored).

    Args:
        points: Training step and signal of every measurement, in order.
        confirm_steps: Number of further steps for which the signal must stay above one half; by default it must stay
            there to the end.
    """
    since: int | None = None
    for step, signal in points:
        since = held_since(since, step, signal > ESCAPE_ABOVE)
        if confirm_steps is not None and since is not None and step - since >= confirm_steps:
            return since
    return since if confirm_steps is None else None
