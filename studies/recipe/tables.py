"""The search as Markdown, for docs/recipe.md: a table for each task, from the records alone."""

from __future__ import annotations

from collections.abc import Mapping

from smidgen.evaluation.collapse.labels import slope_text
from smidgen.evaluation.statistics import exact_mcnemar
from smidgen.runtime.markdown import left, markdown_table, right
from studies.recipe.arms import Arm
from studies.recipe.records import ArmRecord

HEAD = [
    *left("arm", "success [95 %]"),
    *right("once"),
    *left("against its baseline"),
    *right("sight", "cue slope", "held-out skill"),
    *left("failures"),
    *right("steps", "core minutes"),
]
MOST_FAILURES = 3
NOTHING = "No arm has a record yet."
UNKNOWN = "-"


def markdown(arms: Mapping[str, Arm], records: Mapping[str, ArmRecord]) -> str:
    """Every task's arms, in the order of the plan.

    Args:
        arms: The plan's arms by name, in order.
        records: What has been run, by the same names.
    """
    if not records:
        return NOTHING
    parts = [f"{len(records)} of {len(arms)} arms have a record."]
    for task in dict.fromkeys(arms[name].task for name in records):
        rows = [row(name, arms, records) for name in records if arms[name].task == task]
        parts.append(f"**{task}**\n\n{markdown_table(HEAD, rows)}")
    return "\n\n".join(parts)


def row(name: str, arms: Mapping[str, Arm], records: Mapping[str, ArmRecord]) -> list[str]:
    """One arm's row."""
    record, arm = records[name], arms[name]
    last = record.validation[-1]
    most = sorted(record.failures.items(), key=lambda item: (-item[1], item[0]))[:MOST_FAILURES]
    training = record.costs["training"]
    return [
        f"{name.partition('.')[2]}: {arm.reason}",
        f"{rate_text(record.success)} [{100 * record.success['low']:.0f}-{100 * record.success['high']:.0f} %]",
        rate_text(record.success_once),
        against_text(name, arms, records),
        number_text(record.sight),
        number_text(record.cue_slope),
        number_text(last.get("skill_time_mean")),
        ", ".join(f"{count} {label}" for label, count in most),
        f"{last['step']:,.0f}",
        f"{training.core_s / 60:.0f}",
    ]


def rate_text(rate: Mapping[str, float]) -> str:
    """Successes of episodes."""
    return f"{rate['k']:.0f}/{rate['n']:.0f}"


def number_text(value: float | None) -> str:
    """A slope or a skill."""
    return UNKNOWN if value is None else slope_text(value)


def baseline_of(name: str, arms: Mapping[str, Arm]) -> str:
    """The arm that a lever is compared with: the same task and way of acting, with the policy as it is by default.

    Empty for a baseline itself, and where the plan has none.
    """
    arm = arms[name]
    plain = str(arm.training["policy"])
    found = [
        other
        for other, its in arms.items()
        if its.task == arm.task and its.label == plain and its.acting == arm.acting and other != name
    ]
    return found[0] if found else ""


def against_text(name: str, arms: Mapping[str, Arm], records: Mapping[str, ArmRecord]) -> str:
    """Seeds won less seeds lost against the baseline, with the exact McNemar test's p-value."""
    baseline = baseline_of(name, arms)
    if baseline not in records:
        return ""
    own, other = (dict(enumerate(map(bool, map(int, records[arm].outcomes)))) for arm in (name, baseline))
    p_value, num_shared = exact_mcnemar(own, other)
    won = sum(own[place] - other[place] for place in range(num_shared))
    return f"{won:+d}/{num_shared}, p = {p_value:.2g}"
