"""smidgen-leaderboard results=DIR [readme=PATH] [tables=PATH] [csv=PATH] [latex=PATH] [html=PATH] [site=DIR]
    [check=true]
smidgen-leaderboard submit RECORD [RECORD ...] [--checkpoint DIR ...] [--out PATH]

Computes the leaderboard from the records of a folder alone: a table on the terminal, a board between two markers of a
README (``readme=``), every measure between those of another page (``tables=``), CSV, LaTeX, and one self-contained HTML
page. ``site=DIR`` gathers the page and small copies of the videos in a folder that can be published as it is.
``check=true`` writes nothing and exits with 2 where a file differs from the records. Takes about a second. ``submit``
bundles the records of one row for whoever keeps a leaderboard (submit.py).
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from smidgen.evaluation.video_files import VIDEOS, video_folder
from smidgen.leaderboard.clips import find_looks, foreign_films, missing_films
from smidgen.leaderboard.demonstrations import demonstration_curves, demonstrations_markdown, demonstrations_svg
from smidgen.leaderboard.latex import latex_tables
from smidgen.leaderboard.over_tasks import over_tasks_markdown, task_tables
from smidgen.leaderboard.page import Beside, render_page
from smidgen.leaderboard.page_origin import origin_of
from smidgen.leaderboard.ranking import Group, rank_runs, read_runs
from smidgen.leaderboard.site import SALIENCY, choose_videos
from smidgen.leaderboard.tables import board, check_outputs, column_legend, csv_table, markdown, print_terminal
from smidgen.runtime.command_line import command_help, compose_config, run_command, wants_help
from smidgen.runtime.errors import UserError
from smidgen.runtime.files import read_text, write_atomic
from smidgen.runtime.markdown import replace_between_markers
from smidgen.runtime.places import read_only_places, require_outside
from smidgen.runtime.settings import PathText

USAGE = "smidgen-leaderboard results=DIR [key=value ...]"
SUMMARY = """\
Computes the leaderboard from the records in DIR: a table on the terminal, Markdown between the markers
<!-- leaderboard:begin --> and <!-- leaderboard:end --> of a file, CSV, LaTeX, and one self-contained HTML page.
`submit RECORD ...` bundles the records of one row with their checkpoints and a card
(`smidgen-leaderboard submit --help`)."""


@dataclass(frozen=True)
class LeaderboardConfig:
    """Where the records are and where the tables go."""

    results: PathText = field(default="results", metadata={"help": "folder of the records (*.json) from smidgen-eval"})
    readme: PathText | None = field(default=None, metadata={"help": "Markdown file for the board of six columns"})
    tables: PathText | None = field(default=None, metadata={"help": "Markdown file for every measure, with a legend"})
    csv: PathText | None = field(default=None, metadata={"help": "CSV file; RESULTS/leaderboard.csv by default"})
    latex: PathText | None = field(default=None, metadata={"help": "LaTeX tables (booktabs); none by default"})
    html: PathText | None = field(default=None, metadata={"help": "page; RESULTS/../leaderboard.html by default"})
    site: PathText | None = field(
        default=None, metadata={"help": "folder to publish: page and videos; none by default"}
    )
    demonstrations: PathText | None = field(
        default=None, metadata={"help": "SVG of success by number of demonstrations; none by default"}
    )
    videos: PathText | None = field(default=None, metadata={"help": "folder of the videos; RESULTS/videos by default"})
    saliency: PathText | None = field(
        default=None, metadata={"help": "folder of the saliency videos; RESULTS/../saliency by default"}
    )
    claims: PathText | None = field(
        default=None, metadata={"help": "page about claims to link to, and to copy into the site; none by default"}
    )
    check: bool = field(default=False, metadata={"help": "write nothing; exit 2 where a file differs from the records"})


@dataclass(frozen=True)
class Folders:
    """Where the page stands and what it is made of."""

    page: Path
    videos: Path
    first_videos: Path
    saliency: Path

    @classmethod
    def of(cls, config: LeaderboardConfig) -> Folders:
        """As configured, by default around the folder of the records."""
        beside = Path(os.path.normpath(Path(config.results) / ".."))
        return cls(
            page=Path(config.html) if config.html else beside / "leaderboard.html",
            videos=Path(config.videos) if config.videos else video_folder(Path(config.results)),
            first_videos=Path(config.videos) if config.videos else video_folder(Path(config.results), 1),
            saliency=Path(config.saliency) if config.saliency else beside / SALIENCY,
        )


def table_outputs(config: LeaderboardConfig, groups: list[Group]) -> dict[Path, bytes]:
    """Content of every file but the pages.

    Raises:
        UserError: If a Markdown file is missing or lacks its markers.
    """
    outputs = {Path(config.csv) if config.csv else Path(config.results, "leaderboard.csv"): csv_table(groups).encode()}
    for key, content in (("readme", board), ("tables", every_table)):
        if not (place := getattr(config, key)):
            continue
        if not Path(place).is_file():
            raise UserError(f"{place} does not exist; pass {key}=PATH of a Markdown file with the two markers")
        outputs[Path(place)] = replace_between_markers(read_text(place), content(groups), place).encode()
    if config.latex:
        outputs[Path(config.latex)] = latex_tables(groups).encode()
    if config.demonstrations:
        outputs[Path(config.demonstrations)] = demonstrations_svg(demonstration_curves(groups))
    return outputs


def page_outputs(config: LeaderboardConfig, groups: list[Group]) -> dict[Path, bytes]:
    """Content of the page, which refers to the videos where they are."""
    folders = Folders.of(config)
    looks = tuple(path.name for path in find_looks(groups, folders.saliency))
    films = (groups, folders.videos, folders.first_videos)
    beside = Beside(
        looks=looks,
        saliency=folders.saliency,
        left_out=foreign_films(*films) | missing_films(*films),
        first_videos=folders.first_videos,
        origin=origin_of(Path(config.results)),
        claims_page=claims_page(config),
    )
    return {folders.page: render_page(groups, folders.page, folders.videos, beside).encode()}


def site_outputs(config: LeaderboardConfig, groups: list[Group], site: Path) -> tuple[dict[Path, bytes], list[str]]:
    """Content of a folder that can be published as it is, and what was left out of it."""
    folders = Folders.of(config)
    looks = find_looks(groups, folders.saliency)
    chosen = choose_videos(groups, folders.videos, looks, site, folders.first_videos)
    copies = {site / place: source for place, source in chosen.copies.items()}
    claims = claims_page(config)
    if claims is not None:
        copies[site / "claims.html"] = claims
    beside = Beside(
        looks=tuple(path.name for path in looks),
        saliency=site / SALIENCY,
        left_out=chosen.left_out,
        origin=origin_of(Path(config.results)),
        claims_page=None if claims is None else site / "claims.html",
    )
    page = site / "index.html"
    outputs = {page: render_page(groups, page, site / VIDEOS, beside).encode()}
    return outputs | {place: source.read_bytes() for place, source in copies.items()}, chosen.messages


def claims_page(config: LeaderboardConfig) -> Path | None:
    """The page about claims that was named.

    Raises:
        UserError: If there is no such file.
    """
    if config.claims is None:
        return None
    if not Path(config.claims).is_file():
        raise UserError(f"claims={config.claims} is not a file; python -m studies.claims writes such a page")
    return Path(config.claims)


def every_table(groups: list[Group]) -> str:
    """The long tables, those over demonstrations and over tasks where there are such rows, and what columns mean."""
    parts = [
        markdown(groups),
        demonstrations_markdown(demonstration_curves(groups)),
        over_tasks_markdown(task_tables(groups)),
        f"## What the columns mean\n\n{column_legend()}",
    ]
    return "\n\n".join(part for part in parts if part)


def leaderboard(arguments: list[str]) -> None:
    """Body of the command."""
    if arguments[:1] == ["submit"]:
        # Imported here: checkpoints need torch, and a table shall take no time to make.
        from smidgen.leaderboard.submit import submit

        submit(arguments[1:])
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
    # A page that was never built has not drifted; a Markdown table or a CSV that is absent has.
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
    """The keys of the outputs that stand around the records because nobody named another place."""
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
