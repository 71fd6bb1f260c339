"""smidgen-eval policy=expert task=lift episodes=200 out=outputs/eval workers=2

Closed-loop success and mean collapse of one policy over frozen test seeds, as one JSON record and a few videos.
On a 2-core CPU, ``smidgen-eval policy=noop episodes=5 out=outputs/eval`` takes about half a minute and ends with a
line like ``noop on lift: success 0/5``. Run again, it goes on where it was stopped, and does nothing when all is there.
``smidgen-eval policy=expert task=all`` evaluates every task's expert on 200 seeds and prints one table.
"""

from __future__ import annotations

import datetime
import platform
import sys
import time
import typing
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from smidgen.data_collection.experts import find_expert
from smidgen.evaluation.all_tasks import ALL, all_tasks_table, table_path, task_configs, with_expert_settings
from smidgen.evaluation.collapse import DETECTOR_VERSION
from smidgen.evaluation.collapse.labels import CUE
from smidgen.evaluation.collapse_part import CollapsePart
from smidgen.evaluation.config import EvalConfig
from smidgen.evaluation.dry_call import dry_call, stored_rows
from smidgen.evaluation.env_spec import make_simulator
from smidgen.evaluation.failures import RULES_VERSION, with_collapsed
from smidgen.evaluation.held_out_predictions import ANSWERS_VERSION, HeldOutItem
from smidgen.evaluation.items import EpisodeItem, Item
from smidgen.evaluation.plan import Plan, make_plan
from smidgen.evaluation.policy_source import EXPERT, PolicySource, build_card, policy_identity
from smidgen.evaluation.record_schema import (
    ALL_FAILED,
    SCHEMA_VERSION,
    Record,
    count_errors,
    have_all_failed,
    success_rate,
)
from smidgen.evaluation.records import host_path, read_record, record_path, summary_line, write_record
from smidgen.evaluation.saliency_videos import saliency
from smidgen.evaluation.shards import run_items
from smidgen.evaluation.statistics import CONFIDENCE
from smidgen.evaluation.verify import verify
from smidgen.evaluation.video_files import is_own_film, video_path
from smidgen.runtime.command_line import command_help, compose_config, run_command, wants_help
from smidgen.runtime.differences import differences
from smidgen.runtime.errors import UserError
from smidgen.runtime.files import (
    canonical_json,
    directory_lock,
    remove_leftovers,
    sha256_bytes,
    write_atomic,
    write_json_atomic,
)
from smidgen.runtime.user_code import changed_files

USAGE = "smidgen-eval policy=POLICY out=DIR [key=value ...] | smidgen-eval verify RECORD"
SUMMARY = f"""
Does a policy see its cue ({CUE})?
Closed loop over frozen test seeds, into OUT/<task>-<name>.json. Resumes; does nothing when all is
there; refuses to replace another record without overwrite=true. Also: smidgen-eval saliency --help.
"""
SHARDS = ".shards"


def evaluate(config: EvalConfig, make: Callable[..., Any] = make_simulator) -> tuple[Path, bool]:
    """Evaluates one policy on one task.

    Args:
        config: What to evaluate.
        make: Makes the environment, from task, cameras and image size.

    Returns:
        The record's path, and whether anything had to be run.

    Raises:
        UserError: For a mistake in the configuration, or a record of another evaluation in the way.
    """
    plan = make_plan(config, make)
    path = plan.record_path
    if _is_finished(plan):
        return path, False
    folder = _shard_folder(plan, plan.card["name"])
    with directory_lock(folder):
        # Another process may have finished between the first look and the lock.
        if _is_finished(plan):
            return path, False
        for file in (path, host_path(path)):
            remove_leftovers(file.parent, file.name)
        if config.overwrite:
            _discard_answers(plan)
        started = time.monotonic()
        record, host = _run(plan)
        host["wall_s_of_last_run"] = time.monotonic() - started
        host["finished_utc"] = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        write_json_atomic(host_path(path), host)
        write_record(path, record)
    return path, True


def _is_finished(plan: Plan) -> bool:
    """Whether this very evaluation has its record and videos.

    Raises:
        UserError: If the record is of another evaluation, of other code or of an earlier schema.
    """
    path = plan.record_path
    if not path.exists() or plan.config.overwrite:
        return False
    record = read_record(path)
    if difference := _difference(record, plan.fixed):
        raise UserError(
            f"{path} {difference}; overwrite=true runs every episode again, name=... or another out= keeps both"
        )
    if record["collapse"].get("detector_version") != DETECTOR_VERSION:
        return False
    return all(is_own_film(video, video_path(path, video)) for video in record["videos"])


def _difference(record: Record, fixed: dict[str, Any]) -> str:
    """What tells a record from the one that is asked for, in words; "" if nothing does."""
    if record["schema_version"] != SCHEMA_VERSION:
        return f"is a record of schema version {record['schema_version']}, which is read and ranked but never resumed"
    card = record["policy"]
    made_of = [(card[part], fixed["policy"][part]) for part in ("code", "files")]
    made_of.append((record["config"].get("task_code", {}), fixed["config"].get("task_code", {})))
    for there, here in made_of:
        if changed := changed_files(there, here):
            return f"was made before {_named(changed)} changed"
    films = [{"seed": video["seed"], "file": video["file"]} for video in record["videos"]]
    stored = {field: films if field == "videos" else dict(record)[field] for field in fixed}
    for each in differences(stored, fixed):
        return f"is the record of another evaluation: {each.path} is {each.there!r:.60}, asked for {each.here!r:.60}"
    return ""


def _named(files: list[str]) -> str:
    """At most two names, and how many more there are."""
    others = len(files) - 2
    return f"{', '.join(files[:2])} and {others} others" if others > 0 else " and ".join(files)


def _discard_answers(plan: Plan) -> None:
    """Removes the policy's stored answers; those of the expert that it is compared with are no answers of its own."""
    for path in {**_episode_items(plan), **_held_out_items(plan), **_held_out_items(plan, is_twin=True)}:
        path.unlink(missing_ok=True)


def _run(plan: Plan) -> tuple[Record, dict[str, Any]]:
    """Answers every item and assembles record and host file."""
    own, expert, held_out = _episode_items(plan), _expert_items(plan), _held_out_items(plan)
    twin = _held_out_items(plan, is_twin=True)
    added = {path: item for path, item in expert.items() if path not in own}
    items: dict[Path, Item] = {
        **own,
        **held_out,
        **twin,
        **added,
    }
    if plan.demos is not None and plan.steps:
        dry_call(plan.source, plan.task.action, stored_rows(plan.demos, plan.card["observes"]), plan.config.keep_going)
    label, limit_s = f"{plan.task.name} {plan.card['name']}", plan.config.episode_limit_s or None
    counted = {"episodes": len(own), "expert's episodes": len(added), "held-out episodes": len(held_out) + len(twin)}
    parts = " + ".join(f"{count} {name}" for name, count in counted.items() if count)
    answers = run_items(items, plan.config.workers, f"{label} ({parts})", limit_s)
    by_seed = {item.seed: answers[path] for path, item in own.items()}
    by_expert = {item.seed: answers[path] for path, item in expert.items()}
    episodes = with_collapsed({seed: by_seed[seed] for seed in plan.seeds}, by_expert)
    environment = _one_environment(plan, [*by_seed.values(), *by_expert.values()])
    hosts = [answer["environment"]["host"] for answer in by_seed.values()]
    expert_paths = {seed: answer["path"] for seed, answer in by_expert.items()} if expert else None
    collapse = _measure_held_out(
        plan, *({item.seed: answers[path] for path, item in items.items()} for items in (held_out, twin))
    )
    # Where an episode broke off, its path says nothing of sight.
    paths = {seed: [] if by_seed[seed]["error"] else by_seed[seed]["path"] for seed in plan.seeds}
    collapse.add_paths(paths, expert_paths, plan.task.name)
    record = {
        **plan.fixed,
        "episodes": episodes,
        "success": success_rate([row["success"] for row in episodes], CONFIDENCE),
        "success_once": success_rate([row["success_once"] for row in episodes], CONFIDENCE),
        "errors": count_errors(episodes),
        "collapse": collapse.finish(ALL_FAILED if have_all_failed(episodes) else ""),
        "environment": environment["ranked"],
        "videos": [
            {**video, "frames_sha256": by_seed[video["seed"]]["frames_sha256"]} for video in plan.fixed["videos"]
        ],
    }
    errors = {str(seed): answer["error"] for seed, answer in sorted(by_seed.items()) if answer["error"]}
    traces = {f"episode {seed}": answer["trace"] for seed, answer in sorted(by_seed.items()) if answer["trace"]}
    traces |= {
        f"held-out {item.seed}": trace for path, item in held_out.items() if (trace := answers[path].get("trace"))
    }
    # Episodes of several machines have no one machine that could repeat them to the bit.
    host = {"host": hosts[0] if all(each == hosts[0] for each in hosts) else {}, "hostname": platform.node()}
    return typing.cast(Record, record), {**host, "workers": plan.config.workers, "errors": errors, "tracebacks": traces}


def _one_environment(plan: Plan, answers: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """The fingerprint that all episodes share, the expert's included."""
    first, *others = [answer["environment"] for answer in answers]
    if any(other["ranked"] != first["ranked"] for other in others):
        folders = " or ".join(dict.fromkeys(str(_shard_folder(plan, name)) for name in (plan.card["name"], EXPERT)))
        raise UserError(f"{folders} holds episodes of another environment; delete that folder and run again")
    return dict(first)


def _measure_held_out(
    plan: Plan, answers: dict[int, dict[str, Any]], twin_answers: dict[int, dict[str, Any]]
) -> CollapsePart:
    coordinates = [plan.task.action.names[index] for index in plan.task.action.position_indices]
    reason = plan.unmeasured_reason or "no held-out demonstrations"
    failed = [answer["error"] for answer in (*answers.values(), *twin_answers.values()) if "error" in answer]
    if plan.demos is None or not plan.steps or failed:
        return CollapsePart(coordinates, failed[0] if failed else reason)
    collapse, train = CollapsePart(coordinates, reason), plan.train_demos
    statistics = None if train is None else train.statistics(train.training_seeds)
    collapse.add_held_out(plan.demos, plan.steps, answers, statistics, twin_answers or None)
    return collapse


def _shard_folder(plan: Plan, policy_name: str) -> Path:
    return record_path(Path(plan.config.out) / SHARDS, plan.task.name, policy_name).with_suffix("")


def _shard(plan: Plan, policy_name: str, identity: dict[str, Any], **item: Any) -> Path:
    """The file of an item's answer: its name is a hash of all that the answer depends on."""
    spec = plan.env_spec
    world = {"task": spec.task, "cameras": spec.cameras, "image_size": spec.image_size}
    if spec.code_sha256 is not None:
        world |= {"code_sha256": spec.code_sha256}
    rules = {"schema": SCHEMA_VERSION, "protocol": plan.fixed["protocol"]["version"], "labels": RULES_VERSION}
    depends_on = {"policy": identity, "world": world, **rules, **item}
    key = sha256_bytes(canonical_json({**depends_on, "versions": plan.fixed["versions"]}))
    return _shard_folder(plan, policy_name) / f"{key[:32]}.json"


def _episode_items(plan: Plan) -> dict[Path, EpisodeItem]:
    identity = policy_identity(plan.source, plan.card)
    films = {video["seed"]: video_path(plan.record_path, video) for video in plan.fixed["videos"]}
    return {
        _shard(plan, plan.card["name"], identity, seed=seed): EpisodeItem(
            plan.source,
            plan.env_spec,
            seed,
            films.get(seed),
            # With held-out demonstrations it was done before the workers start, and no simulator waited for.
            dry_call=not plan.steps,
            keep_going=plan.config.keep_going,
        )
        for seed in plan.seeds
    }


def _expert_items(plan: Plan) -> dict[Path, EpisodeItem]:
    """The expert on the same seeds, for the spread ratio; the shards are those of the expert's own evaluation."""
    if find_expert(plan.config.task) is None:
        return {}
    source = PolicySource(EXPERT, plan.config.task)
    card = build_card(source, source.build(), None)
    identity = policy_identity(source, card)
    going = plan.config.keep_going
    return {
        _shard(plan, card["name"], identity, seed=seed): EpisodeItem(source, plan.env_spec, seed, keep_going=going)
        for seed in plan.seeds
    }


def _held_out_items(plan: Plan, is_twin: bool = False) -> dict[Path, HeldOutItem]:
    source = plan.twin if is_twin else plan.source
    if plan.demos is None or source is None:
        return {}
    card = build_card(source, source.build(), None) if is_twin else plan.card
    fixed = {"demos_sha256": plan.demos.sha256, "answers": ANSWERS_VERSION, "is_twin": is_twin}
    identity, demos = policy_identity(source, card), str(plan.demos.directory)
    return {
        _shard(plan, plan.card["name"], identity, seed=seed, steps=steps, **fixed): HeldOutItem(
            source,
            demos,
            seed,
            steps,
            is_twin,
            demos_sha256=plan.demos.sha256,
            keep_going=plan.config.keep_going,
        )
        for seed, steps in plan.steps.items()
    }


def _report(path: Path, was_run: bool) -> None:
    record = read_record(path)
    for label, count in record["errors"].items():
        if count:
            print(
                f"warning: {count} of {len(record['episodes'])} episodes ended with {label}; all messages and "
                f"tracebacks are in {host_path(path)}",
                file=sys.stderr,
            )
    if not was_run:
        print(f"nothing to do: {path} is finished (its episodes are kept in {path.parent / SHARDS})")
    print(summary_line(path, record))


def evaluate_all(config: EvalConfig, make: Callable[..., Any] = make_simulator) -> Path:
    """Evaluates one policy on every task, one after the other, and writes the table of them all.

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
        print(command_help(USAGE, SUMMARY, EvalConfig))
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
