"""Which of these checkpoints see? Their cue slopes on a data set's counterfactual pairs: one state, the cue elsewhere.
    smidgen-collect task=lift episodes=20 seed_start=5000 out=outputs/held-out
    python examples/cue_slope.py outputs/held-out outputs/run outputs/another
1: the next target moves as far as the expert's does; 0: the policy does not notice. Film one: smidgen-eval saliency.
"""

import sys

import numpy as np
import torch

from smidgen import load_checkpoint
from smidgen.data_collection import EpisodeStore
from smidgen.evaluation.collapse import cue_slope

BATCH = 16


def next_targets(policy, frames, eef_state):
    """The first position (x, y, z, in metres) of the chunk that a policy predicts after each history of frames."""
    rows = [slice(start, start + BATCH) for start in range(0, len(frames), BATCH)]
    chunks = [policy.chunk({"frames": frames[row], "eef_state": eef_state[row]}) for row in rows]
    return np.concatenate(chunks)[:, 0, policy.interface.action.position_indices]


if __name__ == "__main__":
    data, *runs = sys.argv[1:]
    store = EpisodeStore.open(data)
    pairs = store.counterfactuals(store.training_seeds)
    print(f"{len(pairs['step'])} pairs of {len(store.training_seeds)} episodes")
    for run in runs:
        policy = load_checkpoint(run)
        positions = policy.interface.action.position_indices
        seen, moved = (
            next_targets(policy, pairs[name][:, -policy.num_frames :], pairs["eef_state"])
            for name in ("frames", "frames_moved")
        )
        wanted = (pairs["target_moved"] - pairs["target"])[:, positions]
        slope = float(cue_slope(torch.from_numpy(moved - seen), torch.from_numpy(wanted)))
        moves_mm = 1000 * np.linalg.norm(moved - seen, axis=1)
        print(f"{run}: cue slope {slope:.2f}; moves by {np.median(moves_mm):.1f} mm at the median", end="")
        print(f", the expert by {1000 * np.median(np.linalg.norm(wanted, axis=1)):.1f} mm")
