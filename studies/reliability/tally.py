"""The outcomes of a reader's hostile inputs, as stored in the record."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smidgen.runtime.files import read_json
from smidgen.runtime.schemas import from_json, to_json


@dataclass(frozen=True, kw_only=True)
class Tally:
    """What came of a reader's inputs.

    Attributes:
        inputs: Number of inputs, from number 0 on.
        refused: Of them, refused with a message.
        accepted: Of them, read as something valid.
        slowest_ms: Most processor time that one took.
        memory_growth_mib: By how much the process's peak memory rose over all of them.
        commit: Of the sources that read them; of the last part where the run was interrupted.
        faults: Number and description of the first inputs that were neither refused nor read, or did something else.
    """

    inputs: int = 0
    refused: int = 0
    accepted: int = 0
    slowest_ms: float = 0.0
    memory_growth_mib: float = 0.0
    commit: str = ""
    faults: tuple[tuple[int, str], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        value: dict[str, Any] = to_json(self)
        return value

    def line(self, name: str) -> str:
        """One line for the terminal."""
        return (
            f"{name}: {self.inputs} inputs, {self.refused} refused, {self.accepted} accepted, "
            f"{len(self.faults)} faults, slowest {self.slowest_ms:.0f} ms, memory +{self.memory_growth_mib:.0f} MiB"
        )


def read_tally(path: Path) -> Tally:
    """What has been done of a reader so far.

    Raises:
        UserError: If the file is damaged.
    """
    return from_json(Tally, read_json(path), str(path)) if path.exists() else Tally()
