"""Short forms of the plan's comparisons, which otherwise repeat the same four keywords dozens of times."""

from __future__ import annotations

from collections.abc import Sequence

from studies.first_round.plan import Comparison


def slower(name: str, slow: str, fast: str, group: str = "") -> Comparison:
    """``slow`` is predicted to escape later than ``fast``."""
    return Comparison(name=name, kind="ratio", slow=(slow,), fast=(fast,), group=group)


def not_slower(name: str, slow: str, fast: str, group: str = "") -> Comparison:
    """``slow`` is predicted not to escape later than ``fast``: an effect that must be absent."""
    return Comparison(name=name, kind="ratio", slow=(slow,), fast=(fast,), predicted="not_slower", group=group)


def equal(name: str, slow: str, fast: str, group: str = "") -> Comparison:
    """Both are predicted to escape at the same time."""
    return Comparison(name=name, kind="ratio", slow=(slow,), fast=(fast,), predicted="equal", group=group)


def larger_gain(
    name: str, gain: tuple[str, str], than: tuple[str, str], predicted: str = "slow_is_slower", group: str = ""
) -> Comparison:
    """The gain slow / fast of one pair is predicted to be larger than that of another.

    Args:
        name: Of the comparison.
        gain: Slow and fast arm whose gain is to be the larger one.
        than: Slow and fast arm of the other gain.
        predicted: One of the plan's predictions of the ratio of both gains.
        group: Of alternatives.
    """
    slow, fast = (gain[0], than[0]), (gain[1], than[1])
    return Comparison(name=name, kind="interaction", slow=slow, fast=fast, predicted=predicted, group=group)


def worse(name: str, slow: str, fast: str, group: str = "") -> Comparison:
    """``slow`` is predicted to end with the higher held-out FVU."""
    return Comparison(name=name, kind="fvu", slow=(slow,), fast=(fast,), group=group)


def lower_regret(name: str, rule: str, against: str, pairs: Sequence[tuple[str, str]]) -> Comparison:
    """A rule's regret is predicted to be lower than a baseline's, over pairs (raw arm, its rival)."""
    slow, fast = (tuple(arms) for arms in zip(*pairs, strict=True))
    return Comparison(name=name, kind="regret", slow=slow, fast=fast, rule=rule, against=against)
