"""A task under LeRobot's names; `make interop` lets LeRobot's own evaluation run it."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from smidgen.envs.lerobot_names import LeRobotNames, make_lerobot_env

pytestmark = pytest.mark.simulator


@pytest.fixture
def env(environment_of: Callable[[str], Any]) -> LeRobotNames:
    return LeRobotNames(environment_of("speck_64"))


def set_counters(env: Any, num_steps: int, held_steps: int) -> None:
    state = env.unwrapped.get_state()
    state[-2:] = num_steps, held_steps
    env.unwrapped.set_state(state)


@pytest.mark.filterwarnings("ignore::UserWarning")  # the checker advises symmetric actions; ours are metres
def test_passes_gymnasiums_checker(env: LeRobotNames) -> None:
    check_env(env, skip_render_check=True)


def test_the_same_frames_and_states_under_other_names(env: LeRobotNames) -> None:
    bare, action = env.unwrapped, env.action_space.low
    plain = [bare.reset(seed=5)[0], bare.step(action)[0]]
    renamed = [env.reset(seed=5)[0], env.step(action)[0]]
    for before, after in zip(plain, renamed, strict=True):
        assert set(after) == {"pixels", "agent_pos"}
        assert np.array_equal(after["pixels"]["agentview"], before["agentview_image"])
        assert np.array_equal(after["agent_pos"], before["eef_state"])
        assert env.observation_space.contains(after)
    assert env.task == env.task_description == "speck_64"
    assert env._max_episode_steps == bare.task.horizon


def test_success_is_success_that_was_held(env: LeRobotNames, monkeypatch: pytest.MonkeyPatch) -> None:
    bare, action = env.unwrapped, env.action_space.low
    assert env.reset(seed=5)[1]["is_success"] is False
    monkeypatch.setattr(bare, "is_success", lambda: True)
    set_counters(env, num_steps=0, held_steps=bare.task.hold_steps - 2)
    for is_held in (False, True):
        *_, terminated, _, info = env.step(action)
        assert (terminated, info["is_success"], info["is_success_now"]) == (is_held, is_held, True)
    # Success at the horizon that was not held for long enough is a failure, as it is in our records.
    env.reset(seed=5)
    set_counters(env, num_steps=bare.task.horizon - 1, held_steps=0)
    *_, truncated, info = env.step(action)
    assert (truncated, info["is_success"], info["is_success_now"]) == (True, False, True)


def test_a_vector_that_resets_in_the_same_step_tells_how_an_episode_ended() -> None:
    envs = SyncVectorEnv([lambda: make_lerobot_env("speck_64")] * 2, autoreset_mode=AutoresetMode.SAME_STEP)
    envs.reset(seed=[5, 6])
    first = envs.envs[0]
    first.unwrapped.is_success = lambda: True
    set_counters(first, num_steps=20, held_steps=first.unwrapped.task.hold_steps - 1)
    observations, _, terminated, _, info = envs.step(np.stack([envs.single_action_space.low] * 2))
    assert terminated.tolist() == info["final_info"]["is_success"].tolist() == [True, False]
    assert observations["pixels"]["agentview"].shape == (2, 64, 64, 3)
    assert envs.call("_max_episode_steps") == (first.unwrapped.task.horizon,) * 2
    envs.close()
