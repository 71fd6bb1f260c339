"""python -m studies.recipe [results=DIR] [markdown=PATH] [check=true]

Computes the table of the search for a recipe from its records: on the terminal, or between two markers of a Markdown
file. ``check=true`` writes nothing and exits with 2 where the file differs from the records. A second.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path

from smidgen.runtime.command_line import command_help, compose_config, run_command, wants_help
from smidgen.runtime.errors import UserError
from smidgen.runtime.files import read_text
from smidgen.runtime.markdown import replace_between_markers
from smidgen.runtime.settings import PathText
from studies.outputs import write_or_check
from studies.recipe.arms import build_arms
from studies.recipe.plan import PLAN_FILE
from studies.recipe.records import read_records
from studies.recipe.step_costs import FOLDER
from studies.recipe.tables import markdown

MARKER = "recipe"
USAGE = "python -m studies.recipe [key=value ...]"
SUMMARY = f"""\
Computes the table of the search for a recipe from the records in DIR: on the terminal, or in a Markdown file, between
its two markers <!-- {MARKER}:begin --> and <!-- {MARKER}:end -->."""


@dataclass(frozen=True)
class TableConfig:
    """Where the records are and where the table goes."""

    results: PathText = field(default=str(FOLDER), metadata={"help": "folder of plan.json and runs/"})
    markdown: PathText | None = field(default=None, metadata={"help": "Markdown file whose table is replaced"})
    check: bool = field(default=False, metadata={"help": "write nothing; exit 2 if the file differs from the records"})


def table(arguments: list[str]) -> None:
    """Body of the command.

    Raises:
        UserError: If there is no plan, a record is not valid, or with ``check=true`` the file differs from the records.
    """
    if wants_help(arguments):
        print(command_help(USAGE, SUMMARY, TableConfig))
        return
    config, arms = compose_config(TableConfig, arguments), build_arms()
    if not (Path(config.results) / PLAN_FILE).is_file():
        raise UserError(f"no {PLAN_FILE} in {config.results}; run from the repository's root, or pass results=DIR")
    text = markdown(arms, read_records(Path(config.results), arms))
    if config.markdown is None:
        print(text)
        return
    path = Path(config.markdown)
    content = replace_between_markers(read_text(path), text, str(path), MARKER).encode()
    print(write_or_check({path: content}, check=config.check))


if __name__ == "__main__":
    sys.exit(run_command(table))
