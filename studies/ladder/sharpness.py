"""Preconditioned sharpness: how curved the loss is in the coordinates in which Adam takes its steps.

Shape suffixes: S networks (here 1), P weights of one network.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from smidgen.policies.folded_attention import PreparedTokens
from studies.ladder.stacked_data import Examples
from studies.ladder.stacked_network import StackedNetwork

# Step between the two gradients that are compared, in the weights' units; float64.
STEP = 1e-4


def preconditioned_sharpness(
    network: StackedNetwork,
    examples: Examples,
    preconditioner_SP: Float[Tensor, "networks weights"],
    num_iterations: int = 20,
) -> float:
    """Largest eigenvalue of D^-1 H, with H the loss's Hessian and D what Adam divides by.

    Adam's steps are stable while it stays below (2 + 2 beta1) / ((1 - beta1) lr): 38 / lr at beta1 = 0.9 (Cohen et al.,
    "Adaptive Gradient Methods at the Edge of Stability", 2022). By power iteration on D^-1/2 H D^-1/2, with products
    with H from differences of gradients in float64.

    Args:
        network: The network, alone in its stack.
        examples: Inputs and targets of the loss.
        preconditioner_SP: D.
        num_iterations: Products with H; twice as many where the largest eigenvalue is negative.
    """
    precise = network.taken(torch.tensor([0]))
    precise.weights_SP = network.weights_SP.double()
    precise.buffers = {name: _double(buffer) for name, buffer in network.buffers.items()}
    inputs, target_SBOA = examples
    inputs = inputs.map(Tensor.double) if isinstance(inputs, PreparedTokens) else inputs.double()
    scale_SP = preconditioner_SP.double().rsqrt()

    def gradient(weights_SP: Tensor) -> Tensor:
        shifted = precise.taken(torch.tensor([0]))
        shifted.weights_SP = weights_SP
        return shifted.gradient(inputs, target_SBOA.double())[0]

    def product(direction_SP: Tensor) -> Tensor:
        scaled_SP = scale_SP * direction_SP
        step_SP = scaled_SP * (STEP / scaled_SP.norm())
        change_SP = gradient(precise.weights_SP + step_SP) - gradient(precise.weights_SP - step_SP)
        return scale_SP * change_SP * (scaled_SP.norm() / (2 * STEP))

    largest = _dominant_eigenvalue(product, scale_SP, num_iterations)
    if largest >= 0:
        return largest
    return largest + _dominant_eigenvalue(lambda v_SP: product(v_SP) - largest * v_SP, scale_SP, num_iterations)


def _dominant_eigenvalue(product: Callable[[Tensor], Tensor], like_SP: Tensor, num_iterations: int) -> float:
    """The eigenvalue that is largest by magnitude, from a fixed start."""
    generator = torch.Generator().manual_seed(0)
    vector_SP = torch.randn(like_SP.shape, generator=generator, dtype=like_SP.dtype)
    eigenvalue = 0.0
    for _ in range(num_iterations):
        vector_SP = vector_SP / vector_SP.norm()
        image_SP = product(vector_SP)
        eigenvalue = float((vector_SP * image_SP).sum())
        vector_SP = image_SP
    return eigenvalue


def _double(buffer: Tensor) -> Tensor:
    return buffer.double() if buffer.is_floating_point() else buffer
