"""A set as somebody else writes it, small enough to be asked about in a second: a dot on a dark ground is the cue.

Two cameras show the dot and an arm; the arm starts near the middle and goes to the dot, at a pace that is the same in
every episode.
"""

import json

import h5py
import numpy as np

NUM_STEPS, SIZE = 6, 16
CAMERAS = ("front", "wrist")


def place(picture, point, value):
    row, column = np.clip((point * SIZE).astype(int), 0, SIZE - 1)
    picture[row, column] = value


def goes_to_dot(state, cue):
    """What is done: most of the way from the arm to the dot."""
    return state + (cue - state) * 0.6


def episode(rng, goes_to=goes_to_dot):
    """Frames of both cameras (S, H, W, 3), actions (S, 2), states (S, 2)."""
    cue, start = rng.uniform(0, 1, 2), rng.uniform(0.4, 0.6, 2)
    share_S1 = np.arange(NUM_STEPS)[:, None] / NUM_STEPS
    state_S2 = start + share_S1 * (cue - start)
    actions_S2 = goes_to(state_S2, cue)
    frames = np.full((NUM_STEPS, SIZE, SIZE, 3), 40, np.uint8)
    for step in range(NUM_STEPS):
        place(frames[step, ..., 0], state_S2[step], 120)
        place(frames[step, ..., 1], cue, 255)
    return frames, actions_S2, state_S2


def write_set(path, num_demos=20, seed=0, actions=None, goes_to=goes_to_dot):
    """A robomimic file, with a camera ``front`` and the same mirrored as ``wrist``."""
    rng = np.random.default_rng(seed)
    with h5py.File(path, "w") as file:
        file.create_group("data").attrs["env_args"] = json.dumps({"env_name": "Reach", "type": 1, "env_kwargs": {}})
        for index in range(num_demos):
            frames, acted, state = episode(rng, goes_to)
            demo = file.create_group(f"data/demo_{index}")
            demo["actions"] = acted if actions is None else np.broadcast_to(actions, acted.shape)
            demo["obs/front_image"], demo["obs/wrist_image"] = frames, frames[:, :, ::-1]
            demo["obs/robot0_eef_pos"] = state
    return path
