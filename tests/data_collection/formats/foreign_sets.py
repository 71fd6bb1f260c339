"""Data sets as other people write them: joint positions, no seeds, no success, no counterfactual pairs."""

import json
import tracemalloc

import h5py
import imageio.v2 as imageio
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from smidgen.data_collection.data import main
from smidgen.data_collection.formats.pictures import png
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


def robomimic_demo(num_steps=3, rows=8, columns=8, attributes=None, **arrays):
    """Arrays of a demonstration by name, some of them replaced or added; None leaves one out."""
    rng = np.random.default_rng(0)
    found = {
        "actions": rng.normal(size=(num_steps, NUM_JOINTS)),
        "rewards": np.zeros(num_steps),
        "obs/agentview_image": rng.integers(0, 256, (num_steps, rows, columns, 3)).astype(np.uint8),
        "obs/joint_pos": rng.normal(size=(num_steps, NUM_JOINTS)),
        **{name.replace("__", "/"): array for name, array in arrays.items()},
    }
    return {name: array for name, array in found.items() if array is not None}, attributes or {}


def write_demos(path, *demos, env_args='{"env_name": "Can", "type": 1, "env_kwargs": {"control_freq": 20}}'):
    """Writes demonstrations of :func:`robomimic_demo` as robomimic's file."""
    with h5py.File(path, "w") as file:
        file.create_group("data").attrs["env_args"] = env_args
        for index, (arrays, attributes) in enumerate(demos):
            demo = file.create_group(f"data/demo_{index}")
            demo.attrs["num_samples"] = len(arrays["actions"])
            demo.attrs.update(attributes)
            for name, array in arrays.items():
                demo[name] = array
    return path


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


def write_foreign_lerobot(root, video=False):
    """Frames and actions of two episodes of the set that it writes, which share files, as LeRobot lays them out."""
    rng = np.random.default_rng(0)
    episodes = [random_episode(rng, rows=32, columns=32) for _ in range(2)]
    camera = "observation.images.top"
    shape = {"dtype": "video" if video else "image", "shape": [3, 32, 32], "names": ["channels", "height", "width"]}
    joints = {"dtype": "float32", "shape": [NUM_JOINTS], "names": {"motors": [f"motor_{n}" for n in range(NUM_JOINTS)]}}
    index = {"dtype": "int64", "shape": [1], "names": None}
    features = {camera: shape, "action": joints, "observation.state": joints, "episode_index": index}
    (root / "meta/episodes/chunk-000").mkdir(parents=True)
    (root / "data/chunk-000").mkdir(parents=True)
    info = {"codebase_version": "v3.0", "fps": 10, "robot_type": "arm", "features": features}
    (root / "meta/info.json").write_text(json.dumps(info))
    numbers = [pa.array(list(actions.astype(np.float32))) for _, actions in episodes]
    table = {"action": pa.chunked_array(numbers), "observation.state": pa.chunked_array(numbers)}
    table["episode_index"] = np.repeat([0, 1], NUM_STEPS)
    rows = {"episode_index": [0, 1], "length": [NUM_STEPS, NUM_STEPS]}
    stacked = np.concatenate([frames for frames, _ in episodes])
    if video:
        rows |= {f"videos/{camera}/{name}": [0, 0] for name in ("chunk_index", "file_index")}
        rows[f"videos/{camera}/from_timestamp"] = [0.0, NUM_STEPS / 10]
        path = root / f"videos/{camera}/chunk-000/file-000.mp4"
        path.parent.mkdir(parents=True)
        options = ["-qp", "0", "-preset", "ultrafast"]
        imageio.mimwrite(path, stacked, fps=10, codec="libx264rgb", pixelformat="rgb24", output_params=options)
    else:
        table[camera] = [{"bytes": png(frame), "path": None} for frame in stacked]
    pq.write_table(pa.table(table), root / "data/chunk-000/file-000.parquet")
    pq.write_table(pa.table(rows), root / "meta/episodes/chunk-000/file-000.parquet")
    return [frames for frames, _ in episodes], [actions.astype(np.float32) for _, actions in episodes]
