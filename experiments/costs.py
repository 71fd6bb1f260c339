"""What jobs cost: a line in ``results/costs.csv`` for each finished one, a tally beside what is not finished yet."""

from __future__ import annotations

import contextlib
import csv
import errno
import fcntl
import io
import itertools
import os
import re
import resource
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from smidgen.runtime.files import disk_errors, read_json, write_json_atomic
from smidgen.runtime.schemas import from_json, to_json

COSTS_FILE = Path("results/costs.csv")
HEADER = ("suite", "job", "runs", "wall_s", "core_s")


@dataclass(frozen=True)
class Cost:
    """What a part of a job took, in seconds.

    Attributes:
        wall_s: Wall time.
        core_s: Core time, of child processes too.
    """

    wall_s: float
    core_s: float

    def minus(self, other: Cost) -> Cost:
        """The difference of two costs."""
        return Cost(self.wall_s - other.wall_s, self.core_s - other.core_s)


NO_COST = Cost(0.0, 0.0)


@contextlib.contextmanager
def counted(stage: str, beside: Path) -> Iterator[None]:
    """Adds what the block costs to a stage's cost so far, in a file beside its output."""
    started = time.monotonic(), _core_s()
    try:
        yield
    finally:
        before = cost_of(stage, beside)
        spent = Cost(before.wall_s + time.monotonic() - started[0], before.core_s + _core_s() - started[1])
        write_json_atomic(_cost_path(stage, beside), to_json(spent))


def cost_of(stage: str, beside: Path) -> Cost:
    """What a stage has cost so far, over all of its interruptions."""
    path = _cost_path(stage, beside)
    return from_json(Cost, read_json(path), str(path)) if path.exists() else NO_COST


def _cost_path(stage: str, beside: Path) -> Path:
    return beside.parent / f"{beside.name}.{stage}.json"


def _core_s() -> float:
    """Core time of this process and of the children that have ended, in seconds."""
    parts = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(part.ru_utime + part.ru_stime for part in parts)


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


def read_costs(path: Path, suite: str) -> list[tuple[str, Cost]]:
    """Every finished job of a suite and what it took, in the file's order; [] without a file."""
    if not path.exists():
        return []
    with open(path, newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["suite"] == suite]
    return [(row["job"], Cost(float(row["wall_s"]), float(row["core_s"]))) for row in rows]


def median_cost(costs: Sequence[Cost]) -> Cost | None:
    """The median wall and core time; None of no jobs."""
    if not costs:
        return None
    return Cost(statistics.median(each.wall_s for each in costs), statistics.median(each.core_s for each in costs))


def nearest_cost(label: str, known: Sequence[tuple[str, Cost]]) -> Cost | None:
    """The median cost of the finished jobs whose names have the longest beginning in common with a label.

    Args:
        label: A job's; its settings, parted by ``/`` and ``.``, the most important first.
        known: Finished jobs.
    """
    shared = [_num_shared(label, other) for other, _ in known]
    most = max(shared, default=0)
    return median_cost([cost for (_, cost), num in zip(known, shared, strict=True) if num == most])


def _num_shared(label: str, other: str) -> int:
    pairs = zip(re.split("[/.]", label), re.split("[/.]", other), strict=False)
    return len(list(itertools.takewhile(lambda pair: pair[0] == pair[1], pairs)))


def core_hours(path: Path, suite: str) -> float:
    """Core time that a suite has taken so far, in hours."""
    return sum(cost.core_s for _, cost in read_costs(path, suite)) / 3600
