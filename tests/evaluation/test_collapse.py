import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from smidgen.evaluation.collapse import (
    CollapseMonitor,
    cue_slope,
    explained_variance,
    prediction_variance_ratio,
    r2_per_coordinate,
    skill,
    spread_ratio,
)

SEEDS = st.integers(0, 2**32 - 1)


def targets(seed: int, rows: int = 50, coordinates: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, coordinates, generator=generator, dtype=torch.float64)


@given(seed=SEEDS, share=st.floats(0, 1))
@settings(deadline=None, max_examples=50)
def test_a_mixture_of_expert_and_mean_has_its_share_as_cue_slope(seed: int, share: float) -> None:
    seen, moved = targets(seed), targets(seed + 1)
    mean = seen.mean(dim=0)
    mixed_seen, mixed_moved = (share * expert + (1 - share) * mean for expert in (seen, moved))
    assert cue_slope(mixed_moved - mixed_seen, moved - seen) == pytest.approx(share, abs=1e-12)


@given(seed=SEEDS, share=st.floats(0, 1))
@settings(deadline=None, max_examples=50)
def test_a_mixture_with_the_mean_has_known_r2(seed: int, share: float) -> None:
    target = targets(seed)
    mixed = share * target + (1 - share) * target.mean(dim=0)
    expected = torch.full((3,), 1 - (1 - share) ** 2, dtype=torch.float64)
    assert torch.allclose(r2_per_coordinate(mixed, target), expected, atol=1e-12)
    assert torch.allclose(prediction_variance_ratio(mixed, target), torch.full_like(expected, share**2), atol=1e-12)


@given(arrays(np.float64, (20, 2), elements=st.floats(-5, 5, width=32)), SEEDS)
@settings(deadline=None, max_examples=50)
def test_r2_agrees_with_its_definition_and_never_exceeds_explained_variance(predicted: np.ndarray, seed: int) -> None:
    target = targets(seed, 20, 2).numpy()
    residual = ((target - predicted) ** 2).sum(axis=0)
    expected = 1 - residual / ((target - target.mean(axis=0)) ** 2).sum(axis=0)
    r2 = r2_per_coordinate(torch.tensor(predicted), torch.tensor(target)).numpy()
    np.testing.assert_allclose(r2, expected, rtol=1e-9)
    assert (explained_variance(torch.tensor(predicted), torch.tensor(target)).numpy() >= r2 - 1e-9).all()


@given(SEEDS, st.floats(-3, 3))
@settings(deadline=None, max_examples=25)
def test_explained_variance_ignores_a_constant_bias_and_r2_does_not(seed: int, bias: float) -> None:
    target = targets(seed)
    assert torch.allclose(explained_variance(target + bias, target), torch.ones(3, dtype=torch.float64))
    r2 = r2_per_coordinate(target + bias, target)
    assert torch.allclose(r2, 1 - bias**2 / target.var(dim=0, correction=0))


def test_perfect_mean_and_constant_targets() -> None:
    target = targets(0)
    assert r2_per_coordinate(target, target).tolist() == [1, 1, 1]
    assert torch.allclose(
        r2_per_coordinate(target.mean(dim=0).expand_as(target), target), torch.zeros(3).double(), atol=1e-12
    )
    constant = torch.full((5, 2), 0.1)
    for measure in (r2_per_coordinate, explained_variance, prediction_variance_ratio):
        assert measure(constant + 1, constant).isnan().all()
    assert math.isnan(cue_slope(torch.ones(4, 2), torch.zeros(4, 2)))
    assert math.isnan(skill(target, target, target))


def test_leading_axes_are_rows() -> None:
    predicted, target = targets(1, 60), targets(2, 60)
    folded = r2_per_coordinate(predicted.reshape(4, 5, 3, 3), target.reshape(4, 5, 3, 3))
    assert torch.equal(folded, r2_per_coordinate(predicted, target))


@given(SEEDS, st.floats(0.01, 1000))
@settings(deadline=None, max_examples=25)
def test_skill_is_one_when_perfect_zero_as_the_reference_and_free_of_units(seed: int, scale: float) -> None:
    target, predicted, reference = targets(seed), targets(seed + 1), targets(seed + 2)
    assert skill(target, target, reference) == 1
    assert skill(reference, target, reference) == 0
    units = torch.tensor([1.0, scale, 1.0], dtype=torch.float64)
    rescaled = skill(predicted * units, target * units, reference * units)
    assert rescaled == pytest.approx(skill(predicted, target, reference), rel=1e-9)


def test_skill_against_the_mean_is_the_mean_of_r2() -> None:
    target, predicted = targets(0), targets(1)
    against_mean = skill(predicted, target, target.mean(dim=0).expand_as(target))
    assert against_mean == pytest.approx(float(r2_per_coordinate(predicted, target).mean()))


@given(SEEDS, st.floats(0, 2))
@settings(deadline=None, max_examples=25)
def test_spread_ratio_of_paths_shrunk_towards_their_time_mean(seed: int, share: float) -> None:
    paths = targets(seed, 6 * 10, 3).reshape(6, 10, 3)
    shrunk = share * paths + (1 - share) * paths.mean(dim=0)
    assert spread_ratio(list(shrunk), list(paths)) == pytest.approx(share, abs=1e-12)


def test_spread_ratio_pads_with_the_last_point() -> None:
    paths = list(targets(3, 4 * 8, 3).reshape(4, 8, 3))
    longer = [torch.cat([path, path[-1:].expand(5, 3)]) for path in paths]
    assert spread_ratio(paths, longer) == pytest.approx(spread_ratio(longer, paths)) == pytest.approx(1)
    assert spread_ratio([paths[0]] * 4, paths) == 0
    assert math.isnan(spread_ratio(paths[:1], paths[:1]))
    assert math.isnan(spread_ratio(paths, [paths[0]] * 4))


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="one shape"):
        r2_per_coordinate(torch.zeros(3, 2), torch.zeros(3, 3))
    with pytest.raises(ValueError, match="non-empty"):
        r2_per_coordinate(torch.zeros(0, 2), torch.zeros(0, 2))
    with pytest.raises(ValueError, match="one expert path per path"):
        spread_ratio([torch.zeros(3, 3)], [])
    with pytest.raises(ValueError, match=r"\(S, D\)"):
        spread_ratio([torch.zeros(3), torch.zeros(3)], [torch.zeros(3), torch.zeros(3)])


def follow(monitor: CollapseMonitor, shares: dict[int, float], with_cue: bool = True) -> None:
    target = targets(5)
    for step, share in shares.items():
        cue = {"delta_prediction": share * target, "delta_target": target} if with_cue else {}
        monitor.update(step, share * target + (1 - share) * target.mean(dim=0), target, **cue)


def test_monitor_sees_plateau_escape_and_relapse() -> None:
    monitor = CollapseMonitor()
    assert (monitor.on_plateau, monitor.escape_step, monitor.warning) == (False, None, "")
    follow(monitor, {0: 0.0, 100: 0.1})
    assert (monitor.on_plateau, monitor.plateau_since, monitor.escape_step) == (True, 0, None)
    assert "mean collapse, on the plateau since step 0" in monitor.warning
    follow(monitor, {200: 0.4})
    assert (monitor.on_plateau, monitor.escape_step, monitor.warning) == (False, None, "")
    follow(monitor, {300: 0.6, 400: 0.9})
    assert monitor.escape_step == 300
    assert "escaped at step 300" in monitor.status
    follow(monitor, {500: 0.5})
    assert monitor.escape_step is None
    follow(monitor, {600: 0.7, 700: 0.1})
    assert (monitor.escape_step, monitor.plateau_since) == (None, 700)


def test_monitor_without_a_cue_follows_r2() -> None:
    monitor = CollapseMonitor()
    follow(monitor, {1: 0.0, 2: 0.5, 3: 0.8}, with_cue=False)
    assert math.isnan(monitor.reading.cue_slope)
    assert monitor.signal == pytest.approx(1 - 0.2**2)
    assert monitor.escape_step == 2


def test_monitor_tells_a_blind_policy_from_one_at_the_mean() -> None:
    monitor, target = CollapseMonitor(), targets(6)
    monitor.update(7, target, target, delta_prediction=torch.zeros_like(target), delta_target=target)
    assert "blind to the cue, on the plateau since step 7" in monitor.warning


def test_monitor_warns_of_predictions_that_are_not_finite() -> None:
    monitor = CollapseMonitor()
    monitor.update(0, torch.full((4, 2), math.nan), torch.randn(4, 2))
    assert "not finite" in monitor.warning
    assert not monitor.on_plateau


def test_monitor_state_survives_json() -> None:
    uninterrupted, first = CollapseMonitor(), CollapseMonitor()
    shares = {0: 0.0, 10: 0.1, 20: 0.7, 30: 0.8}
    follow(uninterrupted, shares)
    follow(first, {step: shares[step] for step in (0, 10, 20)})
    resumed = CollapseMonitor()
    resumed.load_state_dict(json.loads(json.dumps(first.state_dict(), allow_nan=False)))
    assert resumed.status == first.status
    follow(resumed, {30: 0.8})
    assert resumed.state_dict() == uninterrupted.state_dict()


def test_monitor_scalars_are_finite_and_named() -> None:
    monitor, target = CollapseMonitor(), torch.cat([targets(1), torch.zeros(50, 1)], dim=1)
    reading = monitor.update(0, target * 0.5, target, time_mean=target * 0.1, persistence=target * 0.2)
    scalars = reading.scalars()
    assert all(math.isfinite(value) for value in scalars.values())
    assert {"r2", "r2/0", "r2/1", "r2/2", "skill_time_mean", "skill_persistence"} <= set(scalars)
    assert not {"r2/3", "cue_slope"} & set(scalars)


def test_monitor_refuses_misuse() -> None:
    monitor, target = CollapseMonitor(), targets(0)
    monitor.update(5, target, target)
    with pytest.raises(ValueError, match="after 5"):
        monitor.update(5, target, target)
    with pytest.raises(ValueError, match="together"):
        monitor.update(6, target, target, delta_target=target)
    with pytest.raises(ValueError, match="version"):
        monitor.load_state_dict({"version": 0})
    with pytest.raises(ValueError, match="plateau_below"):
        CollapseMonitor(plateau_below=0.6)
