"""Arms of the second round: a data set, a network and a way to train it, named by their settings."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from smidgen.policies.latent_start import LOCATED, PLAIN_LOOK, LookConfig
from smidgen.policies.perceiver import PerceiverConfig
from studies.claims.design import CLIP_NORM, MEASURE_EVERY, SETTLE_STEPS, SPARSE_AFTER, WARMUP_STEPS
from studies.ladder.side_by_side import LadderTraining
from studies.synthetic import LadderConfig

GRIDS = {256: (1, 16, 16), 1024: (1, 32, 32), 3072: (3, 32, 32), 12_288: (3, 64, 64), 49_152: (3, 128, 128)}
SMALL = PerceiverConfig(num_latents=8, latent_dim=32, num_layers=1, num_heads=2)
# The leaderboard's network.
LARGE = PerceiverConfig(num_latents=32, latent_dim=128, num_layers=4, num_heads=4)
NETWORKS = {
    "": SMALL,
    "large": LARGE,
    "latents32": dataclasses.replace(SMALL, num_latents=32),
    "layers2": dataclasses.replace(SMALL, num_layers=2),
}
LOOKS = {
    "": PLAIN_LOOK,
    "located": LookConfig(latent_start=LOCATED),
    "located10": LookConfig(latent_start=LOCATED, window_nats=10.0),
    "gain4": LookConfig(query_gain=4.0),
    "looks2": LookConfig(num_cross_attentions=2),
    **{f"content{gain}": LookConfig(content_gain=float(gain)) for gain in (2, 4, 8, 16, 64)},
}
NOISE: dict[str, Any] = {"background": "noise", "noise_sd": 0.1, "num_train": 256, "num_held_out": 64}
DATA: dict[str, dict[str, Any]] = {
    "one_token": {"kind": "one_token"},
    # Tokens 0.5 +- 1/16, an eighth of one_token's change each: 64 of them carry its energy.
    "64_tokens": {"kind": "k_tokens", "num_changed": 64, "level": 4.0, "scale": 0.125},
    "frames": {"kind": "frames"},
    "periodic": {"kind": "periodic", **NOISE},
    "moving_blob": {"kind": "moving_blob", **NOISE},
    "noisy_token": {"kind": "one_token", **NOISE},
    "noisy_token_16": {"kind": "one_token", **NOISE, "num_train": 16},
}
POSITIONS = {"1d": "one_d", "axes": "per_axis", "aliased": "aliased"}
SOFTMAX, WITHOUT_UNIFORM = "softmax", "without_uniform"
# A DFT over the flattened array has one axis: 1-D positions are all that it can have.
ONE_AXIS = ("dft1d",)


@dataclass(frozen=True, kw_only=True)
class Arm:
    """What an arm fixes; seeds and rates come with each job.

    Attributes:
        data: The ladder data set.
        network: The Perceiver.
        training: Optimiser, and the horizon (``max_steps``) up to which areas are taken.
        attention: ``softmax``, or ``without_uniform``: each weight less that of uniform attention.
        lrs: Learning rates that the search begins with.
        rate_of: Another arm whose rate this one takes; empty: it searches for its own.
        look: Where its latents start looking, and how often they look.
    """

    data: LadderConfig
    network: PerceiverConfig
    training: LadderTraining
    attention: str = SOFTMAX
    lrs: tuple[float, ...] = ()
    rate_of: str = ""
    look: LookConfig = PLAIN_LOOK

    @property
    def horizon(self) -> int:
        """Steps up to which the area is taken."""
        return self.training.max_steps


@dataclass(frozen=True, kw_only=True)
class Cell:
    """An arm's place in the design, from which its name and its configurations follow.

    Attributes:
        transform: Input transform.
        after: Standardisation after it.
        horizon: Steps up to which the area is taken.
        lrs: Rates that the search begins with.
        data: One of ``DATA``.
        tokens: One of ``GRIDS``.
        positions: One of ``POSITIONS``.
        network: One of ``NETWORKS``.
        drop_dc: Whether coefficient 0 is set to 0.
        attention: ``softmax`` or ``without_uniform``.
        beta1: Of Adam.
        warmup_steps: Of the learning rate.
        rate_of: Arm whose rate this one takes.
        look: One of ``LOOKS``.
    """

    transform: str
    after: str
    horizon: int
    lrs: tuple[float, ...]
    data: str = "one_token"
    tokens: int = 3072
    positions: str = "1d"
    network: str = ""
    drop_dc: bool = False
    attention: str = SOFTMAX
    beta1: float = 0.9
    warmup_steps: int = WARMUP_STEPS
    rate_of: str = ""
    look: str = ""

    @property
    def name(self) -> str:
        """Transform, standardisation and positions, and whatever differs from the usual cell."""
        parts = {
            self.data: self.data != "one_token",
            self.network: True,
            f"n{self.tokens}": self.tokens != 3072,
            f"{self.transform}.{self.after}.{self.positions}": True,
            "drop_dc": self.drop_dc,
            self.attention: self.attention != SOFTMAX,
            f"beta{self.beta1:g}": self.beta1 != 0.9,
            f"warmup{self.warmup_steps}": self.warmup_steps != WARMUP_STEPS,
            self.look: True,
        }
        return ".".join(part for part, is_named in parts.items() if part and is_named)

    def arm(self) -> Arm:
        """Its configurations."""
        ladder = LadderConfig(grid=GRIDS[self.tokens], **DATA[self.data])
        has_one_axis = self.transform in ONE_AXIS and self.positions == "1d"
        network = dataclasses.replace(
            NETWORKS[self.network],
            transform=self.transform,
            standardise_after=self.after,
            position_encoding="per_axis" if has_one_axis else POSITIONS[self.positions],
            drop_dc=self.drop_dc,
        )
        training = LadderTraining(
            betas=(self.beta1, 0.999),
            warmup_steps=self.warmup_steps,
            max_steps=self.horizon,
            clip_norm=CLIP_NORM,
            measure_every=MEASURE_EVERY,
            stop_at_escape=False,
            settle_steps=SETTLE_STEPS,
            sparse_after=SPARSE_AFTER if ladder.is_random else 0,
        )
        lrs = () if self.rate_of else self.lrs
        return Arm(
            data=ladder,
            network=network,
            training=training,
            attention=self.attention,
            lrs=lrs,
            rate_of=self.rate_of,
            look=LOOKS[self.look],
        )


class ArmBook:
    """Collects arms, each name once."""

    def __init__(self) -> None:
        self.arms: dict[str, Arm] = {}

    def add(self, cell: Cell) -> str:
        """Adds a cell's arm and gives its name; one that is there already must be the same."""
        arm = cell.arm()
        assert self.arms.setdefault(cell.name, arm) == arm, f"two arms share the name {cell.name}"
        return cell.name


def num_tokens(arm: Arm) -> int:
    """Tokens before the transform."""
    return math.prod(arm.data.grid)
