"""python open_robomimic.py EXPORT STORE NUM_STEPS: every step through SequenceDataset, then steps of its BC."""

import json
import sys
from importlib.metadata import distribution, version
from inspect import signature

import numpy as np
import torch
import torchvision_operators  # noqa: F401
from robomimic.algo import algo_factory
from robomimic.config import config_factory
from robomimic.utils import file_utils, obs_utils
from robomimic.utils.dataset import SequenceDataset
from source_set import Comparison, SourceSet

# From 0.4 on, robomimic reads and normalises actions by key.
ACTIONS = {"action_keys": ["actions"], "action_config": {"actions": {"normalization": None}}}
BY_KEY = "action_keys" in signature(SequenceDataset.__init__).parameters


def open_dataset(path, cameras):
    modalities = {"obs": {"rgb": [f"{camera}_image" for camera in cameras], "low_dim": ["eef_state"]}}
    obs_utils.initialize_obs_utils_with_obs_specs([modalities])
    return SequenceDataset(
        hdf5_path=path,
        obs_keys=[*modalities["obs"]["rgb"], "eef_state"],
        dataset_keys=["actions", "rewards", "dones"],
        load_next_obs=False,
        hdf5_cache_mode=None,
        seq_length=1,
        **(ACTIONS if BY_KEY else {}),
    )


def compare_demonstrations(dataset, source, found):
    at = 0
    for row in source.rows:
        episode = source.episode(row)
        items = [dataset[at + step] for step in range(row["num_steps"])]
        at += row["num_steps"]
        what = f"seed {row['seed']}"
        frames = np.stack([item["obs"][f"{source.camera}_image"][0] for item in items])
        found.equal(f"{what} frames", frames, episode["frames"])
        found.equal(f"{what} state", np.stack([i["obs"]["eef_state"][0] for i in items]), episode["eef_state"])
        actions = np.stack([item["actions"][0] for item in items])
        found.equal(f"{what} actions", actions, episode["actions"].astype(actions.dtype))
        found.equal(f"{what} rewards", np.stack([i["rewards"][0] for i in items]), episode["is_success"].astype(float))
        found.counts["episodes"] += 1
        found.counts["steps"] += row["num_steps"]
        found.counts["frames"] += len(frames)
    found.equal("number of steps", len(dataset), at)


def compare_pairs(dataset, source, found):
    at = 0
    for row in source.pair_rows:
        pairs = source.pairs(row)
        items = [dataset[at + k] for k in range(len(pairs["target"]))]
        at += len(items)
        for view in ("frames", "frames_moved", "frames_hidden"):
            key = f"{source.camera}{view.removeprefix('frames')}_image"
            found.equal(f"seed {row['seed']} {view}", np.stack([item["obs"][key][0] for item in items]), pairs[view])
        found.counts["pairs"] += len(items)
    found.equal("number of pairs", len(dataset), at)


def train(path, dataset, source, num_steps):
    """Losses of a few steps of behaviour cloning, as robomimic trains it."""
    config = config_factory("bc")
    with config.values_unlocked():
        config.train.data = [{"path": path}] if BY_KEY else path
        config.train.batch_size = 4
        config.observation.modalities.obs.rgb = [f"{source.camera}_image"]
        config.observation.modalities.obs.low_dim = ["eef_state"]
        config.observation.encoder.rgb.core_class = "VisualCore"
        config.observation.encoder.rgb.core_kwargs.backbone_class = "ResNet18Conv"
        config.observation.encoder.rgb.core_kwargs.pool_class = "SpatialSoftmax"
    config.lock()
    obs_utils.initialize_obs_utils_with_config(config)
    shapes = file_utils.get_shape_metadata_from_dataset(
        **({"dataset_config": {"path": path}, "action_keys": ["actions"]} if BY_KEY else {"dataset_path": path}),
        all_obs_keys=[f"{source.camera}_image", "eef_state"],
    )
    model = algo_factory("bc", config, shapes["all_shapes"], shapes["ac_dim"], torch.device("cpu"))
    model.set_train()
    losses = []
    loader = iter(torch.utils.data.DataLoader(dataset, batch_size=4, shuffle=True))
    for _ in range(num_steps):
        batch = model.process_batch_for_training(next(loader))
        batch = model.postprocess_batch_for_training(batch, None)
        losses.append(float(model.train_on_batch(batch, epoch=1)["losses"]["action_loss"]))
    return losses


def installed_from():
    """What pip installed it from, if that was not a release on the index."""
    origin = json.loads(distribution("robomimic").read_text("direct_url.json") or "{}")
    if "vcs_info" in origin:
        return {"installed_from": f"commit {origin['vcs_info']['commit_id']}"}
    return {"installed_from": "a copy of its repository"} if origin else {}


def main(export, store, num_steps):
    source, found = SourceSet(store), Comparison()
    torch.manual_seed(0)
    path = f"{export}/demonstrations.hdf5"
    dataset = open_dataset(path, [source.camera])
    compare_demonstrations(dataset, source, found)
    losses = train(path, dataset, source, int(num_steps))
    views = [f"{source.camera}{suffix}" for suffix in ("", "_moved", "_hidden")]
    compare_pairs(open_dataset(f"{export}/pairs.hdf5", views), source, found)
    versions = {name: version(name) for name in ("robomimic", "torch", "numpy")}
    found.print_record({"library": "robomimic", "versions": versions, **installed_from()}, losses=losses)


main(*sys.argv[1:])
