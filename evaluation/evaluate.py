"""smidgen-eval policy=expert task=lift episodes=200 out=outputs/eval workers=2

Closed-loop success and mean collapse of one policy over frozen test seeds, as one JSON record and a few videos.
On a 2-core CPU, ``smidgen-eval policy=noop episodes=5 out=outputs/eval`` takes about half a minute and ends with a
line like ``noop on lift: success 0/5``. Run it again to resume; it does nothing if everything is finished.
``smidgen-eval policy=expert task=all`` evaluates every task's expert on 200 seeds and prints one table.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from smidgen.evaluation.all_tasks import ALL, all_tasks_table, table_path, task_configs, with_expert_settings
from smidgen.evaluation.collapse.labels import CUE
from smidgen.evaluation.config import EvalConfig
from smidgen.evaluation.env_spec import make_simulator
from smidgen.evaluation.plan import make_plan
from smidgen.evaluation.plan_items import SHARDS
from smidgen.evaluation.records import host_path, read_record, summary_line
from smidgen.evaluation.run import run_plan
from smidgen.evaluation.saliency_videos import saliency
from smidgen.evaluation.verify import verify
from smidgen.runtime.command_line import HELP_ALL, command_help, compose_config, run_command, wants_help
from smidgen.runtime.files import write_atomic

USAGE = "smidgen-eval policy=POLICY out=DIR [key=value ...] | smidgen-eval verify RECORD"
SUMMARY = f"""
Does a policy see its cue ({CUE})?
On frozen test seeds, in closed loop, into OUT/<task>-<name>.json. Resumable. See: saliency --help
"""


def evaluate(config: EvalConfig, make: Callable[..., Any] = make_simulator) -> tuple[Path, bool]:
    """Evaluates one policy on one task.

    Args:
        config: What to evaluate.
        make: Makes the environment, from task, cameras and image size.

    Returns:
        The record's path, and whether anything had to be run.

    Raises:
        UserError: For a mistake in the configuration, or an existing record of another evaluation.
    """
    return run_plan(make_plan(config, make))


def _report(path: Path, was_run: bool) -> None:
    record = read_record(path)
    for label, count in record["errors"].items():
        if count:
            print(
                f"warning: {count} of {len(record['episodes'])} episodes ended with {label}; messages and "
                f"tracebacks are in {host_path(path)}",
                file=sys.stderr,
            )
    if not was_run:
        print(f"nothing to do: {path} is finished (its episodes are kept in {path.parent / SHARDS})")
    print(summary_line(path, record))


def evaluate_all(config: EvalConfig, make: Callable[..., Any] = make_simulator) -> Path:
    """Evaluates one policy on every task in turn, and writes a table of all of them.

    Args:
        config: With ``task=all``.
        make: Makes an environment, from task, cameras and image size.

    Returns:
        The table's path, a Markdown file beside the records.

    Raises:
        UserError: As :func:`evaluate`; also for a policy or demonstrations of one task.
    """
    records = {}
    for task, one in task_configs(config).items():
        path, was_run = evaluate(one, make)
        _report(path, was_run)
        records[task] = read_record(path)
    path = table_path(config, records)
    write_atomic(path, all_tasks_table(records).encode())
    return path


def _body(arguments: list[str]) -> None:
    if arguments[:1] == ["verify"]:
        verify(arguments[1:])
        return
    if arguments[:1] == ["saliency"]:
        saliency(arguments[1:])
        return
    if wants_help(arguments):
        print(command_help(USAGE, SUMMARY, EvalConfig, everything=HELP_ALL in arguments))
        return
    config = compose_config(EvalConfig, with_expert_settings(arguments))
    if config.task != ALL:
        _report(*evaluate(config))
        return
    path = evaluate_all(config)
    print(f"{path}:\n{path.read_text()}", end="")


def main(argv: list[str] | None = None) -> int:
    """The command ``smidgen-eval``."""
    return run_command(_body, argv)


if __name__ == "__main__":
    sys.exit(main())
