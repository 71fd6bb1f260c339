"""``python -m studies.pages.task_page``: a datasheet of demonstrations for every task, and docs/tasks.md of them.

Collects a set per task under ``sets=`` (what is there is kept), writes its datasheet to ``results/datasheets`` and
computes the page's table from the datasheets and the experts' records. About 6 minutes on 2 CPU cores; a small variant:
``tasks=[lift] episodes=4``; ``episodes=0`` computes only the table.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from smidgen.data_collection.collect import collect
from smidgen.data_collection.config import CollectConfig
from smidgen.data_collection.datasheet import JSON_NAME, write_datasheet
from smidgen.data_collection.store import EpisodeStore
from smidgen.envs.smidgen_tasks import chance_level
from smidgen.envs.tasks import TASKS
from smidgen.runtime.command_line import command_help, compose_config, run_command, wants_help
from smidgen.runtime.files import read_json, write_atomic
from smidgen.runtime.markdown import left, markdown_table, page_with_tables, right
from smidgen.runtime.settings import PathText

USAGE = "python -m studies.pages.task_page [key=value ...]"
SUMMARY = """
Collects demonstrations of every task, writes their datasheets, and computes the table of docs/tasks.md.
"""
TABLE_NAME = "tasks"
HEADS = [
    *left("task", "what has to be done", "action"),
    *right("horizon", "expert", "steps", "pixels that vary", "pixels of the cue", "chance"),
]


@dataclass(frozen=True)
class TaskPageConfig:
    """What to collect, and the paths of the datasheets and the page."""

    tasks: tuple[str, ...] = field(default=tuple(TASKS), metadata={"help": "tasks to collect"})
    episodes: int = field(default=30, metadata={"help": "demonstrations of each; 0: only the table"})
    workers: int = field(default=2, metadata={"help": "worker processes (0: this one)"})
    sets: PathText = field(default="outputs/datasheets", metadata={"help": "directory of the collected sets"})
    datasheets: PathText = field(default="results/datasheets", metadata={"help": "directory of the datasheets"})
    experts: PathText = field(
        default="results/experts", metadata={"help": "records of smidgen-eval policy=expert task=all"}
    )
    page: PathText = field(default="docs/tasks.md", metadata={"help": "page whose table is updated"})


def collect_datasheets(config: TaskPageConfig) -> None:
    """Collects a set of every task and writes its datasheet."""
    for task in config.tasks:
        out = Path(config.sets, task)
        collect(CollectConfig(task=task, out=str(out), episodes=config.episodes, workers=config.workers))
        print(write_datasheet(EpisodeStore.open(out), Path(config.datasheets, task))[0], flush=True)


def task_table(datasheets: Path, experts: Path) -> str:
    """The page's table, one row for every task of the registry.

    Args:
        datasheets: Directory with one ``TASK/datasheet.json`` a task; a task without one has dashes.
        experts: Directory with the experts' records, ``TASK-expert.json``.
    """
    return markdown_table(HEADS, [_row(task, datasheets, experts) for task in TASKS])


def _row(task: str, datasheets: Path, experts: Path) -> list[str]:
    spec = TASKS[task]
    sheet_path, record_path = datasheets / task / JSON_NAME, experts / f"{task}-expert.json"
    sheet = read_json(sheet_path) if sheet_path.exists() else None
    chance = chance_level(task)
    return [
        f"[`{task}`](../results/datasheets/{task}/datasheet.md)" if sheet else f"`{task}`",
        spec.summary,
        ", ".join(spec.action.names),
        str(spec.horizon),
        _expert(read_json(record_path)["success"]) if record_path.exists() else "-",
        *(_figures(sheet) if sheet else ["-"] * 3),
        "-" if chance is None else f"{chance:.1%}",
    ]


def _expert(success: Mapping[str, Any]) -> str:
    return f"{success['k']}/{success['n']} [{success['low']:.1%}, {success['high']:.1%}]"


def _figures(sheet: Mapping[str, Any]) -> list[str]:
    lengths, between, cue = sheet["lengths"], sheet["pixels"]["between_episodes"], sheet["pixels"]["cue"]
    return [
        f"{lengths['median']:g}" if lengths else "-",
        f"{between['share_of_first_frames']:.1%}" if between else "-",
        f"{cue['moved']['mean']:.1f}" if cue else "-",
    ]


def run(arguments: list[str]) -> None:
    """Body of the command."""
    if wants_help(arguments):
        print(command_help(USAGE, SUMMARY, TaskPageConfig))
        return
    config = compose_config(TaskPageConfig, arguments)
    if config.episodes:
        collect_datasheets(config)
    page = Path(config.page)
    table = task_table(Path(config.datasheets), Path(config.experts))
    write_atomic(page, page_with_tables(page, {TABLE_NAME: table}).encode())
    print(f"{page}\n{table}")


if __name__ == "__main__":
    sys.exit(run_command(run))
