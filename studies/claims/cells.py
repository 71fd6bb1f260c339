"""The cells of the second round: which arms and contrasts answer which claim."""

from __future__ import annotations

import dataclasses
from typing import Any

from smidgen.policies.choose_transform import ORIGINAL_RULE
from studies.claims.arms import WITHOUT_UNIFORM, ArmBook, Cell
from studies.claims.contrasts import ABSENT, Claim, Contrast, larger_gain, lower_regret, slower
from studies.claims.design import LONG_WARMUP_STEPS, WARMUP_STEPS
from studies.claims.forecast import RULE as FORECAST_RULE

# Horizons in steps: long enough for most runs of the pilots to escape, short enough for the budget.
PLAIN, TOKEN, CENTRE, STRUCTURED, MOMENTUM = 4_000, 3_000, 1_000, 3_000, 6_000
HORIZONS = {"none": PLAIN, "token": TOKEN, "centre": CENTRE}
# Where each search begins.
LOW, MIDDLE, HIGH = (1e-4, 3e-4, 1e-3), (3e-4, 1e-3, 3e-3), (1e-3, 3e-3, 1e-2)
STARTS = {"none": LOW, "token": MIDDLE, "centre": MIDDLE}
LENGTHS = (256, 3072, 12_288)
LONGEST = 49_152
BETAS: dict[float, tuple[float, ...]] = {0.9: MIDDLE, 0.99: HIGH, 0.999: (1e-3, 3e-3, 1e-2, 3e-2)}

Contrasts = dict[str, Contrast]


def _add(book: ArmBook, transform: str, after: str = "none", *, data: str = "one_token", **changes: Any) -> str:
    horizon = HORIZONS[after] if data in ("one_token", "64_tokens") else STRUCTURED
    settings = {"horizon": horizon, "lrs": STARTS[after], **changes}
    return book.add(Cell(transform=transform, after=after, data=data, **settings))


def c1(book: ArmBook) -> Contrasts:
    """Few changed tokens, many tokens, few latents: raw, unstandardised, positions per axis."""
    raw = {n: _add(book, "raw", tokens=n, positions="axes") for n in (*LENGTHS, 1024)}
    many = _add(book, "raw", data="64_tokens", positions="axes")
    latents = _add(book, "raw", positions="axes", network="latents32")
    title = "the plateau at {} tokens over that at 256"
    return {
        "C1.few-tokens": slower(
            "one changed token over 64 of an eighth its size", raw[3072], many, PLAIN, claim="C1", uncentred=True
        ),
        "C1.length": slower(title.format("12,288"), raw[12_288], raw[256], PLAIN, uncentred=True),
        "C1.length-3072": slower(title.format("3,072"), raw[3072], raw[256], PLAIN, uncentred=True),
        "C1.length-1024": slower(title.format("1,024"), raw[1024], raw[256], PLAIN, uncentred=True),
        "C1.bottleneck": slower("8 latents over 32", raw[3072], latents, PLAIN, uncentred=True),
    }


def c2(book: ArmBook) -> Contrasts:
    """Momentum, each value at a rate of its own: on pictures, where 0.9 does not escape, and on one token."""
    contrasts: Contrasts = {}
    long, short = LONG_WARMUP_STEPS, WARMUP_STEPS
    # Data, network, values of beta1 beside 0.9, lengths of the warm-up; the dearest last.
    families = (
        ("frames", "", (0.999, 0.99), (long, short)),
        ("one_token", "large", (0.999,), (long, short)),
        ("frames", "large", (0.999,), (long,)),
    )
    for data, network, betas, warmups in families:
        for warmup in warmups:
            plain = _momentum(book, data, network, 0.9, warmup)
            for beta1 in betas:
                is_primary = (data, network, beta1, warmup) == ("frames", "", 0.999, long)
                contrasts[f"C2.{data}.{network or 'small'}.beta{beta1:g}.warmup{warmup}"] = slower(
                    f"beta1 0.9 over {beta1:g}, {data}, {network or 'small'} network, warm-up {warmup}",
                    plain,
                    _momentum(book, data, network, beta1, warmup),
                    MOMENTUM,
                    claim="C2" if is_primary else "",
                )
    return contrasts


def _momentum(book: ArmBook, data: str, network: str, beta1: float, warmup: int) -> str:
    """A raw, unstandardised arm with aliased positions.

    One of short warm-up takes the rate of that of the long one; pictures on the large network, that of one token.
    """
    cell = Cell(
        transform="raw",
        after="none",
        data=data,
        network=network,
        positions="aliased",
        horizon=MOMENTUM,
        lrs=BETAS[beta1],
        beta1=beta1,
        warmup_steps=LONG_WARMUP_STEPS,
    )
    searching = book.add(dataclasses.replace(cell, data="one_token") if network else cell)
    own = dataclasses.replace(cell, warmup_steps=warmup)
    return searching if own.name == searching else book.add(dataclasses.replace(own, rate_of=searching))


def c3(book: ArmBook) -> Contrasts:
    """Raw tokens against transforms at the same positions, under three standardisations, on one token and pictures."""
    contrasts: Contrasts = {}
    for data in ("one_token", "frames"):
        for after in ("centre", "none", "token"):
            for positions, transforms in (("1d", ("dft1d",)), ("axes", ("dft3d", "hadamard"))):
                raw = _add(book, "raw", after, data=data, positions=positions)
                for transform in transforms:
                    other = _add(book, transform, after, data=data, positions=positions)
                    is_primary = (data, after, transform) == ("one_token", "centre", "dft1d")
                    contrasts[f"C3.{data}.{after}.{transform}"] = slower(
                        f"raw over {transform}, {data}, {after}, positions {positions}",
                        raw,
                        other,
                        STRUCTURED if data == "frames" else HORIZONS[after],
                        claim="C3" if is_primary else "",
                        uncentred=after == "none",
                    )
    large = [_add(book, transform, "centre", network="large") for transform in ("raw", "dft1d")]
    contrasts["C3.large"] = slower("raw over dft1d on the leaderboard's network, centred", large[0], large[1], CENTRE)
    return contrasts


def c4_c5(book: ArmBook) -> Contrasts:
    """The gain of the DFT over raw tokens at the same positions, with and without standardisation, over lengths."""
    pairs = {
        (n, after): (_add(book, "raw", after, tokens=n), _add(book, "dft1d", after, tokens=n))
        for after in ("token", "none")
        for n in LENGTHS
    }
    short, _, long = LENGTHS
    contrasts = {
        "C4.normalised-over-plain": larger_gain(
            "at 12,288 tokens: the DFT's gain with per-token standardisation over that without",
            pairs[long, "token"],
            pairs[long, "none"],
            TOKEN,
            claim="C4",
            uncentred=True,
        ),
        "C5.length": larger_gain(
            "with per-token standardisation: the DFT's gain at 12,288 tokens over that at 256",
            pairs[long, "token"],
            pairs[short, "token"],
            TOKEN,
            claim="C5",
            predicted=ABSENT,
        ),
        "C4.length": larger_gain(
            "without standardisation: the DFT's gain at 256 tokens over that at 12,288",
            pairs[short, "none"],
            pairs[long, "none"],
            PLAIN,
            uncentred=True,
        ),
    }
    return contrasts | _gains(book, pairs) | _gains_per_axis(book)


def _gains(book: ArmBook, pairs: dict[tuple[int, str], tuple[str, str]]) -> Contrasts:
    """Each gain on its own, and what dropping the DC coefficient alone does."""
    contrasts: Contrasts = {}
    for (n, after), (raw, dft) in pairs.items():
        horizon = HORIZONS[after]
        contrasts[f"C5.gain.{after}.{n}"] = slower(
            f"raw over dft1d at {n:,} tokens, {after}", raw, dft, horizon, uncentred=after == "none"
        )
        if after == "none":
            dropped = _add(book, "dft1d", tokens=n, drop_dc=True)
            contrasts[f"C4.dc.{n}"] = slower(
                f"dft1d over dft1d without its DC coefficient at {n:,} tokens", dft, dropped, horizon, uncentred=True
            )
    return contrasts


def _gains_per_axis(book: ArmBook) -> Contrasts:
    """The gain over raw tokens whose positions are encoded per axis, up to the longest arrays."""
    contrasts: Contrasts = {}
    for after in ("token", "none"):
        # 1-D positions of 49,152 tokens cost ten times as much as positions per axis: raw tokens have the latter here.
        for n in (*LENGTHS, LONGEST):
            raw = _add(book, "raw", after, tokens=n, positions="axes", **_cheaper(n))
            dft = _add(book, "dft1d", after, tokens=n, **_cheaper(n))
            horizon = book.arms[raw].horizon
            contrasts[f"C5.gain-axes.{after}.{n}"] = slower(
                f"raw at positions per axis over dft1d at {n:,} tokens, {after}",
                raw,
                dft,
                horizon,
                uncentred=after == "none",
            )
    return contrasts


def _cheaper(n: int) -> dict[str, Any]:
    return {"horizon": 2_000} if n == LONGEST else {}


def c6(book: ArmBook) -> Contrasts:
    """Gratings whose frequency shifts, and a moving spot, all centred, each transform at raw tokens' positions."""
    contrasts: Contrasts = {}
    for data in ("periodic", "moving_blob"):
        for transform, positions in (("dft3d", "axes"), ("dft1d", "1d")):
            raw = _add(book, "raw", "centre", data=data, positions=positions)
            other = _add(book, transform, "centre", data=data, positions=positions)
            contrasts[f"C6.{data}.{transform}"] = slower(
                f"{transform} over raw, {data}, centred, positions {positions}",
                other,
                raw,
                STRUCTURED,
                claim="C6" if (data, transform) == ("periodic", "dft3d") else "",
            )
    return contrasts


def c7(book: ArmBook) -> Contrasts:
    """The originator's rule on every pair of raw tokens and their DFT at the same positions."""
    pairs = [
        (_add(book, "raw", after, tokens=n), _add(book, "dft1d", after, tokens=n))
        for after in ("none", "token")
        for n in LENGTHS
    ]
    pairs += [(_add(book, "raw", "centre"), _add(book, "dft1d", "centre"))]
    pairs += [
        (_add(book, "raw", after, data="frames"), _add(book, "dft1d", after, data="frames"))
        for after in ("none", "centre", "token")
    ]
    pairs += [
        (_add(book, "raw", "centre", data=data), _add(book, "dft1d", "centre", data=data))
        for data in ("periodic", "moving_blob")
    ]
    titles = {"second": "always the DFT", "first": "always raw tokens", "coin": "a coin"}
    return {
        f"C7.{against}": lower_regret(
            f"{title} over the rule's choice, {len(pairs)} data sets and standardisations",
            ORIGINAL_RULE,
            against,
            pairs,
            PLAIN,
            claim="C7" if against == "second" else "",
        )
        for against, title in titles.items()
    }


def forecasts(book: ArmBook) -> Contrasts:
    """The forecast of the escape as a rule, on the pairs of C7: made on the first round's data, tried on this one's."""
    pairs = next(iter(c7(book).values())).pairs
    titles = {
        "second": "always the DFT (which is C7's rule)",
        "first": "always raw tokens",
        "coin": "a coin",
        "best": "the better of both in hindsight",
    }
    return {
        f"forecast.{against}": lower_regret(
            f"{title} over the forecast's choice, {len(pairs)} data sets and standardisations",
            FORECAST_RULE,
            against,
            pairs,
            PLAIN,
        )
        for against, title in titles.items()
    }


def new_hypotheses(book: ArmBook) -> Contrasts:
    """Centring alone, attention without its uniform part, repetition: descriptive."""
    contrasts: Contrasts = {}
    for transform, positions in (
        ("raw", "1d"),
        ("raw", "axes"),
        ("dft1d", "1d"),
        ("dft3d", "axes"),
        ("hadamard", "axes"),
    ):
        plain, centred = (_add(book, transform, after, positions=positions) for after in ("none", "centre"))
        contrasts[f"new.centring.{transform}.{positions}"] = slower(
            f"{transform} as it is over centred, positions {positions}", plain, centred, CENTRE, uncentred=True
        )
    for transform, positions in (("raw", "axes"), ("dft1d", "1d")):
        plain = _add(book, transform, positions=positions)
        removed = _add(book, transform, positions=positions, attention=WITHOUT_UNIFORM)
        contrasts[f"new.uniform-part.{transform}"] = slower(
            f"{transform} over {transform} with attention less its uniform part", plain, removed, PLAIN, uncentred=True
        )
    often: dict[str, Any] = {"tokens": 256, "positions": "axes"}
    many, few = (_add(book, "raw", "centre", data=data, **often) for data in ("noisy_token", "noisy_token_16"))
    contrasts["new.repetition"] = slower("a pool of 256 noisy examples over one of 16", many, few, STRUCTURED)
    return contrasts


CLAIMS: dict[str, Claim] = {
    "C1": Claim(
        statement="The raw Perceiver gets stuck at the mean because two examples differ in few tokens and the latents "
        "are a tight bottleneck.",
        contrast="C1.few-tokens",
        reading="At the same energy one changed token is escaped later than 64, each an eighth as large.",
    ),
    "C2": Claim(
        statement="Very large momentum (beta1 = 0.999) gets it out; ordinary Adam does not.",
        contrast="C2.frames.small.beta0.999.warmup2000",
        reading="On robot pictures (raw tokens, aliased positions), where beta1 = 0.9 stays at the mean, 0.999 "
        "escapes: each at its best rate, after a warm-up of 2,000 steps.",
    ),
    "C3": Claim(
        statement="A DFT over the token axis spreads a one-token change over every token, so that the cross-attention "
        "sees it.",
        contrast="C3.one_token.centre.dft1d",
        reading="At the same positions and the same scale, raw tokens stay longer than their 1-D DFT.",
    ),
    "C4": Claim(
        statement="Without normalisation the gain is lost in long sequences.",
        contrast="C4.normalised-over-plain",
        reading="At 12,288 tokens the DFT gains more over raw tokens with per-token standardisation than without.",
    ),
    "C5": Claim(
        statement="With the input normalised the gain no longer depends on sequence length.",
        contrast="C5.length",
        reading="With per-token standardisation the DFT's gain over raw tokens is the same at 12,288 tokens as at 256.",
    ),
    "C6": Claim(
        statement="The DFT loses nothing but hurts where the data is periodic and examples differ by a small frequency "
        "shift.",
        contrast="C6.periodic.dft3d",
        reading="On gratings a quarter of a cycle apart the DFT over time, rows and columns stays longer than raw "
        "tokens at the same positions.",
    ),
    "C7": Claim(
        statement="A rule can choose per data set: whichever of raw and Fourier inputs varies more between tokens.",
        contrast="C7.second",
        reading="The rule's choices have smaller areas than always taking the DFT.",
    ),
}
