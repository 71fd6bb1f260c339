"""How little differs between episodes: which pixels vary, and which of them change when the cue moves.

Throughout, a pixel counts as changed if any of its colours changes by more than :data:`QUANTISATION_LEVELS`. Rounding
to whole grey levels alone can change a value by one.

Axes: E episodes, K counterfactual pairs, T frames of history, N cameras, H rows, W columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from smidgen.data_collection.array_files import Array
from smidgen.data_collection.episode import Episode

QUANTISATION_LEVELS = 1


@dataclass(frozen=True, eq=False)
class PixelVariation:
    """Episodes compared with each other at the same control step.

    Attributes:
        num_episodes: Number of episodes compared.
        shares: For each common step, the share of pixels in which at least two episodes differ.
        mean_first_NHWC: Mean of the first frames, in grey levels.
        sd_first_NHW: Standard deviation of the first frames over the episodes, in grey levels, root mean square over
            the colours.
        sd_NHW: The same at every common step, root mean square over the steps.
    """

    num_episodes: int
    shares: tuple[float, ...]
    mean_first_NHWC: Array
    sd_first_NHW: Array
    sd_NHW: Array


@dataclass(frozen=True, eq=False)
class CueChange:
    """What changes in the frames of counterfactual pairs when the cue is moved or hidden.

    Attributes:
        moved_KT: Number of pixels, over all cameras, that moving the cue changes in each frame.
        hidden_KT: Number of pixels that hiding the cue changes.
        moved_levels: Mean size of the change over the pixels that moving the cue changes: the largest of a pixel's
            colours, in grey levels; 0 if none changes.
        moved_share_NHW: Share of the frames in which moving the cue changes a pixel.
    """

    moved_KT: Array
    hidden_KT: Array
    moved_levels: float
    moved_share_NHW: Array


def change_levels(some: Array, others: Array) -> Array:
    """Difference between pixels in grey levels, the largest over their colours.

    Args:
        some: uint8 (..., 3).
        others: uint8, of the same shape.

    Returns:
        int16 (...).
    """
    return np.abs(some.astype(np.int16) - others.astype(np.int16)).max(axis=-1)


def pixel_variation(episodes: Sequence[Episode]) -> PixelVariation | None:
    """Compares episodes frame by frame, at the steps that all of them reach.

    Args:
        episodes: Each with at least one step.

    Returns:
        What varies; None for fewer than two episodes.
    """
    if len(episodes) < 2:
        return None
    shares, variances = [], []
    for step in range(min(episode.num_steps for episode in episodes)):
        frames_ENHWC = np.stack([episode.frames[step] for episode in episodes])
        varies_NHW = change_levels(frames_ENHWC.max(axis=0), frames_ENHWC.min(axis=0)) > QUANTISATION_LEVELS
        shares.append(float(varies_NHW.mean()))
        variances.append(frames_ENHWC.var(axis=0, dtype=np.float64).mean(axis=-1))
        if step == 0:
            mean_first_NHWC = frames_ENHWC.mean(axis=0, dtype=np.float64)
    return PixelVariation(
        num_episodes=len(episodes),
        shares=tuple(shares),
        mean_first_NHWC=mean_first_NHWC,
        sd_first_NHW=np.sqrt(variances[0]),
        sd_NHW=np.sqrt(np.mean(variances, axis=0)),
    )


def cue_change(frames: Array, frames_moved: Array, frames_hidden: Array) -> CueChange | None:
    """Compares counterfactual frames with the recorded ones.

    Args:
        frames: uint8 (K, T, N, H, W, 3), as recorded.
        frames_moved: The same states with the cue elsewhere.
        frames_hidden: The same states without it.

    Returns:
        What changes; None if there is no pair.
    """
    if not len(frames):
        return None
    levels_KTNHW = change_levels(frames, frames_moved)
    moved_KTNHW = levels_KTNHW > QUANTISATION_LEVELS
    hidden_KTNHW = change_levels(frames, frames_hidden) > QUANTISATION_LEVELS
    return CueChange(
        moved_KT=moved_KTNHW.sum(axis=(2, 3, 4)),
        hidden_KT=hidden_KTNHW.sum(axis=(2, 3, 4)),
        moved_levels=float(levels_KTNHW[moved_KTNHW].mean()) if moved_KTNHW.any() else 0.0,
        moved_share_NHW=moved_KTNHW.mean(axis=(0, 1)),
    )
