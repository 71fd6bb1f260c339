"""What a run of the benchmark measures, and in what sizes."""

from __future__ import annotations

from dataclasses import dataclass, field

from smidgen.runtime.errors import UserError
from smidgen.runtime.settings import PathText

ALL = "all"


@dataclass(frozen=True)
class BenchConfig:
    """Sizes of the measurements; the defaults are those of the published figures."""

    name: str = field(default=ALL, metadata={"help": "one benchmark, or all"})
    out: PathText = field(default="results/bench", metadata={"help": "directory of the JSON records"})
    page: PathText | None = field(
        default=None, metadata={"help": "Markdown page whose table is computed from the records"}
    )
    scratch: PathText = field(
        default="outputs/bench", metadata={"help": "directory of data sets and checkpoints, reused"}
    )
    robomimic: PathText = field(
        default="build/interop/robomimic/bin/python",
        metadata={"help": "Python with robomimic; make interop builds this one"},
    )
    repeats: int = field(default=5, metadata={"help": "rounds of each measurement; the median is reported"})
    least_s: float = field(default=0.3, metadata={"help": "minimum seconds per measurement; short work is repeated"})
    threads: int = field(default=2, metadata={"help": "PyTorch threads of a training step"})
    batch_size: int = field(default=16, metadata={"help": "examples of a training batch"})
    image_size: int = field(default=64, metadata={"help": "pixels along a side of a frame"})
    latency_calls: int = field(default=100, metadata={"help": "single observations timed per round"})
    env_steps: int = field(default=20, metadata={"help": "environment steps per round"})
    demonstrations: int = field(default=40, metadata={"help": "episodes collected per round"})
    batches: int = field(default=30, metadata={"help": "batches read per round"})
    episodes: int = field(default=12, metadata={"help": "episodes of our evaluation, beyond the first two"})
    stock_episodes: int = field(default=6, metadata={"help": "episodes over stock robosuite"})

    def __post_init__(self) -> None:
        for name in ("repeats", "threads", "batch_size", "image_size", "latency_calls", "env_steps"):
            self._require_at_least(name, 1)
        for name in ("batches", "episodes", "stock_episodes"):
            self._require_at_least(name, 1)
        self._require_at_least("demonstrations", 3)

    def _require_at_least(self, name: str, least: int) -> None:
        if getattr(self, name) < least:
            raise UserError(f"expected {name} >= {least}, got {getattr(self, name)}")
