"""How well each score orders policies: rank correlations with success in closed loop, as Markdown."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

from smidgen.evaluation.statistics import CONFIDENCE
from smidgen.runtime.markdown import left, markdown_table, right
from studies.checkpoint_choice.candidates import Candidate
from studies.checkpoint_choice.record import ScoredPolicy

# Fewer policies of a task say next to nothing about an order.
LEAST_POLICIES = 4
# A bootstrap over fewer draws the same few again and again, and its interval is too narrow.
LEAST_FOR_INTERVAL = 20
NUM_DRAWS, SEED = 2_000, 20_261_130
MISSING = "\u2013"


@dataclass(frozen=True)
class Scored:
    """A policy's success in closed loop beside what is known of it without a simulator."""

    candidate: Candidate
    scored: ScoredPolicy

    @property
    def success(self) -> float:
        """Share of its episodes that succeeded."""
        return self.candidate.success


def _last(name: str, sign: float = 1.0) -> Callable[[Scored], float]:
    def value(each: Scored) -> float:
        found = each.candidate.validation.get(name)
        return math.nan if found is None else sign * found

    return value


def _score(name: str) -> Callable[[Scored], float]:
    def value(each: Scored) -> float:
        found = each.scored.scores[name][0]
        return math.nan if found is None else found

    return value


# Higher is better.
CRITERIA: dict[str, Callable[[Scored], float]] = {
    "held-out loss": _last("loss", -1.0),
    "held-out skill": _last("skill_time_mean"),
    "`rank`, by `open_skill`": _score("open_skill"),
    "`rank`, by `frames`": _score("frames"),
    "cue slope, where there are counterfactual pairs": _last("cue_slope"),
}

Groups = Mapping[str, Sequence[Scored]]


def gather(candidates: Mapping[str, Candidate], scored: Mapping[str, ScoredPolicy]) -> dict[str, list[Scored]]:
    """Scored policies by the name of their group; smaller groups are left out."""
    groups: dict[str, list[Scored]] = {}
    for name, each in scored.items():
        groups.setdefault(candidates[name].group, []).append(Scored(candidates[name], each))
    return {name: members for name, members in groups.items() if len(members) >= LEAST_POLICIES}


def correlation(values: ArrayLike, successes: ArrayLike) -> float:
    """Spearman's rank correlation; policies without a value are ranked last, and NaN where either does not vary."""
    ranks = [rankdata(np.nan_to_num(np.asarray(each, dtype=np.float64), nan=-np.inf)) for each in (values, successes)]
    if min(np.ptp(each) for each in ranks) == 0:
        return math.nan
    return float(np.corrcoef(*ranks)[0, 1])


def pooled(groups: Groups, criterion: Callable[[Scored], float]) -> tuple[float, float, float]:
    """The mean of the groups' correlations, weighted by their size, with a bootstrap interval over policies.

    Policies are drawn with replacement inside each group; a group whose success does not vary has no part in it.
    """
    parts = [
        (np.array([criterion(each) for each in members]), np.array([each.success for each in members]))
        for members in groups.values()
    ]
    generator = np.random.default_rng(SEED)
    drawn = []
    for _ in range(NUM_DRAWS):
        chosen = [generator.integers(len(values), size=len(values)) for values, _ in parts]
        drawn.append(_weighted([(v[rows], s[rows]) for (v, s), rows in zip(parts, chosen, strict=True)]))
    known = [value for value in drawn if math.isfinite(value)] or [math.nan]
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(known, [tail, 100 - tail])
    return _weighted(parts), float(low), float(high)


def _weighted(parts: Sequence[tuple[NDArray[np.float64], NDArray[np.float64]]]) -> float:
    found = [(correlation(values, successes), len(values)) for values, successes in parts]
    known = [(value, size) for value, size in found if math.isfinite(value)]
    return sum(value * size for value, size in known) / sum(size for _, size in known) if known else math.nan


def lost_by_choosing(members: Sequence[Scored], criterion: Callable[[Scored], float]) -> float:
    """Success of the best policy of a group less that of the one that a criterion puts first."""
    values = np.nan_to_num([criterion(each) for each in members], nan=-np.inf)
    return max(each.success for each in members) - members[int(np.argmax(values))].success


def choice_table(groups: Groups) -> str:
    """A row for each criterion."""
    num_policies = sum(map(len, groups.values()))
    if not num_policies:
        return f"Of no task have {LEAST_POLICIES} policies been scored yet."
    rows = []
    for name, criterion in CRITERIA.items():
        each = [
            correlation([criterion(m) for m in members], [m.success for m in members]) for members in groups.values()
        ]
        lost = [lost_by_choosing(members, criterion) for members in groups.values()]
        value, low, high = pooled(groups, criterion)
        interval = f" [{figure(low)} to {figure(high)}]" if num_policies >= LEAST_FOR_INTERVAL else ""
        mean = f"{figure(value)}{interval}"
        rows.append([name, *map(figure, each), mean, f"{100 * sum(lost) / len(lost):.0f} points"])
    heads = left("policies ordered by") + right(
        *(f"{name}, {len(members)} policies" for name, members in groups.items()),
        "mean [95 %]",
        "success lost by its choice",
    )
    return f"{markdown_table(heads, rows)}\n\n{num_policies} policies; an interval needs {LEAST_FOR_INTERVAL}."


def figure(value: float) -> str:
    """Two decimals; a dash where there is none."""
    return MISSING if math.isnan(value) else f"{value:.2f}".replace("-", "\u2212")
