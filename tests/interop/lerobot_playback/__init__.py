"""A LeRobot policy that plays back recorded actions, and keeps what it observed. LeRobot imports it by name."""

from dataclasses import dataclass

import numpy as np
import torch
from lerobot.configs.policies import PreTrainedConfig
from lerobot.policies.pretrained import PreTrainedPolicy
from lerobot.processor import PolicyProcessorPipeline
from lerobot.processor.converters import policy_action_to_transition, transition_to_policy_action


@PreTrainedConfig.register_subclass("playback")
@dataclass
class PlaybackConfig(PreTrainedConfig):
    actions: str = ""  # a .npy file (episodes, steps, A) float32
    observed: str = ""  # a folder to write to

    def validate_features(self):
        pass

    def get_optimizer_preset(self):
        raise NotImplementedError

    def get_scheduler_preset(self):
        return None

    @property
    def observation_delta_indices(self):
        return None

    @property
    def action_delta_indices(self):
        return None

    @property
    def reward_delta_indices(self):
        return None


class PlaybackPolicy(PreTrainedPolicy):
    config_class, name = PlaybackConfig, "playback"

    def __init__(self, config, **kwargs):
        super().__init__(config)
        self.actions = torch.from_numpy(np.load(config.actions, allow_pickle=False))
        self.first, self.size, self.step = 0, 0, 0

    def reset(self):
        self.first, self.step = self.first + self.size, 0

    def select_action(self, batch):
        images = {key: value for key, value in batch.items() if key.startswith("observation.images.")}
        self.size = len(next(iter(images.values())))
        observed = {**images, "observation.state": batch["observation.state"]}
        arrays = {key: value.numpy() for key, value in observed.items()}
        path = f"{self.config.observed}/{self.first:03d}-{self.step:03d}.npz"
        np.savez(path, task=np.array(batch["task"]), **arrays)
        self.step += 1
        return self.actions[self.first : self.first + self.size, self.step - 1]

    def predict_action_chunk(self, batch):
        raise NotImplementedError

    def forward(self, batch):
        raise NotImplementedError

    def get_optim_params(self):
        return []


def make_playback_pre_post_processors(config, dataset_stats=None):
    return PolicyProcessorPipeline(steps=[]), PolicyProcessorPipeline(
        steps=[], to_transition=policy_action_to_transition, to_output=transition_to_policy_action
    )
