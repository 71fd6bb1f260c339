"""All settings of a ladder data set except its seed: :class:`LadderConfig`, which is checked on construction."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from smidgen.runtime.errors import UserError, unknown_name
from smidgen.runtime.settings import PathText

KINDS = ("one_token", "k_tokens", "moving_blob", "periodic", "texture", "frames")
BACKGROUNDS = ("constant", "noise")
POSITIONS = ("random", "first")
# Mid-grey, as in pictures: a level of 0 would hide the effect of the DC token.
LEVEL = 0.5
# Default pool sizes if every example is drawn afresh.
DEFAULT_NUM_TRAIN, DEFAULT_NUM_HELD_OUT = 256, 64


@dataclass(frozen=True, kw_only=True)
class LadderConfig:
    """One rung of the ladder at one size.

    Raises:
        UserError: If a name is unknown, a number is out of its range, or two fields contradict each other.
    """

    kind: str = field(metadata={"help": "one_token, k_tokens, moving_blob, periodic, texture or frames"})
    grid: tuple[int, int, int] = field(
        default=(3, 32, 32), metadata={"help": "frames, rows and columns; N tokens is their product"}
    )
    num_classes: int = field(default=4, metadata={"help": "K, the different examples (frames: not used)"})
    num_changed: int = field(default=1, metadata={"help": "k, the tokens that change together (k_tokens only)"})
    position: str = field(
        default="random", metadata={"help": "of what changes: random (by seed, never the first token) or first"}
    )
    background: str = field(default="constant", metadata={"help": "constant, or noise drawn afresh for every example"})
    noise_sd: float = field(default=0.0, metadata={"help": "deviation of the noise, in units of the largest change"})
    level: float = field(default=LEVEL, metadata={"help": "grey level of the background"})
    scale: float = field(default=1.0, metadata={"help": "multiplies every token"})
    frequency_shift: float = field(
        default=0.25, metadata={"help": "between classes of periodic, in cycles per picture width (DFT bins)"}
    )
    random_phase: bool = field(default=False, metadata={"help": "whether each periodic example has its own phase"})
    num_train: int = field(default=0, metadata={"help": "examples in the pool; 0: K, or 256 where examples differ"})
    num_held_out: int = field(default=0, metadata={"help": "held-out examples; 0: the pool, or 64 where they differ"})
    frames: PathText = field(
        default="", metadata={"help": "file of robot pictures (kind=frames); empty: the one of Lift"}
    )

    def __post_init__(self) -> None:
        # OmegaConf passes a list.
        object.__setattr__(self, "grid", tuple(self.grid))
        for kind, name, valid in (
            ("ladder kind", self.kind, KINDS),
            ("ladder background", self.background, BACKGROUNDS),
            ("ladder position", self.position, POSITIONS),
        ):
            if name not in valid:
                raise unknown_name(kind, name, valid)
        self._check_numbers()
        self._check_background()
        self._check_kind()
        self._check_pool()

    @property
    def num_tokens(self) -> int:
        """N, the product of the grid's axes."""
        return math.prod(self.grid)

    @property
    def is_random(self) -> bool:
        """Whether two examples of one class differ: a pool can be larger than K, and held-out examples are new."""
        return self.background == "noise" or self.random_phase or self.kind == "frames"

    @property
    def pool_sizes(self) -> tuple[int, int]:
        """Examples to train on and held out; if nothing is random, both are the same K examples."""
        if not self.is_random:
            return self.num_classes, self.num_classes
        return self.num_train or DEFAULT_NUM_TRAIN, self.num_held_out or DEFAULT_NUM_HELD_OUT

    def _check_numbers(self) -> None:
        if len(self.grid) != 3 or any(type(length) is not int or length < 1 for length in self.grid):
            raise UserError(f"grid should be three lengths (frames, rows, columns) of at least 1, is {self.grid}")
        least = {"num_classes": 2, "num_changed": 1, "num_train": 0, "num_held_out": 0}
        for name, low in least.items():
            value = getattr(self, name)
            if type(value) is not int or value < low:
                raise UserError(f"{name} should be a whole number of at least {low}, is {value!r}")
        for name in ("noise_sd", "level", "scale", "frequency_shift"):
            if not math.isfinite(getattr(self, name)):
                raise UserError(f"{name} should be finite, is {getattr(self, name)}")
        if self.scale <= 0:
            raise UserError(f"scale should be above 0, is {self.scale}")

    def _check_background(self) -> None:
        if self.background == "noise" and self.noise_sd <= 0:
            raise UserError(f"background=noise needs noise_sd above 0, is {self.noise_sd}; or choose constant")
        if self.background == "constant" and self.noise_sd != 0:
            raise UserError(f"noise_sd={self.noise_sd} has no effect on background=constant; set background=noise")

    def _check_kind(self) -> None:
        if self.num_changed > 1 and self.kind != "k_tokens":
            raise UserError(f"num_changed={self.num_changed} belongs to kind=k_tokens, not to {self.kind}")
        if self.random_phase and self.kind != "periodic":
            raise UserError(f"random_phase belongs to kind=periodic, not to {self.kind}")
        if self.kind == "frames" and self.level != LEVEL:
            raise UserError(f"level={self.level} has no effect on kind=frames: its pictures have levels of their own")
        if self.frames and self.kind != "frames":
            raise UserError(f"frames={self.frames} belongs to kind=frames, not to {self.kind}")

    def _check_pool(self) -> None:
        if not self.is_random and (self.num_train not in (0, self.num_classes) or self.num_held_out):
            raise UserError(
                f"nothing is random here, the pool is its {self.num_classes} examples and held-out the same: leave "
                f"num_train and num_held_out at 0, got {self.num_train} and {self.num_held_out}"
            )
        least = 2 if self.kind == "frames" else self.num_classes
        if self.is_random and self.pool_sizes[0] < least:
            raise UserError(f"num_train={self.num_train} should be at least {least}, the number of different targets")
