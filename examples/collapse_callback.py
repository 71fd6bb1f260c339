"""Is the policy going blind while it trains? Three lines in three kinds of training loop:
    monitor = CollapseMonitor()
    monitor.update(step, prediction, target)  # held out
    print(monitor.warning or monitor.status)
The warning ends with the command that tells more, smidgen-check (docs/check.md). Without a policy at hand:
    python examples/collapse_callback.py
"""

import torch

from smidgen.evaluation.collapse import CollapseMonitor


def train(model, training, held_out, steps=200, every=50):
    """A plain loop over (inputs, targets)."""
    monitor, optimiser = CollapseMonitor(), torch.optim.Adam(model.parameters(), lr=1e-2)
    for step in range(steps + 1):
        if step % every == 0:
            with torch.no_grad():
                monitor.update(step, model(held_out[0]), held_out[1])
            print(monitor.warning or monitor.status)
        error = (model(training[0]) - training[1]).square().mean()
        optimiser.zero_grad()
        error.backward()
        optimiser.step()
    return monitor


class LightningCallback:
    """For Lightning: class Mine(LightningCallback, lightning.pytorch.Callback), Trainer(callbacks=[Mine()]).

    ``validation_step`` of your module returns {"prediction": ..., "target": ...}.
    """

    def __init__(self):
        self.monitor = CollapseMonitor()

    def on_validation_batch_end(self, trainer, module, outputs, batch, batch_idx, dataloader_idx=0):
        if batch_idx == 0:
            self.monitor.update(trainer.global_step, outputs["prediction"], outputs["target"])
            print(self.monitor.warning or self.monitor.status)


def after_lerobot_step(monitor, policy, batch, step):
    """For LeRobot's training loop, with a held-out batch that went through the preprocessor."""
    is_training = policy.training
    with torch.no_grad():
        chunk = policy.predict_action_chunk(batch)  # (B, chunk, A), as normalised as the batch's actions; sets eval()
    monitor.update(step, chunk, batch["action"][:, : chunk.shape[1]])
    print(monitor.warning or monitor.status)
    policy.train(is_training)


if __name__ == "__main__":
    torch.manual_seed(0)
    pictures, targets = torch.randn(256, 8), torch.randn(256, 2)
    train(torch.nn.Linear(8, 2), (pictures[:128], targets[:128]), (pictures[128:], targets[128:]))
