"""smidgen-leaderboard results=DIR [readme=README.md] [csv=PATH] [html=PATH] [videos=DIR] [check=true]
smidgen-leaderboard --claims [results=DIR] [markdown=PATH] [html=PATH] [check=true]
smidgen-leaderboard submit RECORD [RECORD ...] [--checkpoint DIR ...] [--out PATH]

Computes the leaderboard from the records of a folder alone: a table on the terminal, Markdown between two markers of a
README, CSV, and one self-contained page. ``check=true`` writes nothing and exits with 2 where a file differs from the
records. Takes about a second. ``--claims`` does the same for the verdicts of a suite (claims/command.py);
``submit`` bundles the records of one row for whoever keeps a leaderboard (submit.py).
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from smidgen.evaluation.claims.command import claims
from smidgen.evaluation.demonstrations import demonstration_curves, demonstrations_markdown, demonstrations_svg
from smidgen.evaluation.over_tasks import over_tasks_markdown, task_tables
from smidgen.evaluation.page import render_page
from smidgen.evaluation.ranking import Group, rank_runs, read_runs
from smidgen.evaluation.tables import check_outputs, csv_table, markdown, print_terminal, replace_between_markers
from smidgen.runtime.command_line import command_help, compose_config, run_command, wants_help
from smidgen.runtime.errors import UserError
from smidgen.runtime.files import write_atomic

CLAIMS = ("--claims", "claims")
USAGE = "smidgen-leaderboard results=DIR [key=value ...]"
SUMMARY = """\
Computes the leaderboard from the records in DIR: a table on the terminal, Markdown in a README (between the markers
<!-- leaderboard:begin --> and <!-- leaderboard:end -->), CSV, and one self-contained HTML page. `--claims` in front:
the verdicts on claims and hypotheses instead (`smidgen-leaderboard --claims --help`). `submit RECORD ...`: bundles the
records of one row with their checkpoints and a card (`smidgen-leaderboard submit --help`)."""


@dataclass(frozen=True)
class LeaderboardConfig:
    """Where the records are and where the tables go."""

    results: str = field(default="results", metadata={"help": "folder of the records (*.json) from smidgen-eval"})
    readme: str | None = field(default=None, metadata={"help": "Markdown file whose table is replaced"})
    csv: str | None = field(default=None, metadata={"help": "CSV file; RESULTS/leaderboard.csv by default"})
    html: str | None = field(default=None, metadata={"help": "page; RESULTS/../leaderboard.html by default"})
    demonstrations: str | None = field(
        default=None, metadata={"help": "SVG of success by number of demonstrations; none by default"}
    )
    videos: str | None = field(default=None, metadata={"help": "folder of the videos; RESULTS/../videos by default"})
    check: bool = field(default=False, metadata={"help": "write nothing; exit 2 where a file differs from the records"})


def build_outputs(config: LeaderboardConfig, groups: list[Group]) -> dict[Path, bytes]:
    """Content of every file that the leaderboard consists of.

    Raises:
        UserError: If the README is missing or lacks its markers.
    """
    results = Path(config.results)
    beside = Path(os.path.normpath(results / ".."))
    page = Path(config.html) if config.html else beside / "leaderboard.html"
    videos = Path(config.videos) if config.videos else beside / "videos"
    outputs = {
        Path(config.csv) if config.csv else results / "leaderboard.csv": csv_table(groups).encode(),
        page: render_page(groups, page, videos).encode(),
    }
    if config.readme:
        readme = Path(config.readme)
        if not readme.is_file():
            raise UserError(f"{readme} does not exist; pass readme=PATH of a Markdown file with the two markers")
        document = readme.read_bytes().decode()
        outputs[readme] = replace_between_markers(document, every_table(groups), str(readme)).encode()
    if config.demonstrations:
        outputs[Path(config.demonstrations)] = demonstrations_svg(demonstration_curves(groups))
    return outputs


def every_table(groups: list[Group]) -> str:
    """The compact tables, and after them those over demonstrations and over tasks where there are such rows."""
    parts = [
        markdown(groups),
        demonstrations_markdown(demonstration_curves(groups)),
        over_tasks_markdown(task_tables(groups)),
    ]
    return "\n\n".join(part for part in parts if part)


def leaderboard(arguments: list[str]) -> None:
    """Body of the command."""
    if arguments and arguments[0] in CLAIMS:
        claims(arguments[1:])
        return
    if arguments[:1] == ["submit"]:
        # Imported here: checkpoints need torch, and a table shall take no time to make.
        from smidgen.evaluation.submit import submit

        submit(arguments[1:])
        return
    if wants_help(arguments):
        print(command_help(USAGE, SUMMARY, LeaderboardConfig))
        return
    config = compose_config(LeaderboardConfig, ["check=true" if entry == "--check" else entry for entry in arguments])
    groups = rank_runs(read_runs(config.results))
    outputs = build_outputs(config, groups)
    if config.check:
        # A page that was never built has not drifted; a table in the README or a CSV that is absent has.
        checked = {
            path: data for path, data in outputs.items() if path.suffix != ".html" or config.html or path.exists()
        }
        check_outputs(checked)
        print(f"as the records give: {', '.join(map(str, checked))}")
        return
    for path, data in outputs.items():
        write_atomic(path, data)
    print_terminal(groups, Console())
    print("\n".join(f"wrote {path}" for path in outputs))


def main() -> None:
    """Entry point."""
    sys.exit(run_command(leaderboard))


if __name__ == "__main__":
    main()
