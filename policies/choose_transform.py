"""``auto``: a rule chooses the input transform for a data set, before training.

A rule gives every candidate figures, the last word among them its ``score``; the highest score is chosen, and of equal
ones the first. Rules take pooled training tokens x_BNC in [0, 1], labels y_BA, the tokens' grid and the network with
the candidate's input; they draw nothing at random, give the same figures on every call, and sum in float64.

Shape suffixes: B examples, N tokens in, M tokens after the transform, C or D channels, A label coordinates, R label
directions, F any features.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import one_hot

from smidgen.policies.input_pipeline import InputPipeline
from smidgen.policies.perceiver import Perceiver, PerceiverConfig, transform_settings
from smidgen.policies.standardise import STANDARDISERS
from smidgen.policies.transforms import TRANSFORMS, build_transform, transform_options
from smidgen.runtime.errors import UserError, unknown_name

SMALLEST = 1e-30
# Number of untrained networks that kernel_alignment averages over, and of examples that it uses.
NUM_DRAWS = 4
MAX_KERNEL_EXAMPLES = 64
AUTO = "auto"

Figures = dict[str, float]
# Takes x_BNC, y_BA, the grid of the tokens and the network with the candidate applied.
Rule = Callable[[Tensor, Tensor, tuple[int, ...], PerceiverConfig], Figures]

# Claim C7's rule, and the one of ours that did best on tuning seeds (see docs/theory.md).
ORIGINAL_RULE = "between_token_variance"
OUR_RULE = "token_alignment"

EQUAL_WITHIN = 1e-9

# Fields of a network that only some transforms have as options, under the transforms' names.
_TRANSFORM_OPTIONS = {"full_spectrum": "full", "drop_dc": "drop_dc", "transform_seed": "seed"}

Network = TypeVar("Network", bound=PerceiverConfig)


def between_token_variance(
    x_BNC: Tensor, y_BA: Tensor, grid: tuple[int, ...], network: PerceiverConfig
) -> dict[str, float]:
    """The originator's rule (claim C7): mean and variance of the inputs; what varies more between tokens wins.

    Computed on the transform's output, before any standardisation, with all N coefficients of a DFT: the variance of an
    example's tokens about their mean, averaged over the data set (for a complex coefficient, of both parts together).
    ``mean`` is the root mean square of that mean.

    Taken literally it detects the DC level: by Parseval the orthonormal DFT's variance minus the raw tokens' is
    mean^2 - x[0]^2 / N, so that the DFT wins for every image that is not nearly black. With ``transform_scale=none``
    the Fourier side is N times larger by scale alone. Labels are not used.
    """
    full = dataclasses.replace(network, full_spectrum=True, standardise_after="none")
    can_be_full = "full" in transform_options(network.transform)
    z_BMD = _pipeline_output(x_BNC, grid, full if can_be_full else dataclasses.replace(full, full_spectrum=False))
    channels = x_BNC.shape[2]
    mean_B1D = z_BMD.mean(1, keepdim=True)
    variance = (z_BMD - mean_B1D).square().mean((0, 1)).sum() / channels
    mean = (mean_B1D.square().mean(0).sum() / channels).sqrt()
    return {"score": float(variance), "mean": float(mean), "variance": float(variance)}


def participation_ratio(
    x_BNC: Tensor, y_BA: Tensor, grid: tuple[int, ...], network: PerceiverConfig
) -> dict[str, float]:
    """Fraction of tokens over which label-relevant variance is spread: (sum s)^2 / (M sum s^2), in (0, 1]."""
    relevant_M = label_relevant_variance(_pipeline_output(x_BNC, grid, network), y_BA).sum(1)
    count = effective_number(relevant_M)
    return {"score": count / len(relevant_M), "participation_ratio": count}


def class_distance(x_BNC: Tensor, y_BA: Tensor, grid: tuple[int, ...], network: PerceiverConfig) -> dict[str, float]:
    """Standardised class distance: label-relevant variance over mean square, summed over tokens and channels.

    Without a standardisation slot a token's mean counts in its mean square: what all examples share swamps the change.
    """
    alignment_MD, _ = token_alignments(x_BNC, y_BA, grid, network)
    return {"score": float(alignment_MD.sum()), "largest": float(alignment_MD.max())}


def token_alignment(x_BNC: Tensor, y_BA: Tensor, grid: tuple[int, ...], network: PerceiverConfig) -> dict[str, float]:
    """Our rule: root of the sum over tokens of squared alignments with the labels.

    Untrained attention prefers no token, so each contributes its own information: its kernel-target alignment. Its
    squared length counts in addition to its channels, because attention weights content by content: so a grating whose
    phase changes is seen through its power spectrum. The root of the sum of squares lies between the largest alignment
    (one token reveals all) and their sum (every token reveals a little).
    """
    linear_MD, square_M = token_alignments(x_BNC, y_BA, grid, network)
    alignments = torch.cat([linear_MD.flatten(), square_M])
    return {
        "score": float(alignments.norm()),
        "largest": float(alignments.max()),
        "effective_number": effective_number(alignments),
    }


def kernel_alignment(x_BNC: Tensor, y_BA: Tensor, grid: tuple[int, ...], network: PerceiverConfig) -> dict[str, float]:
    """Kernel-target alignment at initialisation: of the latents of untrained networks, averaged over several draws.

    <K, Y> / (|K| |Y|) of the centred kernels (Cortes, Mohri and Rostamizadeh, Algorithms for learning kernels based on
    centered alignment, 2012), of at most 64 examples.
    """
    frame, channels = (grid[:-1], grid[-1]) if network.byte_tokens else (grid, x_BNC.shape[2])
    if len(frame) != 3:
        raise ValueError(f"kernel_alignment expects a grid of frames, rows and columns for its network, got {grid}")
    x_BTHWC = x_BNC.float().reshape(len(x_BNC), *frame, channels)
    shown = torch.linspace(0, len(x_BNC) - 1, min(len(x_BNC), MAX_KERNEL_EXAMPLES)).round().long()
    scores = []
    for draw in range(NUM_DRAWS):
        torch.manual_seed(draw)
        untrained = Perceiver(network, grid=frame, channels=channels, action_features=1)
        untrained.fit_input(x_BTHWC)
        latents_BLE = untrained.encoder(untrained.input_pipeline(untrained.tokens(x_BTHWC[shown])))
        scores.append(centred_alignment(latents_BLE.flatten(1).double(), y_BA[shown].double()))
    mean = sum(scores) / NUM_DRAWS
    return {"score": mean, "smallest_draw": min(scores), "largest_draw": max(scores)}


def centred_alignment(z_BF: Float[Tensor, "batch features"], y_BA: Float[Tensor, "batch labels"]) -> float:
    """Alignment of the centred linear kernels of features and labels, in [0, 1]."""
    kernel, target = ((about := values - values.mean(0)) @ about.T for values in (z_BF, y_BA))
    return float((kernel * target).sum() / (kernel.norm() * target.norm()).clamp(min=SMALLEST))


def token_alignments(
    x_BNC: Tensor, y_BA: Tensor, grid: tuple[int, ...], network: PerceiverConfig
) -> tuple[Float[Tensor, "tokens channels"], Float[Tensor, " tokens"]]:
    """Label-relevant variance over mean square, for each channel of each token and for each token's squared length.

    1 if the labels determine it and its mean is 0. The mean square has a floor: that of a byte's rounding error,
    propagated through the pipeline.
    """
    pipeline = fitted_pipeline(x_BNC, grid, network)
    z_BMD = pipeline(x_BNC.double())
    deviation_DM = getattr(pipeline.after, "deviation", z_BMD.new_ones(1, 1))
    floor_MD = (pipeline.after.floor / deviation_DM.T).square().expand(z_BMD.shape[1:])
    square_BM1 = z_BMD.square().sum(2, keepdim=True)
    linear_MD = label_relevant_variance(z_BMD, y_BA) / z_BMD.square().mean(0).maximum(floor_MD)
    floor_M1 = floor_MD.sum(1, keepdim=True).square()
    square_M1 = label_relevant_variance(square_BM1, y_BA) / square_BM1.square().mean(0).maximum(floor_M1)
    return linear_MD, square_M1[:, 0]


def label_relevant_variance(
    z_BMD: Float[Tensor, "batch tokens channels"], y_BA: Float[Tensor, "batch labels"]
) -> Float[Tensor, "tokens channels"]:
    """Variance of each channel of each token that a regression on the label explains.

    What R regressors explain of noise by chance, R / (B - 1 - R) of the residual, is subtracted; never below 0. Labels
    that repeat (at least twice on average) are classes, each with its own mean; others enter linearly.
    """
    directions_BR = _label_directions(y_BA.double())
    num_examples, num_directions = directions_BR.shape
    centred_BMD = z_BMD.double() - z_BMD.double().mean(0)
    total_MD = centred_BMD.square().mean(0)
    explained_MD = (directions_BR.T @ centred_BMD.flatten(1)).square().sum(0).view_as(total_MD) / num_examples
    num_left = num_examples - 1 - num_directions
    if num_left > 0:
        explained_MD = explained_MD - (total_MD - explained_MD) * (num_directions / num_left)
    return explained_MD.clamp(min=0.0)


def effective_number(shares: Float[Tensor, " items"]) -> float:
    """Participation ratio (sum s)^2 / sum s^2: how many items carry the sum, from 1 to all."""
    return float(shares.sum().square() / shares.square().sum().clamp(min=SMALLEST))


def fitted_pipeline(
    x_BNC: Float[Tensor, "batch tokens channels"], grid: tuple[int, ...], network: PerceiverConfig
) -> InputPipeline:
    """The network's input pipeline in float64, fitted on these tokens; learned parts are in their initial state."""
    torch.manual_seed(0)
    pipeline = InputPipeline(
        build_transform(network.transform, grid, x_BNC.shape[2], **transform_settings(network)),
        before=network.standardise_before,
        after=network.standardise_after,
        floor_scale=network.floor_scale,
    ).double()
    if pipeline.needs_fit:
        pipeline.fit(x_BNC.double())
    return pipeline


def _pipeline_output(x_BNC: Tensor, grid: tuple[int, ...], network: PerceiverConfig) -> Tensor:
    return fitted_pipeline(x_BNC, grid, network)(x_BNC.double())


def _label_directions(y_BA: Tensor) -> Tensor:
    """Orthonormal columns that span the labels, or their classes, about the mean."""
    classes, class_B = y_BA.unique(dim=0, return_inverse=True)
    if 2 * len(classes) <= len(y_BA):
        y_BA = one_hot(class_B).to(y_BA.dtype)
    left, values, _ = torch.linalg.svd(y_BA - y_BA.mean(0), full_matrices=False)
    return left[:, values > 1e-9 * values.max().clamp(min=SMALLEST)]


RULES: dict[str, Rule] = {
    "between_token_variance": between_token_variance,
    "participation_ratio": participation_ratio,
    "class_distance": class_distance,
    "kernel_alignment": kernel_alignment,
    "token_alignment": token_alignment,
}


@dataclass(frozen=True)
class InputChoice:
    """A candidate: an input transform, and the standardisation of its output."""

    transform: str = "raw"
    standardise_after: str = "none"

    def __post_init__(self) -> None:
        if self.transform not in TRANSFORMS:
            raise unknown_name("transform", self.transform, TRANSFORMS)
        if self.standardise_after not in STANDARDISERS:
            raise unknown_name("standardisation", self.standardise_after, STANDARDISERS)

    @classmethod
    def parse(cls, text: str, standardise_after: str = "none") -> InputChoice:
        """Reads ``raw`` or ``dft1d/token``.

        Args:
            text: A transform's name, followed by a slash and the standardisation if it is not the default.
            standardise_after: The default.

        Raises:
            UserError: If either name is unknown; the message lists the valid ones.
        """
        transform, _, after = text.partition("/")
        return cls(transform, after or standardise_after)

    @property
    def name(self) -> str:
        """The text that :meth:`parse` reads."""
        return f"{self.transform}/{self.standardise_after}"

    def applied_to(self, network: Network) -> Network:
        """The network with this input; options that this transform does not have are reset to their defaults."""
        valid, default = transform_options(self.transform), PerceiverConfig()
        lost = {key: getattr(default, key) for key, option in _TRANSFORM_OPTIONS.items() if option not in valid}
        return dataclasses.replace(network, **dataclasses.asdict(self), **lost)


@dataclass(frozen=True)
class Choice:
    """What a rule measured and chose.

    Attributes:
        rule: One of ``RULES``.
        candidates: The candidates.
        figures: Each candidate's figures; ``score`` decides.
    """

    rule: str
    candidates: tuple[InputChoice, ...]
    figures: tuple[Figures, ...]

    @property
    def index(self) -> int:
        """Index of the chosen candidate: the highest score, the first one on a tie."""
        highest = max(self.scores)
        # Rounding, which differs between machines, must not decide between equal transforms.
        return next(place for place, score in enumerate(self.scores) if score >= highest - EQUAL_WITHIN * abs(highest))

    @property
    def scores(self) -> list[float]:
        """Each candidate's score."""
        return [figures["score"] for figures in self.figures]

    @property
    def chosen(self) -> InputChoice:
        """The candidate that the rule chose."""
        return self.candidates[self.index]

    def to_json(self) -> dict[str, Any]:
        """Rule, choice and every candidate's figures."""
        rows = [
            {**dataclasses.asdict(candidate), **figures}
            for candidate, figures in zip(self.candidates, self.figures, strict=True)
        ]
        return {"rule": self.rule, "chosen": self.chosen.name, "candidates": rows}

    def table(self) -> str:
        """Every candidate's figures, and which one was chosen, as lines of text."""
        heads = [f"auto by {self.rule}", *self.figures[0]]
        rows = [
            [candidate.name, *(f"{value:.4g}" for value in figures.values())]
            for candidate, figures in zip(self.candidates, self.figures, strict=True)
        ]
        widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
        lines = ["  ".join(map(str.ljust, row, widths)) for row in (heads, *rows)]
        lines[1 + self.index] += "  <- chosen"
        return "\n".join(line.rstrip() for line in lines)


@torch.no_grad()
def choose_transform(
    rule: str,
    x_BNC: Float[Tensor, "batch tokens channels"],
    y_BA: Float[Tensor, "batch labels"],
    candidates: Sequence[InputChoice],
    *,
    grid: tuple[int, ...],
    network: PerceiverConfig | None = None,
) -> Choice:
    """Applies a rule to pooled training tokens.

    Args:
        rule: One of ``RULES``.
        x_BNC: Tokens of training examples, in [0, 1], as they enter the input pipeline.
        y_BA: The labels to predict from them.
        candidates: The candidates; at least one.
        grid: Axis lengths of the tokens' grid; their product is N.
        network: Everything else about the network; its ``transform`` and ``standardise_after`` do not matter.

    Raises:
        UserError: Unknown rule, no candidate, or tokens, labels and grid that do not match.
    """
    if rule not in RULES:
        raise unknown_name("rule", rule, RULES)
    if not candidates:
        raise UserError("expected at least one candidate, got none")
    if y_BA.ndim != 2 or len(x_BNC) != len(y_BA) or len(x_BNC) < 2:
        raise UserError(
            f"expected tokens and labels of the same 2 or more examples, got shapes {tuple(x_BNC.shape)} and "
            f"{tuple(y_BA.shape)}"
        )
    if x_BNC.ndim != 3 or x_BNC.shape[1] != math.prod(grid):
        raise UserError(
            f"expected tokens of shape (batch, tokens, channels), {math.prod(grid)} tokens for grid {tuple(grid)}, "
            f"got shape {tuple(x_BNC.shape)}"
        )
    base = PerceiverConfig() if network is None else network
    # Untrained networks and learned transforms draw their weights; the seed makes these reproducible.
    with torch.random.fork_rng(devices=[]):
        figures = [RULES[rule](x_BNC, y_BA, tuple(grid), candidate.applied_to(base)) for candidate in candidates]
    return Choice(rule, tuple(candidates), tuple(figures))
