"""``task=all``: evaluates one policy on every task in turn, and computes one table from the records.

``smidgen-eval policy=expert task=all`` shows that the experts are good enough to learn from.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from smidgen.data_collection.experts import EXPERTS
from smidgen.envs.tasks import TASKS
from smidgen.evaluation.config import EvalConfig
from smidgen.evaluation.policy_source import EXPERT, PolicySource
from smidgen.evaluation.protocol import SUCCESS
from smidgen.evaluation.records import Record, record_path
from smidgen.policies.registry import plays_back_demonstrations
from smidgen.runtime.errors import UserError
from smidgen.runtime.markdown import left, markdown_table, right

ALL = "all"
# An expert is good enough when the lower end of its interval is at least this.
BAR = 0.95
# With 197 of 200 the lower end is above the bar; with 196 it is below.
EXPERT_SETTINGS = ("episodes=200", "videos=0", "out=results/experts")


def with_expert_settings(arguments: Sequence[str]) -> list[str]:
    """Command-line arguments, preceded by the defaults for evaluating the expert on all tasks."""
    is_expert_on_all = f"policy={EXPERT}" in arguments and f"task={ALL}" in arguments
    return [*(EXPERT_SETTINGS if is_expert_on_all else ()), *arguments]


def task_configs(config: EvalConfig) -> dict[str, EvalConfig]:
    """The evaluations that ``task=all`` stands for, by task, in the registry's order.

    Args:
        config: With ``task=all``.

    Raises:
        UserError: If the policy, or the demonstrations, are of one task only.
    """
    if config.demos is not None or config.train_demos is not None:
        raise UserError("demos= and train_demos= hold demonstrations of one task; set task=... or omit them")
    plays_back = plays_back_demonstrations(config.policy)
    source = PolicySource(config.policy, ALL)
    if not plays_back:
        source.check()
    if plays_back or source.kind == "checkpoint":
        raise UserError(
            f"policy {config.policy!r} is built from demonstrations of one task; set task=... or choose another policy"
        )
    tasks = EXPERTS if config.policy == EXPERT else TASKS
    return {task: replace(config, task=task) for task in TASKS if task in tasks}


def table_path(config: EvalConfig, records: Mapping[str, Record]) -> Path:
    """Path of the table, beside its records."""
    name = next(iter(records.values()))["policy"]["name"]
    return record_path(config.out, ALL, name).with_suffix(".md")


def all_tasks_table(records: Mapping[str, Record]) -> str:
    """One Markdown row a task: successes, interval, mean length, and for an expert whether it passes the bar.

    Args:
        records: By task, of one policy. An expert's table also names the tasks that have none.
    """
    first = next(iter(records.values()))
    is_expert = first["policy"]["kind"] == "expert"
    bar = [f"lower end ≥ {BAR:.0%}"] if is_expert else []
    figures = right("success", "95 % interval", "mean steps to success held")
    rows = [_row(task, record, is_expert) for task, record in records.items()]
    if is_expert:
        rows += [[task, "-", "-", "-", "no expert", "-"] for task in TASKS if task not in EXPERTS]
    return markdown_table(left("task") + figures + left(*bar, "failures"), rows) + "\n"


def _row(task: str, record: Record, is_expert: bool) -> list[str]:
    success, episodes = record["success"], record["episodes"]
    lengths = [row["num_steps"] for row in episodes if row["success"]]
    failures = Counter(row["label"] for row in episodes if row["label"] != SUCCESS)
    return [
        task,
        f"{success['k']}/{success['n']}",
        f"{success['low']:.1%} to {success['high']:.1%}",
        f"{sum(lengths) / len(lengths):.1f}" if lengths else "-",
        *([passes_bar(record)] if is_expert else []),
        ", ".join(f"{count} {label}" for label, count in failures.most_common()) or "none",
    ]


def passes_bar(record: Record) -> str:
    """``yes`` or ``no``: whether the lower end of the success rate's interval reaches the bar."""
    return "yes" if record["success"]["low"] >= BAR else "no"
