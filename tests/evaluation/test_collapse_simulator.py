"""The path slope in the real simulator, where the arm has mass and a controller."""

from typing import Any

import numpy as np
import pytest
import torch

from smidgen.envs.smidgen_tasks import GOAL_RANGES
from smidgen.envs.tasks import make_env
from smidgen.evaluation.collapse import judge, path_slope_parts
from smidgen.evaluation.expert_policy import ExpertPolicy
from smidgen.evaluation.rollout import rollout

TASK, SEEDS = "speck_16", range(10)


class Mixture(ExpertPolicy):
    """share * expert + (1 - share) * mean goal."""

    def __init__(self, share: float) -> None:
        super().__init__(TASK)
        self.share = share

    def act(self, observations: dict[str, Any]) -> np.ndarray:
        expert_BA = super().act(observations)
        goals = GOAL_RANGES[TASK]
        mean_A = np.append(np.mean([goals.low_m, goals.high_m], axis=0), expert_BA[0, 2])
        return self.share * expert_BA + (1 - self.share) * mean_A


@pytest.mark.simulator
def test_a_mixtures_arm_runs_paths_of_its_slope() -> None:
    env = make_env(TASK, observe_pixels=False)
    paths = {
        share: [torch.tensor(rollout(env, Mixture(share), seed).path_S3) for seed in SEEDS] for share in (0.0, 0.5, 1.0)
    }
    env.close()
    for share, label in {0.0: "blind", 0.5: "partly_blind", 1.0: "sees"}.items():
        parts = path_slope_parts(paths[share], paths[1.0])
        assert parts.slope == pytest.approx(share, abs=0.03)
        assert judge(None, parts).label == label
