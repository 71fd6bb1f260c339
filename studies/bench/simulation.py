"""Benchmarks of the simulator: stepping with frames, collecting demonstrations, evaluating a policy.

Every environment runs in its own process, as in training and evaluation, and the processes take turns.
"""

from __future__ import annotations

import functools
import shutil
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch

from smidgen.data_collection.collect import collect
from smidgen.data_collection.config import CollectConfig
from smidgen.data_collection.store import EPISODES_NAME
from smidgen.envs.robosuite_tasks import LIFT, PICK_PLACE_CAN
from smidgen.envs.specs import TABLE_HEIGHT_M, TaskSpec
from smidgen.evaluation.config import EvalConfig
from smidgen.evaluation.evaluate import evaluate
from smidgen.policies.checkpoint import load_checkpoint, save_checkpoint
from smidgen.policies.learned_policy import Interface, LearnedPolicy
from smidgen.policies.perceiver_policy import PerceiverPolicyConfig
from studies.bench.config import BenchConfig
from studies.bench.record import Measurement, make_measurement

STOCK = "robosuite stock"
THREE_CAMERAS = ("agentview", "frontview", "robot0_eye_in_hand")
PUBLISHED_PER_HOUR = 96.0
FULL_EVALUATION = 200
FIRST_EPISODES = 2
WARM_UP_STEPS = 3

# The environment of this worker process, and related objects.
_opened: dict[str, Any] = {}


@contextmanager
def worker() -> Iterator[Callable[..., Any]]:
    """A fresh process; ``ask(function, *arguments)`` runs a function in it and waits for the answer."""
    with ProcessPoolExecutor(1, get_context("spawn")) as executor:
        yield lambda function, *arguments: executor.submit(function, *arguments).result()


def open_ours(image_size: int, cameras: tuple[str, ...]) -> None:
    """Makes our environment and resets it."""
    from smidgen.envs.selfcheck import check_pixels
    from smidgen.envs.tasks import make_env

    env = make_env("lift", cameras=cameras, image_size=image_size)
    check_pixels(env)
    env.reset(seed=0)
    _opened["step"] = env.step
    step_seconds(WARM_UP_STEPS)


def open_stock(task: TaskSpec, image_size: int, cameras: tuple[str, ...]) -> None:
    """Makes stock robosuite's environment of a task and resets it."""
    from studies.bench.stock import StockEnv

    env = StockEnv(task, image_size, cameras)
    env.reset()
    _opened.update(step=env.step, stock=env)
    step_seconds(WARM_UP_STEPS)


def step_seconds(num_steps: int) -> float:
    """Seconds per step with frames, towards targets that move about above the table."""
    rng = np.random.default_rng(0)
    targets = rng.uniform([-0.1, -0.1, TABLE_HEIGHT_M + 0.05, -1.0], [0.1, 0.1, TABLE_HEIGHT_M + 0.25, 1.0], (99, 4))
    started = time.perf_counter()
    for index in range(num_steps):
        _opened["step"](targets[index % 99])
    return (time.perf_counter() - started) / num_steps


def _steps_per_second(config: BenchConfig, image_size: int, cameras: tuple[str, ...]) -> tuple[float, float]:
    with ExitStack() as stack:
        ours, stock = stack.enter_context(worker()), stack.enter_context(worker())
        ours(open_ours, image_size, cameras)
        stock(open_stock, LIFT, image_size, cameras)
        seconds: dict[str, list[float]] = {"ours": [], "stock": []}
        for _ in range(config.repeats):
            # Ours is several times faster: more steps for about the same time.
            seconds["ours"].append(ours(step_seconds, 4 * config.env_steps))
            seconds["stock"].append(stock(step_seconds, config.env_steps))
    return 1 / statistics.median(seconds["ours"]), 1 / statistics.median(seconds["stock"])


def env_step(config: BenchConfig) -> list[Measurement]:
    """A control step and one frame, in one process."""
    return [_env_row(config, f"env_step: step and {config.image_size} x {config.image_size} frame", LIFT.cameras)]


def env_cameras(config: BenchConfig) -> list[Measurement]:
    """A control step and 84 x 84 frames of three cameras, in one process."""
    return [_env_row(config, "env_cameras: step and 84 x 84 frames of 3 cameras", THREE_CAMERAS, image_size=84)]


def _env_row(config: BenchConfig, name: str, cameras: tuple[str, ...], image_size: int | None = None) -> Measurement:
    ours, stock = _steps_per_second(config, image_size or config.image_size, cameras)
    goals = ("ratio >= 8", "ratio >= 12")
    return make_measurement(name, "/s", ours, stock, peer=STOCK, more_is_better=True, goals=goals)


def collect_demonstrations(config: BenchConfig) -> list[Measurement]:
    """Successful Lift demonstrations per hour on two workers, stored and hashed; start-up apart."""
    measured = [_collect_once(config) for _ in range(min(config.repeats, 3))]
    per_hour, startup_s = (statistics.median(values) for values in zip(*measured, strict=True))
    peer, name = "published for MimicGen on RoboCasa", "collect: successful Lift demonstrations, 2 workers"
    goals = ("ours >= 10000", "ours >= 25000")
    note = f"{config.demonstrations} attempts after start-up; the peer's figure is not measured here"
    return [
        make_measurement(
            name, "/h", per_hour, PUBLISHED_PER_HOUR, peer=peer, more_is_better=True, goals=goals, note=note
        ),
        make_measurement("collect: start-up of the workers", "s", startup_s),
    ]


def _collect_once(config: BenchConfig) -> tuple[float, float]:
    """Successes per hour once every worker runs, and the seconds before."""
    out, workers = Path(config.scratch) / "collected", 2
    shutil.rmtree(out, ignore_errors=True)
    begun, started = time.time(), time.perf_counter()
    collected = collect(_collection(config, out, workers=workers))
    wall_s = time.perf_counter() - started
    rate, startup_s = steady_rate(_finishing_times_s(out, begun), workers, wall_s)
    success = collected.store.manifest["num_successes"] / collected.store.manifest["num_episodes"]
    shutil.rmtree(out)
    return rate * success * 3600, startup_s


def _collection(config: BenchConfig, out: Path, workers: int) -> CollectConfig:
    episodes, image_size = config.demonstrations, config.image_size
    return CollectConfig(task="lift", out=str(out), episodes=episodes, image_size=image_size, workers=workers)


def _finishing_times_s(out: Path, begun: float) -> list[float]:
    return sorted(path.stat().st_mtime - begun for path in (out / EPISODES_NAME).glob("*/episode.json"))


def steady_rate(finished_s: list[float], workers: int, wall_s: float) -> tuple[float, float]:
    """Episodes per second after the start-up, and the start-up.

    Args:
        finished_s: When each episode was finished, rising, from the start of the collection.
        workers: Each one's first episode waits for its start-up.
        wall_s: Until everything was verified; what follows the last episode counts as work.
    """
    workers = min(workers, len(finished_s) - 1)
    ready_s = finished_s[workers - 1]
    rate = (len(finished_s) - workers) / (wall_s - ready_s)
    return rate, max(0.0, ready_s - workers / rate)


def evaluation(config: BenchConfig) -> list[Measurement]:
    """Evaluation of one Perceiver checkpoint of a short task and a long one, extrapolated to 200 episodes."""
    goals = {LIFT: ("ratio >= 5", "ratio >= 10"), PICK_PLACE_CAN: ("ratio >= 10", "")}
    return [_evaluation(config, task, its) for task, its in goals.items()]


def _evaluation(config: BenchConfig, task: TaskSpec, goals: tuple[str, str]) -> Measurement:
    checkpoint = _untrained_checkpoint(config, task)
    halves = [config.stock_episodes // 2, config.stock_episodes - config.stock_episodes // 2]
    stock_s: list[float] = []
    with worker() as stock:
        startup_s = stock(open_stock_loop, task, str(checkpoint), config.image_size)
        stock_s += stock(run_stock_episodes, halves[0])
        few_s = _evaluate_seconds(config, checkpoint, FIRST_EPISODES)
        many_s = _evaluate_seconds(config, checkpoint, FIRST_EPISODES + config.episodes)
        stock_s += stock(run_stock_episodes, halves[1])
    ours = few_s + (FULL_EVALUATION - FIRST_EPISODES) * (many_s - few_s) / config.episodes
    theirs = startup_s + FULL_EVALUATION * statistics.median(stock_s)
    title = task.env_id.partition("/")[2].rpartition("-")[0]
    name = f"evaluation: {FULL_EVALUATION} {title} episodes of one checkpoint, extrapolated"
    note = (
        f"from {config.episodes} of our episodes (2 workers; the expert's on the same seeds included) and "
        f"{config.stock_episodes} of theirs (serial), {task.horizon} steps each; start-up counted once"
    )
    return make_measurement(name, "s", ours, theirs, peer=f"serial loop over {STOCK}", goals=goals, note=note)


def _untrained_checkpoint(config: BenchConfig, task: TaskSpec) -> Path:
    """A Perceiver with random weights: it never succeeds, so every episode takes the whole horizon."""
    interface = Interface(task.name, task.action, task.cameras, config.image_size, task.eef_state_names)
    torch.manual_seed(0)
    policy = LearnedPolicy(PerceiverPolicyConfig(), interface)
    # Targets about the middle of the table, so that the arm moves as a trained policy's would.
    policy.normaliser.mean_A[:3] = torch.tensor([0.0, 0.0, TABLE_HEIGHT_M + 0.15], dtype=torch.float64)
    policy.normaliser.deviation_A[:3] = 0.05
    directory = Path(config.scratch) / "untrained"
    shutil.rmtree(directory, ignore_errors=True)
    directory.parent.mkdir(parents=True, exist_ok=True)
    save_checkpoint(directory, policy, {"step": 0})
    return directory


def _evaluate_seconds(config: BenchConfig, checkpoint: Path, episodes: int) -> float:
    out = Path(config.scratch) / "evaluated"
    shutil.rmtree(out, ignore_errors=True)
    started = time.perf_counter()
    evaluate(EvalConfig(policy=str(checkpoint), out=str(out), episodes=episodes, workers=2, videos=0))
    return time.perf_counter() - started


def open_stock_loop(task: TaskSpec, checkpoint: str, image_size: int) -> float:
    """Loads the policy and makes stock robosuite's environment; seconds."""
    started = time.perf_counter()
    open_stock(task, image_size, task.cameras)
    _opened.update(policy=load_checkpoint(checkpoint), task=task)
    return time.perf_counter() - started


def run_stock_episodes(count: int) -> list[float]:
    """Seconds of each of some episodes over stock robosuite, reset included."""
    return [_run_stock_episode() for _ in range(count)]


def _run_stock_episode() -> float:
    policy, env, task = _opened["policy"], _opened["stock"], _opened["task"]
    started = time.perf_counter()
    frames, held_steps = env.reset(), 0
    policy.reset()
    for _ in range(task.horizon):
        frames, is_success = env.step(policy.act({"frames": frames[None]})[0])
        held_steps = held_steps + 1 if is_success else 0
        if held_steps >= task.hold_steps:
            break
    return time.perf_counter() - started


@functools.cache
def demonstrations(config: BenchConfig) -> Path:
    """The directory of a data set of ``config.demonstrations`` episodes, collected once and kept."""
    out = Path(config.scratch) / f"demonstrations-{config.demonstrations}-{config.image_size}"
    collect(_collection(config, out, workers=2))
    return out
