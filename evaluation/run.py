"""Runs an evaluation's plan: completes unfinished items, and writes the record and the host file."""

from __future__ import annotations

import datetime
import time
from pathlib import Path

from smidgen.evaluation.assembly import Answers, assemble
from smidgen.evaluation.dry_call import dry_call, stored_rows
from smidgen.evaluation.finished import is_finished
from smidgen.evaluation.items import Item
from smidgen.evaluation.plan import EvaluationPlan
from smidgen.evaluation.plan_items import discard_answers, episode_items, expert_items, held_out_items, shard_folder
from smidgen.evaluation.records import host_path, write_record
from smidgen.evaluation.shards import run_items
from smidgen.runtime.files import directory_lock, remove_leftovers, write_json_atomic


def run_plan(plan: EvaluationPlan) -> tuple[Path, bool]:
    """Runs a plan unless its record exists.

    Returns:
        The record's path, and whether anything had to be run.

    Raises:
        UserError: If a record of another evaluation exists, or a policy fails and ``keep_going`` is false.
    """
    path = plan.record_path
    if is_finished(plan):
        return path, False
    with directory_lock(shard_folder(plan, plan.card["name"])):
        # Another process may have finished between the first look and the lock.
        if is_finished(plan):
            return path, False
        for file in (path, host_path(path)):
            remove_leftovers(file.parent, file.name)
        if plan.config.overwrite:
            discard_answers(plan)
        started = time.monotonic()
        record, host = assemble(plan, _answer(plan))
        host["wall_s_of_last_run"] = time.monotonic() - started
        host["finished_utc"] = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        write_json_atomic(host_path(path), host)
        write_record(path, record)
    return path, True


def _answer(plan: EvaluationPlan) -> Answers:
    own, expert, held_out = episode_items(plan), expert_items(plan), held_out_items(plan)
    twin = held_out_items(plan, is_twin=True)
    added = {path: item for path, item in expert.items() if path not in own}
    items: dict[Path, Item] = {**own, **held_out, **twin, **added}
    if plan.demos is not None and plan.steps:
        dry_call(plan.source, plan.task.action, stored_rows(plan.demos, plan.card["observes"]), plan.config.keep_going)
    label, limit_s = f"{plan.task.name} {plan.card['name']}", plan.config.episode_limit_s or None
    counted = {"episodes": len(own), "expert's episodes": len(added), "held-out episodes": len(held_out) + len(twin)}
    parts = " + ".join(f"{count} {name}" for name, count in counted.items() if count)
    answers = run_items(items, plan.config.workers, f"{label} ({parts})", limit_s, plan.config)
    return Answers(
        own={item.seed: answers[path] for path, item in own.items()},
        expert={item.seed: answers[path] for path, item in expert.items()},
        held_out={item.seed: answers[path] for path, item in held_out.items()},
        twin={item.seed: answers[path] for path, item in twin.items()},
    )
