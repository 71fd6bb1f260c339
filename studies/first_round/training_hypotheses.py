"""H9 to H11 of the full form, what the claims need beyond them, and the claims.

Here the optimiser changes, the encoding of positions, the initialisation, and the rule that chooses a transform.
"""

from __future__ import annotations

from typing import Any

from smidgen.policies.choose_transform import ORIGINAL_RULE, OUR_RULE
from studies.first_round.arms import ArmBook
from studies.first_round.comparisons import equal, larger_gain, lower_regret, not_slower, slower
from studies.first_round.input_hypotheses import (
    LONG,
    LONGEST,
    NOISE_ABOVE,
    NOISE_BELOW,
    SHORT,
    SHORT_NOISE_ABOVE,
    moving_blob,
    noise,
    structured_data,
)
from studies.first_round.plan import Claim, Hypothesis

MOMENTUM: dict[str, Any] = {"betas": (0.999, 0.999)}
SMALL_RATES: dict[str, Any] = {"lr_scale": 0.1}
LARGE_BATCH: dict[str, Any] = {"batch_size": 64}


def h9(book: ArmBook) -> Hypothesis:
    """Adam at beta1 = 0.999 against its explanations: clean raw tokens, and 256 noisy ones, centred so some escape."""
    noisy = {"after": "centre", **noise(NOISE_ABOVE), **SHORT}
    momentum, noisy_momentum = book.add(**MOMENTUM), book.add(**MOMENTUM, **noisy)
    return Hypothesis(
        statement="beta1 = 0.999 works through stability and averaging.",
        refuted_if="small learning rates, a large batch or LAMB do not match it",
        comparisons=(
            slower("helps", book.add(), momentum, "helps"),
            slower("helps-in-noise", book.add(**noisy), noisy_momentum, "helps"),
            not_slower("small-rates-match", book.add(**SMALL_RATES), momentum, "match"),
            not_slower("lamb-matches", book.add(optimiser="lamb"), momentum, "match"),
            not_slower("small-rates-match-in-noise", book.add(**SMALL_RATES, **noisy), noisy_momentum, "noise"),
            not_slower("lamb-matches-in-noise", book.add(optimiser="lamb", **noisy), noisy_momentum, "noise"),
            not_slower("large-batch-matches-in-noise", book.add(**LARGE_BATCH, **noisy), noisy_momentum, "noise"),
        ),
    )


def h10(book: ArmBook) -> Hypothesis:
    """Raw tokens with other positions, other latents, no LayerNorm."""
    raw = book.add()
    comparisons = [
        slower(f"{positions}-over-per-axis", book.add(position_encoding=positions), raw)
        for positions in ("one_d", "permuted", "aliased", "none")
    ]
    comparisons += [
        slower("small-latents-over-large", raw, book.add(latent_scale=1.0)),
        slower("layer-norm-over-none", raw, book.add(input_layer_norm=False)),
    ]
    return Hypothesis(
        statement="The plateau comes from encoding and initialisation.",
        refuted_if="positions per axis, latents of scale 1 and no LayerNorm change nothing",
        comparisons=tuple(comparisons),
        rule="any",
    )


def choice_pairs(book: ArmBook) -> list[tuple[str, str]]:
    """One pair of arms, raw and its DFT, per data set and standardisation: what a rule chooses from."""
    data: list[tuple[str, dict[str, Any]]] = [("none", SHORT), ("none", {}), ("none", LONG), ("token", {})]
    data += [("token", noise(deviation)) for deviation in (NOISE_BELOW, NOISE_ABOVE)]
    data += [("token", {**noise(SHORT_NOISE_ABOVE), **SHORT})]
    data += [("centre", part) for part in (*structured_data().values(), moving_blob())]
    return [(book.add("raw", after, **part), book.add("dft1d", after, **part)) for after, part in data]


def h11(book: ArmBook) -> Hypothesis:
    """The originator's rule."""
    pairs = choice_pairs(book)
    return Hypothesis(
        statement="Claim C7's rule picks the better transform.",
        refuted_if="its regret is no lower than that of always-raw or of a coin",
        comparisons=(
            lower_regret("over-always-raw", ORIGINAL_RULE, "always_slow", pairs),
            lower_regret("over-coin", ORIGINAL_RULE, "coin", pairs),
        ),
    )


def choice_per_data_set(book: ArmBook) -> Hypothesis:
    """The originator's rule against always the DFT, which needs no rule."""
    return Hypothesis(
        statement="Claim C7's rule chooses per data set: it does better than always the DFT.",
        refuted_if="its regret is no lower than that of always-DFT",
        comparisons=(lower_regret("over-always-dft", ORIGINAL_RULE, "always_slow", _swapped(choice_pairs(book))),),
    )


def our_rule(book: ArmBook) -> Hypothesis:
    """Our rule against a coin and against both constant choices."""
    pairs = choice_pairs(book)
    return Hypothesis(
        statement=f"Our rule, {OUR_RULE}, picks the better transform.",
        refuted_if="its regret is no lower than that of always-raw, of always-DFT or of a coin",
        comparisons=(
            lower_regret("over-always-raw", OUR_RULE, "always_slow", pairs),
            lower_regret("over-always-dft", OUR_RULE, "always_slow", _swapped(pairs)),
            lower_regret("over-coin", OUR_RULE, "coin", pairs),
        ),
    )


def _swapped(pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(fast, slow) for slow, fast in pairs]


def few_tokens(book: ArmBook) -> Hypothesis:
    """More changed tokens, and more latents, should shorten what few tokens and a tight bottleneck cause."""
    raw = book.add()
    return Hypothesis(
        statement="The plateau comes from few differing tokens and a tight bottleneck of latents.",
        refuted_if="64 differing tokens, or 32 latents, shorten nothing",
        comparisons=(
            slower("one-token-over-64", raw, book.add(kind="k_tokens", num_changed=64)),
            slower("8-latents-over-32", raw, book.add(num_latents=32)),
        ),
    )


def gain_lost_with_length(book: ArmBook) -> Hypothesis:
    """The gain of the plain DFT over raw tokens at 256 tokens against that at 12,288."""
    short, long = ((book.add(**data), book.add("dft1d", **data)) for data in (SHORT, LONG))
    return Hypothesis(
        statement="Without normalisation the DFT's gain is lost in long sequences.",
        refuted_if="the gain over raw tokens is no larger at N = 256 than at N = 12,288",
        comparisons=(slower("gain-at-256", *short), larger_gain("gain-256-over-12288", short, long)),
    )


def gain_kept_with_length(book: ArmBook) -> Hypothesis:
    """The standardised DFT against raw tokens at 12,288 tokens, and its own T0.5 over the lengths."""
    short, long, longest = (book.add("dft1d", "token", **data) for data in (SHORT, LONG, LONGEST))
    return Hypothesis(
        statement="With the input normalised the DFT's gain does not depend on the sequence's length.",
        refuted_if="T0.5 of the standardised DFT changes from N = 256 to 49,152, or it gains nothing at 12,288",
        comparisons=(
            slower("gain-at-12288", book.add(**LONG), long),
            equal("12288-like-256", long, short),
            equal("49152-like-256", longest, short),
        ),
    )


def claims() -> dict[str, Claim]:
    """The originator's claims, and the hypotheses that each rests on."""
    return {
        "C1": Claim(
            statement="The raw Perceiver gets stuck at the mean because two examples differ in few tokens and the "
            "latents are a tight bottleneck.",
            hypotheses=("H1", "few-tokens"),
        ),
        "C2": Claim(
            statement="Very large momentum (beta1 = 0.999) gets it out; ordinary Adam does not.",
            hypotheses=("H9/helps", "H9/helps-in-noise"),
        ),
        "C3": Claim(
            statement="A DFT over the token axis spreads a one-token change over every token, so that the "
            "cross-attention sees it.",
            hypotheses=("H2/raw-over-dft1d-none", "H2/raw-over-dft1d-centre"),
        ),
        "C4": Claim(
            statement="Without normalisation the gain is lost in long sequences.", hypotheses=("gain-lost-with-length",)
        ),
        "C5": Claim(
            statement="With the input normalised the gain no longer depends on sequence length.",
            hypotheses=("gain-kept-with-length",),
        ),
        "C6": Claim(
            statement="The DFT loses nothing but hurts where the data is periodic and examples differ by a small "
            "frequency shift.",
            hypotheses=("H8/periodic-escape", "H8/periodic-fvu"),
            rule="any",
        ),
        "C7": Claim(
            statement="A rule can choose per data set: whichever of raw and Fourier inputs varies more between tokens.",
            hypotheses=("H11",),
        ),
    }
