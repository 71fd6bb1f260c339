"""How a policy may be trained otherwise than by default: what it sees, what its loss counts, which weights it keeps.

docs/recipe.md explains each setting. What is random follows from (seed, step) alone, as the order of windows does, so
that a resumed run repeats it.

Letters: ``B`` batch, ``T`` frames, ``H W C`` rows, columns, channels (``H`` before an ``F`` is the horizon), ``E``
end-effector state, ``F`` action features, ``N`` steps of all episodes.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from smidgen.policies.normaliser import ActionNormaliser
from smidgen.runtime.errors import UserError, unknown_name
from smidgen.runtime.flat_config import later
from smidgen.training.windows import WindowBatch, Windows

MSE, CLASSIFICATION = GRIPPER_LOSSES = ("mse", "classification")
# A gripper feature is its log-odds over this: at a command of +-1 the gripper is 98 % sure.
LOG_ODDS_PER_FEATURE = 4.0
# Keeps these draws apart from those of other things with the same seed.
_STREAM = 7


@dataclass(frozen=True)
class Recipe:
    """How a policy with weights is trained."""

    ema_decay: float = later(0.0, "decay of the weights' moving average, which the checkpoint then holds; 0: none")
    random_shift_px: int = later(0, "training frames move by up to so many pixels each way, edges repeated; 0: none")
    eef_state_dropout: float = later(0.0, "share of training windows whose end-effector state is its mean instead")
    history_dropout: float = later(0.0, "share of training windows whose earlier frames are the newest one instead")
    gripper_loss: str = later(MSE, "mse, or classification: cross-entropy of open against closed")
    border_weight: float = later(1.0, "weight of targets near a change of the expert's phase, relative to the others")
    border_steps: int = later(5, "border_weight: how near, in control steps")

    def check(self, *, use_eef_state: bool, num_frames: int) -> None:
        """Refuses what no run can be started from.

        Raises:
            UserError: If a name is unknown, a number is out of range, or what is dropped is not seen.
        """
        if self.gripper_loss not in GRIPPER_LOSSES:
            raise unknown_name("gripper_loss", self.gripper_loss, GRIPPER_LOSSES)
        for name in ("ema_decay", "eef_state_dropout", "history_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise UserError(f"expected {name} in [0, 1), got {getattr(self, name)}")
        for name in ("random_shift_px", "border_steps"):
            if getattr(self, name) < 0:
                raise UserError(f"expected {name} of at least 0, got {getattr(self, name)}")
        if not 0 < self.border_weight < math.inf:
            raise UserError(f"expected a positive border_weight, got {self.border_weight}")
        if self.eef_state_dropout and not use_eef_state:
            raise UserError("eef_state_dropout drops a state that the policy does not see; add use_eef_state=true")
        if self.history_dropout and num_frames == 1:
            raise UserError("history_dropout drops earlier frames, of which num_frames=1 has none; raise num_frames")


@dataclass(frozen=True)
class NoRecipe:
    """In the place of :class:`Recipe` where a policy has no weights to train."""

    ema_decay: ClassVar[float] = 0.0

    def check(self, *, use_eef_state: bool, num_frames: int) -> None:
        """Nothing to refuse."""


class Augmentation:
    """What a policy sees in training instead of the stored frames and states.

    Args:
        recipe: Which changes, and how large.
        seed: Together with the step it decides every draw.
        eef_mean_E: What stands for a state that is dropped.
    """

    def __init__(self, recipe: Recipe | NoRecipe, seed: int, eef_mean_E: Float[np.ndarray, " E"]) -> None:
        self._recipe = recipe
        self._seed = seed
        self._eef_mean_E = eef_mean_E

    def apply(
        self, part: WindowBatch, step: int, rows: slice = slice(None), batch_size: int | None = None
    ) -> WindowBatch:
        """A batch, or part of one, as it is seen at a training step; all frames of a window move alike.

        Args:
            part: The windows.
            step: The step.
            rows: Which windows of the batch they are.
            batch_size: Windows of the whole batch, for all of which the draws are made; None: the part is the whole.
        """
        recipe = self._recipe
        if isinstance(recipe, NoRecipe):
            return part
        if not (recipe.random_shift_px or recipe.eef_state_dropout or recipe.history_dropout):
            return part
        rng = np.random.default_rng([_STREAM, self._seed, step])
        size, most = len(part.frames_BTHWC) if batch_size is None else batch_size, recipe.random_shift_px
        shift_B2 = rng.integers(-most, most, (size, 2), endpoint=True)[rows]
        is_dropped_B1 = rng.random((size, 1))[rows] < recipe.eef_state_dropout
        is_still_B = rng.random(size)[rows] < recipe.history_dropout
        frames = zip(part.frames_BTHWC, shift_B2, strict=True)
        frames_BTHWC = np.stack([shifted(frames_THWC, *by_2) for frames_THWC, by_2 in frames])
        frames_BTHWC[is_still_B] = frames_BTHWC[is_still_B, -1:]
        return dataclasses.replace(
            part,
            frames_BTHWC=frames_BTHWC,
            eef_state_BE=np.where(is_dropped_B1, self._eef_mean_E, part.eef_state_BE),
        )


def shifted(frames_THWC: np.ndarray, down: int, right: int) -> np.ndarray:
    """Frames whose picture is moved down and right by pixels; what comes into view repeats the edge."""
    height, width = frames_THWC.shape[1:3]
    rows = np.clip(np.arange(height) - down, 0, height - 1)
    columns = np.clip(np.arange(width) - right, 0, width - 1)
    return frames_THWC[:, rows[:, None], columns]


class Objective:
    """The loss between predicted and true action features.

    Args:
        recipe: Which loss.
        normaliser: Says which features are a gripper's.
        windows: Training windows, whose phases weight the targets.

    Raises:
        UserError: If there is no gripper to classify, or no change of phase to weight.
    """

    def __init__(self, recipe: Recipe | NoRecipe, normaliser: ActionNormaliser, windows: Windows) -> None:
        self._windows = windows
        self._grippers: list[int] = []
        self._weight_N: np.ndarray | None = None
        if isinstance(recipe, NoRecipe):
            return
        if recipe.gripper_loss == CLASSIFICATION:
            self._grippers = normaliser.features_of("gripper")
            if not self._grippers:
                raise UserError("gripper_loss=classification: the task's action has no gripper; leave gripper_loss=mse")
        if recipe.border_weight != 1.0:
            is_near_N = windows.near_phase_change(recipe.border_steps)
            if not is_near_N.any():
                raise UserError("border_weight: the expert of this data set has no change of phase; leave it at 1")
            weight_N = np.where(is_near_N, recipe.border_weight, 1.0)
            self._weight_N = weight_N / weight_N.mean()

    def __call__(
        self,
        predicted_BHF: Float[Tensor, "B H F"],
        target_BHF: Float[Tensor, "B H F"],
        indices_B: Int[np.ndarray, " B"] | None = None,
    ) -> Float[Tensor, ""]:
        """The mean over windows, steps and features.

        Args:
            predicted_BHF: Predicted features.
            target_BHF: True ones.
            indices_B: Positions of the training windows, for the targets' weights; None: all weigh the same.
        """
        if not self._grippers and (self._weight_N is None or indices_B is None):
            return functional.mse_loss(predicted_BHF, target_BHF)
        loss_BHF = (predicted_BHF - target_BHF).square()
        if self._grippers:
            logits, closed = predicted_BHF[..., self._grippers], (target_BHF[..., self._grippers] + 1) / 2
            loss_BHF[..., self._grippers] = functional.binary_cross_entropy_with_logits(
                LOG_ODDS_PER_FEATURE * logits, closed, reduction="none"
            )
        if self._weight_N is not None and indices_B is not None:
            weight_BH = torch.from_numpy(self._weight_N[self._windows.future(indices_B)]).to(loss_BHF)
            loss_BHF = loss_BHF * weight_BH[..., None]
        return loss_BHF.mean()
