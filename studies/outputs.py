"""The pages and tables that a study computes: written, or with ``check=true`` compared with what is there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from smidgen.leaderboard.tables import check_outputs
from smidgen.runtime.files import write_atomic


def write_or_check(outputs: Mapping[Path, bytes], *, check: bool) -> str:
    """Writes files, or refuses those that differ.

    Args:
        outputs: Content by file.
        check: Whether to write nothing.

    Returns:
        What to say at the end.

    Raises:
        UserError: With ``check``, naming every file that is missing or differs.
    """
    if check:
        check_outputs(dict(outputs))
        return f"as the records give: {', '.join(map(str, outputs))}"
    for path, content in outputs.items():
        write_atomic(path, content)
    return "\n".join(f"wrote {path}" for path in outputs)
