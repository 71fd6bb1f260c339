"""The submitted records of one row, checked without running an episode."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from smidgen.envs.tasks import TASKS
from smidgen.evaluation.policy_source import PolicySource, build_card
from smidgen.evaluation.protocol import TEST
from smidgen.evaluation.provenance import BROKEN, policy_link, record_source, recorded_task
from smidgen.evaluation.record_schema import Record
from smidgen.evaluation.records import read_record
from smidgen.evaluation.verification_mark import read_verification
from smidgen.leaderboard.ranking import ranking_conditions
from smidgen.leaderboard.rows import Row, Run, gather_rows
from smidgen.runtime.errors import UserError
from smidgen.runtime.files import sha256_bytes
from smidgen.runtime.user_modules import is_class_spec


@dataclass(frozen=True)
class Submission:
    """The records of one row, with their checkpoints and code.

    Attributes:
        row: The row.
        record_paths: The records' files, in the row's order.
        checkpoints: The checkpoint directory of each; None for a user's policy.
        source: The code of a user's policy or transform.
    """

    row: Row
    record_paths: tuple[Path, ...]
    checkpoints: tuple[Path | None, ...]
    source: Path | None

    @property
    def name(self) -> str:
        """The bundle's name."""
        return f"{self.row.record['task']}-{self.row.name}"

    def commands(self) -> list[str]:
        """The commands with which a maintainer verifies the row, run in the unpacked bundle."""
        spec = str(self.row.record["config"].get("policy"))
        transform = users_transform(self.row.record)
        option = f" --policy {shlex.quote(spec)}" if self.row.record["policy"]["kind"] == "user" else ""
        option += f" --transform {shlex.quote(transform)}" if transform else ""
        path = "PYTHONPATH=source " if option else ""
        return [
            f"{path}smidgen-eval verify results/{record.name} --episodes {run.record['protocol']['episodes']}{option}"
            for record, run in zip(self.record_paths, self.row.runs, strict=True)
        ]


def open_submission(
    records: Sequence[Path], checkpoints: Sequence[Path] = (), source: Path | None = None, transform: str | None = None
) -> Submission:
    """Reads and checks a submission; runs no episode, and no user's code except the named transform.

    Args:
        records: One record per training seed.
        checkpoints: Their checkpoints or training runs, in the same order; by default those beside the records.
        source: Code of a user's policy or transform, a file or a directory.
        transform: ``their.module:Class`` of the checkpoints' input transform, if it is a user's.

    Raises:
        UserError: Naming the record and what is wrong with it.
    """
    if checkpoints and len(checkpoints) != len(records):
        raise UserError(f"expected one --checkpoint for each of {len(records)} records, got {len(checkpoints)}")
    if len({path.name for path in records}) < len(records):
        raise UserError("two records have the same file name; evaluate each training seed with name=NAME-seed<K>")
    given = dict(zip(records, checkpoints, strict=False))
    runs = [_read_run(path) for path in records]
    row = _one_row(records, runs)
    by_sha256 = {run.sha256: path for path, run in zip(records, runs, strict=True)}
    paths = tuple(by_sha256[run.sha256] for run in row.runs)
    found = tuple(
        _check_policy(run.record, path, given.get(path), transform) for run, path in zip(row.runs, paths, strict=True)
    )
    is_users_policy = row.record["policy"]["kind"] == "user"
    if (is_users_policy or users_transform(row.record)) and (source is None or not source.exists()):
        what = "policy" if is_users_policy else "transform"
        raise UserError(f"{paths[0]} uses a {what} of your own; add --source PATH, the file or folder with its code")
    for run, path in zip(row.runs, paths, strict=True):
        _check_source(run.record, path, source)
    return Submission(row, paths, found, source)


def users_transform(record: Record) -> str | None:
    """The class of a checkpoint's input transform, if it is a user's."""
    transform = record["policy"]["transform"]
    return transform if transform is not None and is_class_spec(transform) else None


def _check_source(record: Record, path: Path, source: Path | None) -> None:
    """Refuses code, or files that it declares, that differ from what ran."""
    handed_in = {sha256_bytes(content) for content in source_files(source).values()}
    named = {**record["policy"].get("code", {}), **record["policy"].get("files", {})}
    lacking = [name for name, digest in named.items() if digest not in handed_in]
    if lacking:
        raise UserError(
            f"{path} was made with another {', '.join(lacking[:3])} than --source {source} has; submit what was run, "
            "or evaluate again with overwrite=true"
        )


def _read_run(path: Path) -> Run:
    record = read_record(path)
    run = Run(path.name, sha256_bytes(path.read_bytes()), record, read_verification(path))
    _check_competes(run, path)
    _check_current(record, path)
    _check_final(record, path)
    if run.is_mark_stale:
        raise UserError(f"{path} has changed since it was verified; run smidgen-eval verify again")
    return run


def _check_competes(run: Run, path: Path) -> None:
    if not Row((run,)).may_be_ranked:
        policy, split = run.record["policy"], run.record["protocol"]["split"]
        raise UserError(
            f"{path}: expected a learned or your own policy on split {TEST!r} that observes nothing privileged, got "
            f"kind {policy['kind']!r} on {split!r}, observes {', '.join(policy['observes']) or 'nothing'}; it would "
            "not be ranked"
        )


def _check_current(record: Record, path: Path) -> None:
    spec = record["config"].get("task")
    if record["task"] not in TASKS and spec is not None:
        raise UserError(f"{path} uses a task of your own, {spec!s:.200}; leaderboards rank only smidgen's tasks")
    env_id = recorded_task(record, path).env_id
    if record["environment"].get("env_id") != env_id:
        raise UserError(
            f"{path}: field environment.env_id: expected {env_id!r}, the current version, got "
            f"{record['environment'].get('env_id')!r:.60}; evaluate again"
        )


def _check_final(record: Record, path: Path) -> None:
    training = record["policy"]["training"] or {}
    config = training.get("training_config")
    steps = config.get("steps") if isinstance(config, dict) else None
    if steps is not None and training.get("step") != steps:
        raise UserError(
            f"{path}: field policy.training.step: expected {steps}, the run's last step, got {training.get('step')}; "
            "a checkpoint that was chosen by its success is never ranked"
        )


def _one_row(paths: Sequence[Path], runs: Sequence[Run]) -> Row:
    first = runs[0].record
    for path, run in zip(paths, runs, strict=True):
        if ranking_conditions(run.record) != ranking_conditions(first):
            raise UserError(f"{path} and {paths[0]} were not measured under the same conditions; submit separately")
    rows = gather_rows(runs)
    if len(rows) > 1:
        names = ", ".join(f"{row.name} ({len(row.runs)})" for row in rows)
        raise UserError(
            f"expected records of one row, which differ only in the training seed and are named NAME-seed<K>, got "
            f"{len(rows)} rows: {names}; submit them separately, or evaluate with name=NAME-seed<K>"
        )
    return rows[0]


def _check_policy(record: Record, path: Path, checkpoint: Path | None, transform: str | None) -> Path | None:
    """The record's checkpoint, loaded and compared with what the record says about it; None for a user's policy."""
    if record["policy"]["kind"] == "user":
        spec = str(record["config"].get("policy"))
        if PolicySource(spec, record["task"]).kind != "user":
            raise UserError(
                f"{path}: field config.policy: expected their.module:Class, process:COMMAND or remote:HOST:PORT, got "
                f"{spec!r:.60}"
            )
        return None
    source: PolicySource = record_source(record, path, checkpoint, transform=transform)
    link = policy_link(record, source, build_card(source, source.build(), record["policy"]["name"]))
    if link.status == BROKEN:
        raise UserError(f"{path}: {link.detail}")
    return Path(source.spec)


def source_files(source: Path | None) -> dict[str, bytes]:
    """Content of the files of a user's code, by their path in the bundle."""
    if source is None:
        return {}
    if source.is_file():
        return {f"source/{source.name}": source.read_bytes()}
    found = [path for path in source.rglob("*") if path.is_file() and not path.is_symlink()]
    inside = {path: path.relative_to(source) for path in found}
    return {
        f"source/{relative.as_posix()}": path.read_bytes()
        for path, relative in inside.items()
        if not any(part.startswith((".", "__pycache__")) for part in relative.parts)
    }
