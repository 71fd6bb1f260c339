"""smidgen-leaderboard results=DIR [readme=PATH] [tables=PATH] [csv=PATH] [latex=PATH] [html=PATH] [site=DIR]
    [check=true]
smidgen-leaderboard submit RECORD [RECORD ...] [--checkpoint DIR ...] [--out PATH]
smidgen-leaderboard upload CHECKPOINT --repo OWNER/NAME [--record RECORD] [--dry-run --out DIR]

Computes the leaderboard from the records in a folder: a table on the terminal, a board between two markers of a README
(``readme=``), every measure between the markers of another page (``tables=``), CSV, LaTeX, and one self-contained HTML
page. ``site=DIR`` writes a folder that is ready to publish, with the page and the smaller videos. ``check=true`` writes
nothing and exits with 2 if a file differs from the records. Takes about a second. ``submit`` bundles the records of one
row for the maintainers of a leaderboard (submit.py); ``upload`` shares a checkpoint on the Hugging Face Hub
(upload.py).
"""

from __future__ import annotations

import sys
from pathlib import Path

from rich.console import Console

from smidgen.leaderboard.outputs import Folders, LeaderboardConfig, page_outputs, site_outputs, table_outputs
from smidgen.leaderboard.ranking import rank_runs, read_runs
from smidgen.leaderboard.tables import (
    check_outputs,
    print_terminal,
)
from smidgen.runtime.command_line import command_help, compose_config, run_command, wants_help
from smidgen.runtime.files import write_atomic
from smidgen.runtime.places import read_only_places, require_outside

USAGE = "smidgen-leaderboard results=DIR [key=value ...]"
SUMMARY = """\
Computes the leaderboard from the records in DIR: a table on the terminal, Markdown between the markers
<!-- leaderboard:begin --> and <!-- leaderboard:end --> of a file, CSV, LaTeX, and one self-contained HTML page.
`submit RECORD ...` bundles the records of one row with their checkpoints and a card
(`smidgen-leaderboard submit --help`), `upload CHECKPOINT --repo OWNER/NAME` shares a checkpoint on the Hugging Face Hub
(`smidgen-leaderboard upload --help`)."""


def leaderboard(arguments: list[str]) -> None:
    """Body of the command."""
    if arguments[:1] == ["submit"]:
        # Imported here: checkpoints need torch, and printing a table should be fast.
        from smidgen.leaderboard.submit import submit

        submit(arguments[1:])
        return
    if arguments[:1] == ["upload"]:
        from smidgen.leaderboard.upload import upload

        upload(arguments[1:])
        return
    if wants_help(arguments):
        print(command_help(USAGE, SUMMARY, LeaderboardConfig))
        return
    config = compose_config(LeaderboardConfig, ["check=true" if entry == "--check" else entry for entry in arguments])
    for key in ("readme", "tables", "csv", "latex", "html", "site", "demonstrations"):
        if place := getattr(config, key):
            require_outside(place, key)
    groups = rank_runs(read_runs(config.results))
    outputs = table_outputs(config, groups)
    messages: list[str] = []
    # A page that was never built cannot be out of date; a missing Markdown table or CSV is.
    if not config.check or config.html or Folders.of(config).page.exists():
        outputs |= page_outputs(config, groups)
    if config.site:
        site, messages = site_outputs(config, groups, Path(config.site))
        outputs |= site
    if config.check:
        check_outputs(outputs)
        print(f"as the records give: {', '.join(map(str, outputs))}")
        return
    read_only = read_only_places(_default_places(config), outputs)
    for path, data in outputs.items():
        if path not in read_only:
            write_atomic(path, data)
    print_terminal(groups, Console())
    written = _written([path for path in outputs if path not in read_only])
    print("\n".join([*messages, *read_only.values(), *written]))


def _default_places(config: LeaderboardConfig) -> dict[Path, str]:
    """The outputs at their default paths beside the records, with the keys that set another path."""
    places = {Path(config.results, "leaderboard.csv"): "csv", Folders.of(config).page: "html"}
    return {path: key for path, key in places.items() if not getattr(config, key)}


def _written(paths: list[Path]) -> list[str]:
    """A line for each file, and one for all videos."""
    lines = [f"wrote {path}" for path in paths if path.suffix != ".mp4"]
    num_videos = len(paths) - len(lines)
    return lines + [f"wrote {num_videos} videos beside it"] * (num_videos > 0)


def main() -> int:
    """Entry point."""
    return run_command(leaderboard)


if __name__ == "__main__":
    sys.exit(main())
