"""Measures of a policy on held-out demonstrations, by their names in the record's collapse part.

Undefined measures are NaN, measures that were not requested are None. All use position coordinates only, in metres.

Letters: ``N`` measured steps, ``K`` counterfactual pairs, ``H`` chunk steps, ``P`` position coordinates.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from smidgen.data_collection.store import EpisodeStore
from smidgen.evaluation import collapse
from smidgen.evaluation.collapse.offline import finite_mean
from smidgen.evaluation.held_out_predictions import PROBE_STRIDE, partner_seed
from smidgen.policies.baselines import DemoStatistics, PersistencePolicy
from smidgen.policies.generators import generators_kept
from smidgen.policies.policy_calls import PolicyCalls
from smidgen.runtime.action_spec import ActionSpec

NUM_TIME_BINS = 4


class PredictionsAndTargets:
    """Predictions and targets of all measured episodes, concatenated.

    Args:
        store: The held-out demonstrations.
        steps: Measured steps by seed.
        answers: The result of `held_out_predictions.predict_episode`, by seed.
        coordinates: Names of the position coordinates.
    """

    def __init__(
        self,
        store: EpisodeStore,
        steps: Mapping[int, Sequence[int]],
        answers: Mapping[int, Mapping[str, Any]],
        coordinates: Sequence[str],
    ) -> None:
        names = store.manifest["action_spec"]["names"]
        self.positions = [names.index(name) for name in coordinates]
        self.store, self._answers = store, answers
        self.steps = {seed: np.asarray(kept, dtype=int) for seed, kept in steps.items()}
        self.step_N = np.concatenate(list(self.steps.values()))
        self.prediction = self.answered("prediction")
        self.target = self.actions_at(self.steps)
        self.pairs = store.counterfactuals(list(steps))
        self.pair_target = torch.as_tensor(self.pairs["target"])[:, self.positions]
        self.pair_change = torch.as_tensor(self.pairs["target_moved"])[:, self.positions] - self.pair_target

    @property
    def has_chunks(self) -> bool:
        """Whether the policy predicts chunks, of the same length in all episodes."""
        answers = self._answers.values()
        lengths = {len(answer["chunks"][0]) for answer in answers if answer.get("chunks")}
        return len(lengths) == 1 and all("chunks" in answer for answer in answers)

    def answered(self, name: str, answers: Mapping[int, Mapping[str, Any]] | None = None) -> torch.Tensor:
        """One of the answers' arrays, only position coordinates: (rows, P) or (rows, H, P)."""
        chosen = self._answers if answers is None else answers
        return joined(chosen[seed][name] for seed in self.steps)[..., self.positions]

    def actions_at(self, steps: Mapping[int, np.ndarray], seeds: Mapping[int, int] | None = None) -> torch.Tensor:
        """The expert's actions at some steps (any shape) of each episode, which is padded with its last action.

        Args:
            steps: By seed.
            seeds: If given, the seeds whose actions to use instead.
        """
        rows = []
        for seed, kept in steps.items():
            actions = self.store.episode(seeds[seed] if seeds else seed).actions
            rows.append(actions[np.minimum(kept, len(actions) - 1)])
        return joined(rows)[..., self.positions]


def fit_and_skills(data: PredictionsAndTargets, train_statistics: DemoStatistics | None) -> dict[str, Any]:
    """Fit per coordinate, and skill against the references that see nothing."""
    prediction, target = data.prediction, data.target
    measured: dict[str, Any] = {
        "r2": collapse.r2_per_coordinate(prediction, target).tolist(),
        "explained_variance": collapse.explained_variance(prediction, target).tolist(),
        "prediction_variance_ratio": collapse.prediction_variance_ratio(prediction, target).tolist(),
        "skill_persistence": collapse.skill(prediction, target, _persistence(data)),
        "skill_time_mean": None,
        "skill_global_mean": None,
    }
    if train_statistics is not None:
        global_mean, time_mean = means_at(train_statistics, data.step_N, data.positions)
        measured["skill_time_mean"] = collapse.skill(prediction, target, time_mean)
        measured["skill_global_mean"] = collapse.skill(prediction, target, global_mean)
    return measured


def means_at(statistics: DemoStatistics, steps: np.ndarray, positions: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """The demonstrations' mean, and their mean at each of some control steps: (N, P) each."""
    time_mean = torch.as_tensor(statistics.time_mean_at(steps))[:, positions]
    return torch.as_tensor(statistics.mean_action)[positions].expand_as(time_mean), time_mean


def responses(data: PredictionsAndTargets) -> dict[str, float]:
    """How the output answers to another episode's frames and to blank ones, and how far it is the last action."""
    probed = {seed: kept[::PROBE_STRIDE] for seed, kept in data.steps.items()}
    is_probed_N = np.concatenate([np.arange(len(kept)) % PROBE_STRIDE == 0 for kept in data.steps.values()])
    before, target = data.prediction[is_probed_N], data.target[is_probed_N]
    others = data.actions_at(probed, {seed: partner_seed(data.store, seed) for seed in probed})
    later = {seed: kept[kept > 0] for seed, kept in data.steps.items()}
    previous = data.actions_at({seed: kept - 1 for seed, kept in later.items()})
    is_later_N = data.step_N > 0
    return {
        "response_to_shuffling": collapse.response_to_shuffling(before, data.answered("shuffled"), target, others),
        "response_to_blanking": collapse.response_to_blanking(before, data.answered("blanked"), target),
        "copycat_weight": collapse.copycat_weight(data.prediction[is_later_N], data.target[is_later_N], previous)
        if is_later_N.any()
        else math.nan,
    }


def r2_by_chunk_step(data: PredictionsAndTargets) -> list[list[float]]:
    """R^2 of each step of the predicted chunks (H) and coordinate (P)."""
    chunks = data.answered("chunks")
    ahead = {seed: kept[:, None] + np.arange(chunks.shape[1]) for seed, kept in data.steps.items()}
    return collapse.by_chunk_step(collapse.r2_per_coordinate, chunks, data.actions_at(ahead)).tolist()


def distances_to_the_mean(data: PredictionsAndTargets, statistics: DemoStatistics) -> dict[str, float]:
    """Distances to the mean, measured at the counterfactual pairs, where the cue decides, if there are any."""
    at_pairs = len(data.pairs["step"]) > 0
    steps = data.pairs["step"] if at_pairs else data.step_N
    prediction, target = (data.answered("frames"), data.pair_target) if at_pairs else (data.prediction, data.target)
    distances = [
        collapse.mean_distance(prediction, target, mean) for mean in means_at(statistics, steps, data.positions)
    ]
    finite = [distance for distance in distances if math.isfinite(distance)]
    return {
        "mean_distance": min(finite, default=math.nan),
        "recalibration_gain": collapse.recalibration_gain(prediction, target),
    }


def cue_parts(data: PredictionsAndTargets) -> collapse.SlopeParts | None:
    """The cue slope's sums by episode; None without pairs."""
    if not len(data.pairs["step"]):
        return None
    moved = data.answered("frames_moved") - data.answered("frames")
    return collapse.cue_slope_parts(moved, data.pair_change, torch.as_tensor(data.pairs["seed"]))


def cue_skill(data: PredictionsAndTargets, twin_answers: Mapping[int, Mapping[str, Any]]) -> float:
    """Skill against the twin that was trained with the cue hidden."""
    hidden = data.answered("frames_hidden", twin_answers)
    return collapse.cue_skill(data.answered("frames"), hidden, data.pair_target)


def over_time(data: PredictionsAndTargets, train_statistics: DemoStatistics | None) -> list[dict[str, Any]]:
    """R^2, skill against the time mean and cue slope in parts of the episode, early to late."""
    bins = collapse.in_time_bins(torch.as_tensor(data.step_N), NUM_TIME_BINS)
    pair_step = torch.as_tensor(data.pairs["step"])
    has_pairs = len(pair_step) > 0
    moved = data.answered("frames_moved") - data.answered("frames") if has_pairs else data.pair_change
    rows = []
    for first, last, inside_N in bins:
        # The last part includes the pairs after the last measured step.
        at_K = (pair_step >= first) & ((pair_step <= last) | (last == bins[-1][1]))
        prediction, target = data.prediction[inside_N], data.target[inside_N]
        skill = math.nan
        if train_statistics is not None:
            mean = means_at(train_statistics, data.step_N[inside_N.numpy()], data.positions)[1]
            skill = collapse.skill(prediction, target, mean)
        row = {
            "first_step": first,
            "last_step": last,
            "num_windows": int(inside_N.sum()),
            "num_counterfactuals": int(at_K.sum()),
            "r2": finite_mean(collapse.r2_per_coordinate(prediction, target).tolist()),
            "skill_time_mean": skill,
            "cue_slope": collapse.cue_slope(moved[at_K], data.pair_change[at_K]) if bool(at_K.any()) else math.nan,
        }
        rows.append(row)
    return rows


def joined(parts: Iterable[Any]) -> torch.Tensor:
    """Rows of several episodes, concatenated as float64; episodes without rows are left out."""
    arrays = [np.asarray(part, dtype=np.float64) for part in parts]
    return torch.as_tensor(np.concatenate([array for array in arrays if len(array)]))


def _persistence(data: PredictionsAndTargets) -> torch.Tensor:
    action_spec = ActionSpec.from_json(data.store.manifest["action_spec"])
    calls = PolicyCalls(PersistencePolicy(action_spec))
    eef_state = joined(data.store.episode(seed).eef_state[kept] for seed, kept in data.steps.items()).numpy()
    with generators_kept():
        calls.reset(num_episodes=len(eef_state))
    actions = calls.act({"eef_state": eef_state}, action_spec.size)
    return torch.as_tensor(actions)[:, data.positions]
