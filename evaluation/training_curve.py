"""The validation rows of the training that made a checkpoint, for its record."""

from __future__ import annotations

import json
from typing import Any

from smidgen.policies.checkpoint import RUN_CHECKPOINT, resolve_checkpoint
from smidgen.runtime.errors import UserError
from smidgen.runtime.spacing import evenly_spaced

MAX_CURVE_ROWS = 400


def read_curve(checkpoint: str) -> list[dict[str, Any]]:
    """Validation rows of the run's metrics.jsonl, thinned evenly; [] if the checkpoint is not in a run directory.

    Raises:
        UserError: If a row is not a JSON object.
    """
    directory, num_parts = resolve_checkpoint(checkpoint).resolve(), len(RUN_CHECKPOINT.parts)
    if directory.parts[-num_parts:] != RUN_CHECKPOINT.parts:
        return []
    path = directory.parents[num_parts - 1] / "metrics.jsonl"
    if not path.is_file():
        return []
    rows = []
    # Only on \n: other line separators may occur inside a JSON text.
    for number, line in enumerate(path.read_bytes().rstrip(b"\n").split(b"\n"), start=1):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UserError(
                f"{path}: line {number} is not JSON; if the run is still training, evaluate it afterwards"
            ) from error
        if not isinstance(row, dict):
            raise UserError(f"{path}: line {number}: expected a JSON object, got {type(row).__name__}")
        if row.get("split") != "train":
            rows.append(row)
    return [rows[index] for index in evenly_spaced(len(rows), MAX_CURVE_ROWS)]
