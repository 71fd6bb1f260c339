"""What to collect: the settings of smidgen-collect, and which of them decide a data set's bytes."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from smidgen.data_collection.experts import EXPERTS, find_expert
from smidgen.envs.seeds import seeds
from smidgen.envs.tasks import named_task
from smidgen.envs.user_tasks import task_code
from smidgen.runtime.engine import ENGINE_KEYS, EngineSettings
from smidgen.runtime.errors import UserError, unknown_name
from smidgen.runtime.files import canonical_json
from smidgen.runtime.settings import PathText
from smidgen.runtime.user_modules import is_class_spec
from smidgen.runtime.workers import EPISODE_LIMIT_S

SPLITS = ("demonstrations", "validation")
# Output directory, number of processes, time limit and engine do not affect the data.
_NOT_IDENTITY = ("out", "workers", "episode_limit_s", *ENGINE_KEYS)
_LATER_SETTINGS = ("expert_variation", "hide_cue")


@dataclass(frozen=True)
class CollectConfig(EngineSettings):
    """What to collect; all fields but ``out``, ``workers``, ``episode_limit_s`` and the engine identify it."""

    task: str = field(metadata={"help": "task to demonstrate, e.g. lift, or module:Class"})
    out: PathText = field(metadata={"help": "directory of the data set"})
    episodes: int = field(default=100, metadata={"help": "attempts; failed ones are kept, but not trained on"})
    seed_start: int = field(default=0, metadata={"help": "first seed, as an offset inside the split"})
    split: str = field(default="demonstrations", metadata={"help": f"seed range: {' or '.join(SPLITS)}"})
    workers: int = field(default=2, metadata={"help": "worker processes (0: this one); does not affect the data"})
    image_size: int = field(default=64, metadata={"help": "width and height of a frame in pixels"})
    cameras: tuple[str, ...] = field(default=(), metadata={"help": "camera names; empty: the task's default"})
    render_profile: str = field(default="v0", metadata={"help": "render profile of the environment"})
    counterfactuals_per_episode: int = field(default=2, metadata={"help": "steps rendered with cue moved and hidden"})
    history: int = field(default=4, metadata={"help": "frames of history in each counterfactual pair"})
    action_noise_m: float = field(default=0.0, metadata={"help": "sd of noise on executed positions, not on labels"})
    expert_variation: float = field(
        default=0.0, metadata={"help": "how much the expert's pace and approach vary between episodes, 0 to 1"}
    )
    hide_cue: bool = field(default=False, metadata={"help": "render all frames without the cue, to train a blind twin"})
    episode_limit_s: float = field(
        default=EPISODE_LIMIT_S, metadata={"help": "replace a worker that takes longer for an attempt; 0: no limit"}
    )

    def __post_init__(self) -> None:
        # Resolved here, so that naming the default cameras and omitting them are the same configuration.
        object.__setattr__(self, "cameras", tuple(self.cameras) or named_task(self.task).cameras)
        self.check_engine()
        if self.split not in SPLITS:
            raise unknown_name("split", self.split, SPLITS)
        least = {"image_size": 1, "history": 1, "workers": 0, "counterfactuals_per_episode": 0, "episode_limit_s": 0}
        for name, lowest in least.items():
            if getattr(self, name) < lowest:
                raise UserError(f"expected {name} of at least {lowest}, got {getattr(self, name)}")
        if not 0.0 <= self.action_noise_m <= 1.0:
            raise UserError(f"expected action_noise_m in 0..1 m, got {self.action_noise_m}")
        if not 0.0 <= self.expert_variation <= 1.0:
            raise UserError(f"expected expert_variation in 0..1, got {self.expert_variation}")
        if find_expert(self.task) is None:
            if is_class_spec(self.task):
                raise UserError(f"task {self.task!r:.200} has no expert; set expert, a subclass of smidgen.Expert")
            raise unknown_name("expert for task", self.task, EXPERTS)
        seeds(self.split, self.seed_start, self.episodes)

    @property
    def seeds(self) -> range:
        """The attempts, in order."""
        return seeds(self.split, self.seed_start, self.episodes)

    def identity(self) -> dict[str, Any]:
        """The settings that determine the data set's bytes, as read back from JSON."""
        settings = {name: value for name, value in asdict(self).items() if name not in _NOT_IDENTITY}
        for name in _LATER_SETTINGS:
            # Data sets made before this setting existed keep their identity.
            if not settings[name]:
                del settings[name]
        if code := task_code(self.task):
            settings["task_code"] = code
        return dict(json.loads(canonical_json(settings)))
