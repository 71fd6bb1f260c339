"""python -m studies.first_round [results=DIR] [markdown=PATH] [levers=PATH] [check=true]

Computes the decisions on claims and hypotheses from the first round's plan and records: on the terminal, and as tables
between two markers of a Markdown file. ``check=true`` writes nothing and exits with 2 if a file differs from the
records. Takes a few seconds.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from smidgen.runtime.command_line import command_help, compose_config, run_command, wants_help
from smidgen.runtime.errors import UserError
from smidgen.runtime.files import read_text
from smidgen.runtime.markdown import replace_between_markers
from smidgen.runtime.settings import PathText
from studies.first_round.decisions import Decisions, decide
from studies.first_round.levers import levers_table
from studies.first_round.records import read_suite
from studies.first_round.tables import markdown, print_terminal
from studies.outputs import write_or_check

MARKER = "claims"
USAGE = "python -m studies.first_round [results=DIR] [key=value ...]"
SUMMARY = f"""\
Computes the decisions on claims and hypotheses from the first round's records in DIR: on the terminal, and as tables in
a Markdown file, between its two markers <!-- {MARKER}:begin --> and <!-- {MARKER}:end -->."""


@dataclass(frozen=True)
class ClaimsConfig:
    """Where the records are and where the decisions go."""

    results: PathText = field(default="results/claims", metadata={"help": "folder of plan.json and arms/"})
    markdown: PathText | None = field(default=None, metadata={"help": "Markdown file whose tables are replaced"})
    levers: PathText | None = field(default=None, metadata={"help": "Markdown file whose table of levers is replaced"})
    check: bool = field(default=False, metadata={"help": "write nothing; exit 2 if a file differs from the records"})


def build_outputs(config: ClaimsConfig, decisions: Decisions) -> dict[Path, bytes]:
    """Content of every file.

    Raises:
        UserError: If a Markdown file is missing or lacks its markers.
    """
    outputs: dict[Path, bytes] = {}
    if config.markdown:
        outputs |= _in_document(config.markdown, "markdown", MARKER, markdown(decisions))
    if config.levers:
        outputs |= _in_document(config.levers, "levers", "levers", levers_table(decisions.suite))
    return outputs


def _in_document(file: str, key: str, marker: str, content: str) -> dict[Path, bytes]:
    path = Path(file)
    if not path.is_file():
        raise UserError(f"{path} does not exist; pass {key}=PATH of a Markdown file with the two markers")
    return {path: replace_between_markers(read_text(path), content, str(path), marker).encode()}


def claims(arguments: list[str]) -> None:
    """Body of the command.

    Raises:
        UserError: If plan or records are missing or not valid, or with ``check=true`` a file differs from them.
    """
    if wants_help(arguments):
        print(command_help(USAGE, SUMMARY, ClaimsConfig))
        return
    config = compose_config(ClaimsConfig, arguments)
    decisions = decide(read_suite(config.results))
    outputs = build_outputs(config, decisions)
    said = write_or_check(outputs, check=config.check)
    if not config.check:
        print_terminal(decisions, Console())
    print(said)


if __name__ == "__main__":
    sys.exit(run_command(claims))
