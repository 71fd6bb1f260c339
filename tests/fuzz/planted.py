"""What a reader reads when nothing is wrong, and a change to it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.fuzz.reader import plant
from tests.fuzz.registry import READERS

LONG_NAME = "a" * 5000


def planted(name: str, folder: Path) -> Path:
    plant(folder, dict(READERS[name].files()))
    return folder


def alter(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    value = json.loads(path.read_bytes())
    change(value)
    path.write_text(json.dumps(value))
