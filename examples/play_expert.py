"""The simulator and a scripted expert in plain Gymnasium, filmed, from the repository's root:
python examples/play_expert.py lift outputs/expert.mp4
"""

import sys

import gymnasium
import imageio.v3 as imageio
import numpy as np

from smidgen.data_collection.experts import find_expert
from smidgen.envs.tasks import TASKS


def play(task, seed):
    """One episode: its frames, and whether it ended well."""
    env = gymnasium.make(f"smidgen.envs:{TASKS[task].env_id}")
    observation, info = env.reset(seed=seed)
    simulator = env.unwrapped
    expert = find_expert(task)(simulator.task.action)
    expert.reset(seed)
    frames = [observation["agentview_image"]]  # uint8 (64, 64, 3)
    ended = False
    while not ended:
        action = expert.act(simulator.privileged())  # an expert may look behind the pixels; a policy may not
        observation, _, terminated, truncated, info = env.step(action)
        frames.append(observation["agentview_image"])
        ended = terminated or truncated
    env.close()
    return frames, info["is_success"]


if __name__ == "__main__":
    task, film = sys.argv[1:]
    frames, is_success = play(task, seed=0)
    imageio.imwrite(film, np.repeat(np.repeat(frames, 4, axis=1), 4, axis=2), fps=20)  # four times as large
    print(f"{task}: {'success' if is_success else 'failure'} after {len(frames) - 1} steps; film: {film}")
