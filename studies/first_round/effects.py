"""Measures the effect that a comparison of the plan asks for; plan.py explains the kinds of comparison."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from smidgen.runtime.schemas import refuse
from studies.first_round.plan import Comparison
from studies.first_round.records import ARMS_FOLDER, SeedRecord, Suite
from studies.first_round.survival import Effect, EscapeTimes, log_ratio, mean_difference


@dataclass(frozen=True)
class _Term:
    """Some runs, and how their log restricted mean counts in an effect."""

    runs: EscapeTimes
    weight: float


def _horizon(comparison: Comparison, suite: Suite) -> int:
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
    return log_ratio([term.runs for term in terms], [term.weight for term in terms], _horizon(comparison, suite))


def _ratio(comparison: Comparison, suite: Suite) -> list[_Term]:
    slow = [_Term(suite.escape_times(name), 1 / len(comparison.slow)) for name in comparison.slow]
    return slow + [_Term(suite.escape_times(name), -1 / len(comparison.fast)) for name in comparison.fast]


def _interaction(comparison: Comparison, suite: Suite) -> list[_Term]:
    (slow_first, slow_second), (fast_first, fast_second) = comparison.slow, comparison.fast
    weights = ((slow_first, 1.0), (fast_first, -1.0), (slow_second, -1.0), (fast_second, 1.0))
    return [_Term(suite.escape_times(name), weight) for name, weight in weights]


def _regret(comparison: Comparison, suite: Suite) -> list[_Term]:
    share = 1 / len(comparison.slow)
    terms = []
    for place, (slow, fast) in enumerate(zip(comparison.slow, comparison.fast, strict=True)):
        terms.append(_Term(_chosen_runs(comparison, suite, place), -share))
        if comparison.against == "coin":
            terms += [_Term(suite.escape_times(name), share / 2) for name in (slow, fast)]
        else:
            terms.append(_Term(suite.escape_times(slow), share))
    return terms


def _chosen_runs(comparison: Comparison, suite: Suite, place: int) -> EscapeTimes:
    """The runs that the rule chooses on one data set of a comparison of regrets, one for each seed.

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


_TERMS: dict[str, Callable[[Comparison, Suite], list[_Term]]] = {
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
    return sum(map(_held_out_fvu, runs)) / len(runs)


def _held_out_fvu(run: SeedRecord) -> float:
    """Held-out FVU at the end of a run, at most 1: worse than the mean is blind, and so is a run that diverged."""
    fvu = run.final.get("fvu_held_out")
    return 1.0 if fvu is None else min(fvu, 1.0)
