"""Units of work of an evaluation: one closed-loop episode, or one held-out demonstration.

Each is a pure function of itself. A worker keeps one environment and its policies open, and answers every item with a
JSON object.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from smidgen.envs.errors import SIMULATOR_ERRORS
from smidgen.envs.user_tasks import running_task, task_code_sha256
from smidgen.evaluation.dry_call import dry_call, reset_rows
from smidgen.evaluation.held_out import HeldOutItem, open_store, predict_episode
from smidgen.evaluation.policy_source import PolicySource, confirm_same, open_policy
from smidgen.evaluation.protocol import POLICY_ERROR
from smidgen.evaluation.rollout import EpisodeResult, rollout
from smidgen.evaluation.videos import VideoRecorder, frames_sha256, write_video
from smidgen.runtime.errors import UserCodeError, UserError
from smidgen.runtime.user_modules import is_class_spec


def make_simulator(task: str, cameras: tuple[str, ...], image_size: int) -> Any:
    """Makes an environment that renders when asked to, and proves its pixels."""
    # Imported here: the parent process needs no simulator, and its import takes seconds.
    from smidgen.envs.selfcheck import make_proven

    return make_proven(task, cameras=cameras, image_size=image_size, observe_pixels=False)


@dataclass(frozen=True)
class World:
    """The environment that an evaluation runs in.

    Attributes:
        task: A task's name, or ``their.module:Class`` of a user's, as a command line named it.
        cameras: Names of the cameras.
        image_size: Pixels along a side of a frame.
        make: Makes it of those three.
        code_sha256: What a user's task was made of when the evaluation began; every process refuses another.
    """

    task: str
    cameras: tuple[str, ...]
    image_size: int
    make: Callable[[str, tuple[str, ...], int], Any] = make_simulator
    code_sha256: str | None = None


@dataclass(frozen=True)
class EpisodeItem:
    """One episode to run, filmed if ``video`` names a file.

    Attributes:
        dry_call: Whether a worker proves the policy with its environment before the first of such items.
        keep_going: Whether a policy that fails is a failed episode; otherwise it is an error.
    """

    source: PolicySource
    world: World
    seed: int
    video: Path | None = None
    dry_call: bool = field(default=False, compare=False)
    keep_going: bool = field(default=True, compare=False)


Item = EpisodeItem | HeldOutItem


_open_worlds: dict[World, Any] = {}


def open_world(world: World) -> Any:
    """The process's environment: one, made once; another one's takes its place."""
    if world not in _open_worlds:
        close_world()
        _open_worlds[world] = world.make(world.task, world.cameras, world.image_size)
        _require_same_code(world)
    return _open_worlds[world]


def _require_same_code(world: World) -> None:
    """Refuses a user's task that is no longer what it was when the evaluation began."""
    if world.code_sha256 is not None and task_code_sha256(world.task) != world.code_sha256:
        raise UserError(
            f"the code of task {world.task!r:.200} changed during the evaluation, and a record holds one task: run the "
            "same command again"
        )


def close_world() -> None:
    """Closes the process's environment, if there is one."""
    while _open_worlds:
        _open_worlds.popitem()[1].close()


def start_worker() -> None:
    """Before the first item: one thread, so that the same item gives the same bits anywhere, and nothing left open."""
    torch.set_num_threads(1)
    # Without worker processes, an evaluation before this one may have opened files that have changed since.
    close_world()
    for opened in (open_policy, open_store, _prove_policy):
        opened.cache_clear()


@functools.lru_cache(maxsize=4)
def _prove_policy(source: PolicySource, world: World, keep_going: bool) -> None:
    """Once in a process: a dry call of the policy with the environment's observations at reset."""
    env = open_world(world)
    dry_call(source, env.unwrapped.task.action, reset_rows(env, open_policy(source).observes), keep_going)


def run_item(item: Item) -> dict[str, Any]:
    """Answers one item with a JSON object.

    Raises:
        UserCodeError: If the policy fails, and the item is not to keep going; if a user's task fails.
    """
    if isinstance(item, HeldOutItem):
        answer = predict_episode(item)
    else:
        with running_task(item.world.task, f"the episode of seed {item.seed}"):
            answer = _run_episode(item)
        _require_same_code(item.world)
    confirm_same(item.source)
    return answer


def _run_episode(item: EpisodeItem) -> dict[str, Any]:
    env = open_world(item.world)
    if item.dry_call:
        _prove_policy(item.source, item.world, item.keep_going)
    recorder = None if item.video is None else VideoRecorder()
    # Of ours, whatever stops an episode is the simulator's; of a user's task it may be a bug, which is to be seen.
    counted = SIMULATOR_ERRORS if is_class_spec(item.world.task) else (Exception,)
    result = rollout(env, open_policy(item.source), item.seed, recorder, counted)
    if result.label == POLICY_ERROR and not item.keep_going:
        raise UserCodeError(
            f"policy {item.source.spec!r:.200} failed in the episode of seed {item.seed}, at step {result.num_steps}: "
            f"{result.error}; mend it, or add keep_going=true to count such episodes as failed",
            result.trace,
        )
    frames_hash = None
    if item.video is not None and recorder is not None:
        # An episode that failed before its first frame is shown as black.
        frames = recorder.frames or [np.zeros((item.world.image_size, item.world.image_size, 3), dtype=np.uint8)]
        write_video(item.video, frames, result.success, env.unwrapped.task.control_hz)
        frames_hash = frames_sha256(frames)
    return {"environment": env.unwrapped.fingerprint(), "frames_sha256": frames_hash, **episode_answer(result)}


def episode_answer(result: EpisodeResult) -> dict[str, Any]:
    """An episode as JSON: its row, its path, and an error's message and traceback, which stay out of the record."""
    row = {
        "seed": result.seed,
        "success": result.success,
        "success_once": result.success_once,
        "success_at_reset": result.success_at_reset,
        "first_success_step": result.first_success_step,
        "num_steps": result.num_steps,
        "return": result.return_,
        "label": result.label,
    }
    return {"row": row, "path": result.path_S3.tolist(), "error": result.error, "trace": result.trace}
