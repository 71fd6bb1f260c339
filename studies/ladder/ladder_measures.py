"""Measures of a network on a ladder data set, before and after training.

Every figure is a number, or None where it is undefined.

Shape suffixes: S networks (here 1), P weights of one network, B batch, O output steps, A outputs, L latents, E their
width, D numbers of one example.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from smidgen.policies.folded_attention import PreparedTokens
from smidgen.runtime.files import finite_or_none
from studies.ladder.escape import Measures
from studies.ladder.stacked_data import Examples, StackedPool
from studies.ladder.stacked_network import StackedNetwork

# Number of examples for the measures other than FVU.
MAX_EXAMPLES = 32
EXAMPLES_AT_A_TIME = 4
# Step between the two gradients that are compared, in the weights' units; float64.
SHARPNESS_STEP = 1e-4


def unexplained_variance(
    predicted_SBOA: Float[Tensor, "networks batch steps outputs"],
    target_SBOA: Float[Tensor, "networks batch steps outputs"],
) -> Float[Tensor, " networks"]:
    """FVU = 1 - R^2: squared error over squared distance from the targets' mean, all columns together, float64."""
    error_SBOA = (predicted_SBOA - target_SBOA).double()
    spread_SBOA = (target_SBOA - target_SBOA.double().mean(1, keepdim=True)).double()
    return error_SBOA.square().sum((1, 2, 3)) / spread_SBOA.square().sum((1, 2, 3))


def describe(network: StackedNetwork, pool: StackedPool, held_out: StackedPool) -> Measures:
    """All measures of one network except its sharpness.

    Args:
        network: The network, alone in its stack.
        pool: What it learns from.
        held_out: What it is measured on.
    """
    examples = held_out.all()
    few = torch.arange(min(held_out.size, MAX_EXAMPLES))[None]
    latents_SBLE, weights_SBHLM = network.read(held_out.batch(few).inputs)
    latents_BD, labels_B = latents_SBLE[0].flatten(1), held_out.labels_SN[0, few[0]]
    figures = {
        "fvu_held_out": float(unexplained_variance(network.predict(examples.inputs), examples.target_SBOA)),
        "separation_ratio": separation_ratio(latents_BD, labels_B),
        "latent_contrast": latent_contrast(latents_BD, labels_B),
        "attention_entropy": relative_entropy(weights_SBHLM),
        "gradient_snr": gradient_snr(network, pool),
    }
    return finite_or_none(figures)


def separation_ratio(latents_BD: Float[Tensor, "batch numbers"], labels_B: Int[Tensor, " batch"]) -> float:
    """Root mean square distance of class means from one another's mean, over that of examples from their class's mean.

    The square is tr(between-class covariance) / tr(within-class covariance), Fisher's criterion in the form that does
    not look for a direction (Fukunaga, Introduction to Statistical Pattern Recognition, 1990, section 10.2; Papyan, Han
    and Donoho, 2020, call its inverse the within-class variability).

    Returns:
        The ratio; NaN where no class has two different examples.
    """
    means_BD = _class_means(latents_BD.double(), labels_B)
    within = (latents_BD - means_BD).square().sum(1).mean()
    return float((_between(means_BD, labels_B) / within).sqrt()) if within > 0 else math.nan


def latent_contrast(latents_BD: Float[Tensor, "batch numbers"], labels_B: Int[Tensor, " batch"]) -> float:
    """Root mean square distance of class means from one another's mean, over the latents' root mean square norm.

    0 for a network whose latents do not see the class; defined where every class is one example as well.
    """
    means_BD = _class_means(latents_BD.double(), labels_B)
    return float((_between(means_BD, labels_B) / latents_BD.double().square().sum(1).mean()).sqrt())


def relative_entropy(weights: Float[Tensor, "*leading tokens"]) -> float:
    """Entropy of attention weights over the largest possible, log N, averaged over all queries: 1 is uniform."""
    entropy = -torch.special.xlogy(weights, weights).sum(-1).double().mean()
    return float(entropy / math.log(weights.shape[-1]))


def gradient_snr(network: StackedNetwork, pool: StackedPool) -> float:
    """Norm of the mean gradient over the deviation of single examples' gradients about it.

    |G| / sqrt(tr Sigma), the inverse root of the simple noise scale of McCandlish et al., "An Empirical Model of
    Large-Batch Training", 2018, over at most ``MAX_EXAMPLES`` examples of one network's pool.
    """
    gradients = []
    for indices in torch.arange(min(pool.size, MAX_EXAMPLES)).split(EXAMPLES_AT_A_TIME):
        # The network once per example, each copy with that example alone.
        copies = torch.zeros_like(indices)
        examples = pool.taken(copies).batch(indices[:, None])
        gradients.append(network.taken(copies).gradient(*examples)[0].double())
    gradients_BP = torch.cat(gradients)
    mean_P = gradients_BP.mean(0)
    variance = (gradients_BP - mean_P).square().sum(1).mean()
    return float((mean_P.square().sum() / variance).sqrt()) if variance > 0 else math.nan


def _class_means(latents_BD: Tensor, labels_B: Tensor) -> Tensor:
    """Each example's class mean."""
    means_BD = torch.empty_like(latents_BD)
    for label in labels_B.unique():
        means_BD[labels_B == label] = latents_BD[labels_B == label].mean(0)
    return means_BD


def _between(means_BD: Tensor, labels_B: Tensor) -> Tensor:
    """Mean squared distance of the examples' class means from their mean."""
    return (means_BD - means_BD.mean(0)).square().sum(1).mean()


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
        step_SP = scaled_SP * (SHARPNESS_STEP / scaled_SP.norm())
        change_SP = gradient(precise.weights_SP + step_SP) - gradient(precise.weights_SP - step_SP)
        return scale_SP * change_SP * (scaled_SP.norm() / (2 * SHARPNESS_STEP))

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
