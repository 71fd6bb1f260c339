"""The chain from demonstrations to a row: seeds, data set, checkpoint, record, row; each link is a hash of the last.

Only available files can be checked. A link ``holds``, is ``broken`` or was ``not checked``, and then says what is
missing. That a checkpoint was trained on the demonstrations that it names cannot be checked without training again.
"""

from __future__ import annotations

import csv
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smidgen.data_collection.store import EpisodeStore
from smidgen.envs.specs import TaskSpec
from smidgen.envs.tasks import TASKS, get_task, named_task
from smidgen.evaluation.policy_source import PolicySource, build_card
from smidgen.evaluation.record_schema import PolicyCard, Record
from smidgen.policies.checkpoint import resolve_checkpoint
from smidgen.policies.policy import Policy
from smidgen.policies.registry import plays_back_demonstrations
from smidgen.runtime.errors import UserError
from smidgen.runtime.user_code import changed_files
from smidgen.runtime.user_modules import is_class_spec

CHECKPOINTS = "checkpoints"
LEADERBOARD_NAME = "leaderboard.csv"
HOLDS, BROKEN, NOT_CHECKED = "holds", "broken", "not checked"


@dataclass(frozen=True)
class Link:
    """One link of the chain.

    Attributes:
        name: Which.
        status: ``holds``, ``broken`` or ``not checked``.
        detail: What was compared, or what is missing.
        difference: For a broken link: {"link", "field", "record", "here"}.
    """

    name: str
    status: str
    detail: str
    difference: dict[str, Any] | None = None


def beside_checkpoint(record_path: Path) -> Path:
    """The default path of a record's checkpoint: ``RECORD/../../checkpoints/<name of the record>``."""
    return Path(os.path.normpath(record_path.parent / "..")) / CHECKPOINTS / record_path.stem


def recorded_task(record: Record, record_path: Path, given: str | None = None) -> TaskSpec:
    """The task of a record.

    Args:
        record: The record.
        record_path: Its file.
        given: ``their.module:Class``, if it is a user's task. A record alone never makes code run.

    Raises:
        UserError: If there is no such task, or it was not given; the message names the record.
    """
    name, spec = record["task"], record["config"].get("task")
    if given is not None:
        if (task := named_task(given)).name != name:
            raise UserError(f"{record_path} is of the task {name!r:.60}, --task {given:.200} is {task.name!r:.60}")
        return task
    if name not in TASKS and isinstance(spec, str) and is_class_spec(spec):
        raise UserError(
            f"{record_path} is of the task {spec!r:.200}, whose code would run; read it, then add --task {spec:.200}"
        )
    try:
        return get_task(record["task"])
    except UserError as error:
        raise UserError(f"{record_path}: field task: {error}") from error


def record_source(
    record: Record,
    record_path: Path,
    checkpoint: Path | None = None,
    train_demos: Path | str | None = None,
    policy: str | None = None,
    transform: str | None = None,
    task: str | None = None,
) -> PolicySource:
    """The policy that a record names, so that it can be built again.

    Args:
        record: The record.
        record_path: Its file.
        checkpoint: Its checkpoint or training run; the one beside the record if None.
        train_demos: Demonstrations of a baseline that plays them back.
        policy: ``their.module:Class`` of a user's policy. A record alone never makes code run.
        transform: The same for a checkpoint's input transform, if it is a user's.
        task: The same for the task, if it is a user's.

    Raises:
        UserError: If a required argument is missing; the message says which.
    """
    kind, spec = record["policy"]["kind"], str(record["config"].get("policy"))
    recorded = recorded_task(record, record_path, task)
    task = task or recorded.name
    if kind == "checkpoint":
        trained = record["policy"]["transform"]
        if trained is not None and is_class_spec(trained) and transform != trained:
            raise UserError(
                f"{record_path} is of a checkpoint with the transform {trained!r:.200}, whose code would run; read it, "
                f"then add --transform {trained:.200}"
            )
        return PolicySource(str(_find_checkpoint(record_path, checkpoint)), task, transform=transform)
    if kind == "user":
        if policy != spec:
            raise UserError(
                f"{record_path} is of the policy {spec!r}, whose code would run; read it, then add --policy {spec}"
            )
        return PolicySource(spec, task)
    if plays_back_demonstrations(spec) and train_demos is None:
        raise UserError(f"{record_path} is of {spec!r}, which plays back demonstrations; add --train-demos DIR")
    source = PolicySource(spec, task, None if train_demos is None else str(train_demos))
    if source.kind != kind:
        raise UserError(f"{record_path}: field config.policy: expected the name of a {kind}, got {spec!r:.60}")
    return source


def _find_checkpoint(record_path: Path, checkpoint: Path | None) -> Path:
    if checkpoint is None and not beside_checkpoint(record_path).exists():
        raise UserError(
            f"no checkpoint beside {record_path} ({beside_checkpoint(record_path)}); add --checkpoint DIR, the "
            "training run or its checkpoint"
        )
    return resolve_checkpoint(checkpoint or beside_checkpoint(record_path))


def chain(
    record: Record,
    record_path: Path,
    record_sha256: str,
    source: PolicySource,
    policy: Policy,
    demos: Path | str | None,
) -> list[Link]:
    """Checks every link that can be checked here.

    Args:
        record: The record.
        record_path: Its file.
        record_sha256: Of that file.
        source: The policy that it names.
        policy: The same, built.
        demos: The demonstrations that the policy was trained on, if available.
    """
    return [
        _demonstrations(record, demos if demos is not None else source.statistics_from),
        policy_link(record, source, build_card(source, policy, record["policy"]["name"])),
        Link("record", HOLDS, f"its figures follow from its {len(record['episodes'])} episodes"),
        _row(record_path, record_sha256),
    ]


def _demonstrations(record: Record, demos: Path | str | None) -> Link:
    name, card = "seeds -> data set", record["policy"]
    if card["data_set_sha256"] is None:
        return Link(name, NOT_CHECKED, "the policy names no demonstrations")
    if demos is None:
        return Link(name, NOT_CHECKED, "needs --demos DIR, the demonstrations that the policy was trained on")
    store = EpisodeStore.open(demos)
    if store.sha256 != card["data_set_sha256"]:
        return _broken(name, "policy.data_set_sha256", card["data_set_sha256"], store.sha256)
    first, last = card["data_set_seeds"] or (None, None)
    if first not in store.seeds or last not in store.seeds:
        return _broken(name, "policy.data_set_seeds", card["data_set_seeds"], [store.seeds[0], store.seeds[-1]])
    return Link(name, HOLDS, f"{demos} has the hash that the record names, and its seeds")


def policy_link(record: Record, source: PolicySource, built: PolicyCard) -> Link:
    """Compares everything that a record says about its policy with the policy's own card.

    Args:
        record: The record.
        source: The policy that it names.
        built: The card of that policy, built here under the record's name.
    """
    name, card = "data set -> checkpoint -> record", record["policy"]
    if built["checkpoint_sha256"] != card["checkpoint_sha256"]:
        return _broken(name, "policy.checkpoint_sha256", card["checkpoint_sha256"], built["checkpoint_sha256"])
    for part, here in (("code", built["code"]), ("files", built["files"])):
        # A record of version 1 does not say.
        there: dict[str, str] = dict(card).get(part, here)  # type: ignore[assignment]
        for file in changed_files(there, here):
            return _broken(name, f"policy.{part}.{file}", there.get(file), here.get(file))
    for field, value in dict(card).items():
        if dict(built).get(field) != value:
            return _broken(name, f"policy.{field}", value, dict(built).get(field))
    what = "the checkpoint has" if source.kind == "checkpoint" else "the policy, built here, has"
    return Link(name, HOLDS, f"{what} every property that the record says")


def _row(record_path: Path, record_sha256: str) -> Link:
    name, table = "record -> row", record_path.parent / LEADERBOARD_NAME
    if not table.is_file():
        return Link(name, NOT_CHECKED, f"no {LEADERBOARD_NAME} beside the record")
    with open(table, encoding="utf-8", newline="") as file:
        lines = [line for line in csv.DictReader(file) if record_path.name in (line.get("record") or "").split()]
    if not lines:
        return Link(name, NOT_CHECKED, f"{table} has no row of the record")
    digests = (lines[0].get("record_sha256") or "").split()
    if record_sha256 not in digests:
        return _broken(name, "record_sha256", record_sha256, " ".join(digests))
    return Link(name, HOLDS, f"{table} names the record's hash")


def _broken(name: str, field: str, record: Any, here: Any) -> Link:
    difference = {"link": name, "field": field, "record": record, "here": here}
    return Link(name, BROKEN, f"{field}: the record says {record!r:.80}, here it is {here!r:.80}", difference)
