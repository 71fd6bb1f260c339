"""Trained policies that are installed with the package: ``policy=zoo:lift/recommended``.

Each is a checkpoint in half precision beside a card that is written from its evaluation's record.
"""

from __future__ import annotations

from pathlib import Path

from smidgen.runtime.errors import UserError

PREFIX = "zoo:"
FOLDER = Path(__file__).parent / "zoo"


def is_zoo(spec: str) -> bool:
    """Whether a spec names a policy of the zoo."""
    return spec.startswith(PREFIX)


def zoo_names(folder: Path = FOLDER) -> list[str]:
    """Every policy of the zoo, as ``TASK/NAME``."""
    return sorted(card.parent.relative_to(folder).as_posix() for card in folder.glob("*/*/checkpoint.json"))


def zoo_checkpoint(spec: str) -> Path:
    """The checkpoint that ``zoo:TASK/NAME`` names.

    Raises:
        UserError: If there is none; the message lists those that there are.
    """
    names = zoo_names(FOLDER)
    if spec.removeprefix(PREFIX) not in names:
        listed = ", ".join(PREFIX + name for name in names) or "none is installed"
        raise UserError(f"unknown policy {spec!r:.200}; the zoo has: {listed}")
    return FOLDER / spec.removeprefix(PREFIX)
