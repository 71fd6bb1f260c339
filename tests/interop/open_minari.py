"""python open_minari.py EXPORT STORE NUM_STEPS: every episode through MinariDataset. Minari trains nothing."""

import os
import sys
from importlib.metadata import version

import numpy as np
from source_set import Comparison, SourceSet


def compare_demonstrations(dataset, source, found):
    for row, got in zip(source.rows, dataset.iterate_episodes(), strict=True):
        episode, what = source.episode(row), f"seed {row['seed']}"
        frames = got.observations[source.camera]
        found.equal(f"{what} frames", frames[:-1], episode["frames"])
        found.equal(f"{what} last frame", frames[-1], episode["frames"][-1])
        found.equal(f"{what} state", got.observations["eef_state"][:-1], episode["eef_state"])
        found.equal(f"{what} actions", got.actions, episode["actions"])
        found.equal(f"{what} states", got.infos["states"][:-1], episode["states"])
        found.equal(f"{what} rewards", got.rewards, episode["is_success"].astype(float))
        found.equal(f"{what} end", bool(got.terminations[-1]), row["success"])
        found.counts["episodes"] += 1
        found.counts["steps"] += len(got.actions)
        found.counts["frames"] += len(episode["frames"])
    seeds = [metadata["seed"] for metadata in dataset.storage.get_episode_metadata(range(len(source.rows)))]
    found.equal("seeds", seeds, [row["seed"] for row in source.rows])


def compare_pairs(dataset, source, found):
    for row, got in zip(source.pair_rows, dataset.iterate_episodes(), strict=True):
        pairs = source.pairs(row)
        for view in ("frames", "frames_moved", "frames_hidden"):
            key = f"{source.camera}{view.removeprefix('frames')}"
            found.equal(f"seed {row['seed']} {view}", got.observations[key][:-1], pairs[view])
        found.equal(f"seed {row['seed']} target", got.actions, pairs["target"])
        found.equal(f"seed {row['seed']} target_moved", got.infos["target_moved"][:-1], pairs["target_moved"])
        found.counts["pairs"] += len(got.actions)


def main(export, store, num_steps):
    os.environ["MINARI_DATASETS_PATH"] = export
    import minari

    source, found = SourceSet(store), Comparison()
    dataset = minari.load_dataset("demonstrations-v0")
    compare_demonstrations(dataset, source, found)
    found.equal("sample", len(dataset.sample_episodes(2)), 2)
    found.equal("space", dataset.observation_space[source.camera].dtype == np.uint8, True)
    compare_pairs(minari.load_dataset("pairs-v0"), source, found)
    found.print_record({"library": "minari", "versions": {name: version(name) for name in ("minari", "numpy")}})


main(*sys.argv[1:])
