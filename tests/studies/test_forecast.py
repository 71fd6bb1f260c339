"""The forecast of the escape: its formula, what it reads off a network, and how it is compared."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from smidgen.policies.perceiver import PerceiverConfig
from studies.claims.forecast import (
    choose_by_forecast,
    correlations,
    delayed,
    factor_off,
    forecast,
    steps_to_escape,
)
from studies.ladder.side_by_side import LadderTraining, train_side_by_side
from studies.synthetic import LadderConfig

DATA = LadderConfig(kind="one_token", grid=(1, 8, 8))
RAW = PerceiverConfig(num_latents=4, latent_dim=16, num_layers=1, num_heads=2)
STANDARDISED = dataclasses.replace(RAW, transform="dft1d", standardise_after="token")


@pytest.mark.parametrize(("kernel", "growth", "lr"), [(2.0, 0.1, 1e-3), (0.01, 0.5, 1e-2), (5.0, 1e-6, 1e-3)])
def test_steps_solve_the_growth_that_they_stand_for(kernel: float, growth: float, lr: float) -> None:
    steps = steps_to_escape(kernel, growth, lr)
    t = np.linspace(0, steps, 200_001)
    gained = lr * kernel * (math.exp(growth * steps) - 1) / growth
    assert gained == pytest.approx(1, rel=1e-6)
    assert float(np.mean(lr * kernel * np.exp(growth * t)) * steps) == pytest.approx(1, rel=1e-3)


def test_without_growth_the_gain_is_constant() -> None:
    assert steps_to_escape(2.0, 0.0, 1e-3) == steps_to_escape(2.0, -1.0, 1e-3) == pytest.approx(500)


def test_a_warm_up_delays_by_half_its_length_once_it_is_over() -> None:
    assert delayed(200.0, 100) == 250.0
    # Within it the steps taken add up to t^2 / (2 warm-up).
    assert delayed(8.0, 100) == pytest.approx(40.0)
    assert delayed(50.0, 100) == pytest.approx(100.0)
    assert delayed(7.0, 0) == 7.0


def test_a_network_that_cannot_tell_the_classes_never_escapes() -> None:
    found = forecast(dataclasses.replace(DATA, scale=1e-30), RAW, 0, 1e-3)
    assert found.steps > 1e3


def test_what_is_forecast_to_escape_sooner_does() -> None:
    soon, late = (forecast(DATA, network, 0, 1e-3).steps for network in (STANDARDISED, RAW))
    assert soon < late
    assert choose_by_forecast(DATA, [RAW, STANDARDISED], 0) == 1
    training = LadderTraining(max_steps=600, warmup_steps=0, measure_every=2, confirm_steps=20)
    measured = [
        train_side_by_side(DATA, network, training, [0], [1e-3])[0].escape_step for network in (STANDARDISED, RAW)
    ]
    assert measured[0] is not None
    assert measured[0] < (measured[1] or 600)
    # No constant is fitted, and the scale is right.
    assert 1 / 4 < soon / measured[0] < 4


def test_the_forecast_is_the_same_on_every_call() -> None:
    assert forecast(DATA, RAW, 3, 1e-3) == forecast(DATA, RAW, 3, 1e-3)


def row(arm: str, seed: int, escape: int | None, steps: float | None, contrast: float, is_noisy: bool = False) -> dict:
    return {"arm": arm, "seed": seed, "escape_step": escape, "steps": steps, "contrast": contrast, "is_noisy": is_noisy}


def test_correlations_rank_arms_and_seeds() -> None:
    rows = [row(f"arm{a}", s, 100 * a + s, 50.0 * a + s, 1 / (a + 1)) for a in range(1, 6) for s in range(4)]
    rows += [row("stuck", s, None, None, 0.0, is_noisy=True) for s in range(4)]
    table = correlations(rows)
    assert table["all arms"] == {"num": 6, "steps": 1.0, "contrast": 1.0}
    assert table["arms whose examples are fixed"]["num"] == 5
    assert table["arms whose examples are drawn"] == {"num": 1, "steps": None, "contrast": None}
    assert table["arms of which every run escaped"]["num"] == 5
    # Inside an arm every seed has the same contrast: nothing to rank.
    assert table["within arms, mean"]["steps"] == 1.0


def test_the_factor_is_that_of_the_median_run() -> None:
    rows = [
        row("a", 0, 100, 50.0, 1.0),
        row("a", 1, 100, 300.0, 1.0),
        row("a", 2, 100, 100.0, 1.0),
        row("a", 3, None, 9.0, 1.0),
    ]
    assert factor_off(rows) == 2.0
