"""Optimisers for several networks side by side: one row of weights and one learning rate per network.

Equal to training each row with the optimiser of the same name in :data:`smidgen.training.optimiser.OPTIMISERS`.

Shape suffixes: S networks, P weights of one network.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from smidgen.runtime.errors import unknown_name

STACKED_OPTIMISERS = ("adam", "adamw", "lamb")
ADAM_EPSILON = 1e-8
LAMB_EPSILON = 1e-6
# Number of weights updated at a time.
BLOCK_WEIGHTS = 2**18
# The largest weight norm that LAMB's trust ratio counts.
LAMB_MAX_NORM = 10.0


class StackedOptimiser:
    """Moments of the gradients, and the update.

    Args:
        name: One of :data:`STACKED_OPTIMISERS`: Adam (Kingma and Ba, 2015), AdamW (Loshchilov and Hutter, 2019), LAMB
            (You et al., 2020, third version: no bias correction).
        weights_SP: Weights that ``step`` will change, for their shape.
        sizes: Numbers of weights of each parameter tensor, of which LAMB takes the norms.
        betas: Decay of the two moments.
        weight_decay: Factor of the weights that ``adam`` adds to the gradient, ``lamb`` to the update before it takes
            its norm, and ``adamw`` takes off the weights.

    Raises:
        UserError: If the name is unknown.
    """

    def __init__(
        self,
        name: str,
        weights_SP: Float[Tensor, "networks weights"],
        sizes: Sequence[int],
        *,
        betas: tuple[float, float],
        weight_decay: float,
    ) -> None:
        if name not in STACKED_OPTIMISERS:
            raise unknown_name("optimiser", name, STACKED_OPTIMISERS)
        self.name = name
        self.sizes = list(sizes)
        self.betas = betas
        self.weight_decay = weight_decay
        self.num_steps = 0
        self.mean_SP = torch.zeros_like(weights_SP)
        self.square_SP = torch.zeros_like(weights_SP)

    def taken(self, rows: Tensor) -> StackedOptimiser:
        """The optimiser of only these rows."""
        optimiser = copy.copy(self)
        optimiser.mean_SP, optimiser.square_SP = self.mean_SP[rows], self.square_SP[rows]
        return optimiser

    def state(self) -> dict[str, Tensor]:
        """Its tensors; together with the number of steps, its whole state."""
        return {"mean": self.mean_SP, "square": self.square_SP}

    def load_state(self, tensors: dict[str, Tensor], num_steps: int) -> None:
        """Restores the tensors of ``state``."""
        self.mean_SP, self.square_SP, self.num_steps = tensors["mean"], tensors["square"], num_steps

    @torch.no_grad()
    def step(
        self,
        weights_SP: Float[Tensor, "networks weights"],
        gradient_SP: Float[Tensor, "networks weights"],
        lr_S: Float[Tensor, " networks"],
    ) -> None:
        """Changes the weights in place.

        Args:
            weights_SP: The weights.
            gradient_SP: Their gradient.
            lr_S: Learning rate of each row at this step.
        """
        self.num_steps += 1
        # LAMB takes norms over whole tensors; the others work on as many columns as stay in cache.
        width = max(1, weights_SP.shape[1] if self.name == "lamb" else BLOCK_WEIGHTS // len(weights_SP))
        matrices = (weights_SP, gradient_SP, self.mean_SP, self.square_SP)
        for weights, gradient, mean, square in zip(*(matrix.split(width, dim=1) for matrix in matrices), strict=True):
            self._step_part(weights, gradient, mean, square, lr_S[:, None])

    def _step_part(self, weights: Tensor, gradient: Tensor, mean: Tensor, square: Tensor, lr_S1: Tensor) -> None:
        beta1, beta2 = self.betas
        if self.weight_decay and self.name == "adam":
            gradient = gradient.add(weights, alpha=self.weight_decay)
        elif self.weight_decay and self.name == "adamw":
            weights.mul_(1 - lr_S1 * self.weight_decay)
        mean.lerp_(gradient, 1 - beta1)
        square.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        update = square.sqrt()
        if self.name == "lamb":
            update = torch.div(mean, update.add_(LAMB_EPSILON), out=update)
            update.add_(weights, alpha=self.weight_decay)
            weights.sub_(update.mul_(self._trust(weights, update)).mul_(lr_S1))
            return
        # lr m' / (sqrt(v') + epsilon) with m' = m / (1 - beta1^t) and v' = v / (1 - beta2^t), in the fewest passes.
        root = (1 - beta2**self.num_steps) ** 0.5
        update = torch.div(mean, update.add_(ADAM_EPSILON * root), out=update)
        weights.sub_(update.mul_(lr_S1 * (root / (1 - beta1**self.num_steps))))

    def preconditioner(self) -> Float[Tensor, "networks weights"]:
        """The divisor of the mean gradient: Adam's sqrt(v) + epsilon, with both bias corrections."""
        beta1, beta2 = self.betas
        debiased_SP = self.square_SP / (1 - beta2**self.num_steps)
        return (debiased_SP.sqrt() + ADAM_EPSILON) * (1 - beta1**self.num_steps)

    def _trust(self, weights_SP: Tensor, update_SP: Tensor) -> Tensor:
        """LAMB's ratio of norms for every tensor of each row, repeated over the tensor's weights."""
        norms = [
            torch.stack([torch.linalg.vector_norm(part, dim=1) for part in matrix.split(self.sizes, dim=1)], 1)
            for matrix in (weights_SP, update_SP)
        ]
        weight_norms, update_norms = norms[0].clamp(max=LAMB_MAX_NORM), norms[1]
        is_defined = (weight_norms != 0) & (update_norms != 0)
        ratios = torch.where(is_defined, weight_norms / (update_norms + LAMB_EPSILON), 1.0)
        return ratios.repeat_interleave(torch.tensor(self.sizes), dim=1)
