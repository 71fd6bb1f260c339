"""Runs an expert through one attempt and records frames, targets, states and counterfactual pairs.

A counterfactual pair shows what the expert would have done had the cue (the cube, the dot) been elsewhere: the stored
states of the last few steps are rendered again with the cue moved, and with the cue hidden, and a copy of the expert
from that step computes its target. From these pairs training reports the cue slope without a simulator.
"""

from __future__ import annotations

import contextlib
import copy
import json
from importlib.metadata import version
from typing import Any

import numpy as np

from smidgen.data_collection.array_files import Array
from smidgen.data_collection.config import CollectConfig
from smidgen.data_collection.episode import Episode, empty_counterfactuals, failed_attempt
from smidgen.data_collection.experts import find_expert
from smidgen.data_collection.manifest import SCHEMA_VERSION
from smidgen.envs.errors import SIMULATOR_ERRORS, SimulatorError
from smidgen.envs.play import play
from smidgen.envs.selfcheck import confirm_pixels, make_checked_env
from smidgen.envs.tasks import named_task
from smidgen.envs.user_tasks import require_same_task_code, running_task
from smidgen.runtime.files import canonical_json

# Random streams derived from an episode's seed, independent of the environment's.
_NOISE_STREAM, _PAIRS_STREAM = 1, 2


class Collector:
    """An environment, an expert and the header of their data set.

    Args:
        env: The environment (its ``unwrapped`` is used); renders on request only.
        expert: The task's expert.
        config: The settings.
    """

    def __init__(self, env: Any, expert: Any, config: CollectConfig) -> None:
        self._env = env.unwrapped
        self._expert = expert
        self._config = config
        self.header = _header(self._env, expert, config)
        self.host: dict[str, Any] = self._env.fingerprint()["host"]

    def close(self) -> None:
        """Closes the environment."""
        self._env.close()

    def collect(self, seed: int) -> tuple[Episode, dict[str, Array]]:
        """Makes one attempt.

        Args:
            seed: Seed of the reset, the expert, the noise and the choice of counterfactual pairs.

        Returns:
            The attempt and its counterfactual pairs. If the simulator fails, a failed attempt without steps.

        Raises:
            RuntimeError: If a stored state does not render to the recorded frame.
            PixelError: If frames can no longer be trusted.
            UserCodeError: If a user's own task or expert fails.
        """
        try:
            with running_task(self._config.task, f"the attempt of seed {seed}"):
                episode, experts = self._attempt(seed)
                pairs = self._counterfactuals(episode, experts)
            confirm_pixels(self._env)
            return episode, pairs
        except SIMULATOR_ERRORS as error:
            return failed_attempt(seed, type(error).__name__, self.header), empty_counterfactuals(self.header)

    def require_same_code(self) -> None:
        """Refuses to go on where a user's task has changed since its environment was made.

        Raises:
            UserError: Naming what has changed.
        """
        require_same_task_code(self._config.task, self.header["config"].get("task_code", {}))

    def _attempt(self, seed: int) -> tuple[Episode, list[Any]]:
        env, expert, noise = self._env, self._expert, np.random.default_rng((seed, _NOISE_STREAM))
        steps: list[tuple[Any, ...]] = []
        experts = []

        def act() -> Array:
            frames, eef_state, state = self._frames(), env.eef_state(), env.get_state()
            # Copied, because the expert may reuse the array.
            target = np.array(expert.act(env.privileged()), dtype=np.float64)
            experts.append(copy.deepcopy(expert))
            if not (np.isfinite(state).all() and np.isfinite(target).all()):
                raise SimulatorError(f"seed {seed}, step {len(steps)}: state or target is not finite")
            steps.append((frames, target, eef_state, state, np.int16(expert.phases.index(expert.phase))))
            return self._executed(target, noise)

        expert.reset(seed)
        reset, *reached = play(env, seed, act)
        arrays = [np.stack(column) for column in zip(*steps, strict=True)]
        arrays.append(np.array([moment.is_success for moment in reached]))
        return Episode(seed, reached[-1].terminated, reset.is_success, None, *arrays), experts

    def _frames(self) -> Array:
        with self._env.cue_hidden() if self._config.hide_cue else contextlib.nullcontext():
            frames: Array = self._env.render_frames()
        return frames

    def _executed(self, target: Array, noise: np.random.Generator) -> Array:
        if not self._config.action_noise_m:
            return target
        spec = self._env.task.action
        executed = np.array(target)
        executed[spec.position_indices] += noise.normal(0.0, self._config.action_noise_m, len(spec.position_indices))
        return np.clip(executed, spec.low, spec.high)

    def _counterfactuals(self, episode: Episode, experts: list[Any]) -> dict[str, Array]:
        rng = np.random.default_rng((episode.seed, _PAIRS_STREAM))
        cue_phases = [self._expert.phases.index(name) for name in self._expert.cue_phases]
        eligible = np.flatnonzero(np.isin(episode.phase, cue_phases))
        num_pairs = min(self._config.counterfactuals_per_episode, len(eligible))
        if num_pairs == 0:
            return empty_counterfactuals(self.header)
        steps = np.sort(rng.choice(eligible, num_pairs, replace=False))
        pairs = [self._pair(episode, int(step), experts[step], rng) for step in steps]
        return {name: np.stack([pair[name] for pair in pairs]) for name in pairs[0]}

    def _pair(self, episode: Episode, step: int, expert: Any, rng: np.random.Generator) -> dict[str, Array]:
        env = self._env
        env.set_state(episode.states[step])
        if not np.array_equal(self._frames(), episode.frames[step]):
            raise RuntimeError(
                f"seed {episode.seed}, step {step}: the stored state does not render to the recorded frame; "
                "get_state must return everything that a reset changes"
            )
        pose = env.cue_pose()
        env.move_cue(rng)
        pose_moved = env.cue_pose()
        target_moved = np.array(expert.target(env.privileged()), dtype=np.float64)
        window = np.maximum(np.arange(step - self._config.history + 1, step + 1), 0)
        frames_moved, frames_hidden = self._render_again(episode, window, pose_moved)
        return {
            "step": np.int64(step),
            "frames": episode.frames[window],
            "frames_moved": frames_moved,
            "frames_hidden": frames_hidden,
            "target": episode.actions[step],
            "target_moved": target_moved,
            "eef_state": episode.eef_state[step],
            "cue_pose": pose,
            "cue_pose_moved": pose_moved,
        }

    def _render_again(self, episode: Episode, window: Array, pose_moved: Array) -> tuple[Array, Array]:
        """Frames of a window's states with the cue moved, and with it hidden; no step is rendered twice."""
        env = self._env
        moved, hidden = {}, {}
        for past in np.unique(window):
            env.set_state(episode.states[past])
            with env.cue_hidden():
                hidden[past] = env.render_frames()
            env.set_cue_pose(pose_moved)
            moved[past] = env.render_frames()
        return np.stack([moved[past] for past in window]), np.stack([hidden[past] for past in window])


_open_collectors: dict[CollectConfig, Collector] = {}


def open_collector(config: CollectConfig) -> Collector:
    """The process's collector, created once, with its pixels checked; replaced if the configuration changes."""
    if config not in _open_collectors:
        close_collector()
        _open_collectors[config] = _make_collector(config)
    return _open_collectors[config]


def close_collector() -> None:
    """Closes the process's collector, if there is one."""
    while _open_collectors:
        _open_collectors.popitem()[1].close()


def _make_collector(config: CollectConfig) -> Collector:
    env = make_checked_env(
        config.task,
        cameras=config.cameras,
        image_size=config.image_size,
        render_profile=config.render_profile,
        observe_pixels=False,
    )
    expert = find_expert(config.task)
    assert expert is not None, "checked by the configuration"
    with running_task(config.task, "making its expert"):
        return Collector(env, expert(env.task.action, config.expert_variation), config)


def _header(env: Any, expert: Any, config: CollectConfig) -> dict[str, Any]:
    header = {
        "schema_version": SCHEMA_VERSION,
        "task": named_task(config.task).name,
        "environment": env.fingerprint()["ranked"],
        "versions": {"numpy": np.__version__, "smidgen": version("smidgen")},
        "expert": {"name": type(expert).__name__},
        "phases": expert.phases,
        "action_spec": env.task.action.to_json(),
        "eef_state_names": env.task.eef_state_names,
        "cameras": env.cameras,
        "image_size": config.image_size,
        "control_hz": env.task.control_hz,
        "history": config.history,
        "config": config.identity(),
    }
    # Round-tripped through JSON, so that it compares equal to a file's content.
    return dict(json.loads(canonical_json(header)))
