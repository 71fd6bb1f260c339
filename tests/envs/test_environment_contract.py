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
from gymnasium.envs.registration import load_env_creator
from gymnasium.utils.env_checker import check_env

import smidgen.envs  # noqa: F401  (registers the ids)
from smidgen.envs.selfcheck import REFERENCE_FILE, reference_key, reference_thumbnails
from smidgen.envs.tasks import TASKS, make_env
from smidgen.runtime.errors import UserError
from smidgen.runtime.files import sha256_bytes
from tests.long_form import ONE_OF_EACH_FAMILY, long_form

pytestmark = pytest.mark.simulator

# Tasks that differ in an object or a dot's size alone are left to the long form, which draws every task's frames in
# processes of their own.
NAMES = long_form(tuple(TASKS), (*ONE_OF_EACH_FAMILY, "speck_noise", "blink", "stripes"))
FRESHLY_DRAWN = long_form(tuple(TASKS), ("lift", "nut_assembly_square", "speck_16"))
# The hashes of tasks' frames in a process of its own: after reset, and three steps later.
FRAME_HASHES_PROGRAM = """
import json, sys
from tests.envs.test_environment_contract import frames_sha256
from smidgen.envs.tasks import make_env
print(json.dumps({task: frames_sha256(make_env(task)) for task in sys.argv[1:]}))
"""


@pytest.fixture(scope="module", params=sorted(NAMES))
def env(request: pytest.FixtureRequest, environment_of: Callable[[str], Any]) -> Any:
    return environment_of(request.param)


def frames_sha256(env: Any) -> str:
    env.reset(seed=11)
    first = env.render_frames()
    for _ in range(3):
        env.step(middle_of_the_box(env))
    return sha256_bytes(first.tobytes() + env.render_frames().tobytes())


def middle_of_the_box(env: Any) -> np.ndarray:
    return (np.array(env.task.action.low) + np.array(env.task.action.high)) / 2


def roll(env: Any, seed: int, num_steps: int) -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(seed)
    observations = [env.reset(seed=seed)[0]]
    for _ in range(num_steps):
        observations.append(env.step(rng.uniform(env.action_space.low, env.action_space.high))[0])
    return observations


def states_of_a_roll(env: Any, seed: int, num_steps: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    env.reset(seed=seed)
    states = [env.get_state()]
    for _ in range(num_steps):
        env.step(rng.uniform(env.action_space.low, env.action_space.high))
        states.append(env.get_state())
    return np.stack(states)


@pytest.mark.filterwarnings("ignore::UserWarning")  # the checker advises symmetric actions; ours are metres
def test_passes_gymnasiums_checker(env: Any) -> None:
    check_env(env, skip_render_check=True)


@pytest.mark.filterwarnings("ignore::UserWarning")  # as above
def test_passes_gymnasiums_checker_when_gymnasium_makes_it() -> None:
    env = gymnasium.make(f"smidgen.envs:{TASKS['lift'].env_id}")
    check_env(env.unwrapped, skip_render_check=False)
    env.close()


@pytest.mark.parametrize("task", sorted(TASKS))
def test_every_task_is_registered_with_gymnasium(task: str) -> None:
    spec = gymnasium.spec(TASKS[task].env_id)
    assert load_env_creator(spec.entry_point).task is TASKS[task]  # type: ignore[attr-defined]


def test_observations_are_as_declared_and_share_no_memory(env: Any) -> None:
    observations = roll(env, seed=1, num_steps=3)
    for observation in observations:
        assert env.observation_space.contains(observation)
        assert all(np.isfinite(value).all() for value in observation.values())
        assert observation["eef_state"].shape == (len(env.task.eef_state_names),)
    for name in observations[0]:
        assert not np.shares_memory(observations[-1][name], observations[-2][name])


def test_without_pixels_the_state_alone_is_observed(env: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(env, "observe_pixels", False)
    assert set(env._observation_space()) == set(env.reset(seed=0)[0]) == {"eef_state"}


def test_no_episode_starts_solved(env: Any) -> None:
    for seed in range(5):
        _, info = env.reset(seed=seed)
        assert info["is_success"] is False


def test_the_same_seed_gives_the_same_states_and_pixels_after_another_episode(
    env: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(env, "observe_pixels", False)
    states, frames = states_of_a_roll(env, seed=7, num_steps=50), env.render_frames()
    roll(env, seed=8, num_steps=5)
    assert np.array_equal(states_of_a_roll(env, seed=7, num_steps=50), states)
    assert np.array_equal(env.render_frames(), frames)
    assert np.isfinite(states).all()


def test_seeds_change_placement_and_start_noise(env: Any) -> None:
    env.reset(seed=1)
    cue, arm = env.cue_pose(), env.eef_state()
    env.reset(seed=2)
    assert not np.allclose(cue, env.cue_pose())
    assert np.array_equal(arm, env.eef_state()) != env.task.has_start_noise


def test_environments_in_one_process_keep_their_own_pixels() -> None:
    envs = [make_env(task) for task in long_form((*ONE_OF_EACH_FAMILY, "lift"), ("lift", "door", "lift"))]
    for seed, env in enumerate(envs):
        env.reset(seed=seed)
    alone = [env.render_frames() for env in envs]
    for env, frames in reversed(list(zip(envs, alone, strict=True))):
        assert np.array_equal(env.render_frames(), frames)
    assert len({frames.tobytes() for frames in alone}) == len(envs)
    for env in envs:
        env.close()


@pytest.fixture(scope="module")
def freshly_drawn(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, str]]:
    """What two processes drew one after the other, the first with an empty numba cache."""
    # Not even the switch that keeps numba from compiling is inherited: the package has to set it by itself.
    variables = {key: value for key, value in os.environ.items() if not key.startswith(("NUMBA", "MUJOCO"))}
    variables["NUMBA_CACHE_DIR"] = str(tmp_path_factory.mktemp("numba"))
    # The second process finds what the first one left in numba's cache.
    return [
        json.loads(
            subprocess.run(
                [sys.executable, "-c", FRAME_HASHES_PROGRAM, *tasks],
                env=variables,
                cwd=Path(__file__).parents[2],
                capture_output=True,
                text=True,
                check=True,
            ).stdout.splitlines()[-1]
        )
        for tasks in (FRESHLY_DRAWN[::-1], ["lift"])
    ]


def test_fresh_processes_agree_even_with_an_empty_numba_cache(env: Any, freshly_drawn: list[dict[str, str]]) -> None:
    here = frames_sha256(env)
    there = [hashes[env.task.name] for hashes in freshly_drawn if env.task.name in hashes]
    assert all(drawn == here for drawn in there)
    assert len(there) == (env.task.name in FRESHLY_DRAWN) + (env.task.name == "lift")


def test_recorded_references_are_this_versions(env: Any) -> None:
    recorded = json.loads(REFERENCE_FILE.read_text())[reference_key(env)]
    drawn = reference_thumbnails(env)
    assert recorded.keys() == drawn.keys()
    for camera, picture in drawn.items():
        np.testing.assert_allclose(recorded[camera], picture, atol=2.0)


def test_a_stored_state_renders_again_and_goes_on_as_before(env: Any) -> None:
    roll(env, seed=5, num_steps=5)
    state, frame = env.get_state(), env.render_frames()
    action = middle_of_the_box(env)
    env.step(action)
    after = env.get_state()
    # Another episode changes whatever a reset changes outside of MuJoCo's state.
    env.reset(seed=6)
    env.set_state(state)
    assert np.array_equal(env.render_frames(), frame)
    env.step(action)
    assert np.array_equal(env.get_state(), after)
    with pytest.raises(ValueError, match=r"expected a state of \d+ numbers"):
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


def test_other_places_of_the_cue_come_from_the_range_of_resets(env: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(env, "observe_pixels", False)
    resets, sampled = [], []
    rng = np.random.default_rng(0)
    for seed in range(40):
        env.reset(seed=seed)
        resets.append(env.cue_pose())
        sampled.append(env.sample_cue_pose(rng))
    # Of 40 draws each, none lies far outside of what the other 40 span.
    low, high = np.min(resets, axis=0), np.max(resets, axis=0)
    margin = 0.5 * (high - low) + 1e-9
    assert (np.array(sampled) >= low - margin).all()
    assert (np.array(sampled) <= high + margin).all()
    assert np.allclose(np.ptp(sampled, axis=0) > 1e-6, np.ptp(resets, axis=0) > 1e-6)


def test_episodes_end_at_the_horizon(env: Any) -> None:
    env.reset(seed=1)
    state = env.get_state()
    *_, num_steps, held_steps = state
    assert (num_steps, held_steps) == (0, 0)
    state[-2] = env.task.horizon - 2
    env.set_state(state)
    assert env.step(middle_of_the_box(env))[2:4] == (False, False)
    assert env.step(middle_of_the_box(env))[2:4] == (False, True)


def test_an_impossible_action_is_refused(env: Any) -> None:
    env.reset(seed=0)
    middle = middle_of_the_box(env)
    for bad in (middle[:-1], np.full_like(middle, np.nan), np.append(middle[:-1], np.inf)):
        with pytest.raises(ValueError, match="finite"):
            env.step(bad)


def test_sizes_cameras_and_profiles_are_configurable() -> None:
    env = make_env("lift", cameras=("agentview", "robot0_eye_in_hand"), image_size=(48, 80))
    observation, _ = env.reset(seed=0)
    assert observation["robot0_eye_in_hand_image"].shape == (48, 80, 3)
    assert json.loads(json.dumps(env.fingerprint()))["host"]["renderer"] == env.renderer_name()
    env.close()
    tiny = make_env("lift", image_size=1)
    assert tiny.reset(seed=0)[0]["agentview_image"].shape == (1, 1, 3)
    tiny.close()
    blind = make_env("lift", cameras=())
    assert set(blind.reset(seed=0)[0]) == {"eef_state"}
    blind.close()


def test_a_closed_environment_gives_its_memory_back() -> None:
    """Address space, in MB: a process that has too much of it can start no other."""
    sizes_mb = []
    for _ in range(5):
        env = make_env("lift")
        env.reset(seed=0)
        env.close()
        env.close()
        sizes_mb.append(int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGESIZE") / 1e6)
    # The first ones fill caches. One that stayed would take over 64 MB.
    assert sizes_mb[4] - sizes_mb[2] < 100.0


@pytest.mark.parametrize(
    "wrong", [{"cameras": ("nowhere",)}, {"image_size": 0}, {"image_size": 10**6}, {"render_profile": "pretty"}]
)
def test_wrong_settings_name_the_valid_ones(wrong: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"valid:|of 1 to 2048 pixels"):
        make_env("lift", **wrong).reset(seed=0)
