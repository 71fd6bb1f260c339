"""The settings of ``smidgen-data export`` and ``smidgen-data import``."""

from __future__ import annotations

from dataclasses import dataclass, field

from smidgen.data_collection.manifest import MAX_IMAGE_SIZE
from smidgen.runtime.errors import UserError, unknown_name
from smidgen.runtime.settings import PathText

FORMAT_NAMES = ("robomimic", "lerobot", "minari")


@dataclass(frozen=True)
class ExportConfig:
    """What to write, and where."""

    format: str = field(metadata={"help": f"one of {', '.join(FORMAT_NAMES)}"})
    out: PathText = field(metadata={"help": "new directory for the demonstrations and the counterfactual pairs"})
    minari_python: PathText = field(
        default="python3", metadata={"help": "format=minari: a Python interpreter that has Minari 0.5.4"}
    )
    certify: bool | None = field(
        default=None,
        metadata={"help": "null: first render stored states again; true: a fault stops; false: skip"},
    )

    def __post_init__(self) -> None:
        if self.format not in FORMAT_NAMES:
            raise unknown_name("format", self.format, FORMAT_NAMES)


@dataclass(frozen=True)
class ImportConfig:
    """What to write, and what a foreign set does not say."""

    out: PathText = field(metadata={"help": "new directory of the episode store"})
    cameras: tuple[str, ...] = field(default=(), metadata={"help": "cameras to keep; empty: all"})
    image_size: int = field(default=0, metadata={"help": "crop frames to squares and scale them; 0: as they are"})
    control_hz: float = field(default=0.0, metadata={"help": "steps per second, where the set does not say"})
    seed_start: int = field(default=0, metadata={"help": "number of the first episode of a foreign set"})

    def __post_init__(self) -> None:
        object.__setattr__(self, "cameras", tuple(self.cameras))
        if len(set(self.cameras)) < len(self.cameras):
            raise UserError(f"expected different cameras, got {', '.join(self.cameras):.200}")
        if not 0 <= self.image_size <= MAX_IMAGE_SIZE:
            raise UserError(f"expected image_size in 0..{MAX_IMAGE_SIZE}, got {self.image_size}")
        if not 0 <= self.control_hz <= 1e6:
            raise UserError(f"expected control_hz in 0..1e6, got {self.control_hz}")
        if not 0 <= self.seed_start <= 900_000_000:
            raise UserError(f"expected seed_start in 0..900000000, got {self.seed_start}")
