"""Where a page comes from: the versions that made its records, and the commit that holds them; never the clock.

The same records of the same commit give the same page. Records that no commit holds have neither date nor link.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from smidgen.evaluation.ranking import Group

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

    Args:
        folder: Of the records.
    """
    pattern = ":(glob)*.json"
    changed = _git(folder, "status", "--porcelain", "--untracked-files=all", "--", pattern)
    last = _git(folder, "log", "-1", "--format=%h %cs", "--", pattern)
    if changed or not last:
        return Origin()
    commit, date = last.split()
    return Origin(commit, date, web_address(_git(folder, "config", "--get", "remote.origin.url") or ""))


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
