"""Work items of an evaluation: one closed-loop episode, or one held-out demonstration.

Each is a pure function of itself. A worker keeps one environment and its policies open, and answers every item with a
JSON object.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from smidgen.envs.errors import SIMULATOR_ERRORS
from smidgen.envs.user_tasks import running_task, task_code_sha256
from smidgen.evaluation.dry_call import dry_call, reset_rows
from smidgen.evaluation.env_spec import EnvSpec
from smidgen.evaluation.held_out_predictions import HeldOutItem, open_store, predict_episode
from smidgen.evaluation.policy_source import PolicySource, confirm_same, open_policy
from smidgen.evaluation.protocol import POLICY_ERROR
from smidgen.evaluation.rollout import EpisodeResult, rollout
from smidgen.evaluation.videos import VideoRecorder, frames_sha256, write_video
from smidgen.runtime.errors import UserCodeError, UserError
from smidgen.runtime.user_modules import is_class_spec


@dataclass(frozen=True)
class EpisodeItem:
    """One episode to run, recorded as a video if ``video`` names a file.

    Attributes:
        dry_call: Whether a worker tests the policy with its environment before its first such item.
        keep_going: Whether a policy that fails is a failed episode; otherwise it is an error.
    """

    source: PolicySource
    env_spec: EnvSpec
    seed: int
    video: Path | None = None
    dry_call: bool = field(default=False, compare=False)
    keep_going: bool = field(default=True, compare=False)


Item = EpisodeItem | HeldOutItem


_open_envs: dict[EnvSpec, Any] = {}


def open_env(env_spec: EnvSpec) -> Any:
    """The process's only environment, made once and replaced if another is needed."""
    if env_spec not in _open_envs:
        close_env()
        _open_envs[env_spec] = env_spec.make(env_spec.task, env_spec.cameras, env_spec.image_size)
        _require_same_code(env_spec)
    return _open_envs[env_spec]


def _require_same_code(env_spec: EnvSpec) -> None:
    """Refuses a user's task that is no longer what it was when the evaluation began."""
    if env_spec.code_sha256 is not None and task_code_sha256(env_spec.task) != env_spec.code_sha256:
        raise UserError(
            f"the code of task {env_spec.task!r:.200} changed during the evaluation, and a record holds one task: run "
            "the same command again"
        )


def close_env() -> None:
    """Closes the process's environment, if there is one."""
    while _open_envs:
        _open_envs.popitem()[1].close()


def start_worker() -> None:
    """Before the first item: one thread, so that the same item gives the same bits anywhere, and nothing left open."""
    torch.set_num_threads(1)
    # Without worker processes, an evaluation before this one may have opened files that have changed since.
    close_env()
    for opened in (open_policy, open_store, _prove_policy):
        opened.cache_clear()


@functools.lru_cache(maxsize=4)
def _prove_policy(source: PolicySource, env_spec: EnvSpec, keep_going: bool) -> None:
    """Once in a process: a dry call of the policy with the environment's observations at reset."""
    env = open_env(env_spec)
    dry_call(source, env.unwrapped.task.action, reset_rows(env, open_policy(source).observes), keep_going)


def run_item(item: Item) -> dict[str, Any]:
    """Answers one item with a JSON object.

    Raises:
        UserCodeError: If the policy fails and ``keep_going`` is false, or a user's task fails.
    """
    if isinstance(item, HeldOutItem):
        answer = predict_episode(item)
    else:
        with running_task(item.env_spec.task, f"the episode of seed {item.seed}"):
            answer = _run_episode(item)
        _require_same_code(item.env_spec)
    confirm_same(item.source)
    return answer


def _run_episode(item: EpisodeItem) -> dict[str, Any]:
    env = open_env(item.env_spec)
    if item.dry_call:
        _prove_policy(item.source, item.env_spec, item.keep_going)
    recorder = None if item.video is None else VideoRecorder()
    # In our tasks, an error is the simulator's; in a user's task it may be a bug, which must be visible.
    counted = SIMULATOR_ERRORS if is_class_spec(item.env_spec.task) else (Exception,)
    result = rollout(env, open_policy(item.source), item.seed, recorder, counted)
    row = result.row
    if row["label"] == POLICY_ERROR and not item.keep_going:
        raise UserCodeError(
            f"policy {item.source.spec!r:.200} failed in the episode of seed {item.seed}, at step {row['num_steps']}: "
            f"{result.error}; fix it, or add keep_going=true to count such episodes as failed",
            result.trace,
        )
    frames_hash = None
    if item.video is not None and recorder is not None:
        # An episode that failed before its first frame is shown as black.
        frames = recorder.frames or [np.zeros((item.env_spec.image_size, item.env_spec.image_size, 3), dtype=np.uint8)]
        write_video(item.video, frames, row["success"], env.unwrapped.task.control_hz)
        frames_hash = frames_sha256(frames)
    return {"environment": env.unwrapped.fingerprint(), "frames_sha256": frames_hash, **episode_answer(result)}


def episode_answer(result: EpisodeResult) -> dict[str, Any]:
    """An episode as JSON: its row, its path, and an error's message and traceback, which stay out of the record."""
    return {"row": result.row, "path": result.path_S3.tolist(), "error": result.error, "trace": result.trace}
