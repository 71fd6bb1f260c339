"""Does the output follow the cue when it is moved, hidden, swapped for another episode's, or blanked?

Letters: ``...`` any leading axes, ``A`` coordinates, ``K`` pairs, ``E`` episodes. Undefined is NaN.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from smidgen.evaluation.collapse.offline import one_minus_ratio, variance
from smidgen.evaluation.collapse.values import ArrayLike, as_float64, as_integers, flatten_rows


@dataclass(frozen=True, eq=False)
class SlopeParts:
    """A slope as two sums per episode, for resampling of episodes: slope = products.sum() / powers.sum()."""

    products_E: Tensor
    powers_E: Tensor

    def __post_init__(self) -> None:
        for name in ("products_E", "powers_E"):
            object.__setattr__(self, name, as_float64(getattr(self, name), name))

    @property
    def slope(self) -> float:
        """The regression's slope; NaN if there is nothing to respond to."""
        total = self.powers_E.sum()
        return float(self.products_E.sum() / total) if total > 0 else math.nan

    @property
    def num_episodes(self) -> int:
        """Episodes that have something to respond to."""
        return int((self.powers_E > 0).sum())


def cue_slope(delta_prediction: ArrayLike, delta_target: ArrayLike) -> float:
    """Regression through the origin of the output's change on the expert's when only the cue has moved.

    A mixture a * expert + (1 - a) * mean has slope a: 1 sees the cue, 0 is blind to it.

    Args:
        delta_prediction: (..., A), prediction with the cue moved minus prediction for the original state.
        delta_target: (..., A), the expert's target with the cue moved minus its target for the original state.

    Returns:
        sum(dp * dt) / sum(dt^2); NaN if the expert's target never changes.
    """
    delta_prediction_NA, delta_target_NA = flatten_rows(delta_prediction=delta_prediction, delta_target=delta_target)
    power = delta_target_NA.square().sum()
    return float((delta_prediction_NA * delta_target_NA).sum() / power) if power > 0 else math.nan


def cue_slope_parts(delta_prediction_KA: ArrayLike, delta_target_KA: ArrayLike, episode_K: ArrayLike) -> SlopeParts:
    """The cue slope's sums by episode.

    Args:
        delta_prediction_KA: (K, A), as in `cue_slope`.
        delta_target_KA: (K, A).
        episode_K: (K,) integers: the episode of each pair.

    Raises:
        ValueError: If shapes do not agree.
    """
    prediction_KA, target_KA = flatten_rows(delta_prediction=delta_prediction_KA, delta_target=delta_target_KA)
    episode_K = as_integers(episode_K, "episodes")
    if episode_K.shape != (len(target_KA),):
        raise ValueError(f"expected one episode per pair, ({len(target_KA)},), got {tuple(episode_K.shape)}")
    _, index_K = torch.unique(episode_K, return_inverse=True)
    zeros_E = torch.zeros(int(index_K.max()) + 1, dtype=torch.float64)
    return SlopeParts(
        zeros_E.index_add(0, index_K, (prediction_KA * target_KA).sum(dim=1)),
        zeros_E.index_add(0, index_K, target_KA.square().sum(dim=1)),
    )


def cue_skill(prediction: ArrayLike, hidden_prediction: ArrayLike, target: ArrayLike) -> float:
    """1 - MSE / MSE of a twin, the same network trained with the cue hidden: the value of seeing the cue.

    Args:
        prediction: (..., A), the policy's.
        hidden_prediction: (..., A), the twin's, for the same states rendered without the cue.
        target: (..., A).

    Returns:
        1 for a perfect prediction, 0 for one as good as the twin's; NaN if the twin is perfect. Coordinates share a
        unit.
    """
    prediction_NA, hidden_NA, target_NA = flatten_rows(
        prediction=prediction, hidden_prediction=hidden_prediction, target=target
    )
    error, hidden_error = ((rows_NA - target_NA).square().mean() for rows_NA in (prediction_NA, hidden_NA))
    return float(one_minus_ratio(error, hidden_error))


def response_to_shuffling(
    prediction: ArrayLike, shuffled: ArrayLike, target: ArrayLike, shuffled_target: ArrayLike
) -> float:
    """How far the output moves when the frames are another episode's at the same control step.

    0 proves that the policy does not use its frames. More does not prove that it sees the cue: it may see only its arm.

    Args:
        prediction: (..., A), for the episode's own frames.
        shuffled: (..., A), for another episode's frames with everything else unchanged.
        target: (..., A), the expert's action.
        shuffled_target: (..., A), the expert's action in the other episode.

    Returns:
        RMS change relative to that of the expert's action; 1 for the expert, NaN if the expert's actions are equal.

    Source: permutation importance, L. Breiman, "Random forests", Machine Learning 45, 2001.
    """
    rows = flatten_rows(prediction=prediction, shuffled=shuffled, target=target, shuffled_target=shuffled_target)
    moved, expert_moved = ((after - before).square().sum() for before, after in (rows[:2], rows[2:]))
    return float((moved / expert_moved).sqrt()) if expert_moved > 0 else math.nan


def response_to_blanking(prediction: ArrayLike, blanked: ArrayLike, target: ArrayLike) -> float:
    """Root mean square change of the output when every frame is blank, relative to the targets' standard deviation.

    Args:
        prediction: (..., A), for the original frames.
        blanked: (..., A), for uniformly grey frames.
        target: (..., A).

    Returns:
        0 for a policy that does not use its frames; NaN if no target varies. Coordinates share a unit.
    """
    prediction_NA, blanked_NA, target_NA = flatten_rows(prediction=prediction, blanked=blanked, target=target)
    spread = variance(target_NA).sum()
    moved = (blanked_NA - prediction_NA).square().mean(dim=0).sum()
    return float((moved / spread).sqrt()) if spread > 0 else math.nan
