"""python run_stable_baselines3.py STORE SCRATCH: its checker, a few steps of its PPO, and Gymnasium's RecordVideo."""

import sys
import warnings
from importlib.metadata import version
from pathlib import Path

import gymnasium
import imageio.v3
import numpy as np
from gymnasium.wrappers import RecordVideo, RescaleAction
from source_set import Comparison, SourceSet
from stable_baselines3 import PPO
from stable_baselines3.common.env_checker import check_env
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import SubprocVecEnv

ID = "smidgen.envs:smidgen/{}"
CHECKED = ("Lift-v0", "Speck64-v0", "Door-v0")
# What the checker advises: our actions are metres, in double precision.
EXPECTED = ("symmetric and normalized Box action space", "Your action space has dtype float64")


def check(found):
    """The checker's complaints about one task of each family, its advice about actions apart."""
    for name in CHECKED:
        env = gymnasium.make(ID.format(name)).unwrapped
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            check_env(env)  # its check of rendering closes the environment and then goes on with it
        said = [str(warning.message) for warning in caught]
        env.close()
        found.equal(f"{name} warnings", [text for text in said if not any(each in text for each in EXPECTED)], [])


def train():
    """PPO over environments in processes of their own, as docs/gymnasium.md makes them; returns the number of steps."""
    envs = make_vec_env(
        ID.format("Speck64-v0"),
        n_envs=2,
        seed=0,
        wrapper_class=RescaleAction,
        wrapper_kwargs={"min_action": -1.0, "max_action": 1.0},
        vec_env_cls=SubprocVecEnv,
    )
    model = PPO("MultiInputPolicy", envs, n_steps=16, batch_size=16, n_epochs=1, device="cpu", seed=0)
    model.learn(total_timesteps=64)
    envs.close()
    return model.num_timesteps


def record_video(source, scratch, found):
    """An episode's video, frame by frame: as many as there are steps, and what they show."""
    env = RecordVideo(gymnasium.make(ID.format("Lift-v0")), str(scratch), episode_trigger=lambda _: True)
    for row in source.rows:
        env.reset(seed=row["seed"])
        actions = source.episode(row)["actions"]
        for action in actions:
            _, _, terminated, truncated, _ = env.step(action)
        found.equal(f"seed {row['seed']} end", terminated or truncated, True)
        found.counts["episodes"] += 1
        found.counts["steps"] += len(actions)
    env.close()
    for number, row in enumerate(source.rows):
        video = imageio.v3.imread(scratch / f"rl-video-episode-{number}.mp4")
        frames = source.episode(row)["frames"]
        found.equal(f"video {number} length", len(video), len(frames) + 1)
        # The codec loses a little.
        error = np.abs(video[: len(frames)].astype(float) - frames).mean()
        found.equal(f"video {number} shows the frames", error < 8.0, True)
        found.counts["frames"] += len(frames)


def main(store, scratch):
    source, found = SourceSet(store), Comparison()
    check(found)
    num_timesteps = train()
    record_video(source, Path(scratch), found)
    versions = {name: version(name) for name in ("stable-baselines3", "gymnasium", "moviepy", "numpy")}
    found.print_record({"library": "stable-baselines3", "versions": versions}, ppo_timesteps=num_timesteps)


if __name__ == "__main__":
    main(*sys.argv[1:])
