"""The contrasts of arms that the second round compares, one primary contrast for each claim, and what each predicts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from studies.claims.design import LEAST_RATIO, LEAST_RATIO_UNCENTRED

SLOWER, ABSENT = "slower", "absent"
PREDICTIONS = (SLOWER, ABSENT)


@dataclass(frozen=True, kw_only=True)
class Contrast:
    """One effect: exp of a weighted sum of log areas, above 1 where what is predicted to be slower is slower.

    Attributes:
        title: The question, in words.
        terms: Arms with their weights: 1 and -1 for the ratio of two.
        horizon: Steps up to which the areas are taken, of all arms alike.
        claim: The claim whose primary contrast this is; empty: descriptive.
        predicted: ``slower`` (the effect is there), or ``absent`` (it is not).
        least_ratio: What the ratio must reach, beside an interval that excludes 1.
        pairs: For the regret of a rule instead of ``terms``: raw arm and its DFT, one pair for each data set.
        against: What the rule is compared with: always the ``first`` of a pair, the ``second``, a ``coin``, or the
            ``best``, known in hindsight alone.
        rule: One of ``studies.claims.choices.RULES``.
    """

    title: str
    terms: dict[str, float] = field(default_factory=dict)
    horizon: int
    claim: str = ""
    predicted: str = SLOWER
    least_ratio: float = LEAST_RATIO
    pairs: tuple[tuple[str, str], ...] = ()
    against: str = ""
    rule: str = ""

    @property
    def arms(self) -> tuple[str, ...]:
        """Every arm that it needs."""
        return tuple(dict.fromkeys([*self.terms, *(arm for pair in self.pairs for arm in pair)]))


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A claim as the originator made it, and the contrast that decides it.

    Attributes:
        statement: The claim.
        contrast: Name of its primary contrast.
        reading: How the contrast reads the claim.
    """

    statement: str
    contrast: str
    reading: str


def slower(title: str, slow: str, fast: str, horizon: int, *, claim: str = "", uncentred: bool = False) -> Contrast:
    """``slow`` is predicted to have the larger area.

    Args:
        title: What it asks.
        slow: The arm whose area should be larger.
        fast: The other.
        horizon: Steps up to which areas are taken.
        claim: Whose primary contrast it is.
        uncentred: Whether its seeds differ so much that only a large effect is decided.
    """
    least = LEAST_RATIO_UNCENTRED if uncentred else LEAST_RATIO
    return Contrast(title=title, terms={slow: 1.0, fast: -1.0}, horizon=horizon, claim=claim, least_ratio=least)


def larger_gain(
    title: str,
    gain: tuple[str, str],
    than: tuple[str, str],
    horizon: int,
    *,
    claim: str = "",
    predicted: str = SLOWER,
    uncentred: bool = False,
) -> Contrast:
    """The gain of one pair (slow arm, fast arm) over that of another.

    Args:
        title: What it asks.
        gain: The pair whose gain stands above the line.
        than: The pair whose gain stands below.
        horizon: Steps up to which areas are taken.
        claim: Whose primary contrast it is.
        predicted: ``slower``: the first gain is larger; ``absent``: both are the same.
        uncentred: As for ``slower``.
    """
    terms = {gain[0]: 1.0, gain[1]: -1.0, than[0]: -1.0, than[1]: 1.0}
    least = LEAST_RATIO_UNCENTRED if uncentred else LEAST_RATIO
    return Contrast(title=title, terms=terms, horizon=horizon, claim=claim, predicted=predicted, least_ratio=least)


def lower_regret(
    title: str, rule: str, against: str, pairs: Sequence[tuple[str, str]], horizon: int, *, claim: str = ""
) -> Contrast:
    """A rule is predicted to choose arms of smaller areas than a choice that knows nothing of the data.

    Args:
        title: What it asks.
        rule: The rule.
        against: ``first``, ``second`` or ``coin``.
        pairs: What it chooses from, a pair for each data set.
        horizon: Steps up to which areas are taken, where a pair runs for so long; else the pair's own horizon.
        claim: Whose primary contrast it is.
    """
    return Contrast(title=title, pairs=tuple(pairs), against=against, rule=rule, horizon=horizon, claim=claim)
