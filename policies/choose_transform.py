"""``auto``: choosing the input transform of a data set by a rule, before anything is trained.

A rule gives every candidate figures, the last word among them its ``score``; the highest score is chosen, and of equal
ones the first. Rules read pooled training tokens and their labels, draw nothing at random, and give the same figures on
every call.

Shape suffixes: B examples, N tokens in, C channels in, A label coordinates.
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

from smidgen.policies.choice_rules import (
    between_token_variance,
    class_distance,
    kernel_alignment,
    participation_ratio,
    token_alignment,
)
from smidgen.policies.perceiver import PerceiverConfig
from smidgen.policies.standardise import STANDARDISERS
from smidgen.policies.transforms import TRANSFORMS, transform_options
from smidgen.runtime.errors import UserError, unknown_name

AUTO = "auto"

Figures = dict[str, float]
# Takes x_BNC, y_BA, the grid of the tokens and the network with the candidate applied.
Rule = Callable[[Tensor, Tensor, tuple[int, ...], PerceiverConfig], Figures]

RULES: dict[str, Rule] = {
    "between_token_variance": between_token_variance,
    "participation_ratio": participation_ratio,
    "class_distance": class_distance,
    "kernel_alignment": kernel_alignment,
    "token_alignment": token_alignment,
}
# Claim C7's rule, and the one of ours that did best on tuning seeds (docs/theory.md says how it was chosen).
ORIGINAL_RULE = "between_token_variance"
OUR_RULE = "token_alignment"

EQUAL_WITHIN = 1e-9

# Fields of a network that are options of some transforms only, under the transforms' names.
_TRANSFORM_OPTIONS = {"full_spectrum": "full", "drop_dc": "drop_dc", "transform_seed": "seed"}

Network = TypeVar("Network", bound=PerceiverConfig)


@dataclass(frozen=True)
class InputChoice:
    """A candidate: an input transform, and the standardisation of what leaves it."""

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
            text: A transform's name, and after a slash the standardisation, where it is another than the default.
            standardise_after: The default.

        Raises:
            UserError: If either name is unknown; the message lists the valid ones.
        """
        transform, _, after = text.partition("/")
        return cls(transform, after or standardise_after)

    @property
    def name(self) -> str:
        """What :meth:`parse` reads."""
        return f"{self.transform}/{self.standardise_after}"

    def applied_to(self, network: Network) -> Network:
        """The network with this input; options that this transform does not have go back to their default."""
        valid, default = transform_options(self.transform), PerceiverConfig()
        lost = {key: getattr(default, key) for key, option in _TRANSFORM_OPTIONS.items() if option not in valid}
        return dataclasses.replace(network, **dataclasses.asdict(self), **lost)


@dataclass(frozen=True)
class Choice:
    """What a rule measured and chose.

    Attributes:
        rule: One of ``RULES``.
        candidates: What it chose from.
        figures: Each candidate's figures; ``score`` decides.
    """

    rule: str
    candidates: tuple[InputChoice, ...]
    figures: tuple[Figures, ...]

    @property
    def index(self) -> int:
        """Position of the chosen candidate: the highest score, and of equal ones the first."""
        highest = max(self.scores)
        # Two transforms of equal power must not be told apart by rounding, which differs between machines.
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
        """Every candidate's figures, and which one was chosen, as text of a few lines."""
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
        y_BA: What is to be predicted from each.
        candidates: What to choose from; at least one.
        grid: Axis lengths of the tokens' grid; their product is N.
        network: Everything else about the network; its ``transform`` and ``standardise_after`` do not matter.

    Raises:
        UserError: Unknown rule, no candidate, or tokens, labels and grid that do not fit together.
    """
    if rule not in RULES:
        raise unknown_name("rule", rule, RULES)
    if not candidates:
        raise UserError("expected at least one candidate to choose from, got none")
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
    # Untrained networks and transforms that are learned draw their weights: always the same ones.
    with torch.random.fork_rng(devices=[]):
        figures = [RULES[rule](x_BNC, y_BA, tuple(grid), candidate.applied_to(base)) for candidate in candidates]
    return Choice(rule, tuple(candidates), tuple(figures))
