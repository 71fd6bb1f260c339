"""python -m studies.recipe [results=DIR] [markdown=PATH] [inputs=PATH] [bars=PATH] [check=true]

Computes the tables of the search for a recipe from its records: all arms, on the terminal or between two markers of a
Markdown file; what a Perceiver reads on Speck of 4 pixels, and the bars, between markers of theirs. ``check=true``
writes nothing and exits with 2 where a file differs from the records. A second.
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
from studies.recipe.bars import NAME, bars_table, build_bars
from studies.recipe.plan import PLAN_FILE
from studies.recipe.records import read_records
from studies.recipe.step_costs import FOLDER
from studies.recipe.tables import inputs_table, markdown

MARKER, INPUTS_MARKER, BARS_MARKER = "recipe", "inputs", "bars"
USAGE = "python -m studies.recipe [key=value ...]"
SUMMARY = f"""\
Computes the table of the search for a recipe from the records in DIR: on the terminal, or in a Markdown file, between
its two markers <!-- {MARKER}:begin --> and <!-- {MARKER}:end -->; those of inputs and bars likewise."""


@dataclass(frozen=True)
class TableConfig:
    """Where the records are and where the table goes."""

    results: PathText = field(default=str(FOLDER), metadata={"help": "folder of plan.json and runs/"})
    markdown: PathText | None = field(default=None, metadata={"help": "Markdown file whose table is replaced"})
    inputs: PathText | None = field(
        default=None, metadata={"help": "file whose table of a Perceiver's inputs is replaced"}
    )
    bars: PathText | None = field(default=None, metadata={"help": "file whose table of the bars is replaced"})
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
    records = read_records(Path(config.results), arms)
    computed = (
        (config.markdown, MARKER, lambda: markdown(arms, records)),
        (config.inputs, INPUTS_MARKER, lambda: inputs_table(arms, records)),
        (config.bars, BARS_MARKER, lambda: bars_table(read_records(Path(config.results) / NAME, build_bars()))),
    )
    pages: dict[Path, str] = {}
    for name, marker, compute in computed:
        if name is not None:
            text = pages.get(Path(name)) or read_text(Path(name))
            pages[Path(name)] = replace_between_markers(text, compute(), name, marker)
    found = {path: text.encode() for path, text in pages.items()}
    print(write_or_check(found, check=config.check) if found else markdown(arms, records))


if __name__ == "__main__":
    sys.exit(run_command(table))
