"""The rules by which ``auto`` scores a candidate input: what each one reads off pooled training tokens.

Each takes tokens x_BNC in [0, 1], labels y_BA, the tokens' grid and the network with the candidate's input, and gives
figures, of which ``score`` decides. Sums run in float64.

Shape suffixes: B examples, N tokens in, M tokens after the transform, C or D channels, A label coordinates, R label
directions.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from smidgen.policies.input_pipeline import InputPipeline
from smidgen.policies.perceiver import PerceiverConfig
from smidgen.policies.transforms import TRANSFORMS, build_transform

SMALLEST = 1e-30


def fitted_pipeline(
    x_BNC: Float[Tensor, "batch tokens channels"], grid: tuple[int, ...], network: PerceiverConfig, **changes: Any
) -> InputPipeline:
    """The network's input pipeline in float64, fitted on these tokens.

    Args:
        x_BNC: Training tokens.
        grid: Axis lengths of their grid.
        network: Names transform and standardisations.
        **changes: ``full=True`` for all Fourier coefficients; ``after`` for another standardisation.
    """
    options: dict[str, Any] = {"scale": network.transform_scale}
    if "full" in inspect.signature(TRANSFORMS[network.transform]).parameters:
        options["full"] = changes.get("full", network.full_spectrum)
    pipeline = InputPipeline(
        build_transform(network.transform, grid, x_BNC.shape[2], **options),
        before=network.standardise_before,
        after=changes.get("after", network.standardise_after),
        floor_scale=network.floor_scale,
    ).double()
    if pipeline.needs_fit:
        pipeline.fit(x_BNC.double())
    return pipeline


def between_token_variance(
    x_BNC: Tensor, y_BA: Tensor, grid: tuple[int, ...], network: PerceiverConfig
) -> dict[str, float]:
    """The originator's rule (claim C7): mean and variance of the inputs; what varies more between tokens wins.

    The variance of an example's tokens about their mean, averaged over the examples (of a complex coefficient: of both
    parts together), of what leaves the transform, before any standardisation after it, all N coefficients of a DFT.

    What it reads, taken literally: by Parseval the orthonormal DFT's variance minus the raw tokens' is
    mean^2 - x[0]^2 / N, so that the rule detects the DC level, and chooses the DFT for every image that is not black;
    with ``transform_scale=none`` the Fourier side is N times larger by scale alone. It never sees a label.
    """
    z_BMD = fitted_pipeline(x_BNC, grid, network, full=True, after="none")(x_BNC.double())
    mean_B1D = z_BMD.mean(1, keepdim=True)
    # A pair of real channels is one complex coefficient: per coefficient, so that transforms compare.
    variance = (z_BMD - mean_B1D).square().mean((0, 1)).sum() / x_BNC.shape[2]
    mean = mean_B1D.square().mean(0).sum().div(x_BNC.shape[2]).sqrt()
    return {"score": float(variance), "mean": float(mean), "variance": float(variance)}


def participation_ratio(
    x_BNC: Tensor, y_BA: Tensor, grid: tuple[int, ...], network: PerceiverConfig
) -> dict[str, float]:
    """The share of the tokens over which label-relevant variance is spread: (sum s)^2 / (M sum s^2), in (0, 1]."""
    relevant_M = label_relevant_variance(fitted_pipeline(x_BNC, grid, network)(x_BNC.double()), y_BA).sum(1)
    count = relevant_M.sum().square() / relevant_M.square().sum().clamp(min=SMALLEST)
    return {"score": float(count / len(relevant_M)), "participation_ratio": float(count)}


def class_distance(x_BNC: Tensor, y_BA: Tensor, grid: tuple[int, ...], network: PerceiverConfig) -> dict[str, float]:
    """Label-relevant variance of what the attention reads, summed over tokens: half the mean squared class distance."""
    z_BMD = fitted_pipeline(x_BNC, grid, network)(x_BNC.double())
    relevant = label_relevant_variance(z_BMD, y_BA).sum()
    total = z_BMD.var(0, correction=0).sum()
    return {"score": float(relevant), "relevant_share": float(relevant / total.clamp(min=SMALLEST))}


def kernel_alignment(x_BNC: Tensor, y_BA: Tensor, grid: tuple[int, ...], network: PerceiverConfig) -> dict[str, float]:
    """Alignment of the tokens' kernel with the labels' kernel, both centred (Cortes, Mohri and Rostamizadeh, 2012)."""
    z_BF = fitted_pipeline(x_BNC, grid, network)(x_BNC.double()).flatten(1)
    kernel, target = (_centred(features @ features.T) for features in (z_BF, y_BA.double()))
    score = (kernel * target).sum() / (kernel.norm() * target.norm()).clamp(min=SMALLEST)
    return {"score": float(score)}


def _centred(kernel: Tensor) -> Tensor:
    kernel = kernel - kernel.mean(0, keepdim=True)
    return kernel - kernel.mean(1, keepdim=True)


def label_relevant_variance(
    z_BMD: Float[Tensor, "batch tokens channels"], y_BA: Float[Tensor, "batch labels"]
) -> Float[Tensor, "tokens channels"]:
    """Variance of each channel of each token that a regression on the label explains.

    What R regressors explain of noise by chance, R / (B - 1 - R) of the residual, is taken off; never below 0. Labels
    that repeat (at least twice on average) are classes, each with a mean of its own; others enter linearly.
    """
    directions_BR = _label_directions(y_BA.double())
    num_examples, num_directions = directions_BR.shape
    centred_BMD = z_BMD.double() - z_BMD.double().mean(0)
    total_MD = centred_BMD.square().mean(0)
    flat_BF = centred_BMD.flatten(1)
    explained_MD = (directions_BR.T @ flat_BF).square().sum(0).div(num_examples).view_as(total_MD)
    num_left = num_examples - 1 - num_directions
    if num_left > 0:
        explained_MD = explained_MD - (total_MD - explained_MD) * (num_directions / num_left)
    return explained_MD.clamp(min=0.0)


def _label_directions(y_BA: Tensor) -> Tensor:
    """Orthonormal columns that span the labels, or their classes, about the mean."""
    classes, class_B = y_BA.unique(dim=0, return_inverse=True)
    if 2 * len(classes) <= len(y_BA):
        y_BA = torch.nn.functional.one_hot(class_B).to(y_BA.dtype)
    left, values, _ = torch.linalg.svd(y_BA - y_BA.mean(0), full_matrices=False)
    return left[:, values > 1e-9 * values.max().clamp(min=SMALLEST)]
