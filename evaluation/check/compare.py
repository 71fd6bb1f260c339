"""``smidgen-check compare A B``: is one policy better than another, on the episodes that both were run on?"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from smidgen.evaluation.check.outcomes import Outcomes, read_outcomes
from smidgen.evaluation.statistics import POWER, SIGNIFICANCE, exact_mcnemar, minimum_detectable_drop, paired_difference
from smidgen.runtime.command_line import command_help, compose_config, wants_help
from smidgen.runtime.errors import UserError
from smidgen.runtime.files import write_json_atomic
from smidgen.runtime.settings import PathText, user_path

USAGE = "smidgen-check compare A B [out=FILE.json]"
SUMMARY = """
Is A better than B? Success with Wilson's intervals, McNemar's exact test on
the episodes that both have, and how small a difference could be found.
Reads records of smidgen-eval, LeRobot's eval_info.json, CSV of seed,success.
"""


@dataclass(frozen=True)
class CompareConfig:
    """Where to write the comparison."""

    out: PathText | None = field(default=None, metadata={"help": "JSON file to write as well"})


@dataclass(frozen=True)
class Comparison:
    """Two policies on the episodes that both were run on.

    Attributes:
        first: The one.
        second: The other.
        num_shared: Episodes that both have.
        only_first: Of those, which only the first succeeded in.
        only_second: Which only the second did.
        difference: The first rate less the second on shared episodes, with its interval.
        p_value: McNemar's exact test, two-sided; 1 if no episode tells them apart.
        detectable: The smallest difference of rates that would be found, from the better policy's rate; None if none.
    """

    first: Outcomes
    second: Outcomes
    num_shared: int
    only_first: int
    only_second: int
    difference: tuple[float, ...]
    p_value: float
    detectable: float | None


def compare(first: Outcomes, second: Outcomes) -> Comparison:
    """Compares two policies.

    Raises:
        UserError: If they share no episode.
    """
    shared = sorted(first.success.keys() & second.success.keys())
    if not shared or first.is_by_seed != second.is_by_seed:
        counts = f"{len(first.success)} and {len(second.success)} in all"
        raise UserError(f"{first.path} and {second.path} share no episodes ({counts}); run both on the same seeds")
    outcomes = [(first.success[key], second.success[key]) for key in shared]
    one, other = (dict(enumerate(pair[place] for pair in outcomes)) for place in (0, 1))
    p_value, _ = exact_mcnemar(one, other)
    better = max(sum(one.values()), sum(other.values())) / len(shared)
    only_first = sum(here and not there for here, there in outcomes)
    only_second = sum(there and not here for here, there in outcomes)
    return Comparison(
        first=first,
        second=second,
        num_shared=len(shared),
        only_first=only_first,
        only_second=only_second,
        difference=paired_difference(only_first, only_second, len(shared)),
        p_value=p_value,
        detectable=minimum_detectable_drop(better, len(shared)),
    )


def in_words(found: Comparison) -> list[str]:
    """The comparison, line by line."""
    first, second = found.first, found.second
    width = max(len(first.name), len(second.name))
    lines = [f"{each.name:<{width}}  {each.in_words()}" for each in (first, second)]
    apart = f"only the first succeeds in {found.only_first}, only the second in {found.only_second}"
    lines.append(f"on {found.num_shared} shared episodes {apart}: McNemar's p = {found.p_value:.2g}")
    value, low, high = (100 * each for each in found.difference)
    lines.append(f"the first less the second: {value:+.1f} points [{low:+.1f}, {high:+.1f}]")
    if found.p_value <= SIGNIFICANCE:
        better = first if found.only_first > found.only_second else second
        lines.append(f"{better.name} is better, at the {SIGNIFICANCE:.0%} level.")
    else:
        lines.append("That does not tell them apart; it does not show that they are equal either.")
    if found.detectable is None:
        lines.append(f"With {found.num_shared} episodes no difference would be found reliably; run more.")
    else:
        points = 100 * found.detectable
        lines.append(f"A difference of {points:.0f} points would be found with a probability of {POWER:.0%}.")
    if not first.is_by_seed:
        lines.append("Episodes are paired by their order: that is right if both runs began at the same seed.")
    return lines


def comparison_json(found: Comparison) -> dict[str, Any]:
    """The comparison in JSON's types."""
    policies = [
        {"name": each.name, "k": each.num_successes, "n": len(each.success), "interval": list(each.interval)}
        for each in (found.first, found.second)
    ]
    counts = {name: getattr(found, name) for name in ("num_shared", "only_first", "only_second", "p_value")}
    counts["difference"] = list(found.difference)
    return {"policies": policies, **counts, "detectable": found.detectable, "paired_by_seed": found.first.is_by_seed}


def compare_command(arguments: list[str]) -> None:
    """The verb ``compare``."""
    if wants_help(arguments):
        print(command_help(USAGE, SUMMARY, CompareConfig))
        return
    paths = [word for word in arguments if not word.startswith("out=")]
    if len(paths) != 2 or any(word.startswith("-") for word in paths):
        raise UserError(f"expected two files: {USAGE}")
    config = compose_config(CompareConfig, [word for word in arguments if word.startswith("out=")])
    found = compare(*(read_outcomes(user_path(path)) for path in paths))
    print("\n".join(in_words(found)))
    if config.out is not None:
        Path(config.out).parent.mkdir(parents=True, exist_ok=True)
        write_json_atomic(config.out, comparison_json(found))
        print(config.out)
