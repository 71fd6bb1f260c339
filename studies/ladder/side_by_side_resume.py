"""The state of runs in progress as one file, written atomically: tensors, and everything else as JSON in its header."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from smidgen.runtime.errors import UserError
from smidgen.runtime.files import write_atomic

SCHEMA_VERSION = 1


def save_state(path: Path, settings: dict[str, Any], tensors: dict[str, Tensor], memory: dict[str, Any]) -> None:
    """Writes a state.

    Args:
        path: The file.
        settings: Whose state it is.
        tensors: Tensors of the state.
        memory: The rest, as JSON; losses that are not finite stay so.
    """
    header = {"schema_version": SCHEMA_VERSION, "settings": settings, "memory": memory}
    contiguous = {name: tensor.contiguous() for name, tensor in tensors.items()}
    write_atomic(path, save(contiguous, {"smidgen": json.dumps(header)}))


def load_state(path: Path, settings: dict[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Reads a state; None if there is no file.

    Raises:
        UserError: If the file is damaged, or another run's.
    """
    if not path.exists():
        return None
    try:
        with safe_open(path, "pt") as file:
            header = json.loads((file.metadata() or {})["smidgen"])
            found = (header["schema_version"], header["settings"])
            tensors, memory = {name: file.get_tensor(name) for name in file.keys()}, dict(header["memory"])  # noqa: SIM118
    except (SafetensorError, KeyError, ValueError, TypeError, RecursionError, RuntimeError, OSError) as error:
        raise UserError(f"{path} is not a run's state ({str(error)[:80]}); remove it to start again") from error
    # Through JSON, as when it is read back: tuples become lists.
    if found != (SCHEMA_VERSION, json.loads(json.dumps(settings))):
        raise UserError(f"{path} is from a run with other settings; remove it to start again, or choose another file")
    return tensors, memory
