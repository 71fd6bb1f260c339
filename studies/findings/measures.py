"""Comparisons of two entries, and of two rankings of recipes."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from smidgen.evaluation.statistics import CONFIDENCE, holm
from smidgen.leaderboard.training_seeds import Array, outcome_table, p_of_difference
from studies.findings.entries import Entries, Entry


@dataclass(frozen=True)
class Tested:
    """A comparison that was planned.

    Attributes:
        task: Its task.
        first: A recipe.
        second: Another.
        asked: What it asks.
        difference: Success of the first less that of the second; None until both have two training seeds.
        p: p-value of the two-level test, None as above.
        p_holm: After Holm's correction over all comparisons that were planned; those that have not run count as 1.
    """

    task: str
    first: str
    second: str
    asked: str
    difference: float | None = None
    p: float | None = None
    p_holm: float | None = None


def all_tested(comparisons: Sequence[tuple[str, str, str]], tasks: Sequence[str], entries: Entries) -> list[Tested]:
    """Every planned comparison on every task, with Holm's correction over all of them."""
    found = [_tested(task, *each, entries) for task in tasks for each in comparisons]
    adjusted = holm([1.0 if each.p is None else each.p for each in found])
    return [
        each if each.p is None else Tested(**{**vars(each), "p_holm": p_holm})
        for each, p_holm in zip(found, adjusted, strict=True)
    ]


def _tested(task: str, first: str, second: str, asked: str, entries: Entries) -> Tested:
    ours, theirs = entries.get((task, first)), entries.get((task, second))
    if ours is None or theirs is None or min(len(ours.records), len(theirs.records)) < 2:
        return Tested(task, first, second, asked)
    p_value = p_of_difference(*shared_outcomes(ours, theirs))
    return Tested(task, first, second, asked, ours.rate - theirs.rate, p_value)


def shared_outcomes(first: Entry, second: Entry) -> tuple[Array, Array]:
    """Outcomes of both as tables (training seeds, test seeds) over the same test seeds."""
    shared = sorted(set().union(*first.outcomes) & set().union(*second.outcomes))
    return outcome_table(first.outcomes, shared), outcome_table(second.outcomes, shared)


def ratio_of_steps(slow: Entry, fast: Entry) -> tuple[float, float, float] | None:
    """How many times as long the first is blind, with its interval: paired by training seed, on the log scale.

    Returns:
        The geometric mean of the ratios of :attr:`Entry.blind_steps`, and the ends of Student's interval; None with
        fewer than two shared training seeds, or where an area is 0.
    """
    from scipy.stats import t as student_t

    ours, theirs = slow.blind_steps, fast.blind_steps
    shared = sorted(ours.keys() & theirs.keys())
    if len(shared) < 2 or min([*ours.values(), *theirs.values()]) <= 0:
        return None
    logs = [math.log(ours[seed] / theirs[seed]) for seed in shared]
    half = statistics.stdev(logs) / math.sqrt(len(logs)) * float(student_t.isf((1 - CONFIDENCE) / 2, len(logs) - 1))
    mean = statistics.fmean(logs)
    return math.exp(mean), math.exp(mean - half), math.exp(mean + half)


@dataclass(frozen=True)
class Transfer:
    """Whether what escapes early on one task succeeds on another.

    Attributes:
        pictures: The task on which steps of blindness are measured.
        task: The task on which success is.
        num_recipes: Recipes that have both.
        correlation: Spearman's, of being blind for fewer steps with success; None with fewer than four recipes.
    """

    pictures: str
    task: str
    num_recipes: int
    correlation: float | None


def transfer(pictures: str, task: str, entries: Entries) -> Transfer:
    """The rank correlation over all recipes that have run on both tasks."""
    from scipy.stats import spearmanr

    pairs = []
    for (name, recipe), entry in entries.items():
        other = entries.get((task, recipe))
        if name == pictures and other is not None and entry.blind_steps:
            pairs.append((-statistics.fmean(entry.blind_steps.values()), other.rate))
    if len(pairs) < 4:
        return Transfer(pictures, task, len(pairs), None)
    value = float(spearmanr(*zip(*pairs, strict=True)).statistic)
    return Transfer(pictures, task, len(pairs), None if math.isnan(value) else value)
