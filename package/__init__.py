"""Does a robot policy notice a smidgen of change in its input, or does it play back the average?

The public names. Each is imported on first access: ``import smidgen`` loads neither PyTorch nor the simulator.
"""

from importlib.metadata import version as _version
from typing import TYPE_CHECKING

from smidgen.runtime.lazy_names import lazy_names as _lazy_names
from smidgen.runtime.waiting_policy import limit_spinning_in_modules as _limit_spinning_in_modules

_limit_spinning_in_modules()

if TYPE_CHECKING:
    from smidgen.data_collection.experts.expert import Expert
    from smidgen.data_collection.store import EpisodeStore
    from smidgen.envs.robosuite_env import RobosuiteEnv
    from smidgen.envs.specs import TaskSpec
    from smidgen.envs.tasks import make_env
    from smidgen.evaluation.collapse import CollapseMonitor
    from smidgen.policies.checkpoint import load_checkpoint
    from smidgen.policies.policy import Policy, load_policy
    from smidgen.policies.transforms.base import InputTransform
    from smidgen.runtime.action_spec import ActionSpec
    from smidgen.runtime.errors import UserError
    from smidgen.training.windows import WindowDataset
else:
    __getattr__, __dir__ = _lazy_names(
        __name__,
        {
            "ActionSpec": "smidgen.runtime.action_spec",
            "CollapseMonitor": "smidgen.evaluation.collapse",
            "EpisodeStore": "smidgen.data_collection.store",
            "Expert": "smidgen.data_collection.experts.expert",
            "InputTransform": "smidgen.policies.transforms.base",
            "Policy": "smidgen.policies.policy",
            "RobosuiteEnv": "smidgen.envs.robosuite_env",
            "TaskSpec": "smidgen.envs.specs",
            "UserError": "smidgen.runtime.errors",
            "WindowDataset": "smidgen.training.windows",
            "load_checkpoint": "smidgen.policies.checkpoint",
            "load_policy": "smidgen.policies.policy",
            "make_env": "smidgen.envs.tasks",
        },
    )

__all__ = [
    "ActionSpec",
    "CollapseMonitor",
    "EpisodeStore",
    "Expert",
    "InputTransform",
    "Policy",
    "RobosuiteEnv",
    "TaskSpec",
    "UserError",
    "WindowDataset",
    "__version__",
    "load_checkpoint",
    "load_policy",
    "make_env",
]

__version__ = _version("smidgen")
