"""``python -m studies.reliability.pixels [key=value ...]``

Measures the watch over frames (envs/pixel_watch.py) on real episodes of every task: how far an end effector moves in
view without a change in the picture, how many false alarms that gives, after how many frames each way of breaking the
renderer is noticed, and what the watch costs. About 25 minutes on one core; a small variant:
``tasks=[lift] expert=1 record=/tmp/pixels.json``, half a minute. Then: ``python -m studies.reliability``.
"""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from smidgen.envs.errors import PixelError
from smidgen.envs.pixel_watch import MIN_SIDE_PX, PixelWatch, max_unseen_move_m
from smidgen.envs.robosuite_env import RobosuiteEnv
from smidgen.envs.selfcheck import check_pixels, confirm_pixels
from smidgen.envs.tasks import TASKS, get_task, make_env
from smidgen.evaluation.policy_source import PolicySource
from smidgen.evaluation.protocol import evaluation_seeds
from smidgen.evaluation.rollout import rollout
from smidgen.policies.policy import Policy
from smidgen.runtime.command_line import command_help, compose_config, run_command, wants_help
from smidgen.runtime.errors import unknown_name
from smidgen.runtime.files import write_json_atomic
from smidgen.runtime.progress import progress
from smidgen.runtime.schemas import to_json
from smidgen.runtime.settings import PathText
from studies.bench.record import commit, machine
from studies.reliability.pixel_faults import FAULTS
from studies.reliability.record import (
    RECORD_VERSION,
    Cost,
    Noticed,
    PixelsRecord,
    Viewed,
    Watched,
    read_pixels_record,
)

USAGE = "python -m studies.reliability.pixels [key=value ...]"
SUMMARY = """
Measures the watch over frames on real episodes of every task: false alarms, how far the arm moves unseen, how soon a
broken renderer is noticed, and what it costs.
"""
PARTS = ("tasks", "views", "faults", "cost")
# Task, cameras and pixels along a side: the arm from all around, from its own hand, coarsely, and as one pixel.
VIEWS = (
    ("lift", ("frontview", "birdview", "sideview", "robot0_robotview", "robot0_eye_in_hand"), 64),
    ("wipe", ("agentview", "birdview", "robot0_eye_in_hand"), 32),
    ("speck_64", ("agentview", "birdview", "sideview", "robot0_eye_in_hand"), 32),
    ("nut_assembly_round", ("agentview", "robot0_eye_in_hand"), 24),
    ("lift", ("agentview",), 128),
    ("lift", ("agentview",), 16),
    ("lift", ("agentview",), 1),
)
# Selection seeds, which are not used for training or ranking.
SPLIT = "checkpoint"
CREEP_M = 0.0003
BREAK_AFTER_FRAMES = 6


@dataclass(frozen=True)
class PixelsConfig:
    """How many episodes of which tasks."""

    record: PathText = field(default="results/reliability/pixels.json", metadata={"help": "record to write"})
    parts: tuple[str, ...] = field(default=PARTS, metadata={"help": "parts to measure; the rest is kept"})
    tasks: tuple[str, ...] = field(default=(), metadata={"help": "tasks; empty: all"})
    image_size: int = field(default=64, metadata={"help": "pixels along a side of a frame"})
    expert: int = field(default=3, metadata={"help": "episodes of the expert on each task"})
    noop: int = field(default=2, metadata={"help": "episodes in which the arm does not move"})
    creep: int = field(default=2, metadata={"help": "episodes in which it creeps, 0.3 mm a step"})
    fault_task: str = field(default="lift", metadata={"help": "task on which renderers are broken"})
    faults: int = field(default=3, metadata={"help": "episodes of each way of breaking one"})

    def __post_init__(self) -> None:
        object.__setattr__(self, "parts", tuple(self.parts))
        object.__setattr__(self, "tasks", tuple(self.tasks) or tuple(TASKS))
        for part in self.parts:
            if part not in PARTS:
                raise unknown_name("part", part, PARTS)
        for name in (*self.tasks, self.fault_task):
            get_task(name)


class Creeps:
    """Moves by a fraction of a millimetre a step in a direction of the episode's own: the hardest motion to see."""

    name = "creep"
    observes: tuple[str, ...] = ("eef_state",)

    def __init__(self, task: str) -> None:
        self._spec = get_task(task).action

    def reset(self, num_episodes: int = 1, seed: int = 0) -> None:
        """Starts one episode."""
        direction = np.random.default_rng(seed).normal(size=3)
        self._step_m = CREEP_M * direction / np.linalg.norm(direction)
        self._target_m: np.ndarray | None = None

    def act(self, observations: dict[str, Any]) -> np.ndarray:
        """The next target, float64 (1, A)."""
        place_m = observations["eef_state"][0, :3] if self._target_m is None else self._target_m
        self._target_m = place_m + self._step_m
        action = np.zeros((1, self._spec.size))
        action[0, self._spec.position_indices] = self._target_m
        return action


class FrameWatcher:
    """Watches an environment's bare frames, without noise and blinking. A `rollout.Recorder`."""

    def __init__(self, env: Any) -> None:
        self.watch = PixelWatch(env.model, env.data, env.cameras, env.image_size)
        self.num_frames, self.watch_s = 0, 0.0
        self._buffer = np.empty((len(env.cameras), *env.image_size, 3), dtype=np.uint8)

    def capture(self, env: Any) -> None:
        """Draws the present state, and has the watch look at it."""
        frames = RobosuiteEnv.render_frames(env.unwrapped)
        # Processor time: on a busy machine, long intervals hold more of other people's work than short ones.
        started = time.process_time()
        # As the renderer does, to prove that a picture was read back.
        self._buffer.fill(0)
        (self._buffer != 0).any()
        self.watch.see(frames)
        self.watch_s += time.process_time() - started
        self.num_frames += 1


class InjectedFault:
    """Breaks the renderer in the middle of an episode, and counts the frames until that is noticed."""

    def __init__(self, fault: Callable[[Any], None]) -> None:
        self._fault = fault
        self._num_sound = self.num_wrong = 0
        self.was_stopped = False

    def capture(self, env: Any) -> None:
        """Draws the present state, first with a sound renderer and then with a broken one."""
        if self._num_sound < BREAK_AFTER_FRAMES:
            self._num_sound += 1
            env.unwrapped.render_frames()
            return
        if self.num_wrong == 0:
            self._fault(env.unwrapped)
        self.num_wrong += 1
        try:
            env.unwrapped.render_frames()
        except PixelError:
            self.was_stopped = True
            raise


def policies_of(task: str, config: PixelsConfig) -> Iterator[tuple[Policy, int]]:
    """Each policy with its number of episodes."""
    yield PolicySource("expert", task).build(), config.expert
    yield PolicySource("noop", task).build(), config.noop
    yield Creeps(task), config.creep


def watch_task(
    task: str, config: PixelsConfig, cameras: tuple[str, ...] | None = None, image_size: int | None = None
) -> Watched:
    """Runs sound episodes of one task under the watch, by default with the task's own cameras."""
    env = make_env(task, cameras=cameras, image_size=image_size or config.image_size, observe_pixels=False)
    check_pixels(env)
    watcher, alarms, episodes = FrameWatcher(env), 0, {}
    for policy, count in policies_of(task, config):
        episodes[policy.name] = count
        for seed in evaluation_seeds(SPLIT, 0, count) if count else ():
            try:
                rollout(env, policy, seed, watcher)
            except PixelError as error:
                print(f"false alarm: {task}, {policy.name}, seed {seed}: {error}", file=sys.stderr)
                alarms += 1
    env.close()
    return Watched(episodes, watcher.num_frames, alarms, watcher.watch.largest_unseen_move_m)


def watch_views(config: PixelsConfig) -> tuple[Viewed, ...]:
    """The same through other cameras and in other sizes, one episode of each policy."""
    once = dataclasses.replace(config, expert=1, noop=1, creep=1)
    views = []
    for task, cameras, size in VIEWS:
        limit_m = max_unseen_move_m((size, size)) if size >= MIN_SIDE_PX else None
        views.append(Viewed(task, cameras, size, limit_m, watch_task(task, once, cameras, size)))
    return tuple(views)


def break_renderers(fault: Callable[[Any], None], config: PixelsConfig) -> Noticed:
    """Breaks the renderer in one episode after another, each with its own environment."""
    injected, num_refused = [], 0
    for seed in evaluation_seeds(SPLIT, 0, config.faults):
        env = make_env(config.fault_task, image_size=config.image_size, observe_pixels=False)
        check_pixels(env)
        injected.append(InjectedFault(fault))
        try:
            rollout(env, PolicySource("expert", config.fault_task).build(), seed, injected[-1])
        except PixelError:
            num_refused += 1
        env.close()
    stopped = [each.num_wrong for each in injected if each.was_stopped]
    return Noticed(len(injected), len(stopped), num_refused - len(stopped), max(stopped, default=None))


def measure_cost(config: PixelsConfig, episodes: int = 3) -> Cost:
    """Processor time of steps with their frames, and of the checks."""
    env = make_env(config.fault_task, image_size=config.image_size, observe_pixels=False)
    check_pixels(env)
    watcher, steps, confirm_s, total_s = FrameWatcher(env), 0, 0.0, 0.0
    for seed in evaluation_seeds(SPLIT, 0, episodes):
        started = time.process_time()
        steps += rollout(env, PolicySource("expert", config.fault_task).build(), seed, watcher).row["num_steps"]
        total_s += time.process_time() - started
        started = time.process_time()
        confirm_pixels(env)
        confirm_s += time.process_time() - started
    env.close()
    per_frame_us, per_episode_ms = 1e6 * watcher.watch_s / watcher.num_frames, 1e3 * confirm_s / episodes
    return Cost(round(per_frame_us, 1), round(per_episode_ms, 2), round(1e3 * total_s / steps, 2), steps, episodes)


def measure(config: PixelsConfig) -> PixelsRecord:
    """Measures the requested parts, task by task and fault by fault; keeps the record's other parts.

    Raises:
        UserError: If a part is left out and no record has it.
    """
    before = read_pixels_record(config.record) if set(config.parts) != set(PARTS) else None
    tasks: dict[str, Watched] = dict(before.tasks) if before else {}
    faults: dict[str, Noticed] = dict(before.faults) if before else {}
    views = before.views if before and "views" not in config.parts else watch_views(config)
    to_watch, to_break = config.tasks if "tasks" in config.parts else (), FAULTS if "faults" in config.parts else {}
    with progress(len(to_watch) + len(to_break), "watching frames (tasks, then faults)") as advance:
        for task in to_watch:
            tasks[task] = watch_task(task, config)
            advance(1, task)
        for name, fault in to_break.items():
            faults[name] = break_renderers(fault, config)
            advance(1, name)
    cost = before.cost if before and "cost" not in config.parts else measure_cost(config)
    limit_m = max_unseen_move_m((config.image_size, config.image_size))
    return PixelsRecord(RECORD_VERSION, machine(), commit(), config.image_size, limit_m, tasks, views, faults, cost)


def _body(arguments: list[str]) -> None:
    if wants_help(arguments):
        print(command_help(USAGE, SUMMARY, PixelsConfig))
        return
    config = compose_config(PixelsConfig, arguments)
    record = measure(config)
    Path(config.record).parent.mkdir(parents=True, exist_ok=True)
    write_json_atomic(config.record, to_json(record))
    alarms = sum(task.alarms for task in record.tasks.values())
    print(f"{alarms} false alarms in {sum(task.frames for task in record.tasks.values())} frames: {config.record}")


def main(argv: list[str] | None = None) -> int:
    """The command."""
    return run_command(_body, argv)


if __name__ == "__main__":
    sys.exit(main())
