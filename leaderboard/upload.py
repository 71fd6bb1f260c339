"""smidgen-leaderboard upload CHECKPOINT --repo OWNER/NAME [--record RECORD] [--private] [--license ID]
    [--dataset OWNER/NAME ...] [--endpoint URL] [--dry-run --out DIR]

Uploads a checkpoint to the Hugging Face Hub in the shape of LeRobot's policies (hub_folder.py), as one commit: weights,
settings, and a card that is written from the record of its evaluation. ``--dry-run`` writes the folder that would be
uploaded, without a network. Seconds for a checkpoint of some megabytes; docs/sharing.md explains it.
"""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from smidgen.evaluation.records import read_record
from smidgen.leaderboard.hub_folder import Repository, hub_files
from smidgen.leaderboard.rows import Run
from smidgen.policies.checkpoint import resolve_checkpoint
from smidgen.runtime.errors import UserError
from smidgen.runtime.files import atomic_directory, sha256_bytes
from smidgen.runtime.optional_libraries import optional_library
from smidgen.runtime.places import require_outside
from smidgen.runtime.settings import user_path

INSTALL = 'pip install "smidgen[hub]"'
FIX = "check the address, the name and the token (`hf auth login`, or the variable HF_TOKEN)"
_MAX_REASON_CHARACTERS = 400


def send(files: Mapping[str, bytes], repository: Repository, endpoint: str | None) -> str:
    """Creates the repository if there is none, and commits the files to it.

    Args:
        files: Their content by name.
        repository: Where they go.
        endpoint: Address of the Hub; the library's own default if None.

    Returns:
        The commit's address.

    Raises:
        UserError: If huggingface_hub is missing, the Hub cannot be reached or refuses, or a repository that was to be
            private is there and public.
    """
    hub = optional_library("huggingface_hub", INSTALL)
    api = hub.HfApi(endpoint=endpoint, library_name="smidgen")
    operations = [hub.CommitOperationAdd(path_in_repo=name, path_or_fileobj=data) for name, data in files.items()]
    with _refusals(repository, api.endpoint):
        api.create_repo(repository.name, private=repository.private or None, exist_ok=True)
        is_public = repository.private and not api.model_info(repository.name).private
    if is_public:
        raise UserError(f"{repository.name} is there and public; make it private on the Hub, or omit --private")
    with _refusals(repository, api.endpoint):
        message = "Upload a policy of smidgen"
        commit = api.create_commit(repository.name, operations=operations, commit_message=message)
    return str(commit.commit_url)


@contextlib.contextmanager
def _refusals(repository: Repository, endpoint: str) -> Iterator[None]:
    """Turns what goes wrong on the way to the Hub, or there, into one line."""
    errors = optional_library("huggingface_hub.errors", INSTALL)
    # The Hub's refusals are errors of the HTTP client underneath, which differs between versions; so are lost
    # connections. A malformed answer is a ValueError, a failed transfer of a large file a RuntimeError.
    failures = (*errors.HfHubHTTPError.__bases__, OSError, ValueError, RuntimeError)
    try:
        yield
    except failures as error:
        reason = " ".join(str(error).split())[:_MAX_REASON_CHARACTERS]
        raise UserError(f"{repository.name} was not uploaded to {endpoint}: {reason}; {FIX}") from error


def write_folder(files: Mapping[str, bytes], out: Path) -> None:
    """Writes the folder that would be uploaded.

    Raises:
        UserError: If something else is at its path.
    """
    if out.exists():
        there = {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()} if out.is_dir() else {}
        if there != files:
            raise UserError(f"{out} exists and is not this folder; choose another --out")
        return
    require_outside(out, "--out")
    with atomic_directory(out) as temporary:
        for name, data in files.items():
            (temporary / name).write_bytes(data)


def upload(arguments: list[str]) -> None:
    """Body of the command."""
    options = _parser().parse_args(arguments)
    if options.dry_run != (options.out is not None):
        raise UserError("--dry-run and --out DIR go together: the folder is written to DIR and nothing is uploaded")
    repository = Repository(options.repo, options.private, options.license, tuple(options.dataset))
    run = None
    if options.record is not None:
        record = read_record(options.record)
        run = Run(options.record.name, sha256_bytes(options.record.read_bytes()), record)
    files = hub_files(resolve_checkpoint(options.checkpoint), repository, run)
    if options.dry_run:
        write_folder(files, options.out)
        print(f"wrote {options.out}: {', '.join(files)}; nothing was uploaded")
        return
    print(f"uploaded {', '.join(files)}: {send(files, repository, options.endpoint)}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="smidgen-leaderboard upload",
        description="Uploads a checkpoint to the Hugging Face Hub in the shape of LeRobot's policies, with a card.",
    )
    parser.add_argument("checkpoint", type=user_path, metavar="CHECKPOINT", help="it, its run, or zoo:TASK/NAME")
    parser.add_argument("--repo", required=True, metavar="OWNER/NAME", help="repository; made if there is none")
    parser.add_argument("--record", type=user_path, metavar="RECORD", help="of its evaluation, for the card")
    parser.add_argument("--private", action="store_true", help="only you see it")
    parser.add_argument("--license", default="", metavar="ID", help="such as mit")
    parser.add_argument(
        "--dataset", action="append", default=[], metavar="OWNER/NAME", help="on the Hub, that it was trained on"
    )
    parser.add_argument("--endpoint", metavar="URL", help="another Hub than huggingface.co")
    parser.add_argument("--dry-run", action="store_true", help="upload nothing, write the folder to --out")
    parser.add_argument("--out", type=user_path, metavar="DIR", help="folder of a dry run")
    return parser
