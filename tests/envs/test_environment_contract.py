"""What every registered environment promises, checked in the real simulator."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import smidgen.envs  # noqa: F401  (registers the ids)
from smidgen.envs.tasks import TASKS, make_env
from smidgen.runtime.errors import UserError
from smidgen.runtime.files import sha256_bytes

pytestmark = pytest.mark.simulator

# The hashes of every task's frames in a process of its own: reset, then ten steps towards a fixed target.
FRAME_HASHES_PROGRAM = """
import json, sys
from tests.envs.test_environment_contract import frames_sha256
from smidgen.envs.tasks import make_env
print(json.dumps({task: frames_sha256(make_env(task)) for task in sys.argv[1:]}))
"""


@pytest.fixture(params=sorted(TASKS))
def env(request: pytest.FixtureRequest, environment_of: Callable[[str], Any]) -> Any:
    return environment_of(request.param)


def frames_sha256(env: Any) -> str:
    env.reset(seed=11)
    frames = [env.render_frames()]
    for _ in range(10):
        env.step(middle_of_the_box(env))
        frames.append(env.render_frames())
    return sha256_bytes(b"".join(frame.tobytes() for frame in frames))


def middle_of_the_box(env: Any) -> np.ndarray:
    return (np.array(env.task.action.low) + np.array(env.task.action.high)) / 2


def roll(env: Any, seed: int, num_steps: int = 15) -> tuple[list[dict[str, np.ndarray]], np.ndarray]:
    rng = np.random.default_rng(seed)
    observations = [env.reset(seed=seed)[0]]
    for _ in range(num_steps):
        observations.append(env.step(rng.uniform(env.action_space.low, env.action_space.high))[0])
    return observations, env.get_state()


@pytest.mark.parametrize("task", sorted(TASKS))
@pytest.mark.filterwarnings("ignore::UserWarning")  # the checker advises symmetric actions; ours are metres
def test_passes_gymnasiums_checker(task: str) -> None:
    env = gymnasium.make(f"smidgen.envs:{TASKS[task].env_id}")
    check_env(env.unwrapped, skip_render_check=False)
    env.close()


def test_observations_lie_in_their_space_and_share_no_memory(env: Any) -> None:
    observations, _ = roll(env, seed=1, num_steps=5)
    for observation in observations:
        assert env.observation_space.contains(observation)
        assert all(np.isfinite(value).all() for value in observation.values())
    for name in observations[0]:
        assert not np.shares_memory(observations[-1][name], observations[-2][name])


def test_no_episode_starts_solved(env: Any) -> None:
    for seed in range(5):
        _, info = env.reset(seed=seed)
        assert info["is_success"] is False


def test_the_same_seed_gives_the_same_pixels_after_other_episodes(env: Any) -> None:
    first, first_state = roll(env, seed=7)
    roll(env, seed=8, num_steps=9)
    second, second_state = roll(env, seed=7)
    assert np.array_equal(first_state, second_state)
    for before, after in zip(first, second, strict=True):
        assert all(np.array_equal(before[name], after[name]) for name in before)


def test_seeds_change_placement_and_start_noise(env: Any) -> None:
    env.reset(seed=1)
    cue, arm = env.cue_pose(), env.eef_state()
    env.reset(seed=2)
    assert not np.allclose(cue, env.cue_pose())
    assert np.array_equal(arm, env.eef_state()) != env.task.has_start_noise


def test_two_environments_in_one_process_keep_their_own_pixels(env: Any) -> None:
    other = make_env(env.task.name)
    env.reset(seed=3)
    alone = env.render_frames()
    other.reset(seed=4)
    for _ in range(5):
        other.step(middle_of_the_box(other))
    foreign = other.render_frames()
    assert np.array_equal(env.render_frames(), alone)
    assert np.array_equal(other.render_frames(), foreign)
    assert not np.array_equal(alone, foreign)
    other.close()


def test_fresh_processes_agree_even_with_an_empty_numba_cache(
    environment_of: Callable[[str], Any], tmp_path: Path
) -> None:
    here = {task: frames_sha256(environment_of(task)) for task in TASKS}
    # Not even the switch that keeps numba from compiling is inherited: the package has to set it by itself.
    variables = {key: value for key, value in os.environ.items() if not key.startswith(("NUMBA", "MUJOCO"))}
    # The second process finds what the first one left in numba's cache, and makes the environments in another order.
    for tasks in (list(TASKS), list(TASKS)[::-1]):
        process = subprocess.run(
            [sys.executable, "-c", FRAME_HASHES_PROGRAM, *tasks],
            env=variables | {"NUMBA_CACHE_DIR": str(tmp_path)},
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            check=True,
        )
        assert json.loads(process.stdout.splitlines()[-1]) == here


def test_a_stored_state_renders_again_and_goes_on_as_before(env: Any) -> None:
    roll(env, seed=5)
    state, frame = env.get_state(), env.render_frames()
    action = middle_of_the_box(env)
    env.step(action)
    after = env.get_state()
    env.set_state(state)
    assert np.array_equal(env.render_frames(), frame)
    env.step(action)
    assert np.array_equal(env.get_state(), after)
    with pytest.raises(ValueError, match="holds"):
        env.set_state(state[:-1])


def test_the_cue_can_be_moved_and_hidden(env: Any) -> None:
    env.reset(seed=6)
    seen = env.render_frames()
    with env.cue_hidden():
        assert not np.array_equal(env.render_frames(), seen)
    assert np.array_equal(env.render_frames(), seen)
    pose = env.cue_pose()
    moved = env.move_cue(np.random.default_rng(0))
    assert not np.allclose(pose, moved)
    assert not np.array_equal(env.render_frames(), seen)


def test_episodes_end_at_the_horizon(env: Any) -> None:
    env.observe_pixels = False
    env.reset(seed=1)
    hold = middle_of_the_box(env)
    ends = [env.step(hold)[2:4] for _ in range(env.task.horizon)]
    assert ends[-1] == (False, True)
    assert not any(any(end) for end in ends[:-1])


@pytest.mark.parametrize("bad", [[0.0, 0.0], [np.nan] * 4, [np.inf, 0.0, 0.9, 1.0]])
def test_an_impossible_action_is_refused(bad: list[float]) -> None:
    env = make_env("lift", observe_pixels=False)
    env.reset(seed=0)
    with pytest.raises(ValueError, match="finite"):
        env.step(np.array(bad))


def test_sizes_cameras_and_profiles_are_configurable() -> None:
    env = make_env("lift", cameras=("agentview", "robot0_eye_in_hand"), image_size=(48, 80))
    observation, _ = env.reset(seed=0)
    assert observation["robot0_eye_in_hand_image"].shape == (48, 80, 3)
    assert json.dumps(env.fingerprint())
    env.close()
    tiny = make_env("lift", image_size=1)
    assert tiny.reset(seed=0)[0]["agentview_image"].shape == (1, 1, 3)
    tiny.close()
    blind = make_env("lift", cameras=())
    assert set(blind.reset(seed=0)[0]) == {"eef_state"}


@pytest.mark.parametrize(
    "wrong", [{"cameras": ("nowhere",)}, {"image_size": 0}, {"image_size": 10**6}, {"render_profile": "pretty"}]
)
def test_wrong_settings_name_the_valid_ones(wrong: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"valid:|between"):
        make_env("lift", **wrong).reset(seed=0)
