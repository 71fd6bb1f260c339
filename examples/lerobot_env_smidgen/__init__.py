"""smidgen's tasks in LeRobot 0.4.4, whose evaluation imports this package (its parent folder on PYTHONPATH):

    PYTHONPATH=examples lerobot-eval --env.discover_packages_path=lerobot_env_smidgen --env.type=smidgen \
        --env.task=Lift-v0 --eval.n_episodes=10 --eval.batch_size=2 --policy.path=outputs/act/pretrained_model

LeRobot seeds the episodes from --seed on; smidgen-eval's test seeds begin at TEST_SEED.
"""

from dataclasses import dataclass, field

import gymnasium
from lerobot.configs.types import FeatureType, PolicyFeature
from lerobot.envs.configs import EnvConfig

from smidgen.envs.tasks import TASKS

BY_ID = {task.env_id.partition("/")[2]: task for task in TASKS.values()}

for name, task in BY_ID.items():
    gymnasium.register(
        f"{__name__}/{name}",
        "smidgen.envs.lerobot_names:make_lerobot_env",
        kwargs={"task": task.name},
        order_enforce=False,  # LeRobot looks for the task's name on the outermost wrapper
    )


@EnvConfig.register_subclass("smidgen")
@dataclass
class SmidgenEnv(EnvConfig):
    task: str | None = "Lift-v0"
    fps: int = 20
    image_size: int = 64
    cameras: list[str] = field(default_factory=list)  # the task's own by default

    def __post_init__(self):
        if self.task not in BY_ID:
            raise ValueError(f"unknown --env.task={self.task}; valid: {', '.join(sorted(BY_ID))}")
        task = BY_ID[self.task]
        self.cameras = self.cameras or list(task.cameras)
        picture = PolicyFeature(type=FeatureType.VISUAL, shape=(self.image_size, self.image_size, 3))
        self.features = {
            "action": PolicyFeature(type=FeatureType.ACTION, shape=(task.action.size,)),
            "agent_pos": PolicyFeature(type=FeatureType.STATE, shape=(len(task.eef_state_names),)),
            **{f"pixels/{camera}": picture for camera in self.cameras},
        }
        self.features_map = {
            "action": "action",
            "agent_pos": "observation.state",
            **{f"pixels/{camera}": f"observation.images.{camera}" for camera in self.cameras},
        }

    @property
    def package_name(self):
        return __name__

    @property
    def gym_kwargs(self):
        return {"cameras": tuple(self.cameras), "image_size": self.image_size}
