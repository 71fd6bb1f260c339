"""Arms: one data set, one network and one way to train it, named by what sets them apart from the base arm."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from smidgen.policies.perceiver import PerceiverConfig
from smidgen.runtime.schemas import to_json
from studies.first_round.plan import ArmPlan
from studies.ladder.side_by_side import LadderTraining
from studies.synthetic.config import LadderConfig


@dataclass(frozen=True, kw_only=True)
class Arm:
    """What one arm fixes; the seeds and the choice of the learning rate are the plan's.

    Attributes:
        data: The ladder data set.
        network: The Perceiver.
        training: Optimiser and number of steps.
        lr_scale: Multiplies every learning rate of the plan's tuning grid.
    """

    data: LadderConfig
    network: PerceiverConfig
    training: LadderTraining
    lr_scale: float = 1.0


# How a change from the base arm appears in an arm's name, in this order.
_SLUGS: dict[str, Callable[[Any], str]] = {
    "kind": str,
    "num_changed": str,
    "grid": lambda grid: f"n{math.prod(grid)}",
    "position": str,
    "background": lambda _: "",
    "noise_sd": lambda sd: f"noise{sd:g}",
    "num_train": lambda _: "",
    "num_held_out": lambda _: "",
    "scale": lambda scale: f"x{scale:.3g}",
    "transform": str,
    "full_spectrum": lambda _: "full",
    "transform_scale": lambda scale: f"scale-{scale}",
    "drop_dc": lambda _: "drop-dc",
    "standardise_before": lambda name: f"before-{name}",
    "standardise_after": str,
    "floor_scale": lambda scale: f"floor{scale:g}",
    "position_encoding": lambda name: f"positions-{name}",
    "latent_scale": lambda scale: f"latents{scale:g}",
    "input_layer_norm": lambda _: "no-layer-norm",
    "num_latents": lambda count: f"latents-{count}",
    "latent_dim": lambda width: f"width-{width}",
    "num_layers": lambda count: f"layers-{count}",
    "num_heads": lambda _: "",
    "optimiser": str,
    "betas": lambda betas: f"beta{betas[0]:g}",
    "weight_decay": lambda _: "",
    "batch_size": lambda size: f"batch{size}",
    "max_steps": lambda steps: f"steps{steps}",
    "confirm_steps": lambda _: "",
    "lr_scale": lambda scale: f"rates-x{scale:g}",
}
_ALWAYS_NAMED = "transform"
# A rung has one target, and frames are all that is seen.
_LADDER_NETWORK = {"horizon": 1, "state_dim": 0}
_PARTS = ("data", "network", "training")


class ArmBook:
    """Collects arms as changes from a base arm, each content once.

    Args:
        base: The arm without changes.
    """

    def __init__(self, base: Arm) -> None:
        self.base = base
        self.arms: dict[str, Arm] = {}

    def add(self, transform: str = "raw", after: str = "none", **changes: Any) -> str:
        """Adds an arm and gives its name; an arm that is there already is the same arm.

        Args:
            transform: Input transform.
            after: Standardisation after it.
            **changes: Fields of data, network and training (their names are disjoint), and ``lr_scale``.
        """
        changes |= {"transform": transform, "standardise_after": after}
        arm = _changed(self.base, changes)
        name = self._name(arm)
        assert self.arms.setdefault(name, arm) == arm, f"two arms share the name {name}"
        return name

    def plans(self) -> dict[str, ArmPlan]:
        """Every arm as the plan writes it down."""
        return {name: arm_plan(arm) for name, arm in self.arms.items()}

    def _name(self, arm: Arm) -> str:
        base, fields = flat_fields(self.base), flat_fields(arm)
        unknown = [field for field in fields if field not in _SLUGS and fields[field] != base[field]]
        assert not unknown, f"{unknown} has no place in an arm's name"
        slugs = [
            slug(fields[field])
            for field, slug in _SLUGS.items()
            if field == _ALWAYS_NAMED or fields[field] != base[field]
        ]
        return ".".join(slug for slug in slugs if slug)


def flat_fields(arm: Arm) -> dict[str, Any]:
    """All fields of an arm's three parts and its own, by name."""
    fields: dict[str, Any] = {"lr_scale": arm.lr_scale}
    for part in _PARTS:
        config = getattr(arm, part)
        for field in dataclasses.fields(config):
            assert field.name not in fields, f"{field.name} stands in two parts of an arm"
            fields[field.name] = getattr(config, field.name)
    return fields


def _changed(base: Arm, changes: dict[str, Any]) -> Arm:
    own = {"lr_scale": changes.pop("lr_scale", base.lr_scale)}
    parts = {}
    for part in _PARTS:
        config = getattr(base, part)
        names = {field.name for field in dataclasses.fields(config)} & set(changes)
        parts[part] = dataclasses.replace(config, **{name: changes.pop(name) for name in names})
    assert not changes, f"no part of an arm has {sorted(changes)}"
    return Arm(**parts, **own)


def arm_plan(arm: Arm) -> ArmPlan:
    """An arm as the plan writes it down; a scale of the tuning grid stands with the training."""
    training = to_json(arm.training)
    if arm.lr_scale != 1.0:
        training["lr_scale"] = arm.lr_scale
    return ArmPlan(data=to_json(arm.data), network=to_json(arm.network) | _LADDER_NETWORK, training=training)
