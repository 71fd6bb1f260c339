"""A small CNN of your own, trained in plain PyTorch and evaluated like any other policy, from the repository's root:
    smidgen-collect task=lift episodes=100 out=outputs/lift
    smidgen-collect task=lift episodes=20 split=validation out=outputs/held-out
    python examples/own_policy_cnn.py outputs/lift
    smidgen-eval policy=examples.own_policy_cnn:CNN demos=outputs/held-out train_demos=outputs/lift out=outputs/results
With episodes=10 it gave success 7/10, R^2 0.88 and cue slope 0.89 [0.86, 0.92]: it sees the cube.
"""

import sys

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.utils.data import DataLoader, RandomSampler

from smidgen import WindowDataset

WEIGHTS = "own_policy_cnn.safetensors"  # in the working directory


def network(num_actions):  # frames (B, 3, 64, 64) to normalised actions (B, A)
    stem = [layer for pair in ((3, 32), (32, 64), (64, 64)) for layer in (nn.Conv2d(*pair, 3, 2, 1), nn.ReLU())]
    return nn.Sequential(*stem, nn.Flatten(), nn.Linear(64 * 8 * 8, 256), nn.ReLU(), nn.Linear(256, num_actions))


def train(demos, steps=1500):
    torch.manual_seed(0)
    data = WindowDataset(demos)
    actions = torch.cat([torch.from_numpy(data.store.episode(seed).actions.copy()) for seed in data.seeds]).float()
    mean, deviation = actions.mean(0), actions.std(0).clamp(min=1e-3)
    model = network(len(mean))
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
    for batch in DataLoader(data, batch_size=64, sampler=RandomSampler(data, replacement=True, num_samples=64 * steps)):
        error = model(batch["frames"][:, -1].movedim(-1, 1) / 255) - (batch["actions"][:, 0] - mean) / deviation
        optimiser.zero_grad()
        error.square().mean().backward()
        optimiser.step()
    save_file({**model.state_dict(), "mean": mean, "deviation": deviation}, WEIGHTS)


class CNN:
    name, observes, files = "own-cnn", ("frames",), (WEIGHTS,)  # files: what the policy is made of besides its code

    def __init__(self):
        weights = load_file(WEIGHTS)
        self.mean, self.deviation = weights.pop("mean"), weights.pop("deviation")
        self.model = network(len(self.mean))
        self.model.load_state_dict(weights)

    def reset(self, num_episodes=1, seed=0): ...

    @torch.inference_mode()
    def act(self, observations):
        frames = torch.tensor(observations["frames"][:, 0]).movedim(-1, 1) / 255  # (B, camera 0, H, W, 3)
        return (self.model(frames) * self.deviation + self.mean).double().numpy()


if __name__ == "__main__":
    train(sys.argv[1], *map(int, sys.argv[2:]))
