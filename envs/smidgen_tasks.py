"""Specifications of the touch tasks, whose cue is easy to miss. Imports no simulator.

Everything but a small cue is the same in every episode, including the robot's start: a policy that does not notice the
cue can only go to the mean goal, and :func:`chance_level` computes how often that is close enough.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from smidgen.envs.specs import TABLE_HEIGHT_M, TaskSpec
from smidgen.runtime.action_spec import ActionSpec


@dataclass(frozen=True)
class GoalRange:
    """Goals drawn uniformly from a rectangle on the table, or from a line along y.

    Attributes:
        low_m: Smallest x and y.
        high_m: Largest x and y.
        tolerance_m: Largest horizontal distance to the goal that counts as success.
    """

    low_m: tuple[float, float]
    high_m: tuple[float, float]
    tolerance_m: float

    def __post_init__(self) -> None:
        assert min(side for side in self._sides_m() if side) >= 2 * self.tolerance_m, "the disc fits in the range"

    def _sides_m(self) -> tuple[float, float]:
        return self.high_m[0] - self.low_m[0], self.high_m[1] - self.low_m[1]

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        """(2,) x and y in metres."""
        return rng.uniform(self.low_m, self.high_m)

    def chance(self) -> float:
        """Fraction of goals within tolerance of the range's centre, the mean goal.

        This is the score of a policy that sees nothing and always goes to the mean; no blind policy that goes to one
        place and stays there scores higher.
        """
        length_x_m, length_y_m = self._sides_m()
        if length_x_m == 0.0:
            return 2 * self.tolerance_m / length_y_m
        return math.pi * self.tolerance_m**2 / (length_x_m * length_y_m)


# At least one pixel's footprint on the table, anywhere in the ranges below: a pixel cannot resolve more.
TOLERANCE_M = 0.025
# Wide, so that chance is low; fully in the camera's view at the start, and within the arm's reach.
DOT_GOALS = GoalRange(low_m=(-0.2, -0.2), high_m=(0.15, 0.2), tolerance_m=TOLERANCE_M)
STRIPES_GOALS = GoalRange(low_m=(0.0, -0.28), high_m=(0.0, 0.28), tolerance_m=TOLERANCE_M)
SPECK_LEVELS = (1, 2, 4, 16, 64)

_POSITION = ActionSpec(
    names=("x_m", "y_m", "z_m"),
    kinds=("position", "position", "position"),
    low=(-0.3, -0.3, TABLE_HEIGHT_M),
    high=(0.3, 0.3, 1.2),
)


def _touch_task(name: str, class_name: str, module: str, summary: str) -> TaskSpec:
    return TaskSpec(
        name=name,
        env_id=f"smidgen/{class_name}-v0",
        entry_point=f"smidgen.envs.{module}:{class_name}Env",
        summary=summary,
        horizon=80,
        action=_POSITION,
        eef_state_names=_POSITION.names,
        has_start_noise=False,
        expert="smidgen.data_collection.experts.touch:TouchExpert",
    )


SPECKS: dict[int, TaskSpec] = {
    level: _touch_task(f"speck_{level}", f"Speck{level}", "speck", f"touch a dot of {level} of 64 x 64 pixels")
    for level in SPECK_LEVELS
}
SPECK_NOISE = _touch_task(
    "speck_noise", "SpeckNoise", "speck", "touch a dot of 4 pixels in pixels that all carry noise"
)
BLINK = _touch_task("blink", "Blink", "speck", "touch a dot of 16 pixels that shows in one frame of three")
STRIPES = _touch_task(
    "stripes", "Stripes", "stripes", "touch the place that the frequency of a board's stripes stands for"
)
SMIDGEN_TASKS = (*SPECKS.values(), SPECK_NOISE, BLINK, STRIPES)

GOAL_RANGES: dict[str, GoalRange] = {
    **{task.name: DOT_GOALS for task in (*SPECKS.values(), SPECK_NOISE, BLINK)},
    STRIPES.name: STRIPES_GOALS,
}


def chance_level(task: str) -> float | None:
    """Success rate of a policy that always goes to the mean goal; None for a task without such a goal.

    Args:
        task: A task's name.
    """
    return GOAL_RANGES[task].chance() if task in GOAL_RANGES else None
