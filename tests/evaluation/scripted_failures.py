"""Policies that fail at Lift in a known way, told by privileged state; for the fake Lift and the real one."""

from typing import Any

import numpy as np

from smidgen.data_collection.experts.lift import LiftExpert
from smidgen.envs.tasks import get_task

OPEN, CLOSED = -1.0, 1.0
UP = np.array([0.0, 0.0, 1.0])


class Scripted:
    """One episode at a time; the base of the policies below."""

    name = "scripted"
    observes: tuple[str, ...] = ("privileged",)

    def reset(self, num_episodes: int = 1, seed: int = 0) -> None:
        assert num_episodes == 1
        self.step = 0
        self.expert = LiftExpert(get_task("lift").action)
        self.expert.reset(seed)

    def act(self, observations: dict[str, Any]) -> np.ndarray:
        seen = {name: value[0] for name, value in observations["privileged"].items()}
        action = np.asarray(self.command(seen["eef_position_m"], seen["object_position_m"], seen), dtype=np.float64)
        self.step += 1
        return action[None]

    def command(self, eef: np.ndarray, cube: np.ndarray, seen: dict[str, np.ndarray]) -> np.ndarray:
        raise NotImplementedError


class HoversBeside(Scripted):
    """Swings to and fro, well to the side of the cube."""

    def command(self, eef, cube, seen):
        return [cube[0] + 0.15, cube[1] + 0.05 * np.sin(self.step / 3), 0.9, OPEN]


class ClosesInTheAir(Scripted):
    """Closes above the cube and rises with nothing in hand."""

    def command(self, eef, cube, seen):
        height = 0.06 if self.step < 40 else 0.12
        return [*(cube + height * UP), OPEN if self.step < 30 else CLOSED]


class PassesBy(Scripted):
    """Comes down to the cube with open fingers and leaves again, over and over."""

    def command(self, eef, cube, seen):
        return [*(cube + (0.12 if self.step // 15 % 2 else 0.03) * UP), OPEN]


class LiftsAndOpens(Scripted):
    """Does as the expert does, and lets go in the air."""

    def reset(self, num_episodes: int = 1, seed: int = 0) -> None:
        super().reset(num_episodes, seed)
        self.opened = False

    def command(self, eef, cube, seen):
        if not self.opened and cube[2] > seen["object_rest_height_m"] + 0.014:
            self.opened, self.above = True, [*eef[:2], 0.92]
        return [*self.above, OPEN] if self.opened else self.expert.act(seen)


class PutsItElsewhere(Scripted):
    """Drags the cube aside, barely above the table, and lets go."""

    def reset(self, num_episodes: int = 1, seed: int = 0) -> None:
        super().reset(num_episodes, seed)
        self.held_steps = 0

    def command(self, eef, cube, seen):
        if self.held_steps == 0 and (self.expert.phase != "raise" or self.step == 0):
            action = self.expert.act(seen)
            if self.expert.phase != "raise":
                return action
            self.start = cube.copy()
        self.held_steps += 1
        aside = min(0.004 * self.held_steps, 0.10)
        if self.held_steps < 40:
            return [self.start[0], self.start[1] + aside, seen["object_rest_height_m"] + 0.005, CLOSED]
        return [*eef, OPEN] if self.held_steps < 45 else [*eef[:2], 0.95, OPEN]


class Freezes(Scripted):
    """Does as the expert does for a moment, then holds still."""

    def command(self, eef, cube, seen):
        if self.step < 5:
            self.last = self.expert.act(seen)
        elif self.step == 5:
            self.last = np.append(eef, OPEN)
        return self.last


class HoldsLow(Scripted):
    """Grasps the cube and holds it a centimetre above the table."""

    def command(self, eef, cube, seen):
        action = self.expert.act(seen)
        if self.expert.phase != "raise":
            self.place = [*eef[:2], seen["object_rest_height_m"] + 0.01]
            return action
        return [*self.place, CLOSED]


class LeavesTheBox(Scripted):
    """Asks for a place a metre to the side."""

    def command(self, eef, cube, seen):
        return [0.0, -1.0, 0.95, OPEN]


class PlaysBack(Scripted):
    """Commands the same targets in every episode, the last for ever."""

    name = "plays_back"
    observes = ()

    def __init__(self, actions_SA: np.ndarray) -> None:
        self.actions_SA = actions_SA

    def act(self, observations: dict[str, Any]) -> np.ndarray:
        action = self.actions_SA[min(self.step, len(self.actions_SA) - 1)]
        self.step += 1
        return action[None]


class ExplodesAt(Scripted):
    """Throws the arm out of the simulator's bounds."""

    def __init__(self, env: Any) -> None:
        self.env = env

    def command(self, eef, cube, seen):
        if self.step == 3:
            self.env.data.qvel[:] = 1e12
        return [*eef, OPEN]


FAILURES: dict[str, tuple[type[Scripted], str]] = {
    policy.__name__: (policy, label)
    for policy, label in [
        (HoversBeside, "never_reached"),
        (ClosesInTheAir, "missed_grasp"),
        (PassesBy, "missed_grasp"),
        (LiftsAndOpens, "dropped"),
        (PutsItElsewhere, "misplaced"),
        (Freezes, "stalled"),
        (HoldsLow, "stalled"),
        (LeavesTheBox, "out_of_bounds"),
    ]
}
