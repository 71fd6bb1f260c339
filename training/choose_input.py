"""``transform=auto``: a rule looks at some training windows before the policy is built, and chooses its input.

What it chooses is a function of the training episodes and the settings alone, so that a resumed run chooses the same.
Held-out episodes are not looked at.
"""

from __future__ import annotations

import torch

from smidgen.policies.choose_transform import AUTO, Choice
from smidgen.policies.learned_policy import Interface
from smidgen.policies.normaliser import ActionNormaliser
from smidgen.training.config import TrainConfig
from smidgen.training.windows import Windows

MAX_WINDOWS = 128


def choose_input(config: TrainConfig, windows: Windows, interface: Interface) -> Choice | None:
    """Applies the rule of a run with ``transform=auto``; None for any other run.

    The rule's labels are the normalised actions of each window's first future step.

    Args:
        config: The run's settings.
        windows: Windows of the training episodes.
        interface: What the policy is connected to.
    """
    if config.policy.transform != AUTO:
        return None
    batch = windows.gather(windows.evenly_spaced(MAX_WINDOWS))
    normaliser = ActionNormaliser(interface.action)
    normaliser.fit(torch.from_numpy(windows.actions_NA))
    labels_BF = normaliser.encode(torch.from_numpy(batch.targets_BHA[:, 0]))
    frames_BTHWC = torch.from_numpy(batch.frames_BTHWC)
    return config.policy.choose_input(config.auto.auto_rule, frames_BTHWC, labels_BF, config.candidates())
