"""A page's origin: the versions that wrote its records and the commit that contains them, but no date of the build.

The same records in the same commit give the same page. Uncommitted records have neither date nor link.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from smidgen.leaderboard.ranking import Group

_GIT_LIMIT_S = 10
# git@host:owner/name, as ssh writes an address.
_SSH_ADDRESS = re.compile(r"(?:ssh://)?git@(?P<host>[\w.-]+)[:/](?P<path>[\w./-]+)")


@dataclass(frozen=True)
class Origin:
    """The origin of the records.

    Attributes:
        commit: The last commit that changed one of them, shortened; empty if they are not committed as they are.
        date: The commit's date, such as 2026-11-28.
        repository: Web address of the repository; empty if it has none.
    """

    commit: str = ""
    date: str = ""
    repository: str = ""


def versions(groups: Sequence[Group]) -> list[str]:
    """Versions of smidgen that wrote the records, oldest text first."""
    found = {record["versions"].get("smidgen") for group in groups for row in group.rows for record in row.records}
    return sorted(str(version) for version in found if version)


def origin_of(folder: Path) -> Origin:
    """Finds the commit that contains the records of a folder.

    A folder from elsewhere may be in a repository whose configuration names programs. So only git commands that read
    objects are run: never ``status``, which runs file monitors and filters.

    Args:
        folder: Holds the records.
    """
    listing = _git(folder, "ls-tree", "-z", "HEAD", "./")
    if listing is None or not _are_as_committed(folder, listing):
        return Origin()
    last = _git(folder, "log", "-1", "--no-show-signature", "--format=%h %cs", "--", ":(glob)*.json")
    if not last:
        return Origin()
    commit, date = last.split()
    return Origin(commit, date, web_address(_git(folder, "config", "--get", "remote.origin.url") or ""))


def _are_as_committed(folder: Path, listing: str) -> bool:
    """Whether every record is a file of the last commit, byte for byte, and none of the commit's is missing."""
    committed = {}
    for entry in filter(None, listing.split("\0")):
        facts, _, name = entry.partition("\t")
        if name.endswith(".json"):
            committed[Path(name).name] = facts.split()[-1]
    records = {path.name: path for path in folder.glob("*.json") if path.is_file()}
    return committed.keys() == records.keys() and all(
        _blob_hash(records[name], len(digest)) == digest for name, digest in committed.items()
    )


def _blob_hash(path: Path, num_digits: int) -> str:
    """Git's hash of a file's content: SHA-1, or SHA-256 in newer repositories."""
    content = path.read_bytes()
    digest = hashlib.new("sha1" if num_digits == 40 else "sha256", usedforsecurity=False)
    digest.update(b"blob %d\0" % len(content) + content)
    return digest.hexdigest()


def web_address(remote: str) -> str:
    """A remote's web address, without user or password; empty if it has none."""
    ssh = _SSH_ADDRESS.fullmatch(remote)
    if ssh:
        return f"https://{ssh['host']}/{ssh['path'].removesuffix('.git')}"
    parts = urlsplit(remote)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return ""
    return f"{parts.scheme}://{parts.hostname}{parts.path.removesuffix('.git')}"


def _git(folder: Path, *arguments: str) -> str | None:
    """The output of a git command; None without git or a repository."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=_GIT_LIMIT_S, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
