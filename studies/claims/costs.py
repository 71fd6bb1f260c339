"""``results/costs.csv``: wall and core time, a line for each finished job; several processes may append."""

from __future__ import annotations

import csv
import errno
import fcntl
import io
import os
from pathlib import Path

from smidgen.runtime.files import disk_errors

COSTS_FILE = Path("results/costs.csv")
HEADER = ("suite", "job", "runs", "wall_s", "core_s")


def append_cost(path: Path, suite: str, job: str, num_runs: int, wall_s: float, core_s: float) -> None:
    """Appends a whole line, even while other processes append theirs; a new file gets its header.

    Args:
        path: The file.
        suite: Which suite the job belongs to.
        job: Its name.
        num_runs: Runs of the job.
        wall_s: Wall time in seconds.
        core_s: Core time in seconds.

    Raises:
        UserError: If the disk is full or the folder is not writable.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "ab", buffering=0) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            size = file.seek(0, os.SEEK_END)
            if size == 0:
                writer.writerow(HEADER)
            writer.writerow((suite, job, num_runs, f"{wall_s:.1f}", f"{core_s:.1f}"))
            data = text.getvalue().encode()
            if file.write(data) != len(data):
                file.truncate(size)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(file.fileno())


def core_hours(path: Path, suite: str) -> float:
    """Core time that a suite has taken so far, in hours."""
    if not path.exists():
        return 0.0
    with open(path, newline="", encoding="utf-8") as file:
        return sum(float(row["core_s"]) for row in csv.DictReader(file) if row["suite"] == suite) / 3600
