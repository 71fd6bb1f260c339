"""From a comparison of the plan to one measured effect; the kinds are explained in plan.py."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from smidgen.runtime.schemas import refuse
from studies.first_round.plan import Comparison
from studies.first_round.records import ARMS_FOLDER, SeedRecord, Suite
from studies.first_round.survival import Effect, EscapeTimes, log_ratio, mean_difference, restricted_mean

FVU = "fvu_held_out"


@dataclass(frozen=True)
class Term:
    """Some runs, and how their log restricted mean counts in an effect."""

    runs: EscapeTimes
    weight: float


def horizon(comparison: Comparison, suite: Suite) -> int:
    """The tau of a comparison: the smallest ``max_steps`` of its arms."""
    return min(suite.plan.arms[name].max_steps for name in comparison.arms)


def measure(comparison: Comparison, suite: Suite) -> Effect:
    """Measures a comparison, all of whose arms have finished.

    Raises:
        UserError: If a record lacks the choices that a comparison of kind ``regret`` needs.
    """
    if comparison.kind == "fvu":
        return _fvu_difference(comparison, suite)
    terms = _TERMS[comparison.kind](comparison, suite)
    return log_ratio([term.runs for term in terms], [term.weight for term in terms], horizon(comparison, suite))


def _ratio(comparison: Comparison, suite: Suite) -> list[Term]:
    slow = [Term(suite.escape_times(name), 1 / len(comparison.slow)) for name in comparison.slow]
    return slow + [Term(suite.escape_times(name), -1 / len(comparison.fast)) for name in comparison.fast]


def _interaction(comparison: Comparison, suite: Suite) -> list[Term]:
    (slow_first, slow_second), (fast_first, fast_second) = comparison.slow, comparison.fast
    weights = ((slow_first, 1.0), (fast_first, -1.0), (slow_second, -1.0), (fast_second, 1.0))
    return [Term(suite.escape_times(name), weight) for name, weight in weights]


def _regret(comparison: Comparison, suite: Suite) -> list[Term]:
    share = 1 / len(comparison.slow)
    terms = []
    for place, (slow, fast) in enumerate(zip(comparison.slow, comparison.fast, strict=True)):
        terms.append(Term(chosen_runs(comparison, suite, place), -share))
        if comparison.against == "coin":
            terms += [Term(suite.escape_times(name), share / 2) for name in (slow, fast)]
        else:
            terms.append(Term(suite.escape_times(slow), share))
    return terms


def chosen_runs(comparison: Comparison, suite: Suite, place: int) -> EscapeTimes:
    """On each seed of one data set of a comparison of regrets, the run of the candidate that the rule chooses there.

    Raises:
        UserError: If the record lacks the choice, or chooses another arm.
    """
    candidates = {name: suite.escape_times(name) for name in (comparison.slow[place], comparison.fast[place])}
    file = f"{ARMS_FOLDER}/{comparison.slow[place]}.json"
    choices = suite.arms[comparison.slow[place]].choices.get(comparison.rule)
    if choices is None:
        refuse(file, f"choices.{comparison.rule}", "the rule's choice for each seed", "nothing (missing)")
    times, escaped = [], []
    for seed in suite.plan.seeds:
        name = choices[str(seed)]
        if name not in candidates:
            refuse(file, f"choices.{comparison.rule}.{seed}", f"one of {', '.join(candidates)}", name)
        run = candidates[name].seeds.index(seed)
        times.append(candidates[name].times[run])
        escaped.append(candidates[name].escaped[run])
    return EscapeTimes(suite.plan.seeds, tuple(times), tuple(escaped))


def regret(comparison: Comparison, suite: Suite, chosen: Sequence[EscapeTimes]) -> float:
    """Regret of one way to choose: restricted mean of the chosen runs over that of the better candidate.

    Args:
        comparison: Of kind ``regret``.
        suite: The records.
        chosen: The runs that were chosen on each data set of the comparison.

    Returns:
        The geometric mean over the data sets. A choice that changes with the seed can have a regret below 1.
    """
    tau = horizon(comparison, suite)
    logs = []
    for runs, *names in zip(chosen, comparison.slow, comparison.fast, strict=True):
        best = min(restricted_mean(suite.escape_times(name), tau) for name in names)
        logs.append(math.log(restricted_mean(runs, tau) / best))
    return math.exp(sum(logs) / len(logs))


_TERMS: dict[str, Callable[[Comparison, Suite], list[Term]]] = {
    "ratio": _ratio,
    "interaction": _interaction,
    "regret": _regret,
}


def _fvu_difference(comparison: Comparison, suite: Suite) -> Effect:
    seeds = suite.plan.seeds
    sides = [[_mean_fvu(suite, arms, seed) for seed in seeds] for arms in (comparison.slow, comparison.fast)]
    return mean_difference(sides[0], sides[1], seeds, seeds)


def _mean_fvu(suite: Suite, arms: tuple[str, ...], seed: int) -> float:
    runs = [run for name in arms for run in suite.arms[name].seeds if run.seed == seed]
    return sum(map(held_out_fvu, runs)) / len(runs)


def held_out_fvu(run: SeedRecord) -> float:
    """Held-out FVU at the end of a run, at most 1: a policy worse than the mean is blind, and so is a diverged one."""
    fvu = run.final.get(FVU)
    return 1.0 if fvu is None else min(fvu, 1.0)
