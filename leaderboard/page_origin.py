"""Where a page comes from: the versions that made its records, and the commit that holds them; never the clock.

The same records of the same commit give the same page. Records that no commit holds have neither date nor link.
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
    """Where the records come from.

    Attributes:
        commit: The last commit that changed one of them, shortened; empty where none holds them as they are.
        date: Of that commit, as 2026-11-28.
        repository: Address of the repository for a browser; empty where it has none.
    """

    commit: str = ""
    date: str = ""
    repository: str = ""


def versions(groups: Sequence[Group]) -> list[str]:
    """Versions of smidgen that wrote the records, oldest text first."""
    found = {record["versions"].get("smidgen") for group in groups for row in group.rows for record in row.records}
    return sorted(str(version) for version in found if version)


def origin_of(folder: Path) -> Origin:
    """Asks git for the commit that holds the records of a folder.

    Somebody else's folder may bring a repository whose configuration names programs. So git is asked only for what it
    reads out of its objects: never ``status``, which runs file monitors and filters.

    Args:
        folder: Of the records.
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
    """Whether every record is a file of the last commit, byte for byte, and none of the commit's is gone."""
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
    """What git calls a file's content: SHA-1, or SHA-256 in newer repositories."""
    content = path.read_bytes()
    digest = hashlib.new("sha1" if num_digits == 40 else "sha256", usedforsecurity=False)
    digest.update(b"blob %d\0" % len(content) + content)
    return digest.hexdigest()


def web_address(remote: str) -> str:
    """A remote's address for a browser, without user or password; empty for one that no browser opens."""
    ssh = _SSH_ADDRESS.fullmatch(remote)
    if ssh:
        return f"https://{ssh['host']}/{ssh['path'].removesuffix('.git')}"
    parts = urlsplit(remote)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return ""
    return f"{parts.scheme}://{parts.hostname}{parts.path.removesuffix('.git')}"


def _git(folder: Path, *arguments: str) -> str | None:
    """What a git command prints; None where there is no git or no repository."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=_GIT_LIMIT_S, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
