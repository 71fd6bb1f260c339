import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from smidgen.evaluation.collapse import (
    by_chunk_step,
    copycat_weight,
    cue_skill,
    cue_slope,
    cue_slope_parts,
    explained_variance,
    in_time_bins,
    mean_distance,
    prediction_variance_ratio,
    r2_per_coordinate,
    recalibration_gain,
    response_to_blanking,
    response_to_shuffling,
    skill,
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
    # One less a quotient: near 0 nothing but rounding is left of it.
    np.testing.assert_allclose(r2, expected, rtol=1e-9, atol=1e-14)
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


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="one shape"):
        r2_per_coordinate(torch.zeros(3, 2), torch.zeros(3, 3))
    with pytest.raises(ValueError, match="non-empty"):
        r2_per_coordinate(torch.zeros(0, 2), torch.zeros(0, 2))
    with pytest.raises(ValueError, match=r"\(N, H, A\)"):
        by_chunk_step(r2_per_coordinate, torch.zeros(4, 2), torch.zeros(4, 2))
    with pytest.raises(ValueError, match="one episode per pair"):
        cue_slope_parts(torch.zeros(4, 2), torch.zeros(4, 2), torch.zeros(3, dtype=torch.int64))


@given(SEEDS)
@settings(deadline=None, max_examples=25)
def test_a_chunk_step_is_measured_as_if_it_were_alone(seed: int) -> None:
    predicted, target = targets(seed, 80).reshape(20, 4, 3), targets(seed + 1, 80).reshape(20, 4, 3)
    for measure in (r2_per_coordinate, explained_variance, prediction_variance_ratio):
        measured = by_chunk_step(measure, predicted, target)
        assert measured.shape == (4, 3)
        assert torch.equal(measured[2], measure(predicted[:, 2], target[:, 2]))


@given(SEEDS, st.floats(0, 1))
@settings(deadline=None, max_examples=25)
def test_distance_to_the_mean_is_the_square_of_a_mixtures_share(seed: int, share: float) -> None:
    target, mean = targets(seed), targets(seed + 1)
    assert mean_distance(share * target + (1 - share) * mean, target, mean) == pytest.approx(share**2, abs=1e-12)
    assert math.isnan(mean_distance(target, mean, mean))


def test_a_constant_target_still_shows_that_a_prediction_lies_elsewhere() -> None:
    target = torch.cat([targets(0, 40, 2), torch.zeros(40, 1)], dim=1)
    mean = target.mean(dim=0).expand_as(target)
    assert mean_distance(mean + torch.tensor([0, 0, 3.0]), target, mean) > 3


@given(SEEDS, st.floats(0.1, 3), st.floats(-2, 2))
@settings(deadline=None, max_examples=25)
def test_recalibration_agrees_with_least_squares(seed: int, gain: float, bias: float) -> None:
    target, noise = targets(seed).numpy(), targets(seed + 1).numpy()
    predicted = gain * target + noise + bias
    left = 0.0
    for column in range(3):
        design = np.column_stack([predicted[:, column], np.ones(len(predicted))])
        left += float(np.linalg.lstsq(design, target[:, column], rcond=None)[1][0])
    expected = 1 - left / ((predicted - target) ** 2).sum()
    assert recalibration_gain(torch.tensor(predicted), torch.tensor(target)) == pytest.approx(expected, abs=1e-9)


def test_a_conditional_mean_cannot_be_recalibrated_and_a_copy_of_the_arm_can() -> None:
    groups = torch.arange(6).repeat_interleave(10)
    target = targets(3, 60)
    conditional = torch.stack([target[groups == group].mean(dim=0) for group in range(6)])[groups]
    assert recalibration_gain(conditional, target) == pytest.approx(0, abs=1e-12)
    assert recalibration_gain(target.mean(dim=0).expand_as(target), target) == pytest.approx(0, abs=1e-12)
    assert recalibration_gain(conditional + 2, target) > 0.5
    assert math.isnan(recalibration_gain(target, target))


def test_a_slope_is_the_ratio_of_its_episodes_sums() -> None:
    moved, expert = targets(1, 30), targets(2, 30)
    episode = torch.tensor([7, 7, 3, 3, 3, 9] * 5)
    parts = cue_slope_parts(moved, expert, episode)
    assert parts.slope == pytest.approx(cue_slope(moved, expert))
    assert parts.num_episodes == 3
    only = episode == 7
    assert parts.products_E[1] / parts.powers_E[1] == pytest.approx(cue_slope(moved[only], expert[only]))


def test_cue_skill_is_one_when_perfect_and_zero_as_the_twin() -> None:
    target, twin = targets(1), targets(2)
    assert cue_skill(target, twin, target) == 1
    assert cue_skill(twin, twin, target) == 0
    halfway = (target + twin) / 2
    assert cue_skill(halfway, twin, target) == pytest.approx(0.75)
    assert math.isnan(cue_skill(twin, target, target))


@given(SEEDS, st.floats(0, 2))
@settings(deadline=None, max_examples=25)
def test_responses_to_other_input_scale_with_the_output(seed: int, share: float) -> None:
    target, other = targets(seed), targets(seed + 1)
    assert response_to_shuffling(share * target, share * other, target, other) == pytest.approx(share, abs=1e-12)
    assert response_to_shuffling(other, other, target, other) == 0
    mean = target.mean(dim=0).expand_as(target)
    assert response_to_blanking(share * (target - mean), 0 * target, target) == pytest.approx(share, abs=1e-12)
    assert math.isnan(response_to_blanking(target, target, mean))


@given(SEEDS, st.floats(-1, 2))
@settings(deadline=None, max_examples=25)
def test_the_copycats_weight_is_found_and_a_mean_has_none(seed: int, weight: float) -> None:
    target, previous = targets(seed), targets(seed + 1)
    copying = (1 - weight) * target + weight * previous
    assert copycat_weight(copying, target, previous) == pytest.approx(weight, abs=1e-9)
    assert copycat_weight(target.mean(dim=0).expand_as(target), target, previous) == pytest.approx(0, abs=1e-12)
    assert math.isnan(copycat_weight(copying, target, target))


@given(st.lists(st.integers(0, 40), max_size=60), st.integers(1, 6))
@settings(deadline=None, max_examples=50)
def test_time_bins_hold_every_row_once_in_times_order(steps: list[int], num_bins: int) -> None:
    bins = in_time_bins(torch.tensor(steps), num_bins)
    assert len(bins) <= num_bins
    assert sum(int(rows.sum()) for _, _, rows in bins) == len(steps)
    bounds = [bound for start, end, _ in bins for bound in (start, end)]
    assert bounds == sorted(bounds)
    assert all(bool(rows.any()) for _, _, rows in bins)
