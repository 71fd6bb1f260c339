"""Which recipes are set against each other, and what for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Choice:
    """Two recipes that differ in one choice.

    Attributes:
        choice: What the second has and the first has not.
        without: The recipe without it.
        with_it: The recipe with it.
    """

    choice: str
    without: str
    with_it: str


CHOICES = (
    Choice("centring, no transform", "raw", "raw-centred"),
    Choice("centring, beside the 1-D DFT", "dft1d", "dft1d-centred"),
    Choice("positions per axis instead of along one axis", "raw-centred-1d", "raw-centred"),
    Choice("positions per axis instead of aliased, nothing centred", "posted", "raw"),
    Choice("the 1-D DFT, both with 1-D positions", "raw-centred-1d", "dft1d-centred"),
    Choice("the 3-D DFT, both with positions per axis", "raw-centred", "dft3d-centred"),
    Choice("the Walsh-Hadamard transform", "raw-centred", "hadamard-centred"),
    Choice("per-token standardisation instead of centring", "raw-centred", "raw-token"),
    Choice("beta1 = 0.999 on the post's raw pixels", "posted", "posted-beta0.999"),
    Choice("what is recommended, beside centred raw pixels", "raw-centred", "recommended"),
    Choice("content of gain 8 (and half of a chunk executed)", "raw-centred", "raw-centred-gain8"),
    Choice("content of gain 8 instead of windows", "recommended", "raw-centred-gain8"),
    Choice("three times the steps", "recommended", "recommended-long"),
    Choice("the transform that a rule chooses", "raw", "auto"),
    Choice("a convolutional stem", "recommended", "conv-stem"),
    Choice("a convolutional network instead of the recommended Perceiver", "recommended", "cnn"),
)

# The same question in closed loop: the recipe that a claim predicts to be worse, and the one to be better.
IN_CLOSED_LOOP = {
    "C1": ("posted", "recommended"),
    "C2": ("posted", "posted-beta0.999"),
    "C3": ("raw-centred-1d", "dft1d-centred"),
    "C4": ("raw", "dft1d"),
    "C5": ("raw-token", "dft1d-token"),
    "C6": ("dft3d-centred", "raw-centred"),
    "C7": ("raw", "auto"),
}
