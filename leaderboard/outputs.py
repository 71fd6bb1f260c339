"""The files that the leaderboard's command writes: content by path, computed only from the ranked records."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from smidgen.evaluation.video_files import VIDEOS, video_folder
from smidgen.leaderboard.clips import SALIENCY, choose_videos, find_looks, foreign_videos, missing_videos
from smidgen.leaderboard.demonstrations import demonstration_curves, demonstrations_markdown, demonstrations_svg
from smidgen.leaderboard.over_tasks import over_tasks_markdown, task_tables
from smidgen.leaderboard.page import Beside, render_page
from smidgen.leaderboard.page_origin import origin_of
from smidgen.leaderboard.ranking import Group
from smidgen.leaderboard.tables import (
    board,
    column_legend,
    csv_table,
    latex_tables,
    markdown,
)
from smidgen.runtime.errors import UserError
from smidgen.runtime.files import read_text
from smidgen.runtime.markdown import replace_between_markers
from smidgen.runtime.settings import PathText


@dataclass(frozen=True)
class LeaderboardConfig:
    """Where the records are and where the tables go."""

    results: PathText = field(default="results", metadata={"help": "folder of the records (*.json) from smidgen-eval"})
    readme: PathText | None = field(default=None, metadata={"help": "Markdown file for the six-column board"})
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
        default=None, metadata={"help": "claims page to link to and to copy into the site; none by default"}
    )
    check: bool = field(default=False, metadata={"help": "write nothing; exit 2 if a file differs from the records"})


@dataclass(frozen=True)
class Folders:
    """The path of the page and the folders of its videos."""

    page: Path
    videos: Path
    first_videos: Path
    saliency: Path

    @classmethod
    def of(cls, config: LeaderboardConfig) -> Folders:
        """As configured; by default beside the folder of the records."""
        beside = Path(os.path.normpath(Path(config.results) / ".."))
        return cls(
            page=Path(config.html) if config.html else beside / "leaderboard.html",
            videos=Path(config.videos) if config.videos else video_folder(Path(config.results)),
            first_videos=Path(config.videos) if config.videos else video_folder(Path(config.results), 1),
            saliency=Path(config.saliency) if config.saliency else beside / SALIENCY,
        )


def table_outputs(config: LeaderboardConfig, groups: list[Group]) -> dict[Path, bytes]:
    """Content of every file except the pages.

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
    """Content of the page, which refers to the videos in place."""
    folders = Folders.of(config)
    looks = tuple(path.name for path in find_looks(groups, folders.saliency))
    places = (groups, folders.videos, folders.first_videos)
    beside = Beside(
        looks=looks,
        saliency=folders.saliency,
        left_out=foreign_videos(*places) | missing_videos(*places),
        first_videos=folders.first_videos,
        origin=origin_of(Path(config.results)),
        claims_page=claims_page(config),
    )
    return {folders.page: render_page(groups, folders.page, folders.videos, beside).encode()}


def site_outputs(config: LeaderboardConfig, groups: list[Group], site: Path) -> tuple[dict[Path, bytes], list[str]]:
    """Content of a folder that is ready to publish, and messages about what was left out."""
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
    """The configured claims page.

    Raises:
        UserError: If the file does not exist.
    """
    if config.claims is None:
        return None
    if not Path(config.claims).is_file():
        raise UserError(f"claims={config.claims} is not a file; python -m studies.claims writes such a page")
    return Path(config.claims)


def every_table(groups: list[Group]) -> str:
    """The long tables, the tables over demonstrations and over tasks if there are any, and the column legend."""
    parts = [
        markdown(groups),
        demonstrations_markdown(demonstration_curves(groups)),
        over_tasks_markdown(task_tables(groups)),
        f"## What the columns mean\n\n{column_legend()}",
    ]
    return "\n\n".join(part for part in parts if part)
