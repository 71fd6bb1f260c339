"""``smidgen-check rank data=PATH RUN ...``: orders policies by what they know beyond their own arm."""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from smidgen.evaluation.check import words
from smidgen.evaluation.check.checking import check_quickly
from smidgen.evaluation.check.config import CheckConfig
from smidgen.evaluation.check.report import Report
from smidgen.evaluation.check.rows import Measured
from smidgen.evaluation.collapse.labels import spoken
from smidgen.runtime.command_line import command_help, compose_config, wants_help
from smidgen.runtime.errors import UserError, unknown_name
from smidgen.runtime.files import write_json_atomic
from smidgen.runtime.settings import PathText
from smidgen.runtime.terminal_table import TerminalColumn, TerminalRow, print_table

USAGE = "smidgen-check rank data=PATH POLICY ... [key=value ...]"
SUMMARY = """
Orders checkpoints, or any policies, by held-out episodes alone. open_skill:
skill at moments when the arm does not give away what comes next; frames:
how far answers follow another episode's frames; skill: over all steps.
"""
SCORES = ("open_skill", "frames", "skill")


@dataclass(frozen=True)
class RankConfig:
    """What to order policies by."""

    data: PathText = field(metadata={"help": "episodes held out from training, of any format"})
    by: str = field(default="open_skill", metadata={"help": f"score: {', '.join(SCORES)}"})
    episodes: int = field(default=30, metadata={"help": "episodes to ask about"})
    windows: int = field(default=600, metadata={"help": "steps to ask about, over all episodes"})
    out: PathText | None = field(default=None, metadata={"help": "JSON file to write as well"})

    def __post_init__(self) -> None:
        if self.by not in SCORES:
            raise unknown_name("score", self.by, SCORES)


@dataclass(frozen=True, eq=False)
class Ranked:
    """One policy.

    Attributes:
        policy: As it was given.
        label: Whether it sees.
        scores: Every score, by its name.
    """

    policy: str
    label: str
    scores: dict[str, Measured]


def rank(config: RankConfig, policies: Sequence[str]) -> tuple[list[Ranked], list[str]]:
    """Checks every policy, best first.

    Returns:
        The order, and why policies were left out.

    Raises:
        UserError: If none can be checked.
    """
    found, left_out = [], []
    for policy in policies:
        settings = CheckConfig(config.data, policy, episodes=config.episodes, windows=config.windows)
        try:
            report = check_quickly(settings)
        except UserError as error:
            left_out.append(f"{policy}: {error}")
        else:
            found.append(Ranked(policy, report.decision.label, scores(report)))
    if not found:
        raise UserError(f"no policy could be checked; {left_out[0]}")
    return sorted(found, key=lambda each: _order(each.scores[config.by].value), reverse=True), left_out


def scores(report: Report) -> dict[str, Measured]:
    """What a policy may be ordered by; a policy without frames follows none."""
    frames = report.following.frames
    is_blind = report.observes is not None and "frames" not in report.observes
    return {
        "open_skill": report.accuracy.skill_open,
        "frames": Measured(0.0) if is_blind else frames,
        "skill": report.accuracy.skill["time_mean"],
    }


def _order(score: float) -> float:
    return score if math.isfinite(score) else -math.inf


def rank_json(config: RankConfig, order: Sequence[Ranked]) -> dict[str, Any]:
    """The order in JSON's types."""
    rows = [
        {
            "policy": each.policy,
            "label": each.label,
            "scores": {
                name: [value if math.isfinite(value) else None for value in dataclasses.astuple(score)]
                for name, score in each.scores.items()
            },
        }
        for each in order
    ]
    return {"data": Path(config.data).name, "by": config.by, "order": rows}


def rank_command(arguments: list[str]) -> None:
    """The verb ``rank``."""
    if wants_help(arguments):
        print(command_help(USAGE, SUMMARY, RankConfig))
        return
    keys = tuple(f"{each.name}=" for each in dataclasses.fields(RankConfig))
    policies = [word for word in arguments if not word.startswith(keys)]
    config = compose_config(RankConfig, [word for word in arguments if word.startswith(keys)])
    if not policies or any(word.startswith("-") for word in policies):
        raise UserError(f"expected policies to order: {USAGE}")
    order, left_out = rank(config, policies)
    for each in left_out:
        print(f"left out: {each}", file=sys.stderr)
    _print(config, order)
    if config.out is not None:
        Path(config.out).parent.mkdir(parents=True, exist_ok=True)
        write_json_atomic(config.out, rank_json(config, order))
        print(config.out)


def _print(config: RankConfig, order: Sequence[Ranked]) -> None:
    first = [config.by, *(name for name in SCORES if name != config.by)]
    columns = [
        TerminalColumn("#", justify="right"),
        TerminalColumn("Policy", is_name=True),
        TerminalColumn("Label"),
        *(TerminalColumn(name.replace("_", " "), joined="") for name in first),
    ]
    rows = [
        TerminalRow(
            [Text(str(place)), Text(each.policy), Text(spoken(each.label))]
            + [Text(words.figure(each.scores[name])) for name in first]
        )
        for place, each in enumerate(order, 1)
    ]
    print_table(Console(), f"policies on {Path(config.data).name}, by {config.by}", columns, rows, gap=False)
