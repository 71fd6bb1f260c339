"""python -m studies.claims [results=DIR] [markdown=PATH] [html=PATH] [check=true]

Computes the second round's decisions from its records alone: on the terminal, as one self-contained page, and as tables
between two markers of a Markdown file. ``check=true`` writes nothing and exits with 2 where a file differs from the
records. A few seconds.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from smidgen.runtime.command_line import command_help, compose_config, run_command, wants_help
from smidgen.runtime.errors import UserError
from smidgen.runtime.files import read_text
from smidgen.runtime.markdown import replace_between_markers
from smidgen.runtime.settings import PathText
from studies.claims.choices import read_choices
from studies.claims.decisions import Results, decide_all
from studies.claims.page import render_page
from studies.claims.plan import PLAN_FILE, StudyPlan
from studies.claims.records import Records, read_records
from studies.claims.report import claim_reports, effect_text, state_text
from studies.claims.round_two import FOLDER, build_plan
from studies.claims.round_two_b import build_plan_b, read_both_rounds
from studies.claims.tables import markdown, start_markdown
from studies.outputs import write_or_check

MARKER, START_MARKER = "claims-round-2", "claims-round-2b"
USAGE = "python -m studies.claims [key=value ...]"
SUMMARY = f"""\
Computes the second round's decisions from the records in DIR: on the terminal, as one self-contained HTML page, and as
tables in a Markdown file, between <!-- {MARKER}:begin --> and <!-- {MARKER}:end --> (those of plan 2b between
the same markers of {START_MARKER})."""


@dataclass(frozen=True)
class ReportConfig:
    """Where the records are and where the decisions go."""

    results: PathText = field(default=str(FOLDER), metadata={"help": "folder of plan.json and runs/"})
    markdown: PathText | None = field(default=None, metadata={"help": "Markdown file whose tables are replaced"})
    html: PathText | None = field(default="results/claims-round-2.html", metadata={"help": "page; null: none"})
    check: bool = field(default=False, metadata={"help": "write nothing; exit 2 if a file differs from the records"})


def build_outputs(config: ReportConfig, plan: StudyPlan, results: Results, records: Records) -> dict[Path, bytes]:
    """Content of every file."""
    outputs: dict[Path, bytes] = {}
    if config.html and not (config.check and not Path(config.html).exists()):
        outputs[Path(config.html)] = render_page(plan, results, records, Path(config.results)).encode()
    if config.markdown:
        path = Path(config.markdown)
        tables = markdown(plan, results, records, Path(config.results))
        document = replace_between_markers(read_text(path), tables, str(path), MARKER)
        if f"<!-- {START_MARKER}:begin -->" in document:
            document = replace_between_markers(document, start_tables(), str(path), START_MARKER)
        outputs[path] = document.encode()
    return outputs


def start_tables() -> str:
    """The tables of plan 2b, from the repository's records."""
    plan = build_plan_b()
    records = read_both_rounds(plan)
    return start_markdown(plan, decide_all(plan, records, {}), records)


def report(arguments: list[str]) -> None:
    """Body of the command.

    Raises:
        UserError: If there is no plan, a record is not valid, or with ``check=true`` a file differs from the records.
    """
    if wants_help(arguments):
        print(command_help(USAGE, SUMMARY, ReportConfig))
        return
    config = compose_config(ReportConfig, arguments)
    folder, plan = Path(config.results), build_plan()
    if not (folder / PLAN_FILE).is_file():
        raise UserError(f"no {PLAN_FILE} in {folder}; run from the repository's root, or pass results=DIR")
    records = read_records(folder, plan.arms)
    results = decide_all(plan, records, read_choices(folder))
    outputs = build_outputs(config, plan, results, records)
    said = write_or_check(outputs, check=config.check)
    if not config.check:
        print_terminal(plan, results, Console())
    print(said)


def print_terminal(plan: StudyPlan, results: Results, console: Console) -> None:
    """Prints the claims with their decisions."""
    table = Table(box=box.SIMPLE_HEAD, title="claims, second round", title_justify="left")
    for heading in ("", "statement", "decision", "effect"):
        table.add_column(heading)
    for each in claim_reports(plan, results):
        table.add_row(each.name, each.claim.statement, state_text(each.primary), effect_text(each.primary))
    console.print(table)


if __name__ == "__main__":
    sys.exit(run_command(report))
