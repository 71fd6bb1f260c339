"""``python -m studies.findings [results=DIR] [page=PATH] [check=true]``: the tables of docs/findings.md.

Computed from the records of the official leaderboard and of the claims' second round; a few seconds on one core.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path

from smidgen.experiments.leaderboard import FOLDER
from smidgen.runtime.command_line import command_help, compose_config, run_command, wants_help
from smidgen.runtime.markdown import page_with_tables
from smidgen.runtime.settings import PathText
from studies.claims.choices import read_choices
from studies.claims.decisions import decide_all
from studies.claims.records import read_records
from studies.claims.round_two import FOLDER as CLAIMS
from studies.claims.round_two import build_plan
from studies.findings.entries import read_entries
from studies.findings.tables import tables
from studies.findings.verification import verification_table
from studies.outputs import write_or_check

VERIFICATION = "verification"
USAGE = "python -m studies.findings [key=value ...]"
SUMMARY = "The tables of the page of findings, from the records of the official leaderboard and of the claims."


@dataclass(frozen=True)
class FindingsConfig:
    """Where the records are, and the page."""

    results: PathText = field(default=str(FOLDER), metadata={"help": "folder of the leaderboard's records"})
    claims: PathText = field(default=str(CLAIMS), metadata={"help": "folder of the claims' second round"})
    page: PathText = field(default="docs/findings.md", metadata={"help": "page whose tables are replaced"})
    check: bool = field(default=False, metadata={"help": "write nothing; exit 2 if the page differs from the records"})


def page_text(config: FindingsConfig) -> str:
    """The page, with its tables computed anew."""
    plan, folder = build_plan(), Path(config.claims)
    results = decide_all(plan, read_records(folder, plan.arms), read_choices(folder))
    found = tables(read_entries(Path(config.results)), plan, results)
    return page_with_tables(Path(config.page), {**found, VERIFICATION: verification_table(Path(config.results))})


def main(argv: list[str] | None = None) -> int:
    """The command."""
    return run_command(_body, argv)


def _body(arguments: list[str]) -> None:
    if wants_help(arguments):
        print(command_help(USAGE, SUMMARY, FindingsConfig))
        return
    config = compose_config(FindingsConfig, arguments)
    print(write_or_check({Path(config.page): page_text(config).encode()}, check=config.check))


if __name__ == "__main__":
    sys.exit(main())
