"""smidgen-leaderboard submit RECORD [RECORD ...] [--checkpoint DIR ...] [--source PATH] [--transform MODULE:CLASS]
    [--out PATH]

Checks the records of one row (one per training seed) as far as that can be done without running an episode, and puts
them, their checkpoints, their videos and a card into one zip file or directory: the same bytes each time. It ends with
what a maintainer runs to verify the row. Takes seconds; docs/submitting.md has the whole way.
"""

from __future__ import annotations

import argparse
import io
import shlex
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from smidgen.envs.tasks import TASKS
from smidgen.evaluation.policy_source import PolicySource, build_card
from smidgen.evaluation.protocol import TEST
from smidgen.evaluation.provenance import BROKEN, CHECKPOINTS, policy_link, record_source, recorded_task
from smidgen.evaluation.record_schema import Record
from smidgen.evaluation.records import host_path, read_host, read_record
from smidgen.evaluation.verification_mark import read_verification
from smidgen.evaluation.video_files import VIDEOS, is_own_film, video_path
from smidgen.leaderboard.ranking import ranking_conditions
from smidgen.leaderboard.row_card import row_card
from smidgen.leaderboard.rows import Row, Run, gather_rows
from smidgen.policies.checkpoint import CARD_NAME, MODEL_NAME
from smidgen.runtime.errors import UserError
from smidgen.runtime.files import atomic_directory, canonical_json, sha256_bytes, write_atomic
from smidgen.runtime.places import require_outside
from smidgen.runtime.settings import user_path
from smidgen.runtime.user_modules import is_class_spec

CARD = "CARD.md"
MAX_VIDEO_BYTES = 300_000
# The oldest date that a zip file can hold: a file's own would change the bytes.
_ZIP_DATE = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class Submission:
    """Records of one row, with what belongs to them.

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
        """Of the bundle."""
        return f"{self.row.record['task']}-{self.row.name}"

    def commands(self) -> list[str]:
        """What a maintainer runs, in the unpacked bundle, to verify the row."""
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
    """Reads and checks what shall be handed in; runs no episode, and of a user's code the transform that is named.

    Args:
        records: One record per training seed.
        checkpoints: Their checkpoints or training runs, in the same order; those beside the records if none is given.
        source: Code of a user's policy or transform, a file or a directory.
        transform: ``their.module:Class`` of the checkpoints' input transform, where it is a user's.

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
        raise UserError(f"{paths[0]} is of a {what} of your own; add --source PATH, the file or folder of its code")
    for run, path in zip(row.runs, paths, strict=True):
        _check_source(run.record, path, source)
    return Submission(row, paths, found, source)


def users_transform(record: Record) -> str | None:
    """The class of a checkpoint's input transform, where it is a user's."""
    transform = record["policy"]["transform"]
    return transform if transform is not None and is_class_spec(transform) else None


def _check_source(record: Record, path: Path, source: Path | None) -> None:
    """The code that is handed in is the code that ran, and so are the files that it declares."""
    handed_in = {sha256_bytes(content) for content in _source_files(source).values()}
    named = {**record["policy"].get("code", {}), **record["policy"].get("files", {})}
    lacking = [name for name, digest in named.items() if digest not in handed_in]
    if lacking:
        raise UserError(
            f"{path} was made with another {', '.join(lacking[:3])} than --source {source} has; hand in what was run, "
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
        raise UserError(f"{path} is of a task of your own, {spec!s:.200}; leaderboards rank smidgen's tasks alone")
    env_id = recorded_task(record, path).env_id
    if record["environment"].get("env_id") != env_id:
        raise UserError(
            f"{path}: field environment.env_id: expected {env_id!r}, the present version, got "
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
            raise UserError(f"{path} and {paths[0]} were not measured under the same conditions; hand them in apart")
    rows = gather_rows(runs)
    if len(rows) > 1:
        names = ", ".join(f"{row.name} ({len(row.runs)})" for row in rows)
        raise UserError(
            f"expected records of one row, which differ in the training seed alone and are called NAME-seed<K>, got "
            f"{len(rows)} rows: {names}; hand them in apart, or evaluate with name=NAME-seed<K>"
        )
    return rows[0]


def _check_policy(record: Record, path: Path, checkpoint: Path | None, transform: str | None) -> Path | None:
    """The record's checkpoint, loaded and compared with all that the record says of it; None for a user's policy."""
    if record["policy"]["kind"] == "user":
        spec = str(record["config"].get("policy"))
        if not is_class_spec(spec):
            raise UserError(f"{path}: field config.policy: expected their.module:Class, got {spec!r:.60}")
        return None
    source: PolicySource = record_source(record, path, checkpoint, transform=transform)
    link = policy_link(record, source, build_card(source, source.build(), record["policy"]["name"]))
    if link.status == BROKEN:
        raise UserError(f"{path}: {link.detail}")
    return Path(source.spec)


def bundle_files(submission: Submission) -> dict[str, bytes]:
    """Content of every file of the bundle, by its path in it.

    Raises:
        UserError: If a video is larger than the page allows.
    """
    files = {CARD: row_card(submission.row, submission.commands()).encode()}
    for path, checkpoint in zip(submission.record_paths, submission.checkpoints, strict=True):
        files[f"results/{path.name}"] = path.read_bytes()
        if host_path(path).is_file():
            # Of the machine's description, what the comparison needs: no host name, no date.
            host = {"host": read_host(path)}
            files[f"results/{host_path(path).name}"] = canonical_json(host)
        if checkpoint is not None:
            for name in (CARD_NAME, MODEL_NAME):
                files[f"{CHECKPOINTS}/{path.stem}/{name}"] = (checkpoint / name).read_bytes()
        files |= _videos(path)
    return files | _source_files(submission.source)


def _videos(path: Path) -> dict[str, bytes]:
    files = {}
    record = read_record(path)
    folder = VIDEOS if record["schema_version"] == 1 else f"results/{VIDEOS}"
    for video in record["videos"]:
        film = video_path(path, video, record["schema_version"])
        if film.is_file():
            if not is_own_film(video, film):
                raise UserError(f"{film} shows another evaluation than {path}; delete it, or evaluate again")
            files[f"{folder}/{film.name}"] = film.read_bytes()
            if len(files[f"{folder}/{film.name}"]) > MAX_VIDEO_BYTES:
                raise UserError(f"{film} is larger than {MAX_VIDEO_BYTES} bytes; film the episode smaller or delete it")
    return files


def _source_files(source: Path | None) -> dict[str, bytes]:
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


def zip_bytes(files: Mapping[str, bytes], folder: str) -> bytes:
    """A zip file of one folder: the same files give the same bytes, whenever and wherever it is made."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(f"{folder}/{name}", _ZIP_DATE)
            entry.create_system, entry.external_attr = 3, 0o644 << 16
            archive.writestr(entry, files[name])
    return buffer.getvalue()


def write_bundle(submission: Submission, out: Path) -> None:
    """Writes the bundle: a zip file if the name ends so, else a directory, which replaces one that stands there."""
    files = bundle_files(submission)
    if out.suffix == ".zip":
        write_atomic(out, zip_bytes(files, submission.name))
        return
    if out.exists() and not (out / CARD).is_file():
        raise UserError(f"{out} exists and is no bundle; choose another --out")
    with atomic_directory(out, replace=True) as temporary:
        for name, data in files.items():
            (temporary / name).parent.mkdir(parents=True, exist_ok=True)
            (temporary / name).write_bytes(data)


def submit(arguments: list[str]) -> None:
    """Body of the command."""
    parser = argparse.ArgumentParser(
        prog="smidgen-leaderboard submit",
        description="Checks the records of one row and bundles them with checkpoints and card.",
    )
    parser.add_argument("records", type=user_path, nargs="+", metavar="RECORD", help="one per training seed")
    parser.add_argument(
        "--checkpoint",
        type=user_path,
        action="append",
        default=[],
        metavar="DIR",
        help="of each record, in their order",
    )
    parser.add_argument("--source", type=user_path, metavar="PATH", help="code of a policy or transform of your own")
    parser.add_argument(
        "--transform", metavar="MODULE:CLASS", help="the checkpoints', if it is your own; its code will run"
    )
    parser.add_argument(
        "--out", type=user_path, metavar="PATH", help="NAME.zip or a directory; TASK-NAME.zip by default"
    )
    options = parser.parse_args(arguments)
    submission = open_submission(options.records, options.checkpoint, options.source, options.transform)
    out = options.out or Path(f"{submission.name}.zip")
    require_outside(out, "--out")
    write_bundle(submission, out)
    rate, row = submission.row.success, submission.row
    print(f"{submission.name}: success {rate['k']}/{rate['n']}, {len(row.runs)} training seeds; every check passed")
    if row.shortfalls:
        print(f"not a full entry, and will be marked so: {', '.join(row.shortfalls)}")
    print(f"wrote {out}\na maintainer runs, in the bundle:")
    print("\n".join(f"  {command}" for command in submission.commands()))
