"""A run's validation data, fixed before it starts: held-out windows, blind references for them, moved-cue pairs.

Loss, R^2, explained variance and skills are computed on held-out windows; the cue slope on stored pairs of one state
rendered twice, the second time with the cue moved. All but the loss refer to end-effector positions in metres.

Letters: ``N`` windows, ``K`` pairs, ``T`` frames, ``H W C`` rows, columns, channels (``H`` before an ``A`` or ``P`` is
the horizon), ``A`` action coordinates, ``P`` position coordinates, ``E`` end-effector state.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from smidgen.data_collection.store import EpisodeStore
from smidgen.evaluation.collapse import CollapseMonitor, CollapseReading
from smidgen.policies.baselines import DemoStatistics
from smidgen.policies.learned_policy import LearnedPolicy, cameras_to_channels
from smidgen.runtime.action_spec import ActionSpec
from smidgen.runtime.errors import UserError
from smidgen.runtime.files import finite_or_none
from smidgen.training.recipe import Objective
from smidgen.training.windows import WindowBatch, Windows


@dataclass(frozen=True, eq=False)
class CuePairs:
    """K states, each as recorded and with the cue moved, and the difference in the expert's target."""

    frames_KTHWC: np.ndarray
    frames_moved_KTHWC: np.ndarray
    eef_state_KE: np.ndarray
    delta_target_KP: np.ndarray

    @classmethod
    def load(
        cls,
        store: EpisodeStore,
        seeds: Sequence[int],
        action: ActionSpec,
        num_frames: int,
        count: int,
        frame_stride: int = 1,
    ) -> CuePairs:
        """Loads at most ``count`` pairs, spread over the given episodes.

        Raises:
            UserError: If the stored pairs have fewer frames of history than the policy sees.
        """
        history = store.manifest["history"]
        needed = (num_frames - 1) * frame_stride + 1
        if needed > history:
            strided = f" at frame_stride={frame_stride}, {needed} in all" if frame_stride > 1 else ""
            raise UserError(
                f"{store.directory}: its counterfactual pairs have {history} frames, but the policy sees num_frames="
                f"{num_frames}{strided}; lower num_frames, collect with a longer history, or set counterfactual_pairs=0"
            )
        seen = slice(history - needed, None, frame_stride)
        pairs = store.counterfactuals(seeds, max_pairs=count)
        return cls(
            frames_KTHWC=cameras_to_channels(pairs["frames"][:, seen]),
            frames_moved_KTHWC=cameras_to_channels(pairs["frames_moved"][:, seen]),
            eef_state_KE=pairs["eef_state"],
            delta_target_KP=(pairs["target_moved"] - pairs["target"])[:, action.measured_indices],
        )

    def __len__(self) -> int:
        return len(self.delta_target_KP)


@dataclass(frozen=True, eq=False)
class Predictions:
    """A policy's predictions for some windows, with the targets and the blind time-mean (physical units)."""

    predicted_NHA: np.ndarray
    targets_NHA: np.ndarray
    time_mean_NHA: np.ndarray
    loss: float


class ValidationSet:
    """Held-out windows and pairs, the same at every call.

    Args:
        windows: Windows of the held-out episodes.
        count: Number of windows to use.
        pairs: Moved-cue pairs of the held-out episodes, or None.
        statistics: Of the training episodes, for the blind references.
        batch_size: Windows per forward pass.
        objective: The loss; all targets have the same weight here.
    """

    def __init__(
        self,
        windows: Windows,
        count: int,
        pairs: CuePairs | None,
        statistics: DemoStatistics,
        batch_size: int,
        objective: Objective,
    ) -> None:
        self._batch = windows.gather(windows.evenly_spaced(count))
        self._episode = windows.gather(windows.first_episode())
        self._pairs = pairs if pairs is not None and len(pairs) else None
        self._statistics = statistics
        self._batch_size = batch_size
        self._objective = objective

    def measure(self, policy: LearnedPolicy, monitor: CollapseMonitor, step: int) -> dict[str, Any]:
        """Measures a policy and updates the monitor.

        Returns:
            A row for ``metrics.jsonl``; undefined measures are None.
        """
        action = policy.interface.action
        positions, grippers = action.measured_indices, action.indices("gripper")
        found = self.predict(policy, self._batch)
        target_NHP = found.targets_NHA[..., positions]
        reading = monitor.update(
            step,
            torch.from_numpy(found.predicted_NHA[..., positions]),
            torch.from_numpy(target_NHP),
            time_mean=torch.from_numpy(found.time_mean_NHA[..., positions]),
            persistence=self._persistence(action.position_indices, target_NHP.shape),
            **self._cue_deltas(policy, positions),
        )
        same_side = np.sign(found.predicted_NHA[..., grippers]) == np.sign(found.targets_NHA[..., grippers])
        return {
            **_row(reading, monitor),
            "split": "validation",
            "loss": found.loss,
            "gripper_accuracy": float(same_side.mean()) if grippers else None,
        }

    def predict_episode(self, policy: LearnedPolicy) -> Predictions:
        """Predictions along one whole held-out episode, for a plot."""
        return self.predict(policy, self._episode)

    @torch.no_grad()
    def predict(self, policy: LearnedPolicy, batch: WindowBatch) -> Predictions:
        """Predictions, references and loss for windows."""
        device = policy.device
        features = torch.cat(
            [
                policy(torch.from_numpy(frames).to(device), torch.from_numpy(state))
                for frames, state in self._split(batch.frames_BTHWC, batch.eef_state_BE)
            ]
        )
        encoded = policy.normaliser.encode(torch.from_numpy(batch.targets_BHA)).to(device)
        ahead_NH = batch.step_B[:, None] + np.arange(batch.targets_BHA.shape[1])
        return Predictions(
            predicted_NHA=policy.decode(features),
            targets_NHA=batch.targets_BHA,
            time_mean_NHA=self._statistics.time_mean_at(ahead_NH),
            loss=float(self._objective(features, encoded)),
        )

    def _persistence(self, positions: list[int], shape: tuple[int, ...]) -> torch.Tensor | None:
        """Where the arm is, for every step ahead; None where the actions are not positions of it."""
        if not positions:
            return None
        here_NHP = self._batch.eef_state_BE[:, None, : len(positions)]
        return torch.from_numpy(np.broadcast_to(here_NHP, shape).copy())

    def _cue_deltas(self, policy: LearnedPolicy, positions: list[int]) -> dict[str, torch.Tensor]:
        if self._pairs is None:
            return {}
        first_KP, first_moved_KP = (
            np.concatenate(
                [
                    policy.predict_chunk(part, state)[:, 0][:, positions]
                    for part, state in self._split(frames, self._pairs.eef_state_KE)
                ]
            )
            for frames in (self._pairs.frames_KTHWC, self._pairs.frames_moved_KTHWC)
        )
        return {
            "delta_prediction": torch.from_numpy(first_moved_KP - first_KP),
            "delta_target": torch.from_numpy(self._pairs.delta_target_KP),
        }

    def _split(self, *arrays: np.ndarray) -> list[tuple[np.ndarray, ...]]:
        size = self._batch_size
        return [tuple(array[at : at + size] for array in arrays) for at in range(0, len(arrays[0]), size)]


def _row(reading: CollapseReading, monitor: CollapseMonitor) -> dict[str, Any]:
    measures = {
        "r2": list(reading.r2),
        "r2_mean": reading.mean_r2,
        "explained_variance": list(reading.explained_variance),
        "prediction_variance_ratio": list(reading.prediction_variance_ratio),
        "skill_time_mean": reading.skill_time_mean,
        "skill_persistence": reading.skill_persistence,
        "cue_slope": reading.cue_slope,
    }
    marks = {"plateau_since": monitor.plateau_since, "escape_step": monitor.escape_step}
    return {"step": reading.step, **marks, **finite_or_none(measures)}
