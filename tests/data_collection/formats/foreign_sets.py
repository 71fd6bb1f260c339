"""Data sets as other people write them: joint positions, no seeds, no success, no counterfactual pairs."""

import json
import tracemalloc

import h5py
import numpy as np

from smidgen.data_collection.data import main
from smidgen.data_collection.store import EpisodeStore

NUM_STEPS, NUM_JOINTS = 3, 7
# Wide enough that frames outweigh everything else that an import allocates.
WIDTH = 256


def imported(path, folder, *settings, measured=False):
    """The store that a set becomes, or the most bytes that were held on the way."""
    out = folder / "store"
    if measured:
        tracemalloc.start()
    assert main(["import", str(path), f"out={out}", *settings]) == 0
    if measured:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak
    return EpisodeStore.open(out)


def random_episode(rng, rows=8, columns=8):
    """Frames uint8 (S, H, W, 3) and joint positions float64 (S, 7)."""
    frames = rng.integers(0, 256, (NUM_STEPS, rows, columns, 3)).astype(np.uint8)
    return frames, rng.normal(size=(NUM_STEPS, NUM_JOINTS))


def write_foreign_robomimic(path, num_demos=3, rows=8, columns=8):
    """Frames and actions of each demonstration of the file that it writes."""
    rng = np.random.default_rng(0)
    episodes = [random_episode(rng, rows, columns) for _ in range(num_demos)]
    with h5py.File(path, "w") as file:
        file.create_group("data").attrs["env_args"] = json.dumps({"env_name": "Can", "type": 1, "env_kwargs": {}})
        for index, (frames, actions) in enumerate(episodes):
            demo = file.create_group(f"data/demo_{index}")
            demo.attrs["num_samples"] = NUM_STEPS
            demo["actions"] = actions
            demo["rewards"] = np.zeros(NUM_STEPS)
            demo.create_dataset("obs/agentview_image", data=frames, chunks=(1, *frames.shape[1:]))
            demo["obs/robot0_eef_pos"] = np.zeros((NUM_STEPS, 1))
            demo["obs/joint_pos"] = actions
    return [frames for frames, _ in episodes], [actions for _, actions in episodes]
