"""Actions in physical units <-> features of about unit size that a network learns. Owned by the policy.

A position, and any imported coordinate, is standardised by the training targets, a gripper stays in [-1, 1], and a yaw
becomes (cos 2 yaw, sin 2 yaw), because yaw and yaw + pi are the same grasp; so there can be more features than
coordinates.

Letters: ``A`` action coordinates, ``K`` of one kind, ``F`` features, ``N`` targets, ``...`` any leading axes.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from smidgen.runtime.action_spec import OTHER, ActionSpec

# A coordinate that hardly varies in the demonstrations must not have its rounding scaled to unit variance.
MIN_DEVIATION_M = 1e-3
# Of the kinds that are standardised. An imported coordinate has a unit of its own, often a small one.
MIN_DEVIATION = {"position": MIN_DEVIATION_M, OTHER: 1e-6}
FEATURES_PER_KIND = {"position": 1, "gripper": 1, "yaw": 2, OTHER: 1}


class ActionNormaliser(nn.Module):
    """Encodes actions as features and decodes features to actions; its statistics are buffers of the checkpoint.

    Args:
        action: The task's action.
    """

    mean_A: Tensor
    deviation_A: Tensor

    def __init__(self, action: ActionSpec) -> None:
        super().__init__()
        self.action = action
        self.num_features = sum(FEATURES_PER_KIND[kind] for kind in action.kinds)
        self.register_buffer("mean_A", torch.zeros(action.size, dtype=torch.float64))
        self.register_buffer("deviation_A", torch.ones(action.size, dtype=torch.float64))

    def features_of(self, kind: str) -> list[int]:
        """Indices of the features of all coordinates of a kind."""
        owners = [each for each in self.action.kinds for _ in range(FEATURES_PER_KIND[each])]
        return [index for index, owner in enumerate(owners) if owner == kind]

    def fit(self, actions_NA: Float[Tensor, "N A"]) -> None:
        """Computes mean and deviation of each position and imported coordinate from training targets (physical units).

        Raises:
            ValueError: If the targets are not (N, A), empty, or not finite.
        """
        fits = actions_NA.ndim == 2 and actions_NA.shape[1] == self.action.size and len(actions_NA) > 0
        if not fits or not bool(actions_NA.isfinite().all()):
            raise ValueError(
                f"expected finite targets of shape (N, {self.action.size}), N at least 1, got {tuple(actions_NA.shape)}"
            )
        for kind, least in MIN_DEVIATION.items():
            if indices := self.action.indices(kind):
                targets_NK = actions_NA.to(self.mean_A)[:, indices]
                self.mean_A[indices] = targets_NK.mean(dim=0)
                self.deviation_A[indices] = targets_NK.std(dim=0, correction=0).clamp(min=least)

    def encode(self, actions: Float[Tensor, "... A"]) -> Float[Tensor, "... F"]:
        """Physical units to features, float32."""
        standardised = (actions.double() - self.mean_A) / self.deviation_A
        features = []
        for index, kind in enumerate(self.action.kinds):
            value = standardised[..., index]
            features += [torch.cos(2 * value), torch.sin(2 * value)] if kind == "yaw" else [value]
        return torch.stack(features, dim=-1).float()

    def decode(self, features: Float[Tensor, "... F"]) -> Float[Tensor, "... A"]:
        """Features to physical units, float64; yaws are in (-pi/2, pi/2]."""
        features = features.double()
        values, column = [], 0
        for kind in self.action.kinds:
            value = features[..., column]
            values.append(torch.atan2(features[..., column + 1], value) / 2 if kind == "yaw" else value)
            column += FEATURES_PER_KIND[kind]
        return torch.stack(values, dim=-1) * self.deviation_A + self.mean_A
