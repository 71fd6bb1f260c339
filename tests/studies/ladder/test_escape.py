from __future__ import annotations

import dataclasses
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smidgen.evaluation.collapse.escape import ESCAPE_ABOVE
from studies.ladder.escape import (
    MAX_CURVE_POINTS,
    EscapeWatch,
    RunRecord,
    SeedOutcome,
)

CURVES = st.lists(st.floats(-2.0, 1.0) | st.just(math.nan), min_size=1, max_size=80)


def watch(r2s: list[float], every: int = 10, confirm_steps: int = 30) -> EscapeWatch:
    """Measures until the watch says that the run has escaped, or the curve ends."""
    watched = EscapeWatch(confirm_steps)
    for index, r2 in enumerate(r2s):
        if watched.update(index * every, 1 - r2, r2):
            break
    return watched


@given(CURVES)
def test_escape_is_the_first_step_from_which_r2_stays_above_one_half(r2s: list[float]) -> None:
    # By definition: the first measured step from which this and the measurements of 30 more steps are all above.
    starts = [k for k in range(len(r2s) - 3) if all(r2 > ESCAPE_ABOVE for r2 in r2s[k : k + 4])]
    watched = watch(r2s)
    assert watched.escaped == bool(starts)
    if starts:
        assert watched.above_since == starts[0] * 10
        assert watched.curve[-1][0] == starts[0] * 10 + 30


@pytest.mark.parametrize(
    ("r2s", "escape_step"),
    [
        ([0.0, 0.6, 0.7, 0.8, 0.9], 10),
        ([0.0, 0.6, 0.4, 0.8, 0.9, 0.9, 0.9], 30),
        ([0.6, 0.6, 0.6], None),
        ([0.6, 0.6, 0.5, 0.6, 0.6], None),
        ([0.6, 0.6, math.nan, 0.6, 0.6], None),
        ([0.9, 0.9, 0.9, 0.9], 0),
    ],
)
def test_dips_take_an_escape_back(r2s: list[float], escape_step: int | None) -> None:
    assert RunRecord(watch(r2s)).outcome(0, 1.0).escape_step == escape_step


@given(st.integers(1, 1000))
def test_a_thinned_curve_keeps_both_ends_and_its_order(num_points: int) -> None:
    watched = EscapeWatch(curve=[(step, float(step), 0.0) for step in range(num_points)])
    thinned = watched.thinned_curve()
    assert len(thinned) == min(num_points, MAX_CURVE_POINTS)
    assert set(thinned) <= set(watched.curve)
    assert [point[0] for point in thinned] == sorted({point[0] for point in thinned})
    assert (thinned[0], thinned[-1]) == (watched.curve[0], watched.curve[-1])


@given(CURVES)
def test_records_survive_json(r2s: list[float]) -> None:
    record = RunRecord(watch(r2s), oracle_r2=0.9, steps_run=7, initial={"fvu_held_out": None}, final={"snr": 1.5})
    again = RunRecord.from_json(json.loads(json.dumps(dataclasses.asdict(record))))
    outcome = record.outcome(3, 1e-3)
    assert again.outcome(3, 1e-3) == outcome
    # What is not finite is null in an outcome, which JSON's standard can say.
    assert SeedOutcome.from_json(json.loads(json.dumps(outcome.as_json(), allow_nan=False))) == outcome
    assert [r2 for _, _, r2 in outcome.curve].count(None) == sum(math.isnan(r2) for _, _, r2 in record.watch.curve)
