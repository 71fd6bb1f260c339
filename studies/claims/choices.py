"""``python -m studies.claims.choices``: every rule's choice on every pair of the plan's regrets, into choices.json.

A rule sees the training pool of a seed and both candidates, before anything is trained. A minute on one core.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from smidgen.policies.choose_transform import ORIGINAL_RULE, OUR_RULE, InputChoice, choose_transform
from smidgen.runtime.command_line import run_command
from smidgen.runtime.files import read_json, write_json_atomic
from smidgen.runtime.schemas import from_json
from studies.claims import forecast
from studies.claims.arms import Arm
from studies.claims.design import FIRST_LOOK, SEEDS
from studies.claims.plan import StudyPlan
from studies.synthetic.ladder import make_ladder

FILE = "choices.json"
RULES = (ORIGINAL_RULE, OUR_RULE, forecast.RULE)
# Rule, then the first arm of the pair, then the seed: the name of the arm that is chosen.
Choices = dict[str, dict[str, dict[str, str]]]


def pairs_of(plan: StudyPlan) -> tuple[tuple[str, str], ...]:
    """Every pair that a rule chooses from, once."""
    return tuple(dict.fromkeys(pair for contrast in plan.contrasts.values() for pair in contrast.pairs))


def choose(rule: str, pair: tuple[str, str], arms: dict[str, Arm], seed: int) -> str:
    """The arm of a pair that a rule chooses on a seed's data."""
    first = arms[pair[0]]
    if rule == forecast.RULE:
        return pair[forecast.choose_by_forecast(first.data, [arms[name].network for name in pair], seed)]
    data = make_ladder(first.data, seed)
    candidates = [InputChoice(arms[name].network.transform, arms[name].network.standardise_after) for name in pair]
    choice = choose_transform(rule, data.x_BNC, data.y_BA, candidates, grid=first.data.grid, network=first.network)
    return pair[choice.index]


def read_choices(folder: Path) -> Choices:
    """What ``main`` wrote; nothing where it has not run.

    Raises:
        UserError: If the file is not valid.
    """
    path = folder / FILE
    return from_json(dict[str, dict[str, dict[str, str]]], read_json(path), str(path)) if path.exists() else {}


def main(arguments: list[str]) -> None:
    """Writes every rule's choices on the seeds of the first look."""
    from studies.claims.round_two import FOLDER, build_plan

    plan = build_plan()
    choices: dict[str, Any] = {
        rule: {
            pair[0]: {str(seed): choose(rule, pair, plan.arms, seed) for seed in SEEDS[:FIRST_LOOK]}
            for pair in pairs_of(plan)
        }
        for rule in RULES
    }
    write_json_atomic(FOLDER / FILE, choices)
    print(f"wrote {FOLDER / FILE}: {len(RULES)} rules on {len(pairs_of(plan))} pairs and {FIRST_LOOK} seeds")


if __name__ == "__main__":
    sys.exit(run_command(main))
