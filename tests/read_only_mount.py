"""A directory that cannot be written to, even by root: a read-only bind mount in a mount namespace of its own."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
_MOUNT = 'mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" && exec "$@"'


def run_beside_read_only(directory: Path, code: str, *arguments: object) -> list[str]:
    """Runs Python code while a directory is mounted read-only for it alone; skips the test where that is not permitted.

    Returns:
        The lines that it printed.
    """
    try:
        allowed = subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        allowed = False
    if not allowed:
        pytest.skip("mounting is not permitted here")
    command = ["unshare", "-m", "sh", "-c", _MOUNT, str(directory), sys.executable, "-c", code, *map(str, arguments)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    if "mount:" in ended.stderr:
        pytest.skip(f"mounting is not permitted here: {ended.stderr}")
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.splitlines()
