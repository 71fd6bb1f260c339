"""Measures mean collapse: does a policy's output follow its input, or does it play back the average?

A leaf package (only PyTorch, NumPy and SciPy), so that any training loop can be monitored in three lines::

    monitor = CollapseMonitor(writer=SummaryWriter("runs/mine"))  # TensorBoard's writer, or none
    monitor.update(step, prediction, target)                      # tensors (..., A), best of held-out data
    print(monitor.status)

`offline` compares predictions with targets, `cue` measures responses to a moved cue or a missing input, `closed_loop`
compares paths, `verdict` decides whether a policy sees, is partly blind or blind, `monitor` watches a training run. See
docs/collapse.md.
"""

from __future__ import annotations

import importlib
import typing

from smidgen.evaluation.collapse.labels import DETECTOR_VERSION

if typing.TYPE_CHECKING:
    from smidgen.evaluation.collapse.closed_loop import (
        goal_information_bits,
        goal_r2,
        latching_index,
        mean_path_distance,
        path_slope_parts,
        spread_ratio,
    )
    from smidgen.evaluation.collapse.cue import (
        SlopeParts,
        cue_skill,
        cue_slope,
        cue_slope_parts,
        response_to_blanking,
        response_to_shuffling,
    )
    from smidgen.evaluation.collapse.monitor import CollapseMonitor, CollapseReading
    from smidgen.evaluation.collapse.offline import (
        by_chunk_step,
        copycat_weight,
        explained_variance,
        in_time_bins,
        mean_distance,
        prediction_variance_ratio,
        r2_per_coordinate,
        recalibration_gain,
        skill,
    )
    from smidgen.evaluation.collapse.verdict import (
        SlopeInterval,
        Verdict,
        episode_labels,
        is_mean_collapsed,
        judge,
        slope_interval,
    )

__all__ = [
    "DETECTOR_VERSION",
    "CollapseMonitor",
    "CollapseReading",
    "SlopeInterval",
    "SlopeParts",
    "Verdict",
    "by_chunk_step",
    "copycat_weight",
    "cue_skill",
    "cue_slope",
    "cue_slope_parts",
    "episode_labels",
    "explained_variance",
    "goal_information_bits",
    "goal_r2",
    "in_time_bins",
    "is_mean_collapsed",
    "judge",
    "latching_index",
    "mean_distance",
    "mean_path_distance",
    "path_slope_parts",
    "prediction_variance_ratio",
    "r2_per_coordinate",
    "recalibration_gain",
    "response_to_blanking",
    "response_to_shuffling",
    "skill",
    "slope_interval",
    "spread_ratio",
]

# The module of each name. Loaded on first access, so that reading records does not import PyTorch.
_HOMES = {
    "closed_loop": (
        "goal_information_bits",
        "goal_r2",
        "latching_index",
        "mean_path_distance",
        "path_slope_parts",
        "spread_ratio",
    ),
    "cue": (
        "SlopeParts",
        "cue_skill",
        "cue_slope",
        "cue_slope_parts",
        "response_to_blanking",
        "response_to_shuffling",
    ),
    "monitor": (
        "CollapseMonitor",
        "CollapseReading",
    ),
    "offline": (
        "by_chunk_step",
        "copycat_weight",
        "explained_variance",
        "in_time_bins",
        "mean_distance",
        "prediction_variance_ratio",
        "r2_per_coordinate",
        "recalibration_gain",
        "skill",
    ),
    "verdict": (
        "SlopeInterval",
        "Verdict",
        "episode_labels",
        "is_mean_collapsed",
        "judge",
        "slope_interval",
    ),
}


def __getattr__(name: str) -> object:
    for module, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
