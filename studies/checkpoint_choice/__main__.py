"""``python -m studies.checkpoint_choice [scratch=DIR] [page=PATH] [check=true]``: how well checkpoints can be ordered.

Scores every policy of the search for a recipe and of the leaderboard that is still in the scratch folder and has no
scores yet (about ten seconds each on one core), then computes the table of docs/check.md from all scores in
``results/checkpoint_choice``.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path

from smidgen.runtime.command_line import command_help, compose_config, run_command, wants_help
from smidgen.runtime.markdown import page_with_tables
from smidgen.runtime.settings import PathText
from studies.checkpoint_choice.candidates import Candidate, candidates
from studies.checkpoint_choice.record import FOLDER, read_scored, score_missing
from studies.checkpoint_choice.tables import choice_table, gather
from studies.outputs import write_or_check
from studies.recipe.step_costs import FOLDER as RECIPE

USAGE = "python -m studies.checkpoint_choice [key=value ...]"
SUMMARY = "Orders trained policies without a simulator, and compares that with their success in closed loop."
BOARD = "results/cpu-standard-1"
TABLE_NAME = "checkpoint choice"


@dataclass(frozen=True)
class ChoiceConfig:
    """Where policies, scores and page are."""

    scratch: PathText = field(default="outputs", metadata={"help": "scratch folder of the suites that trained them"})
    recipe: PathText = field(default=str(RECIPE), metadata={"help": "records of the search for a recipe"})
    leaderboard: PathText = field(default=BOARD, metadata={"help": "records of the official leaderboard"})
    results: PathText = field(default=str(FOLDER), metadata={"help": "folder of the scores"})
    page: PathText = field(default="docs/check.md", metadata={"help": "page whose table is replaced"})
    check: bool = field(default=False, metadata={"help": "score nothing; exit 2 if the page differs from the scores"})


def all_candidates(config: ChoiceConfig) -> dict[str, Candidate]:
    """Every policy that may be scored."""
    return candidates(Path(config.recipe), Path(config.leaderboard), config.scratch)


def page_text(config: ChoiceConfig) -> str:
    """The page with its table computed anew."""
    known = all_candidates(config)
    groups = gather(known, read_scored(Path(config.results), known))
    return page_with_tables(Path(config.page), {TABLE_NAME: choice_table(groups)})


def main(argv: list[str] | None = None) -> int:
    """The command."""
    return run_command(_body, argv)


def _body(arguments: list[str]) -> None:
    if wants_help(arguments):
        print(command_help(USAGE, SUMMARY, ChoiceConfig))
        return
    config = compose_config(ChoiceConfig, arguments)
    page = Path(config.page)
    if not config.check:
        for scored in score_missing(all_candidates(config), Path(config.results)):
            print(f"{scored.policy}: {scored.label}", flush=True)
    print(write_or_check({page: page_text(config).encode()}, check=config.check))


if __name__ == "__main__":
    sys.exit(main())
