"""python -m studies.scale [measure=true] [markdown=PATH] [check=true]

Computes the core-hours of the official leaderboard, and what numbers of cores make of them: on the terminal, or between
two markers of a Markdown file. ``check=true`` writes nothing and exits with 2 where the file differs. A second.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path

from smidgen.experiments.boards import TRACK
from smidgen.experiments.costs import COSTS_FILE, read_costs
from smidgen.runtime.command_line import command_help, compose_config, run_command, wants_help
from smidgen.runtime.files import read_json, read_text
from smidgen.runtime.markdown import replace_between_markers
from smidgen.runtime.settings import PathText
from studies.outputs import write_or_check
from studies.scale.efficiency import EFFICIENCY_FILE, read_efficiencies
from studies.scale.many_windows import WINDOWS_FILE, read_many_windows
from studies.scale.simulation import leaderboard_jobs
from studies.scale.tables import page_part
from studies.scale.unit_costs import FOLDER, measure, read_unit_costs, write_unit_costs

MARKER = "scale"
OVERHEAD = Path("results/interop/ray.json")
USAGE = "python -m studies.scale [key=value ...]"
SUMMARY = f"""\
Computes the core-hours of the official leaderboard, and what numbers of cores make of them: on the terminal, or in a
Markdown file, between its two markers <!-- {MARKER}:begin --> and <!-- {MARKER}:end -->."""


@dataclass(frozen=True)
class ScaleConfig:
    """Where the costs are and where the tables go."""

    results: PathText = field(default=str(FOLDER), metadata={"help": "folder of the measurements"})
    costs: PathText = field(default=str(COSTS_FILE), metadata={"help": "what finished jobs took"})
    measure: bool = field(default=False, metadata={"help": "measure the costs first; a minute on one core"})
    markdown: PathText | None = field(default=None, metadata={"help": "Markdown file whose part is replaced"})
    check: bool = field(default=False, metadata={"help": "write nothing; exit 2 if the file differs from the records"})


def scale(arguments: list[str]) -> None:
    """Body of the command.

    Raises:
        UserError: If a record is missing or not valid, or with ``check=true`` the file differs from them.
    """
    if wants_help(arguments):
        print(command_help(USAGE, SUMMARY, ScaleConfig))
        return
    config = compose_config(ScaleConfig, arguments)
    folder = Path(config.results)
    if config.measure:
        print(f"wrote {write_unit_costs(measure(), folder)}")
    overhead_s = float(read_json(OVERHEAD)["overhead_of_a_job_s"])
    efficiencies = read_efficiencies(folder / EFFICIENCY_FILE)
    windows = read_many_windows(folder / WINDOWS_FILE)
    known = read_costs(Path(config.costs), TRACK.name)
    jobs = leaderboard_jobs(folder / "nothing")
    text = page_part(jobs, read_unit_costs(folder), known, overhead_s, efficiencies, windows)
    if config.markdown is None:
        print(text)
        return
    path = Path(config.markdown)
    content = replace_between_markers(read_text(path), text, str(path), MARKER).encode()
    print(write_or_check({path: content}, check=config.check))


if __name__ == "__main__":
    sys.exit(run_command(scale))
