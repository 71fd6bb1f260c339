"""From predictions and paths to the record's collapse measures; what cannot be measured is null, with the reason."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from smidgen.data_collection.store import EpisodeStore
from smidgen.evaluation.collapse import cue_slope, explained_variance, r2_per_coordinate, skill, spread_ratio
from smidgen.evaluation.record_schema import Collapse
from smidgen.policies.baselines import DemoStatistics, build_baseline

MEASURES = ("r2", "explained_variance", "skill_time_mean", "skill_persistence", "cue_slope", "spread_ratio")


def unmeasured(coordinates: Sequence[str], reason: str) -> Collapse:
    """Every measure null for one reason."""
    return {
        "coordinates": list(coordinates),
        "r2": None,
        "explained_variance": None,
        "skill_time_mean": None,
        "skill_persistence": None,
        "cue_slope": None,
        "spread_ratio": None,
        "num_windows": 0,
        "num_counterfactuals": 0,
        "demos_sha256": None,
        "reasons": dict.fromkeys((*MEASURES, "demos_sha256"), reason),
    }


def measure_held_out(
    collapse: Collapse,
    store: EpisodeStore,
    steps: Mapping[int, Sequence[int]],
    answers: Mapping[int, Mapping[str, Any]],
    train_statistics: DemoStatistics | None,
) -> Collapse:
    """Adds the measures that need held-out demonstrations alone, over the position coordinates.

    Args:
        collapse: What is known so far.
        store: The held-out demonstrations.
        steps: Measured steps by seed.
        answers: What `held_out.predict_episode` gave, by seed.
        train_statistics: Of the training demonstrations, for the skill against their time-mean trajectory.
    """
    names = store.manifest["action_spec"]["names"]
    positions = [names.index(name) for name in collapse["coordinates"]]
    prediction = _joined(answers[seed]["prediction"] for seed in steps)[:, positions]
    target = _joined(store.episode(seed).actions[list(steps[seed])] for seed in steps)[:, positions]
    measured: dict[str, Any] = {
        "r2": _numbers(r2_per_coordinate(prediction, target)),
        "explained_variance": _numbers(explained_variance(prediction, target)),
        "skill_persistence": skill(prediction, target, _persistence(store, steps)[:, positions]),
        "num_windows": len(target),
        "demos_sha256": store.sha256,
    }
    reasons = {"skill_time_mean": "needs train_demos=DIR"}
    if train_statistics is not None:
        time_mean = _joined(train_statistics.time_mean_at(np.asarray(steps[seed], dtype=int)) for seed in steps)
        measured["skill_time_mean"] = skill(prediction, target, time_mean[:, positions])
        reasons["skill_time_mean"] = "the time-mean trajectory is perfect, or no target varies"
    pairs = store.counterfactuals(list(steps))
    measured["num_counterfactuals"] = len(pairs["step"])
    reasons["cue_slope"] = "the demonstrations hold no counterfactual pairs in which the expert's target changes"
    if len(pairs["step"]):
        moved, seen = (_joined(answers[seed][name] for seed in steps) for name in ("frames_moved", "frames"))
        delta_target = torch.as_tensor(pairs["target_moved"] - pairs["target"])
        measured["cue_slope"] = cue_slope((moved - seen)[:, positions], delta_target[:, positions])
    return _with_measured(collapse, measured, reasons)


def measure_spread(
    collapse: Collapse, paths: Mapping[int, Any], expert_paths: Mapping[int, Any] | None, task: str
) -> Collapse:
    """Adds the closed-loop spread ratio over the seeds on which both have a path."""
    if expert_paths is None:
        return _with_measured(collapse, {}, {"spread_ratio": f"task {task!r} has no expert"})
    seeds = [seed for seed in paths if len(paths[seed]) and len(expert_paths[seed])]
    ratio = spread_ratio(
        [torch.as_tensor(paths[seed]) for seed in seeds], [torch.as_tensor(expert_paths[seed]) for seed in seeds]
    )
    reason = "needs two episodes or more, and an expert whose paths differ"
    return _with_measured(collapse, {"spread_ratio": ratio}, {"spread_ratio": reason})


def _with_measured(collapse: Collapse, measured: Mapping[str, Any], reasons: Mapping[str, str]) -> Collapse:
    """Puts finite measures in, and for the others why they are not there."""
    updated: dict[str, Any] = {**collapse, "reasons": {**collapse["reasons"], **reasons}}
    for name, value in measured.items():
        updated[name] = None if isinstance(value, float) and not math.isfinite(value) else value
    updated["reasons"] = {name: reason for name, reason in updated["reasons"].items() if updated[name] is None}
    return updated  # type: ignore[return-value]


def _persistence(store: EpisodeStore, steps: Mapping[int, Sequence[int]]) -> torch.Tensor:
    policy = build_baseline("persistence", store.manifest["action_spec"])
    eef_state_KE = np.concatenate([store.episode(seed).eef_state[list(steps[seed])] for seed in steps])
    policy.reset(num_episodes=len(eef_state_KE))
    return torch.as_tensor(policy.act({"eef_state": eef_state_KE}))


def _joined(parts: Any) -> torch.Tensor:
    """Rows of several episodes, one after the other; episodes without rows are left out."""
    arrays = [np.asarray(part, dtype=np.float64) for part in parts]
    return torch.as_tensor(np.concatenate([array for array in arrays if len(array)]))


def _numbers(values_A: torch.Tensor) -> list[float | None]:
    return [value if math.isfinite(value) else None for value in values_A.tolist()]
