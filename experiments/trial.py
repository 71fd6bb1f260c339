"""A trial: demonstrations of a task, a training, and how the trained policy acts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from smidgen.runtime.files import canonical_json, sha256_bytes

Settings = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What decides a trained policy, and how it acts.

    Attributes:
        task: Its task.
        label: What its training is called, beside the task.
        training: All keys of ``smidgen-train`` that are not at their default, data and output excepted.
        demonstrations: Keys of ``smidgen-collect`` that are not at their default, task and output excepted;
            ``episodes`` only where it asks for fewer than the size does.
        acting: Keys of the trained policy that are changed before it is evaluated.
    """

    task: str
    label: str
    training: Settings
    demonstrations: Settings = field(default_factory=dict)
    acting: Settings = field(default_factory=dict)

    def content(self) -> dict[str, Any]:
        """What decides its result, as JSON."""
        parts = {"training": self.training, "demonstrations": self.demonstrations, "acting": self.acting}
        return {"task": self.task, **{name: dict(part) for name, part in parts.items()}}

    @property
    def sha256(self) -> str:
        """SHA-256 of its content."""
        return sha256_bytes(canonical_json(self.content()))

    @property
    def run_name(self) -> str:
        """Names its training; the same for trials that differ only in how they act."""
        content = {name: value for name, value in self.content().items() if name != "acting"}
        return f"{self.task}.{self.label}-{sha256_bytes(canonical_json(content))[:8]}"

    @property
    def data_name(self) -> str:
        """Names its demonstrations."""
        changes = [f"{key}-{_plain(value)}" for key, value in sorted(self.demonstrations.items())]
        return ".".join([self.task, *changes])


def _plain(value: Any) -> str:
    return "+".join(map(str, value)) if isinstance(value, list) else str(value)
