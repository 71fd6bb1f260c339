"""One row of the benchmark: ours, theirs, their ratio, what must be reached; and the JSON that rows are kept in."""

from __future__ import annotations

import dataclasses
import functools
import operator
import os
import platform
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from smidgen.runtime.errors import UserError
from smidgen.runtime.files import read_json, write_json_atomic

_COMPARISONS: dict[str, Callable[[float, float], bool]] = {">=": operator.ge, "<=": operator.le}
_SOURCES = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Measurement:
    """A figure beside its peer's.

    Attributes:
        name: The benchmark and the measured part.
        peer: What it is compared with; empty for a figure without a comparison.
        ours: Our figure, or None if it could not be measured.
        theirs: The peer's figure, or None.
        unit: Of both figures.
        ratio: How many times better ours is (above 1: better), or None.
        machine: CPU, cores, versions, and the load before the measurement.
        commit: What was measured; ``+`` marks uncommitted changes.
        must_reach: A condition such as ``ratio >= 5`` or ``ours <= 3``; empty for none.
        aim: A further one.
        note: Why a figure is missing, or how it was made.
    """

    name: str
    peer: str
    ours: float | None
    theirs: float | None
    unit: str
    ratio: float | None
    machine: str
    commit: str
    must_reach: str = ""
    aim: str = ""
    note: str = ""

    def meets(self, condition: str) -> bool | None:
        """Whether the row fulfils a condition; None without a condition or a figure.

        Raises:
            UserError: If the condition is not ``ratio`` or ``ours``, ``>=`` or ``<=``, and a number.
        """
        if not condition:
            return None
        try:
            key, comparison, bound = condition.split()
            value = {"ours": self.ours, "ratio": self.ratio}[key]
            return None if value is None else _COMPARISONS[comparison](value, float(bound))
        except (ValueError, KeyError) as error:
            raise UserError(f"row {self.name!r}: expected a condition like 'ratio >= 5', got {condition!r}") from error


def make_measurement(
    name: str,
    unit: str,
    ours: float | None,
    theirs: float | None = None,
    *,
    peer: str = "",
    more_is_better: bool = False,
    goals: tuple[str, str] = ("", ""),
    note: str = "",
) -> Measurement:
    """Makes a row of two figures, with this machine and this commit; the goals are what must be reached and the aim."""
    ratio = None
    if ours and theirs:
        ratio = ours / theirs if more_is_better else theirs / ours
    return Measurement(name, peer, ours, theirs, unit, ratio, machine(), commit(), *goals, note)


@functools.cache
def machine() -> str:
    """The CPU, cores, load and versions, in words; the load is the one found by the first call."""
    names = {
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    }
    cpu = " / ".join(sorted(names)) or platform.machine()
    cores = len(os.sched_getaffinity(0))
    return f"{cpu}, {cores} cores (load {os.getloadavg()[0]:.1f} before), torch {torch.__version__}"


@functools.cache
def commit() -> str:
    """The commit of the sources, or ``unknown`` outside a git checkout."""
    try:
        head = _git("rev-parse", "--short=12", "HEAD").strip()
        changed = _git("status", "--porcelain", "--", "*.py")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head + ("+" if changed else "")


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=_SOURCES, check=True, capture_output=True, text=True).stdout


def write_measurements(path: Path, rows: list[Measurement]) -> None:
    """Writes rows as a JSON list of objects."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json_atomic(path, [dataclasses.asdict(row) for row in rows])


def read_measurements(path: Path) -> list[Measurement]:
    """Reads what :func:`write_measurements` wrote.

    Raises:
        UserError: If the file does not hold rows.
    """
    content: Any = read_json(path)
    try:
        return [Measurement(**entry) for entry in content]
    except TypeError as error:
        raise UserError(f"{path} does not contain benchmark rows ({error}); run make bench again") from error
