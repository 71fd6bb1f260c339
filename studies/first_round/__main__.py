"""python -m studies.first_round [results=DIR] [markdown=PATH] [levers=PATH] [html=PATH] [check=true]

Computes the verdicts on claims and hypotheses from a suite's plan and records alone: on the terminal, as one
self-contained page, and as tables between two markers of a Markdown file. ``check=true`` writes nothing and exits with
2 where a file differs from the records. Takes a few seconds.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from smidgen.leaderboard.tables import check_outputs
from smidgen.runtime.command_line import command_help, compose_config, run_command, wants_help
from smidgen.runtime.errors import UserError
from smidgen.runtime.files import read_text, write_atomic
from smidgen.runtime.markdown import replace_between_markers
from smidgen.runtime.places import read_only_places
from smidgen.runtime.settings import PathText
from studies.first_round.levers import levers_table
from studies.first_round.page import render_claims_page
from studies.first_round.records import read_suite
from studies.first_round.tables import markdown, print_terminal
from studies.first_round.verdicts import Judgement, judge

MARKER = "claims"
USAGE = "python -m studies.first_round [results=DIR] [key=value ...]"
SUMMARY = f"""\
Computes the verdicts on claims and hypotheses from the records of smidgen-suite in DIR: on the terminal, as one
self-contained HTML page, and as tables in a Markdown file, between its two markers <!-- {MARKER}:begin --> and
<!-- {MARKER}:end -->."""


@dataclass(frozen=True)
class ClaimsConfig:
    """Where the records are and where the verdicts go."""

    results: PathText = field(default="results/claims", metadata={"help": "folder of plan.json and arms/"})
    markdown: PathText | None = field(default=None, metadata={"help": "Markdown file whose tables are replaced"})
    levers: PathText | None = field(default=None, metadata={"help": "Markdown file whose table of levers is replaced"})
    html: PathText | None = field(default=None, metadata={"help": "page; RESULTS/../claims.html by default"})
    check: bool = field(default=False, metadata={"help": "write nothing; exit 2 if a file differs from the records"})


def build_outputs(config: ClaimsConfig, judgement: Judgement) -> dict[Path, bytes]:
    """Content of every file.

    Raises:
        UserError: If the Markdown file is missing or lacks its markers.
    """
    page = Path(config.html) if config.html else Path(os.path.normpath(Path(config.results) / "..")) / "claims.html"
    outputs = {page: render_claims_page(judgement).encode()}
    if config.markdown:
        outputs |= _in_document(config.markdown, "markdown", MARKER, markdown(judgement))
    if config.levers:
        outputs |= _in_document(config.levers, "levers", "levers", levers_table(judgement.suite))
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
    config = compose_config(ClaimsConfig, ["check=true" if entry == "--check" else entry for entry in arguments])
    judgement = judge(read_suite(config.results))
    outputs = build_outputs(config, judgement)
    if config.check:
        # A page that was never built has not drifted.
        checked = {
            path: data for path, data in outputs.items() if path.suffix != ".html" or config.html or path.exists()
        }
        check_outputs(checked)
        print(f"as the records give: {', '.join(map(str, checked))}")
        return
    page = next(iter(outputs))
    read_only = {} if config.html else read_only_places({page: "html"}, outputs)
    for path, data in outputs.items():
        if path not in read_only:
            write_atomic(path, data)
    print_terminal(judgement, Console())
    print("\n".join(read_only.get(path, f"wrote {path}") for path in outputs))


if __name__ == "__main__":
    sys.exit(run_command(claims))
