"""What Gymnasium does with an environment: vectors in fresh processes with every kind of autoreset, and wrappers.

RecordVideo and stable-baselines3's checker need packages of their own: `make interop` runs them.
"""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.wrappers import RecordEpisodeStatistics, TimeLimit

import smidgen.envs  # noqa: F401  (registers the ids)
from smidgen.runtime.files import sha256_bytes

pytestmark = pytest.mark.simulator

ROOT = Path(__file__).parents[2]
TASK, ENV_ID, SEEDS = "speck_64", "smidgen/Speck64-v0", [3, 4]
# The episodes are cut off after these steps, so that there is something to reset.
LIMIT, NUM_STEPS = 3, 5
MODES = ("NEXT_STEP", "SAME_STEP", "DISABLED")

# Each interpreter makes one kind of vector, with each mode in turn. It imports nothing of ours before Gymnasium does.
PROGRAM = """
import hashlib, json, sys
import gymnasium, numpy as np
from gymnasium.vector import AutoresetMode

def hashes(observations):
    frames = observations["agentview_image"]
    return [hashlib.sha256(frame.tobytes()).hexdigest() for frame in frames]

def steps(mode, how, seeds, limit, num_steps):
    envs = gymnasium.make_vec(
        "smidgen.envs:ENV_ID", num_envs=len(seeds), vectorization_mode=how, max_episode_steps=limit,
        vector_kwargs={"autoreset_mode": AutoresetMode[mode]},
    )
    observations, info = envs.reset(seed=seeds)
    yield {"frames": hashes(observations), "seed": info["seed"].tolist()}
    for _ in range(num_steps):
        action = np.stack([envs.single_action_space.low] * len(seeds))
        observations, reward, terminated, truncated, info = envs.step(action)
        row = {"frames": hashes(observations), "truncated": truncated.tolist(), "terminated": terminated.tolist()}
        final = info.get("final_info", {})
        row |= {"is_success": [*info["is_success"].tolist(), *final.get("is_success", np.array([])).tolist()]}
        row |= {"seed": info["seed"].tolist()} if "seed" in info else {}
        if "final_obs" in info:
            row["final"] = hashes({"agentview_image": [each["agentview_image"] for each in info["final_obs"]]})
        yield row
        if mode == "DISABLED" and truncated.any():
            observations, info = envs.reset(options={"reset_mask": truncated})
            yield {"frames": hashes(observations), "seed": info["seed"].tolist()}
    envs.close()

if __name__ == "__main__":
    how, modes, *rest = json.loads(sys.argv[1])
    print(json.dumps({mode: list(steps(mode, how, *rest)) for mode in modes}))
""".replace("ENV_ID", ENV_ID)


@pytest.fixture(scope="module", params=["sync", "async"])
def vectors(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Any]]:
    """What every step returned, by mode, in an interpreter of its own."""
    program = tmp_path_factory.mktemp("vector") / "program.py"
    program.write_text(PROGRAM)
    arguments = json.dumps([request.param, MODES, SEEDS, LIMIT, NUM_STEPS])
    command = [sys.executable, "-W", "error", str(program), arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, timeout=200)
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, list[Any]] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.fixture(scope="module")
def episodes(environment_of: Callable[[str], Any]) -> dict[str, list[list[str]]]:
    """Frames, and seeds, of two episodes of each seed: the second begins with a seed that the environment draws."""
    env = environment_of(TASK)
    found: dict[str, list[list[str]]] = {"first": [], "second": [], "seed": []}
    for seed in SEEDS:
        for which, reset_seed in (("first", seed), ("second", None)):
            observation, info = env.reset(seed=reset_seed)
            frames = [observation["agentview_image"]]
            for _ in range(LIMIT):
                frames.append(env.step(env.action_space.low)[0]["agentview_image"])
            found[which].append([sha256_bytes(frame.tobytes()) for frame in frames])
        found["seed"].append(info["seed"])
    return found


def frames_at(episodes: dict[str, list[list[str]]], which: str, step: int) -> list[str]:
    return [frames[step] for frames in episodes[which]]


def test_a_vectors_episodes_are_those_of_the_environment(
    vectors: dict[str, list[Any]], episodes: dict[str, list[list[str]]]
) -> None:
    for mode in MODES:
        assert vectors[mode][0]["seed"] == SEEDS
        for step in range(LIMIT if mode == "SAME_STEP" else LIMIT + 1):
            assert vectors[mode][step]["frames"] == frames_at(episodes, "first", step)
        ends = [row["truncated"] for row in vectors[mode][1 : LIMIT + 1]]
        assert ends == [[False, False]] * (LIMIT - 1) + [[True, True]]


def test_autoreset_at_the_next_step(vectors: dict[str, list[Any]], episodes: dict[str, list[list[str]]]) -> None:
    rows = vectors["NEXT_STEP"]
    assert rows[LIMIT + 1]["seed"] == episodes["seed"]
    assert rows[LIMIT + 1]["truncated"] == [False, False]
    assert rows[LIMIT + 1]["frames"] == frames_at(episodes, "second", 0)
    assert rows[LIMIT + 2]["frames"] == frames_at(episodes, "second", 1)


def test_autoreset_in_the_same_step(vectors: dict[str, list[Any]], episodes: dict[str, list[list[str]]]) -> None:
    rows = vectors["SAME_STEP"]
    assert rows[LIMIT]["final"] == frames_at(episodes, "first", LIMIT)
    assert rows[LIMIT]["is_success"] == [False] * 4  # of the new episodes, and of those that ended
    assert rows[LIMIT]["seed"] == episodes["seed"]
    for step in range(3):
        assert rows[LIMIT + step]["frames"] == frames_at(episodes, "second", step)


def test_no_autoreset(vectors: dict[str, list[Any]], episodes: dict[str, list[list[str]]]) -> None:
    rows = vectors["DISABLED"]
    assert rows[LIMIT + 1]["seed"] == episodes["seed"]
    for step in range(3):
        assert rows[LIMIT + 1 + step]["frames"] == frames_at(episodes, "second", step)


@pytest.mark.parametrize("task", ["speck_64", "lift"])
def test_a_time_limit_and_statistics_may_stand_around_it(task: str, environment_of: Callable[[str], Any]) -> None:
    bare = environment_of(task)
    env: gymnasium.Env[Any, Any] = RecordEpisodeStatistics(TimeLimit(bare, max_episode_steps=2))
    middle = (np.array(bare.task.action.low) + np.array(bare.task.action.high)) / 2
    for _ in range(2):
        env.reset(seed=0)
        assert env.step(middle)[2:4] == (False, False)
        *_, terminated, truncated, info = env.step(middle)
        assert (terminated, truncated, info["is_success"]) == (False, True, False)
        assert (info["episode"]["l"], info["episode"]["r"]) == (2, 0.0)
