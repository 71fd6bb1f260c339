"""Measures of predictions against targets: R^2, explained variance, variance ratio, skill, copying, calibration.

Letters: ``...`` any leading axes (batch, chunk step), ``A`` coordinates, ``N`` rows, ``H`` chunk steps.
All arguments of a measure, tensors or arrays, have the same shape (..., A), or (B,) for one coordinate; anything else
raises ValueError. All sums use float64. An undefined measure (for a constant target, say) is NaN.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from smidgen.evaluation.collapse.values import ArrayLike, as_float64, as_integers, flatten_rows

# Below this share of unexplained variance, two regressors count as collinear.
_COLLINEAR = 1e-9


def one_minus_ratio(error_A: Tensor, total_A: Tensor) -> Tensor:
    """1 - error / total; NaN where the total is zero."""
    undefined = torch.full_like(total_A, math.nan)
    return torch.where(total_A > 0, 1 - error_A / torch.where(total_A > 0, total_A, 1.0), undefined)


def variance(rows_NA: Tensor) -> Tensor:
    """Population variance per coordinate; exactly 0 for a constant, whatever the rounding error of its mean."""
    variance_A = rows_NA.var(dim=0, correction=0)
    return torch.where(rows_NA.amax(dim=0) == rows_NA.amin(dim=0), 0.0, variance_A)


def r2_per_coordinate(prediction: ArrayLike, target: ArrayLike) -> Tensor:
    """Coefficient of determination against the targets' global mean: 1 - MSE / Var(target), float64 (A,)."""
    prediction_NA, target_NA = flatten_rows(prediction=prediction, target=target)
    return one_minus_ratio((target_NA - prediction_NA).square().mean(dim=0), variance(target_NA))


def explained_variance(prediction: ArrayLike, target: ArrayLike) -> Tensor:
    """1 - Var(target - prediction) / Var(target), float64 (A,): like R^2, but ignores a constant bias."""
    prediction_NA, target_NA = flatten_rows(prediction=prediction, target=target)
    return one_minus_ratio(variance(target_NA - prediction_NA), variance(target_NA))


def prediction_variance_ratio(prediction: ArrayLike, target: ArrayLike) -> Tensor:
    """Var(prediction) / Var(target), float64 (A,): 0 for a constant output."""
    prediction_NA, target_NA = flatten_rows(prediction=prediction, target=target)
    return 1 - one_minus_ratio(variance(prediction_NA), variance(target_NA))


def by_chunk_step(
    measure: Callable[[Tensor, Tensor], Tensor], prediction_NHA: ArrayLike, target_NHA: ArrayLike
) -> Tensor:
    """A measure per coordinate, separately for each step of the predicted chunks: float64 (H, A).

    Args:
        measure: `r2_per_coordinate`, `explained_variance` or `prediction_variance_ratio`.
        prediction_NHA: (N, H, A) predicted chunks.
        target_NHA: (N, H, A) the expert's actions.

    Raises:
        ValueError: If shapes differ or have no chunk axis.
    """
    prediction_NHA, target_NHA = as_float64(prediction_NHA, "prediction"), as_float64(target_NHA, "target")
    if prediction_NHA.ndim != 3 or prediction_NHA.shape != target_NHA.shape:
        shapes = tuple(prediction_NHA.shape), tuple(target_NHA.shape)
        raise ValueError(f"expected chunks of one shape (N, H, A), got {shapes[0]} and {shapes[1]}")
    pairs = zip(prediction_NHA.unbind(dim=1), target_NHA.unbind(dim=1), strict=True)
    return torch.stack([measure(prediction_NA, target_NA) for prediction_NA, target_NA in pairs])


def skill(prediction: ArrayLike, target: ArrayLike, reference: ArrayLike) -> float:
    """Skill against a reference prediction: 1 - MSE / MSE of the reference.

    Every coordinate's error is first divided by its target's standard deviation, so that a gripper in [-1, 1] does not
    dominate positions in metres; coordinates whose target is constant are left out.

    Args:
        prediction: (..., A).
        target: (..., A).
        reference: (..., A), the prediction of the reference (time mean, persistence).

    Returns:
        1 for a perfect prediction, 0 for one as good as the reference; NaN if the reference is perfect.

    Source: A. H. Murphy, "Skill scores based on the mean square error", Monthly Weather Review 116, 1988.
    """
    prediction_NA, target_NA, reference_NA = flatten_rows(prediction=prediction, target=target, reference=reference)
    variance_A = variance(target_NA)
    varies = variance_A > 0
    if not bool(varies.any()):
        return math.nan
    error_A = (prediction_NA - target_NA).square().mean(dim=0)[varies] / variance_A[varies]
    reference_error_A = (reference_NA - target_NA).square().mean(dim=0)[varies] / variance_A[varies]
    return float(one_minus_ratio(error_A.sum(), reference_error_A.sum()))


def mean_distance(prediction: ArrayLike, target: ArrayLike, reference: ArrayLike) -> float:
    """Squared distance of predictions from a mean, relative to that of the targets: E|p - m|^2 / E|y - m|^2.

    About 0 for a policy that plays back the mean, a^2 for a mixture a * expert + (1 - a) * mean. Coordinates are summed
    unscaled, so they must share a unit; those with a constant target count, as predictions may still differ there.

    Args:
        prediction: (..., A).
        target: (..., A).
        reference: (..., A), the mean: of all demonstrations, or of each control step.

    Returns:
        The ratio; NaN if every target is the mean.
    """
    prediction_NA, target_NA, reference_NA = flatten_rows(prediction=prediction, target=target, reference=reference)
    spread = (target_NA - reference_NA).square().sum()
    return float((prediction_NA - reference_NA).square().sum() / spread) if spread > 0 else math.nan


def recalibration_gain(prediction: ArrayLike, target: ArrayLike) -> float:
    """The share by which a new offset and factor per coordinate would lower the squared error.

    0 for every conditional mean: the mean of the targets given what a policy does notice (its own arm, the time) cannot
    be improved that way. Copies of the arm's position and arbitrary networks can be. Coordinates share a unit.

    Args:
        prediction: (..., A).
        target: (..., A).

    Returns:
        1 - MSE of the best linear correction / MSE; NaN if the prediction is perfect.
    """
    prediction_NA, target_NA = flatten_rows(prediction=prediction, target=target)
    error = (prediction_NA - target_NA).square().mean(dim=0).sum()
    centred_NA, deviation_NA = prediction_NA - prediction_NA.mean(dim=0), target_NA - target_NA.mean(dim=0)
    power_A = variance(prediction_NA)
    covariance_A = (centred_NA * deviation_NA).mean(dim=0)
    explained_A = torch.where(power_A > 0, covariance_A.square() / torch.where(power_A > 0, power_A, 1.0), 0.0)
    return float(one_minus_ratio((variance(target_NA) - explained_A).clamp_min(0).sum(), error))


def copycat_weight(prediction: ArrayLike, target: ArrayLike, previous: ArrayLike) -> float:
    """Weight of the expert's previous action in a regression of the prediction on the current and the previous one.

    0 for the expert and for every mean, 1 for a policy that repeats the previous action, b for a mixture
    (1 - b) * current + b * previous.

    Args:
        prediction: (..., A).
        target: (..., A), the expert's action now.
        previous: (..., A), its action one control step earlier.

    Returns:
        The coefficient, over all coordinates in units of their targets' deviation; NaN if actions do not change from
        step to step, so that current and previous are equal.

    Source: the failure, C. Wen et al., "Fighting copycat agents in behavioral cloning from observation histories",
    NeurIPS 2020; the regression is ours.
    """
    rows = flatten_rows(prediction=prediction, target=target, previous=previous)
    deviation_A = variance(rows[1]).sqrt()
    varies = deviation_A > 0
    predicted, now, before = (((row - row.mean(dim=0))[:, varies] / deviation_A[varies]).flatten() for row in rows)
    own_part = before - now * (before @ now / (now @ now)) if now.numel() else before
    power = own_part @ own_part
    return float(predicted @ own_part / power) if power > _COLLINEAR * (before @ before) and power > 0 else math.nan


def in_time_bins(steps_N: ArrayLike, num_bins: int) -> list[tuple[int, int, Tensor]]:
    """Splits rows by their control step into bins with about equal numbers of rows; equal steps stay together.

    Args:
        steps_N: (N,) control step of each row, from 0.
        num_bins: Maximum number of bins.

    Returns:
        First step, last step and rows (a mask (N,)) of each bin, in time order.
    """
    steps_N = as_integers(steps_N, "steps")
    ordered_N = torch.sort(steps_N).values
    if not len(ordered_N):
        return []
    starts = sorted({int(ordered_N[len(ordered_N) * index // num_bins]) for index in range(num_bins)})
    ends = [*(start - 1 for start in starts[1:]), int(ordered_N[-1])]
    return [(start, end, (steps_N >= start) & (steps_N <= end)) for start, end in zip(starts, ends, strict=True)]


def finite_mean(values: Sequence[float]) -> float:
    """Mean of the finite values; NaN if there are none."""
    finite = [value for value in values if math.isfinite(value)]
    return sum(finite) / len(finite) if finite else math.nan
