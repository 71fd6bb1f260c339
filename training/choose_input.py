"""``transform=auto``: a rule looks at some training windows before the policy is built, and chooses its input.

What it chooses is a function of the training episodes and the settings alone, so that a resumed run chooses the same.
Held-out episodes are not looked at.
"""

from __future__ import annotations

import dataclasses

import torch

from smidgen.policies.choose_transform import AUTO, Choice, choose_transform
from smidgen.policies.learned_policy import Interface, LearnedPolicyConfig
from smidgen.policies.normaliser import ActionNormaliser
from smidgen.policies.perceiver_policy import PerceiverPolicyConfig
from smidgen.training.config import AutoInput, TrainConfig
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
    policy = config.policy
    if not isinstance(policy, PerceiverPolicyConfig) or policy.network.transform != AUTO:
        return None
    assert isinstance(config.auto, AutoInput)
    batch = windows.gather(windows.evenly_spaced(MAX_WINDOWS))
    frames_BTHWC = torch.from_numpy(batch.frames_BTHWC)
    *grid, channels = frames_BTHWC.shape[1:]
    token_grid, token_channels = ((*grid, channels), 1) if policy.network.byte_tokens else (tuple(grid), channels)
    normaliser = ActionNormaliser(interface.action)
    normaliser.fit(torch.from_numpy(windows.actions_NA))
    return choose_transform(
        config.auto.auto_rule,
        frames_BTHWC.float().div_(255.0).flatten(1).unflatten(1, (-1, token_channels)),
        normaliser.encode(torch.from_numpy(batch.targets_BHA[:, 0])),
        config.candidates(),
        grid=token_grid,
        network=policy.network,
    )


def with_input(policy: LearnedPolicyConfig, choice: Choice | None) -> LearnedPolicyConfig:
    """The policy's settings with the input that was chosen; unchanged where nothing was."""
    if choice is None:
        return policy
    assert isinstance(policy, PerceiverPolicyConfig)
    return dataclasses.replace(policy, network=choice.chosen.applied_to(policy.network))
