"""Lift without a simulator: a point gripper, a point cube and a painter, behind the environment's own interface."""

from __future__ import annotations

import contextlib
import time
from typing import Any

import numpy as np

from smidgen.data_collection.collector import Collector
from smidgen.data_collection.config import CollectConfig
from smidgen.data_collection.experts import EXPERTS
from smidgen.envs.tasks import get_task

REST_M = 0.821
HOME_M = np.array([-0.1, 0.0, 0.95])
GRASP_M = 0.015


class FakeLift:
    """State: gripper (3,), opening, cube (3,), grasped, steps, held steps."""

    def __init__(self, task: str = "lift", cameras: tuple[str, ...] = ("agentview",), image_size: int = 16) -> None:
        self.task, self.cameras, self.image_size = get_task(task), tuple(cameras), image_size
        self.unwrapped = self
        self.hidden = False
        self.num_frames_drawn = 0
        self.reset(seed=0)

    def close(self) -> None:
        pass

    def reset(self, *, seed: int) -> tuple[dict[str, Any], dict[str, Any]]:
        rng = np.random.default_rng(seed)
        self.gripper = HOME_M + rng.normal(0, 0.01, 3)
        self.opening = 0.08
        self.cube = np.array([*rng.uniform(-0.08, 0.08, 2), REST_M])
        self.grasped, self.steps, self.held = False, 0, 0
        return self._observation(), self._info()

    def step(self, action: np.ndarray) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        offset = action[:3] - self.gripper
        self.gripper = self.gripper + offset * min(1.0, 0.03 / max(float(np.linalg.norm(offset)), 1e-9))
        closed = action[3] > 0
        self.opening = 0.04 if closed else 0.08
        self.grasped = closed and (self.grasped or bool(np.linalg.norm(self.gripper - self.cube) < GRASP_M))
        if self.grasped:
            self.cube = self.gripper.copy()
        else:
            self.cube[2] = REST_M
        self.steps += 1
        self.held = self.held + 1 if self.is_success() else 0
        terminated = self.held >= self.task.hold_steps
        truncated = self.steps >= self.task.horizon and not terminated
        return self._observation(), float(self.held > 0), terminated, truncated, self._info()

    def is_success(self) -> bool:
        return bool(self.cube[2] > REST_M + 0.02)

    def _info(self) -> dict[str, Any]:
        return {"is_success": self.is_success(), "success_held_steps": self.held}

    def _observation(self) -> dict[str, Any]:
        return {"eef_state": self.eef_state()}

    def eef_state(self) -> np.ndarray:
        return np.append(self.gripper, self.opening)

    def privileged(self) -> dict[str, np.ndarray]:
        return {
            "eef_position_m": self.gripper.copy(),
            "gripper_opening_m": np.float64(self.opening),
            "object_position_m": self.cube.copy(),
            "object_rest_height_m": np.float64(REST_M),
            "is_grasped": np.bool_(self.grasped),
            "is_success": np.bool_(self.is_success()),
        }

    def render_frames(self) -> np.ndarray:
        self.num_frames_drawn += 1
        frames = np.full((len(self.cameras), self.image_size, self.image_size, 3), 40, dtype=np.uint8)
        for channel, point in ((0, self.gripper), (1, self.cube)):
            if channel == 1 and self.hidden:
                continue
            row, column = np.clip(((point[:2] + 0.3) / 0.6 * self.image_size).astype(int), 0, self.image_size - 1)
            frames[:, row, column, channel] = 255
        return frames

    @contextlib.contextmanager
    def cue_hidden(self) -> Any:
        self.hidden = True
        yield
        self.hidden = False

    def cue_pose(self) -> np.ndarray:
        return self.cube.copy()

    def set_cue_pose(self, pose: np.ndarray) -> None:
        self.cube = pose.copy()

    def move_cue(self, rng: np.random.Generator) -> None:
        self.cube = np.array([*rng.uniform(-0.08, 0.08, 2), self.cube[2]])

    def get_state(self) -> np.ndarray:
        return np.array(
            [*self.gripper, self.opening, *self.cube, self.grasped, self.steps, self.held], dtype=np.float64
        )

    def set_state(self, state: np.ndarray) -> None:
        self.gripper, self.opening, self.cube = state[:3].copy(), float(state[3]), state[4:7].copy()
        self.grasped, self.steps, self.held = bool(state[7]), int(state[8]), int(state[9])

    def fingerprint(self) -> dict[str, dict[str, Any]]:
        return {"ranked": {"env_id": "fake/Lift-v0", "image_size": [self.image_size] * 2}, "host": {"cpu": "fake"}}


class AlreadySolved(FakeLift):
    """The cube starts in the air, in the gripper; it falls when let go."""

    def reset(self, *, seed: int) -> tuple[dict[str, Any], dict[str, Any]]:
        super().reset(seed=seed)
        self.cube = self.gripper.copy()
        self.grasped, self.opening = True, 0.04
        return self._observation(), self._info()


class Exploding(FakeLift):
    """The simulator fails at step 3 of odd seeds."""

    def reset(self, *, seed: int) -> tuple[dict[str, Any], dict[str, Any]]:
        self.odd = bool(seed % 2)
        return super().reset(seed=seed)

    def step(self, action: np.ndarray) -> Any:
        if self.odd and self.steps == 3:
            raise RuntimeError("unstable simulation")
        return super().step(action)


class Diverging(FakeLift):
    """The state turns to NaN at step 3."""

    def step(self, action: np.ndarray) -> Any:
        outcome = super().step(action)
        if self.steps == 3:
            outcome[0]["eef_state"] = np.full(4, np.nan)
        return outcome


class SlowLift(FakeLift):
    """Takes its time, so that a test can kill it half-way."""

    def step(self, action: np.ndarray) -> Any:
        time.sleep(0.005)
        return super().step(action)


def open_fake_collector(config: CollectConfig) -> Collector:
    env = FakeLift(config.task, config.cameras, config.image_size)
    return Collector(env, EXPERTS[config.task](env.task.action), config)


class ScriptedPolicy:
    """Commands what a function of the step gives; the base of the policies below."""

    name = "scripted"
    observes: tuple[str, ...] = ("eef_state",)

    def reset(self, num_episodes: int = 1, seed: int = 0) -> None:
        self.num_episodes, self.seed, self.step = num_episodes, seed, 0

    def act(self, observations: dict[str, Any]) -> np.ndarray:
        action = self.command(observations)
        self.step += 1
        return action

    def command(self, observations: dict[str, Any]) -> np.ndarray:
        return np.tile([0.0, 0.0, 0.9, -1.0], (self.num_episodes, 1))


class Hold(ScriptedPolicy):
    """Stays with the gripper closed."""

    def command(self, observations: dict[str, Any]) -> np.ndarray:
        return np.column_stack([observations["eef_state"][:, :3], np.ones(self.num_episodes)])


class LetGo(Hold):
    """Stays with the gripper open from step 4 on."""

    def command(self, observations: dict[str, Any]) -> np.ndarray:
        action = super().command(observations)
        action[:, 3] = 1.0 if self.step < 4 else -1.0
        return action


class Crasher(ScriptedPolicy):
    """Fails at step 2 of even seeds."""

    name = "crasher"

    def command(self, observations: dict[str, Any]) -> np.ndarray:
        if self.step == 2 and self.seed % 2 == 0:
            raise ZeroDivisionError("by design")
        return super().command(observations)


class NotANumber(ScriptedPolicy):
    """Gives NaN at step 2."""

    def command(self, observations: dict[str, Any]) -> np.ndarray:
        return super().command(observations) * (np.nan if self.step == 2 else 1.0)


class WrongShape(ScriptedPolicy):
    """Forgets the gripper."""

    def command(self, observations: dict[str, Any]) -> np.ndarray:
        return super().command(observations)[:, :3]


class Slashed(ScriptedPolicy):
    """Its name cannot be part of a file's."""

    name = "a/b"


class SeesCube(ScriptedPolicy):
    """Finds the cube in the newest frame and goes there: a policy that sees, from pixels alone."""

    name = "sees_cube"
    observes = ("frames",)

    def command(self, observations: dict[str, Any]) -> np.ndarray:
        green = observations["frames"][:, 0, :, :, 1]
        size = green.shape[1]
        place = np.array([np.unravel_index(np.argmax(image), image.shape) for image in green])
        position = (place + 0.5) / size * 0.6 - 0.3
        return np.column_stack([position, np.full(len(green), REST_M), np.full(len(green), -1.0)])
