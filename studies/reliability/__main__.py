"""``python -m studies.reliability [page=PAGE] [check=true]``: figures of the last long runs.

Writes into the page what the records in results/reliability say: commands killed (kills.json, from
``python -m tests.faults form=long``), readers fed with hostile input (fuzz.json, from
``python -m tests.fuzz form=long``) and frames watched (pixels.json, from
``python -m studies.reliability.pixels``). A second on one core; a small variant: ``check=true``, which
writes nothing and exits with code 2 if the page is out of date with the records.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from smidgen.evaluation.statistics import wilson_interval
from smidgen.leaderboard.tables import check_outputs
from smidgen.runtime.command_line import command_help, compose_config, run_command, wants_help
from smidgen.runtime.errors import UserError
from smidgen.runtime.files import read_json, write_atomic
from smidgen.runtime.markdown import left, markdown_table, replace_between_markers, right
from smidgen.runtime.schemas import from_json
from smidgen.runtime.settings import PathText
from studies.reliability.kills import read_faults_record
from studies.reliability.record import PixelsRecord, read_pixels_record
from studies.reliability.tally import Tally

USAGE = "python -m studies.reliability [page=PAGE] [key=value ...]"
SUMMARY = "Writes the figures of the last long runs, computed from their records, into the page on reliability."
NOT_RUN = "Not run yet; the command is `{}`."


@dataclass(frozen=True)
class PageConfig:
    """Which records go into which page."""

    page: PathText = field(default="docs/reliability.md", metadata={"help": "page with the markers"})
    records: PathText = field(default="results/reliability", metadata={"help": "folder of the records"})
    check: bool = field(default=False, metadata={"help": "write nothing; fail if the page is out of date"})


@dataclass(frozen=True)
class FuzzRecord:
    """Outcomes of hostile input, by reader."""

    form: str
    complete: bool
    machine: str
    readers: dict[str, Tally]


def kills_block(path: Path) -> str:
    """Commands killed and workers hung, from their record."""
    record = read_faults_record(str(path))
    rows = [
        (
            f"`{name}`",
            *map(str, (found.kills, found.stops, found.replaced, found.starts, found.runs_with_undisturbed_bytes)),
            *map(str, (found.files_compared, found.workers_left_behind)),
        )
        for name, found in record.commands.items()
    ]
    what = left("command") + right("kills", "hangs", "hanging workers replaced", "starts")
    came_of_it = right("runs with the bytes of an undisturbed one", "files compared in each", "workers left behind")
    table = markdown_table(what + came_of_it, rows)
    total = f"{record.kills} kills and {record.stops} hangs, `form={record.form} seed={record.seed}`"
    return f"{table}\n\n{total}. {origin(record.commit, record.machine)}"


def fuzz_block(path: Path) -> str:
    """Hostile input read, from its record."""
    record = from_json(FuzzRecord, read_json(path), str(path))
    rows = [
        (
            name,
            *(f"{count:,}" for count in (tally.inputs, tally.refused, tally.accepted, len(tally.faults))),
            f"{tally.slowest_ms:,.0f} ms",
            f"{tally.memory_growth_mib:,.0f} MiB",
        )
        for name, tally in record.readers.items()
    ]
    heads = left("reader") + right(
        "inputs", "refused in words", "read as valid", "anything else", "slowest", "memory grew by"
    )
    total = f"{sum(tally.inputs for tally in record.readers.values()):,} inputs, `form={record.form}`"
    if not record.complete:
        total = f"**Not complete**: {total} so far, the same command goes on"
    commits = ", ".join(sorted({tally.commit for tally in record.readers.values() if tally.commit}))
    return f"{markdown_table(heads, rows)}\n\n{total}. {origin(commits, record.machine)}"


def pixels_block(path: Path) -> str:
    """Frames watched and renderers broken, from their record."""
    record = read_pixels_record(str(path))
    watched = record.tasks.values()
    episodes, alarms = sum(task.num_episodes for task in watched), sum(task.alarms for task in watched)
    _, high = wilson_interval(alarms, episodes)
    farthest_mm, cost = 1e3 * max(task.largest_unseen_move_m for task in watched), record.cost
    sound = (
        f"**{alarms} false alarms in {episodes:,} sound episodes** ({sum(task.frames for task in watched):,} frames of "
        f"{record.image_size} x {record.image_size} pixels, {len(record.tasks)} tasks; at most {100 * high:.1f} % of "
        f"episodes with 95 % confidence). The arm moved {farthest_mm:.2f} mm at most in view while a picture stayed as "
        f"it was; the limit is {1e3 * record.limit_m:.0f} mm. The watch takes {cost.watch_share:.1%} of a control step "
        f"({cost.watch_us:.0f} µs of {cost.step_ms:.1f} ms, frame included), the check after an episode as long as "
        f"{cost.confirm_steps:.1f} steps."
    )
    parts = [
        sound,
        _watched_table(record),
        _views_table(record),
        _faults_table(record),
        origin(record.commit, record.machine),
    ]
    return "\n\n".join(parts)


def _watched_table(record: PixelsRecord) -> str:
    names = list(dict.fromkeys(name for task in record.tasks.values() for name in task.episodes))
    rows = [
        (
            f"`{name}`",
            *(str(task.episodes.get(policy, 0)) for policy in names),
            f"{task.frames:,}",
            str(task.alarms),
            f"{1e3 * task.largest_unseen_move_m:.2f} mm",
        )
        for name, task in record.tasks.items()
    ]
    heads = left("task") + right(
        *(f"episodes: {name}" for name in names), "frames", "false alarms", "farthest unseen move"
    )
    return markdown_table(heads, rows)


def _views_table(record: PixelsRecord) -> str:
    rows = [
        (
            f"`{view.task}`: {', '.join(f'`{camera}`' for camera in view.cameras)}",
            f"{view.image_size} x {view.image_size}",
            str(view.watched.num_episodes),
            str(view.watched.alarms),
            f"{1e3 * view.watched.largest_unseen_move_m:.2f} mm",
            "too small to tell" if view.limit_m is None else f"{1e3 * view.limit_m:.0f} mm",
        )
        for view in record.views
    ]
    heads = left("other cameras, other sizes")
    heads += right("pixels", "episodes", "false alarms", "farthest unseen move", "limit")
    return markdown_table(heads, rows)


def _faults_table(record: PixelsRecord) -> str:
    rows = [
        (
            name,
            str(fault.injected),
            str(fault.by_the_watch),
            "-" if fault.most_frames is None else str(fault.most_frames),
            str(fault.at_the_end),
            str(fault.injected - fault.by_the_watch - fault.at_the_end),
        )
        for name, fault in record.faults.items()
    ]
    heads = left("the renderer broken in mid-episode") + right(
        "episodes", "stopped at a frame", "after frames, at most"
    )
    return markdown_table(heads + right("refused at the end", "kept"), rows)


def origin(commit: str, machine: str) -> str:
    """Where a record's figures come from, as a sentence."""
    return f"Measured: `{commit}` on {machine}."


# By the topic of the markers: the record, its block, and the command that makes the record.
BLOCKS: dict[str, tuple[str, Callable[[Path], str], str]] = {
    "kills": ("kills.json", kills_block, "python -m tests.faults form=long"),
    "fuzz": (
        "fuzz.json",
        fuzz_block,
        "python -m tests.fuzz form=long record=results/reliability/fuzz.json",
    ),
    "pixels": ("pixels.json", pixels_block, "python -m studies.reliability.pixels"),
}


def page_with_figures(page: str, records: str) -> str:
    """The page's text with every block computed anew.

    Args:
        page: Path of the page.
        records: Folder of the records; a block without a record says so.

    Raises:
        UserError: If the page is missing or lacks a marker, or a record is not valid.
    """
    if not Path(page).is_file():
        raise UserError(f"{page} does not exist; run from the repository's root, or pass page=PAGE")
    text = Path(page).read_text(encoding="utf-8")
    for topic, (name, block, command) in BLOCKS.items():
        path = Path(records) / name
        figures = block(path) if path.exists() else NOT_RUN.format(command)
        text = replace_between_markers(text, figures, page, topic=topic)
    return text


def _body(arguments: list[str]) -> None:
    if wants_help(arguments):
        print(command_help(USAGE, SUMMARY, PageConfig))
        return
    config = compose_config(PageConfig, arguments)
    text = page_with_figures(config.page, config.records)
    if config.check:
        check_outputs({Path(config.page): text.encode()})
    else:
        write_atomic(config.page, text.encode())
    print(f"{config.page} {'is what' if config.check else 'has what'} {config.records} holds")


def main(argv: list[str] | None = None) -> int:
    """The command."""
    return run_command(_body, argv)


if __name__ == "__main__":
    sys.exit(main())
