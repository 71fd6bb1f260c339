"""What to check: the settings of smidgen-check."""

from __future__ import annotations

from dataclasses import dataclass, field

from smidgen.data_collection.manifest import MAX_IMAGE_SIZE
from smidgen.runtime.errors import UserError
from smidgen.runtime.settings import PathText


@dataclass(frozen=True)
class CheckConfig:
    """What to check, and where to write the report."""

    data: PathText = field(metadata={"help": "episodes held out from training, of any format"})
    policy: PathText | None = field(default=None, metadata={"help": "checkpoint, module:Class, process:COMMAND, ..."})
    predictions: PathText | None = field(default=None, metadata={"help": "instead: .npz of episode, step, prediction"})
    out: PathText = field(default="outputs/check", metadata={"help": "directory of the report"})
    episodes: int = field(default=30, metadata={"help": "episodes to ask about, spread over the set"})
    windows: int = field(default=1000, metadata={"help": "steps to ask about, over all episodes"})
    cameras: tuple[str, ...] = field(default=(), metadata={"help": "cameras to show; empty: the checkpoint's or all"})
    image_size: int = field(default=0, metadata={"help": "crop and scale frames of other formats"})
    transform: str | None = field(default=None, metadata={"help": "the checkpoint's, if it is your module:Class"})

    def __post_init__(self) -> None:
        object.__setattr__(self, "cameras", tuple(self.cameras))
        if (self.policy is None) == (self.predictions is None):
            raise UserError("expected either policy=... or predictions=FILE.npz")
        for name, least in {"episodes": 2, "windows": 2, "image_size": 0}.items():
            if getattr(self, name) < least:
                raise UserError(f"expected {name} >= {least}, got {getattr(self, name)}")
        if self.image_size > MAX_IMAGE_SIZE:
            raise UserError(f"expected image_size in 0..{MAX_IMAGE_SIZE}, got {self.image_size}")
