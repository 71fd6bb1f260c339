"""Where a goal on the table may lie, how near counts, and what a policy that ignores its input scores there."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class GoalRange:
    """Goals drawn uniformly from a rectangle on the table, or from a line along y.

    Attributes:
        low_m: Smallest x and y.
        high_m: Largest x and y.
        tolerance_m: Horizontal distance to the goal that still counts.
    """

    low_m: tuple[float, float]
    high_m: tuple[float, float]
    tolerance_m: float

    def __post_init__(self) -> None:
        assert min(side for side in self._sides_m() if side) >= 2 * self.tolerance_m, "the disc fits into the range"

    def _sides_m(self) -> tuple[float, float]:
        return self.high_m[0] - self.low_m[0], self.high_m[1] - self.low_m[1]

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        """(2,) x and y in metres."""
        return rng.uniform(self.low_m, self.high_m)

    def chance(self) -> float:
        """Share of the goals within tolerance of the range's centre, the mean goal.

        That is what a policy scores that sees nothing and always goes to the mean; no blind policy that goes to one
        place and stays there scores more.
        """
        length_x_m, length_y_m = self._sides_m()
        if length_x_m == 0.0:
            return 2 * self.tolerance_m / length_y_m
        return math.pi * self.tolerance_m**2 / (length_x_m * length_y_m)
