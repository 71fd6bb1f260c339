"""smidgen-leaderboard submit RECORD [RECORD ...] [--checkpoint DIR ...] [--source PATH] [--transform MODULE:CLASS]
    [--out PATH]

Checks the records of one row (one per training seed) without running an episode, and puts them, their checkpoints,
their videos and a card into one zip file or directory: the same bytes each time. Then prints the commands with which a
maintainer verifies the row. Takes seconds; docs/submitting.md explains the whole process.
"""

from __future__ import annotations

import argparse
import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

from smidgen.evaluation.provenance import CHECKPOINTS
from smidgen.evaluation.records import host_path, read_host, read_record
from smidgen.evaluation.video_files import VIDEOS, is_own_video, video_path
from smidgen.leaderboard.row_card import row_card
from smidgen.leaderboard.submission import Submission, open_submission, source_files
from smidgen.policies.checkpoint import CARD_NAME, MODEL_NAME
from smidgen.runtime.errors import UserError
from smidgen.runtime.files import atomic_directory, canonical_json, write_atomic
from smidgen.runtime.places import require_outside
from smidgen.runtime.settings import user_path

CARD = "CARD.md"
MAX_VIDEO_BYTES = 300_000
# The earliest date that zip can store: a file's own date would change the bytes.
_ZIP_DATE = (1980, 1, 1, 0, 0, 0)


def bundle_files(submission: Submission) -> dict[str, bytes]:
    """Content of every file of the bundle, by its path in it.

    Raises:
        UserError: If a video is larger than the page allows.
    """
    files = {CARD: row_card(submission.row, submission.commands()).encode()}
    for path, checkpoint in zip(submission.record_paths, submission.checkpoints, strict=True):
        files[f"results/{path.name}"] = path.read_bytes()
        if host_path(path).is_file():
            # Only the part of the machine's description that the comparison needs: no host name, no date.
            host = {"host": read_host(path)}
            files[f"results/{host_path(path).name}"] = canonical_json(host)
        if checkpoint is not None:
            for name in (CARD_NAME, MODEL_NAME):
                files[f"{CHECKPOINTS}/{path.stem}/{name}"] = (checkpoint / name).read_bytes()
        files |= _videos(path)
    return files | source_files(submission.source)


def _videos(path: Path) -> dict[str, bytes]:
    files = {}
    record = read_record(path)
    folder = VIDEOS if record["schema_version"] == 1 else f"results/{VIDEOS}"
    for video in record["videos"]:
        file = video_path(path, video, record["schema_version"])
        if file.is_file():
            if not is_own_video(video, file):
                raise UserError(f"{file} shows another evaluation than {path}; delete it, or evaluate again")
            files[f"{folder}/{file.name}"] = file.read_bytes()
            if len(files[f"{folder}/{file.name}"]) > MAX_VIDEO_BYTES:
                raise UserError(f"{file} is larger than {MAX_VIDEO_BYTES} bytes; record a smaller video or delete it")
    return files


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
    """Writes the bundle: a zip file if the name ends in .zip, else a directory, replacing an existing bundle."""
    files = bundle_files(submission)
    if out.suffix == ".zip":
        write_atomic(out, zip_bytes(files, submission.name))
        return
    if out.exists() and not (out / CARD).is_file():
        raise UserError(f"{out} exists and is not a bundle; choose another --out")
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
        help="one per record, in the same order",
    )
    parser.add_argument("--source", type=user_path, metavar="PATH", help="code of a policy or transform of your own")
    parser.add_argument(
        "--transform", metavar="MODULE:CLASS", help="the checkpoints' transform, if it is your own; its code will run"
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
