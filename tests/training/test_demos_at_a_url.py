"""Training on a data set at a URL gives the checkpoint that the same set on disk gives."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pytest

from smidgen.runtime.files import sha256_file
from smidgen.training.config import TrainConfig
from smidgen.training.loop import train


def test_demos_at_a_url_train_the_same_policy(
    data_set: Path,
    finished_run: Path,
    tiny_config: Callable[..., TrainConfig],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SMIDGEN_CACHE", str(tmp_path / "cache"))
    memory: Any = fsspec.filesystem("memory")
    memory.put(str(data_set), "/dots", recursive=True)
    train(tiny_config(tmp_path / "run", demos="memory://dots"))
    memory.rm("/dots", recursive=True)
    for name in ("model.safetensors", "checkpoint.json"):
        path = Path("checkpoints", "final", name)
        assert sha256_file(tmp_path / "run" / path) == sha256_file(finished_run / path), name
