"""One job's runs, trained side by side, and what is recorded of each: areas, escape and final state.

The area under 1 - R^2 is integrated by trapezoids over the measured steps, with 1 - R^2 clipped to [0, 1] (a prediction
worse than the mean is no more blind than the mean). In arms of descriptive contrasts a run that has settled ends before
its horizon; after that the area grows by the mean of its last ``SETTLE_STEPS`` steps. ``studies.claims.settling``
measures the effect.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import integrate

from smidgen.evaluation.collapse.escape import escape_step
from smidgen.runtime.files import read_json, write_json_atomic
from studies.claims.arms import WITHOUT_UNIFORM, Arm
from studies.claims.attention import remove_uniform_part
from studies.claims.design import AREA_HORIZONS, FVU_STEPS
from studies.claims.records import Run
from studies.ladder.escape import RunRecord
from studies.ladder.side_by_side import SideBySide

Array = NDArray[np.float64]
Point = tuple[int, float, float]
SPENT_FILE = "spent.json"
STATE_FILE = "state"
NUM_CURVE_POINTS = 60
# Of a curve's numbers in a record.
DIGITS = 6


class MeasuredRuns(SideBySide):
    """Runs in progress that record the time they took, across interruptions.

    Args:
        arm: What to train.
        seeds: One per run.
        lr: Their learning rate.
        stops_at_escape: Whether an escape ends a run: enough to choose a rate.
    """

    def __init__(self, arm: Arm, seeds: Sequence[int], lr: float, *, stops_at_escape: bool = False) -> None:
        self._started = time.perf_counter(), time.process_time()
        self._spent_before = (0.0, 0.0)
        training = dataclasses.replace(arm.training, stop_at_escape=stops_at_escape)
        adapt = remove_uniform_part if arm.attention == WITHOUT_UNIFORM else None
        super().__init__(arm.data, arm.network, training, seeds, [lr] * len(seeds), adapt=adapt, look=arm.look)

    @property
    def spent_s(self) -> tuple[float, float]:
        """Wall and core time up to now, in seconds."""
        now = time.perf_counter(), time.process_time()
        return tuple(b + n - s for b, n, s in zip(self._spent_before, now, self._started, strict=True))  # type: ignore[return-value]

    def save(self, path: Path) -> None:
        """As the base class; writes the time spent beside it."""
        super().save(path)
        write_json_atomic(path.with_name(SPENT_FILE), list(self.spent_s))

    def load(self, path: Path) -> None:
        """As the base class, and the time spent before."""
        super().load(path)
        spent = path.with_name(SPENT_FILE)
        if self.step and spent.exists():
            wall_s, core_s = read_json(spent)
            self._spent_before = (float(wall_s), float(core_s))


def run_block(
    arm: Arm, seeds: Sequence[int], lr: float, scratch: Path, *, stops_at_escape: bool = False
) -> tuple[tuple[Run, ...], tuple[float, float]]:
    """Trains an arm on some seeds; resumes where a killed process stopped.

    Args:
        arm: What to train.
        seeds: One per run.
        lr: Learning rate after warm-up.
        scratch: Folder of unfinished runs.
        stops_at_escape: Whether an escape ends a run.

    Returns:
        The runs, and the wall and core time they took, in seconds.
    """
    torch.set_num_threads(1)
    runs = MeasuredRuns(arm, seeds, lr, stops_at_escape=stops_at_escape)
    runs.load(scratch / STATE_FILE)
    runs.train(scratch / STATE_FILE)
    measured = [measured_run(seed, record, arm.horizon) for seed, record in zip(seeds, runs.records, strict=True)]
    return tuple(measured), runs.spent_s


def measured_run(seed: int, record: RunRecord, horizon: int) -> Run:
    """The record of a finished run.

    Args:
        seed: The run's.
        record: All its measurements.
        horizon: Steps up to which the area is taken.
    """
    curve = record.watch.curve
    steps, fvu = completed_curve(curve, horizon)
    return Run(
        seed=seed,
        areas={str(h): round(area(steps, fvu, h), 4) for h in sorted({*AREA_HORIZONS, horizon}) if h <= horizon},
        fvu={str(s): round(float(np.interp(s, steps, fvu)), DIGITS) for s in FVU_STEPS if s <= horizon},
        escape_step=escape_step(((step, r2) for step, _, r2 in curve), record.watch.confirm_steps),
        steps_run=record.steps_run,
        diverged=record.diverged,
        curve=thinned(curve),
        initial=record.initial,
        final=record.final,
        oracle_r2=record.oracle_r2,
    )


def completed_curve(curve: Sequence[Point], horizon: int, settle_steps: int = 0) -> tuple[Array, Array]:
    """1 - R^2 within [0, 1] at the measured steps, extended to the horizon if the run ended earlier.

    Args:
        curve: (step, loss, R^2) of a run.
        horizon: Last step of the result.
        settle_steps: Of how many last steps a run that ended early keeps the mean; 0: as the arms do.

    Returns:
        Steps and values; the values of a run that diverged are 1 from there on.
    """
    from studies.claims.design import SETTLE_STEPS

    steps = np.array([step for step, _, _ in curve], dtype=np.float64)
    fvu = np.clip(1 - np.array([r2 if math.isfinite(r2) else -math.inf for _, _, r2 in curve]), 0.0, 1.0)
    if steps[-1] < horizon:
        late = fvu[steps >= steps[-1] - (settle_steps or SETTLE_STEPS)]
        is_sound = math.isfinite(curve[-1][1])
        rest = float(late.mean()) if is_sound else 1.0
        steps = np.concatenate([steps, [steps[-1], horizon]])
        fvu = np.concatenate([fvu, [rest, rest]])
    return steps, fvu


def area(steps: Array, fvu: Array, horizon: int) -> float:
    """Area under a completed curve from step 0 to a horizon, by trapezoids."""
    inside = steps <= horizon
    xs = np.append(steps[inside], horizon)
    ys = np.append(fvu[inside], np.interp(horizon, steps, fvu))
    return float(integrate.trapezoid(ys, xs))


def thinned(curve: Sequence[Point]) -> tuple[tuple[int, float | None], ...]:
    """At most ``NUM_CURVE_POINTS`` measurements, evenly spread over the logarithm of the step."""
    last = curve[-1][0]
    wanted = np.unique(np.geomspace(1, last + 1, NUM_CURVE_POINTS).round().astype(int) - 1)
    steps = np.array([step for step, _, _ in curve])
    places = np.unique([0, *np.abs(steps[None] - wanted[:, None]).argmin(axis=1)])
    points = [(curve[place][0], 1 - curve[place][2]) for place in places]
    return tuple((step, round(fvu, DIGITS) if math.isfinite(fvu) else None) for step, fvu in points)
