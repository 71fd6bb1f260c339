"""What each number of an action means: tasks declare it, data sets and checkpoints store it, policies use it.

It lives in ``runtime`` because environments and policies do not import each other.

Letters: ``A`` action coordinates, ``...`` any leading axes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from smidgen.runtime.errors import UserError
from smidgen.runtime.schemas import from_json

OTHER = "other"
KINDS = ("position", "gripper", "yaw", OTHER)
GRIPPER_OPEN = -1.0


@dataclass(frozen=True)
class ActionSpec:
    """The coordinates of an action.

    Attributes:
        names: One name per coordinate, with its unit.
        kinds: ``position`` (m, world frame), ``gripper`` (-1 open to 1 closed), ``yaw`` (rad from home, modulo pi), or
            ``other``: an imported coordinate in its own unit, which no environment here executes.
        low: Smallest value of each coordinate.
        high: Largest value of each coordinate.

    Raises:
        UserError: If the lengths differ, a kind is unknown, or the bounds are infinite or contradictory.
    """

    names: tuple[str, ...]
    kinds: tuple[str, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]

    def __post_init__(self) -> None:
        lengths = {len(self.names), len(self.low), len(self.high), len(self.kinds)}
        if len(lengths) != 1 or not self.names:
            raise UserError(f"action spec: expected one name, low, high and kind per coordinate, got {self!s:.200}")
        if unknown := sorted(set(self.kinds) - set(KINDS)):
            raise UserError(f"action spec: unknown kind {unknown[0]!r:.60}; valid: {', '.join(KINDS)}")
        if not all(
            math.isfinite(low) and low <= high < math.inf for low, high in zip(self.low, self.high, strict=True)
        ):
            raise UserError(f"action spec: expected finite low <= high, got low {self.low}, high {self.high}")

    @classmethod
    def from_json(cls, spec: Any, source: str = "action spec") -> ActionSpec:
        """Reads the JSON form ``{"names", "low", "high", "kinds"}`` that data sets and checkpoints hold.

        Raises:
            UserError: If a field is missing, unexpected or of the wrong type; the message names source and field.
        """
        return from_json(cls, spec, source, "action_spec")

    def to_json(self) -> dict[str, list[Any]]:
        """The JSON form that :meth:`from_json` reads."""
        return {key: list(getattr(self, key)) for key in ("names", "kinds", "low", "high")}

    @property
    def size(self) -> int:
        """Number of coordinates A."""
        return len(self.names)

    @property
    def position_indices(self) -> list[int]:
        """Coordinates that are positions; the k-th of them is the k-th coordinate of the end-effector state."""
        return self.indices("position")

    @property
    def measured_indices(self) -> list[int]:
        """Coordinates that predictions are measured on: the positions, or all where the action is an imported one."""
        return self.position_indices or self.indices(OTHER)

    @property
    def gripper_index(self) -> int | None:
        """The coordinate that commands the gripper, if the task has one."""
        return self.kinds.index("gripper") if "gripper" in self.kinds else None

    def indices(self, kind: str) -> list[int]:
        """The coordinates of one kind."""
        return [index for index, own_kind in enumerate(self.kinds) if own_kind == kind]

    def clip(self, actions: Float[np.ndarray, "... A"]) -> Float[np.ndarray, "... A"]:
        """Clips every coordinate to its bounds."""
        return np.clip(actions, np.asarray(self.low), np.asarray(self.high))

    def hold(self, eef_state_BE: Float[np.ndarray, "B E"]) -> Float[np.ndarray, "B A"]:
        """Actions that hold the end effector where it is: same position, gripper open, home yaw, clipped to bounds."""
        actions_BA = np.zeros((len(eef_state_BE), self.size))
        actions_BA[:, self.indices("gripper")] = GRIPPER_OPEN
        for order, index in enumerate(self.position_indices):
            actions_BA[:, index] = eef_state_BE[:, order]
        return self.clip(actions_BA)
