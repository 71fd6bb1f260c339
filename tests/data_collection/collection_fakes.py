"""A task without a simulator that has the interface of ours, for the logic of collecting and storing."""

import contextlib
import functools
import hashlib
import os
import time

import numpy as np

from smidgen.data_collection.collector import Collector
from smidgen.data_collection.config import CollectConfig
from smidgen.envs.tasks import get_task

HORIZON = 14
HOLD_STEPS = 3
STEP_SECONDS = "FAKE_STEP_SECONDS"


def fails(seed):
    """Whether the fake expert never gets there."""
    return seed % 5 == 3


def breaks_off(seed):
    """Whether the fake simulator diverges."""
    return seed % 5 == 4


class FakeEnv:
    """An arm that moves one third of the way to its target at each step; a dot on a grid is the cue."""

    def __init__(self, image_size, cameras):
        self.image_size, self.cameras = image_size, cameras
        self.task = get_task("lift")
        self.hidden = False
        self.unwrapped = self

    def reset(self, seed):
        rng = np.random.default_rng(seed)
        self.seed, self.num_steps, self.held_steps = seed, 0, 0
        self.eef = np.array([0.0, 0.0, 1.0])
        self.cue = np.array([*rng.uniform(-0.2, 0.2, 2), 0.82])
        self.background = int(rng.integers(50))
        return {}, {"is_success": False}

    def step(self, action):
        time.sleep(float(os.environ.get(STEP_SECONDS, 0)))
        assert np.shape(action) == (4,)
        self.eef = self.eef + (np.asarray(action)[:3] - self.eef) / 3
        self.num_steps += 1
        near = np.linalg.norm(self.eef - self.cue) < 0.02 and not fails(self.seed)
        self.held_steps = self.held_steps + 1 if near else 0
        if breaks_off(self.seed) and self.num_steps == 3:
            self.eef = self.eef * np.nan
        return {}, 0.0, self.held_steps >= HOLD_STEPS, self.num_steps >= HORIZON, {"is_success": bool(near)}

    def render_frames(self):
        frames = np.full((len(self.cameras), self.image_size, self.image_size, 3), self.background, np.uint8)
        for place, colour in ((self.eef, 200), *([] if self.hidden else [(self.cue, 255)])):
            if np.isfinite(place).all():
                row, column = (np.clip((place[:2] + 0.3) / 0.6, 0, 0.99) * self.image_size).astype(int)
                frames[:, row, column] = colour
        return frames

    def eef_state(self):
        return np.append(self.eef, 0.08)

    def get_state(self):
        return np.concatenate([self.eef, self.cue, [self.num_steps, self.held_steps, self.background]])

    def set_state(self, state):
        self.eef, self.cue = np.array(state[:3]), np.array(state[3:6])
        self.num_steps, self.held_steps, self.background = (int(number) for number in state[6:])

    def privileged(self):
        return {"eef_position_m": self.eef.copy(), "object_position_m": self.cue.copy()}

    def cue_pose(self):
        return self.cue.copy()

    def set_cue_pose(self, pose):
        self.cue = np.array(pose)

    def move_cue(self, rng):
        self.cue = np.array([*rng.uniform(-0.2, 0.2, 2), 0.82])

    @contextlib.contextmanager
    def cue_hidden(self):
        self.hidden = True
        yield
        self.hidden = False

    def fingerprint(self):
        version = os.environ.get("FAKE_VERSION", "1")
        return {"ranked": {"env_id": "fake/Reach-v0", "version": version}, "host": {"cpu": "fake"}}


class FakeExpert:
    """Goes straight to the cue; it counts its steps, so that a stale or shared copy of it gives another target."""

    phases = ("reach", "hold")
    cue_phases = ("reach",)

    def reset(self, seed):
        self.phase, self.num_steps = "reach", 0

    def act(self, privileged):
        self.num_steps += 1
        if np.linalg.norm(privileged["eef_position_m"] - privileged["object_position_m"]) < 0.02:
            self.phase = "hold"
        return self.target(privileged)

    def target(self, privileged):
        return np.append(privileged["object_position_m"], np.tanh(self.num_steps / 100))


@functools.cache
def open_fake_collector(config):
    """The process's collector of the fake task."""
    return Collector(FakeEnv(config.image_size, config.cameras), FakeExpert(), config)


def fake_config(out, **settings):
    """A small configuration."""
    return CollectConfig(**{"task": "lift", "out": str(out), "episodes": 6, "workers": 0, "image_size": 8} | settings)


def tree(directory):
    """Every path below a directory and the hash of every file's bytes, whatever is hashed outside left out."""
    return {
        str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None
        for path in sorted(directory.rglob("*"))
        if path.name not in ("host.json", ".lock")
    }
