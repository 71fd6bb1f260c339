"""python open_lerobot.py EXPORT STORE NUM_STEPS: every step through LeRobotDataset, then steps of its ACT."""

import sys
from importlib.metadata import version

import numpy as np
import torch
import torchvision_operators  # noqa: F401
from lerobot.configs.types import FeatureType
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from lerobot.datasets.utils import dataset_to_policy_features
from lerobot.policies.act.configuration_act import ACTConfig
from lerobot.policies.act.modeling_act import ACTPolicy
from lerobot.policies.factory import make_pre_post_processors
from source_set import Comparison, SourceSet

CHUNK = 4


def as_levels(pictures):
    """float32 (S, 3, H, W) in 0..1 -> uint8 (S, H, W, 3)."""
    return (np.stack(pictures).transpose(0, 2, 3, 1) * 255).round().astype(np.uint8)


def compare_demonstrations(dataset, source, found):
    # Items are float32 whatever a column is; what lies on disk is exact.
    exact = dataset.hf_dataset.with_format("arrow")
    at = 0
    for row in source.rows:
        episode, stored = source.episode(row), exact[at : at + row["num_steps"]]
        items = [dataset[at + step] for step in range(row["num_steps"])]
        at += row["num_steps"]
        what, frames = f"seed {row['seed']}", as_levels([i[f"observation.images.{source.camera}"] for i in items])
        found.equal(f"{what} frames", frames, episode["frames"])
        found.equal(f"{what} actions", np.stack([i["action"][0] for i in items]), episode["actions"].astype(np.float32))
        found.equal(f"{what} exact actions", stored["smidgen.action"].to_pylist(), episode["actions"])
        found.equal(f"{what} exact states", stored["smidgen.states"].to_pylist(), episode["states"])
        found.equal(f"{what} success", np.array([bool(i["next.success"]) for i in items]), episode["is_success"])
        later = np.minimum(np.arange(len(items))[:, None] + np.arange(CHUNK), len(items) - 1)
        chunks = np.stack([i["action"] for i in items])
        found.equal(f"{what} chunks", chunks, episode["actions"].astype(np.float32)[later])
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
            key = f"observation.images.{source.camera}{view.removeprefix('frames')}"
            found.equal(f"seed {row['seed']} {view}", as_levels([item[key] for item in items]), pairs[view])
        moved = np.stack([item["smidgen.target_moved"] for item in items])
        found.equal(f"seed {row['seed']} target_moved", moved, pairs["target_moved"].astype(np.float32))
        found.counts["pairs"] += len(items)
    found.equal("number of pairs", len(dataset), at)


def train(dataset, num_steps):
    """Losses of a few steps of a small ACT, with LeRobot's normalisation."""
    features = dataset_to_policy_features(dataset.meta.features)
    outputs = {key: feature for key, feature in features.items() if feature.type is FeatureType.ACTION}
    config = ACTConfig(
        input_features={key: feature for key, feature in features.items() if key not in outputs},
        output_features=outputs,
        chunk_size=CHUNK,
        n_action_steps=CHUNK,
        dim_model=32,
        n_heads=2,
        dim_feedforward=64,
        n_encoder_layers=1,
        n_vae_encoder_layers=1,
        pretrained_backbone_weights=None,
        device="cpu",
    )
    policy = ACTPolicy(config)
    prepare, _ = make_pre_post_processors(config, dataset_stats=dataset.meta.stats)
    optimiser = torch.optim.AdamW(policy.parameters(), lr=1e-4)
    losses = []
    loader = iter(torch.utils.data.DataLoader(dataset, batch_size=4, shuffle=True))
    for _ in range(num_steps):
        loss, _ = policy(prepare(next(loader)))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    return losses


def main(export, store, num_steps):
    source, found = SourceSet(store), Comparison()
    torch.manual_seed(0)
    fps = source.manifest["control_hz"]
    later = {"action": [step / fps for step in range(CHUNK)]}
    dataset = LeRobotDataset("smidgen/demonstrations", root=f"{export}/demonstrations", delta_timestamps=later)
    compare_demonstrations(dataset, source, found)
    losses = train(dataset, int(num_steps))
    compare_pairs(LeRobotDataset("smidgen/pairs", root=f"{export}/pairs"), source, found)
    versions = {name: version(name) for name in ("lerobot", "torch", "numpy", "datasets")}
    found.print_record({"library": "lerobot", "versions": versions}, losses=losses)


main(*sys.argv[1:])
