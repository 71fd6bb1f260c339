"""``results/costs.csv``: wall and core time of every job, a line each, as it ends; several processes may append."""

from __future__ import annotations

import csv
import fcntl
import io
import os
from pathlib import Path

COSTS_FILE = Path("results/costs.csv")
HEADER = ("suite", "job", "runs", "wall_s", "core_s")


def append_cost(path: Path, suite: str, job: str, num_runs: int, wall_s: float, core_s: float) -> None:
    """Adds a line, whole, whichever other process writes; a new file gets its header.

    Args:
        path: The file.
        suite: Which suite the job belongs to.
        job: Its name.
        num_runs: Runs of the job.
        wall_s: Wall time in seconds.
        core_s: Core time in seconds.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        if file.seek(0, os.SEEK_END) == 0:
            writer.writerow(HEADER)
        writer.writerow((suite, job, num_runs, f"{wall_s:.1f}", f"{core_s:.1f}"))
        file.write(text.getvalue().encode())
        file.flush()
        os.fsync(file.fileno())


def core_hours(path: Path, suite: str) -> float:
    """Core time that a suite has taken so far, in hours."""
    if not path.exists():
        return 0.0
    with open(path, newline="", encoding="utf-8") as file:
        return sum(float(row["core_s"]) for row in csv.DictReader(file) if row["suite"] == suite) / 3600
