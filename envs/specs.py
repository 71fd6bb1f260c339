"""What a task declares of itself: its action, its horizon, its cameras. Imports no simulator."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Self

from smidgen.runtime.errors import UserError, unknown_name

ACTION_KINDS = ("position", "gripper", "yaw")
TABLE_HEIGHT_M = 0.8


@dataclass(frozen=True)
class ActionSpec:
    """The layout of a task's action vector.

    Attributes:
        names: One name per component, with its unit.
        kinds: ``position`` (m, world frame), ``gripper`` (-1 open to 1 closed) or ``yaw`` (rad from home, mod pi).
        low: Smallest value of each component.
        high: Largest value of each component.

    Raises:
        UserError: If they are not equally many, or a kind is unknown.
    """

    names: tuple[str, ...]
    kinds: tuple[str, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]

    def __post_init__(self) -> None:
        if len({len(self.names), len(self.kinds), len(self.low), len(self.high)}) > 1:
            raise UserError(f"expected as many names, kinds, low and high of an action, got {self}")
        if unknown := [kind for kind in self.kinds if kind not in ACTION_KINDS]:
            raise unknown_name("kind of action", unknown[0], ACTION_KINDS)

    @property
    def size(self) -> int:
        """Number of components."""
        return len(self.names)

    @property
    def position_indices(self) -> list[int]:
        """Where the end-effector's x, y and z stand."""
        return [index for index, kind in enumerate(self.kinds) if kind == "position"]

    @property
    def gripper_index(self) -> int | None:
        """Where the gripper command stands, if the task has one."""
        return self.kinds.index("gripper") if "gripper" in self.kinds else None

    def to_json(self) -> dict[str, list[Any]]:
        """As a JSON object of lists."""
        return {key: list(value) for key, value in dataclasses.asdict(self).items()}

    @classmethod
    def from_json(cls, value: dict[str, list[Any]]) -> Self:
        """The inverse of :meth:`to_json`."""
        return cls(**{field.name: tuple(value[field.name]) for field in dataclasses.fields(cls)})


@dataclass(frozen=True)
class TaskSpec:
    """One task of the benchmark.

    Attributes:
        name: What users type, e.g. ``lift``.
        env_id: The versioned Gymnasium id.
        entry_point: ``module:Class`` of the environment.
        summary: One line on what has to be done.
        horizon: Control steps after which an episode ends.
        action: The layout of the action vector.
        eef_state_names: Names, with units, of the end-effector state's components.
        cameras: Cameras whose frames a policy sees by default.
        control_hz: Control steps per second of simulated time.
        hold_steps: Consecutive successful steps that make an episode a success.
        has_start_noise: Whether a reset's seed also drives where the robot starts; without, only the cue tells
            episodes apart.
    """

    name: str
    env_id: str
    entry_point: str
    summary: str
    horizon: int
    action: ActionSpec
    eef_state_names: tuple[str, ...]
    cameras: tuple[str, ...] = ("agentview",)
    control_hz: int = 20
    hold_steps: int = 10
    has_start_noise: bool = True
