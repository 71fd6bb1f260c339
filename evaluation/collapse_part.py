"""Builds the record's collapse part; measures that cannot be computed are null, with the reason."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from smidgen.data_collection.store import EpisodeStore
from smidgen.evaluation import collapse
from smidgen.evaluation.collapse.labels import UNDECIDED
from smidgen.evaluation.held_out_measures import (
    PredictionsAndTargets,
    cue_parts,
    cue_skill,
    distances_to_the_mean,
    fit_and_skills,
    over_time,
    r2_by_chunk_step,
    responses,
)
from smidgen.evaluation.record_schema import ALL_FAILED, COLLAPSE_MEASURES, VERDICT_MEASURES, Collapse
from smidgen.policies.baselines import DemoStatistics
from smidgen.runtime.files import finite_or_none

PATH_MEASURES = (
    "spread_ratio",
    "mean_path_distance",
    "path_slope",
    "path_slope_interval",
    "goal_r2",
    "goal_information_bits",
    "latching_index",
    "episode_verdicts",
)
NO_PAIRS = "the demonstrations hold no counterfactual pairs in which the expert's target changes"
NO_VERDICT = (
    "needs ten episodes or more with counterfactual pairs, or with the expert's paths, and a slope known to within 0.2"
)
_VARYING_EXPERT = "needs two episodes or more, and an expert whose paths differ"
# Why a measure is null although its data exist.
UNDEFINED = {
    "skill_time_mean": "the time-mean trajectory is perfect, or no target varies",
    "skill_global_mean": "the mean is perfect, or no target varies",
    "skill_persistence": "persistence is perfect, or no target varies",
    "mean_distance": "every target is the mean",
    "recalibration_gain": "the predictions are perfect",
    "copycat_weight": "the expert's action does not change from step to step",
    "response_to_shuffling": "needs two episodes in which the expert acts differently",
    "response_to_blanking": "no target varies",
    "cue_slope": NO_PAIRS,
    "cue_slope_interval": "needs ten episodes with counterfactual pairs",
    "cue_skill": "the twin is perfect",
    "spread_ratio": _VARYING_EXPERT,
    "mean_path_distance": _VARYING_EXPERT,
    "path_slope": "needs six episodes or more, and an expert whose paths differ",
    "path_slope_interval": "needs ten episodes or more, and an expert whose paths differ",
    "goal_r2": "needs six episodes or more, and an expert that ends at different places",
    "goal_information_bits": "needs five episodes or more, and an expert that ends at different places",
    "latching_index": "the expert does not move",
    "mean_collapsed": "needs a verdict, and for a blind policy a mean to compare with",
    **dict.fromkeys(VERDICT_MEASURES[:-1], NO_VERDICT),
}
NEEDS_TRAINING_DEMOS = "needs train_demos=DIR"
NEEDS_TWIN = "needs twin=CHECKPOINT, the same network trained with the cue hidden"


class CollapsePart:
    """A record's collapse measures, as they become known.

    Args:
        coordinates: Names of the position coordinates.
        reason: Why nothing is measured yet; it stays with every measure that is never added.
    """

    def __init__(self, coordinates: Sequence[str], reason: str) -> None:
        self._coordinates = list(coordinates)
        self._fields: dict[str, Any] = {"num_windows": 0, "num_counterfactuals": 0, "demos_sha256": None}
        self._fields |= dict.fromkeys(COLLAPSE_MEASURES)
        self._reasons = dict.fromkeys((*COLLAPSE_MEASURES, "demos_sha256"), reason)
        self._cue: collapse.SlopeParts | None = None
        self._paths: collapse.SlopeParts | None = None
        self._distances: list[float] = []

    def add_held_out(
        self,
        store: EpisodeStore,
        steps: Mapping[int, Sequence[int]],
        answers: Mapping[int, Mapping[str, Any]],
        train_statistics: DemoStatistics | None,
        twin_answers: Mapping[int, Mapping[str, Any]] | None = None,
    ) -> None:
        """Adds the measures on held-out demonstrations, over the position coordinates.

        Args:
            store: The held-out demonstrations.
            steps: Measured steps by seed.
            answers: The result of `held_out_predictions.predict_episode`, by seed.
            train_statistics: Of the training demonstrations, for the skills against their means.
            twin_answers: The answers of a twin that was trained with the cue hidden.
        """
        data = PredictionsAndTargets(store, steps, answers, self._coordinates)
        self._fields |= {"num_windows": len(data.target), "num_counterfactuals": len(data.pairs["step"])}
        self._fields["demos_sha256"] = store.sha256
        self._put({**fit_and_skills(data, train_statistics), **responses(data)})
        if train_statistics is None:
            self._reasons |= dict.fromkeys(("skill_time_mean", "skill_global_mean"), NEEDS_TRAINING_DEMOS)
        self._put({"over_time": over_time(data, train_statistics)})
        if data.has_chunks:
            self._put({"r2_by_chunk_step": r2_by_chunk_step(data)})
        else:
            self._reasons["r2_by_chunk_step"] = "the policy gives one action at a time"
        distances = distances_to_the_mean(data, train_statistics or store.statistics(list(steps)))
        self._put(distances)
        self._distances = list(distances.values())
        self._cue = cue_parts(data)
        self._add_cue(data, twin_answers)

    def _add_cue(self, data: PredictionsAndTargets, twin_answers: Mapping[int, Mapping[str, Any]] | None) -> None:
        if self._cue is None:
            self._reasons |= dict.fromkeys(("cue_slope", "cue_slope_interval", "cue_skill"), NO_PAIRS)
            return
        interval = collapse.slope_interval(self._cue)
        self._put({"cue_slope": self._cue.slope, "cue_slope_interval": _bounds(interval)})
        if twin_answers is None:
            self._reasons["cue_skill"] = NEEDS_TWIN
        else:
            self._put({"cue_skill": cue_skill(data, twin_answers)})

    def add_paths(self, paths: Mapping[int, Any], expert_paths: Mapping[int, Any] | None, task: str) -> None:
        """Adds the measures of closed-loop paths, over the seeds for which policy and expert have one.

        Args:
            paths: End-effector paths (S, 3) in metres by seed, in the order of the record's episodes; empty where one
                ended with an error.
            expert_paths: The expert's; None where the task has no expert.
            task: The task's name, for the reason.
        """
        if expert_paths is None:
            self._reasons |= dict.fromkeys(PATH_MEASURES, f"task {task!r} has no expert")
            return
        seeds = [seed for seed in paths if len(paths[seed]) and len(expert_paths[seed])]
        if not seeds:
            self._reasons |= dict.fromkeys(PATH_MEASURES, ALL_FAILED)
            return
        own, expert = ([torch.as_tensor(part[seed]) for seed in seeds] for part in (paths, expert_paths))
        # The goal is the expert's final position on the same seed, even if the task defines another.
        ends, goals = (torch.stack([torch.zeros(3), *(path[-1] for path in part)])[1:] for part in (own, expert))
        self._paths = collapse.path_slope_parts(own, expert)
        interval = collapse.slope_interval(self._paths)
        labels = dict(zip(seeds, collapse.episode_labels(self._paths), strict=True))
        distance = collapse.mean_path_distance(own, expert)
        self._put(
            {
                "spread_ratio": collapse.spread_ratio(own, expert),
                "mean_path_distance": distance,
                "path_slope": self._paths.slope,
                "path_slope_interval": _bounds(interval),
                "goal_r2": collapse.goal_r2(ends, goals),
                "goal_information_bits": collapse.goal_information_bits(ends, goals),
                "latching_index": collapse.latching_index(own, expert),
                "episode_verdicts": [labels.get(seed, UNDECIDED) for seed in paths],
            }
        )
        self._distances = self._distances or [distance**2]

    def finish(self, no_verdict: str = "") -> Collapse:
        """The record's part, with the verdict.

        Args:
            no_verdict: The reason for giving no verdict despite the measures; "" if there is none.
        """
        verdict = collapse.judge(self._cue, self._paths)
        interval = verdict.interval
        self._put(
            {
                "verdict": verdict.label,
                "verdict_slope": interval.slope,
                "verdict_interval": _bounds(interval),
                "verdict_source": verdict.source,
                "mean_collapsed": collapse.is_mean_collapsed(verdict, self._distances),
            }
        )
        if no_verdict:
            self._fields |= dict.fromkeys(VERDICT_MEASURES)
            self._reasons |= dict.fromkeys(VERDICT_MEASURES, no_verdict)
        reasons = {name: reason for name, reason in self._reasons.items() if self._fields[name] is None}
        version = collapse.DETECTOR_VERSION
        named = {"coordinates": self._coordinates, "detector_version": version, "reasons": reasons}
        return {**named, **self._fields}  # type: ignore[typeddict-item]

    def _put(self, measured: Mapping[str, Any]) -> None:
        """Stores values; undefined ones stay null, with the reason."""
        for name, value in measured.items():
            self._fields[name] = finite_or_none(value)
            self._reasons[name] = UNDEFINED.get(name, self._reasons[name])


def _bounds(interval: collapse.SlopeInterval) -> list[float] | None:
    return [interval.low, interval.high] if math.isfinite(interval.low) else None
