"""H1 to H8 of the full form: what the input's length, transform and standardisation do.

Every function adds its arms to the book and gives the hypothesis. N = 3,072 tokens where nothing else is said.
"""

from __future__ import annotations

import math
from typing import Any

from studies.first_round.arms import ArmBook
from studies.first_round.comparisons import equal, larger_gain, not_slower, slower, worse
from studies.first_round.plan import Hypothesis

# Frames, rows and columns; the base arm's are 3 x 32 x 32.
SHORT: dict[str, Any] = {"grid": (1, 16, 16)}
MEDIUM: dict[str, Any] = {"grid": (1, 32, 32)}
LONG: dict[str, Any] = {"grid": (3, 64, 64)}
LONGEST: dict[str, Any] = {"grid": (3, 128, 128)}
SQRT_NUM_TOKENS = math.sqrt(3 * 32 * 32)

# A change of 1 in one of 3,072 tokens drowns in every DFT bin from a deviation of 1 / (2 sqrt 3,072) = 0.009 on.
NOISE_BELOW, NOISE_NEAR, NOISE_ABOVE = 0.001, 0.01, 0.1
# Of 256 tokens, from 0.03 on. Far above that some runs still escape there, so that a lost gain can be told from none.
SHORT_NOISE_ABOVE = 0.2
# Where the final FVU counts, runs go on for as long after their escape.
LONGER_RUNS: dict[str, Any] = {"confirm_steps": 1_000}


def noise(deviation: float) -> dict[str, Any]:
    """A background drawn afresh for every example, from a pool large enough that a linear probe solves it."""
    return {"background": "noise", "noise_sd": deviation, "num_train": 1024, "num_held_out": 64}


def h1(book: ArmBook) -> Hypothesis:
    """The plateau lengthens with N."""
    short = book.add(**SHORT)
    return Hypothesis(
        statement="Raw Perceivers hit a plateau that lengthens with the number N of tokens.",
        refuted_if="T0.5 is flat from N = 256 to 12,288 on the one-token task",
        comparisons=(
            slower("3072-over-256", book.add(), short),
            slower("12288-over-256", book.add(**LONG), short),
        ),
    )


def h2(book: ArmBook) -> Hypothesis:
    """An orthonormal DFT alone; 1-D or 3-D, whichever does better, at the raw scale and at matched unit variance."""
    comparisons = []
    for after in ("none", "centre"):
        for control in ("raw", "random_orthogonal"):
            slow = book.add(control, after)
            comparisons += [
                slower(f"{control}-over-{dft}-{after}", slow, book.add(dft, after), f"{control}-{after}")
                for dft in ("dft1d", "dft3d")
            ]
    return Hypothesis(
        statement="An orthonormal DFT alone shortens the plateau.",
        refuted_if="no gain over raw or over a random orthogonal mix at matched scale",
        comparisons=tuple(comparisons),
    )


def h3(book: ArmBook) -> Hypothesis:
    """The unnormalised FFT against raw tokens times sqrt(N), with the LayerNorm over tokens and without."""
    comparisons = []
    forms: dict[str, dict[str, Any]] = {"": {}, "-without-layer-norm": {"input_layer_norm": False}}
    for label, norm in forms.items():
        unnormalised = book.add("dft1d", transform_scale="none", **norm)
        comparisons += [
            slower(f"gain{label}", book.add(**norm), unnormalised, "gain"),
            not_slower(f"scaled-raw{label}", book.add(scale=SQRT_NUM_TOKENS, **norm), unnormalised),
        ]
    return Hypothesis(
        statement="What an unnormalised FFT gains is scale.",
        refuted_if="the unnormalised FFT beats raw tokens times sqrt(N) at a tuned learning rate",
        comparisons=tuple(comparisons),
    )


def h4(book: ArmBook) -> Hypothesis:
    """The DFT's gain with per-token standardisation against that without, and in noise."""

    def gain(after: str, **changes: Any) -> tuple[str, str]:
        return book.add("raw", after, **changes), book.add("dft1d", after, **changes)

    below = noise(NOISE_BELOW)
    return Hypothesis(
        statement="The gain is per-token standardisation after mixing, while noise stays far below 1 / (2 sqrt N).",
        refuted_if="no interaction of DFT and standardisation, or the gain survives noise far above 1 / (2 sqrt N)",
        comparisons=(
            larger_gain("interaction", gain("token"), gain("centre")),
            larger_gain("interaction-noise-below", gain("token", **below), gain("centre", **below)),
            not_slower("gain-noise-above", *gain("token", **noise(SHORT_NOISE_ABOVE), **SHORT)),
        ),
    )


def h5(book: ArmBook) -> Hypothesis:
    """The changed token first or elsewhere, seen through all N complex coefficients."""
    comparisons = []
    for after in ("none", "token"):
        first = book.add("dft1d", after, full_spectrum=True, position="first")
        comparisons.append(slower(after, book.add("dft1d", after, full_spectrum=True), first))
    return Hypothesis(
        statement="The position of the change matters to a DFT: the first token is special.",
        refuted_if="T0.5 is the same for a change in the first token and elsewhere on the full DFT",
        comparisons=tuple(comparisons),
        rule="any",
    )


def h6(book: ArmBook) -> Hypothesis:
    """Dropping the DC token against centring, at matched scale; on a constant and on a structured background."""
    centre = book.add("dft1d", "centre")
    drop = book.add("dft1d", "global", drop_dc=True)
    texture = structured_data()["texture"]
    return Hypothesis(
        statement="Centring acts through the DC coefficient alone.",
        refuted_if="dropping the DC token differs from centring",
        comparisons=(
            slower("centring-helps", book.add("dft1d", "global"), centre),
            equal("drop-dc-like-centre", drop, centre),
            equal("drop-dc-like-example", book.add("dft1d", "global", standardise_before="example"), centre),
            equal(
                "drop-dc-like-centre-texture",
                book.add("dft1d", "global", drop_dc=True, **texture),
                book.add("dft1d", "centre", **texture),
            ),
        ),
    )


def h7(book: ArmBook) -> Hypothesis:
    """Mixes without frequencies against the DFT, standardised alike; their positions per axis or 1-D, as the DFT's."""
    comparisons = []
    for after in ("centre", "token"):
        dft = book.add("dft1d", after)
        for mix in ("hadamard", "random_orthogonal"):
            for positions in ("per_axis", "one_d"):
                arm = book.add(mix, after, position_encoding=positions)
                comparisons.append(slower(f"{mix}-{after}-{positions}", arm, dft, f"{mix}-{after}"))
    return Hypothesis(
        statement="Frequency matters, not spreading.",
        refuted_if="Hadamard or a random orthogonal mix do as well as the DFT",
        comparisons=tuple(comparisons),
    )


def h8(book: ArmBook) -> Hypothesis:
    """Gratings a quarter of a cycle apart, 1/f textures and robot pictures; T0.5 or the final FVU must be worse."""
    comparisons = []
    for kind, data in structured_data().items():
        raw, dft = (book.add(name, "centre", **data) for name in ("raw", "dft1d"))
        comparisons += [slower(f"{kind}-escape", dft, raw, kind), worse(f"{kind}-fvu", dft, raw, kind)]
    return Hypothesis(
        statement="The DFT hurts small frequency shifts and dense images.",
        refuted_if="the DFT is no slower and ends with no higher FVU there",
        comparisons=tuple(comparisons),
    )


def structured_data() -> dict[str, dict[str, Any]]:
    """The data sets that are not one changed token, each with examples to hold out."""
    return {
        "periodic": {"kind": "periodic", **noise(NOISE_ABOVE), **LONGER_RUNS},
        "texture": {"kind": "texture", **noise(NOISE_ABOVE), **LONGER_RUNS},
        "frames": {"kind": "frames", **LONGER_RUNS},
    }


def moving_blob() -> dict[str, Any]:
    """A spot that moves by single pixels: sparse, but more than one token."""
    return {"kind": "moving_blob", **noise(NOISE_ABOVE), **LONGER_RUNS}
