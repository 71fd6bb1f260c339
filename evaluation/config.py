"""What to evaluate: the settings of smidgen-eval."""

from __future__ import annotations

from dataclasses import dataclass, field

from smidgen.evaluation.records import RESERVED_ENDINGS
from smidgen.evaluation.tracks import require_whole_track
from smidgen.runtime.engine import EngineSettings
from smidgen.runtime.errors import UserError
from smidgen.runtime.flat_config import later
from smidgen.runtime.schemas import NAME_PATTERN
from smidgen.runtime.settings import PathText
from smidgen.runtime.workers import EPISODE_LIMIT_S


@dataclass(frozen=True)
class EvalConfig(EngineSettings):
    """What to evaluate; ``workers``, ``keep_going``, ``episode_limit_s``, ``out`` and the engine leave no trace."""

    policy: PathText = field(
        metadata={"help": "expert, ..., DIR, zoo:NAME, module:Class, process:COMMAND, remote:HOST:PORT"}
    )
    out: PathText = field(metadata={"help": "directory of the records; their videos go to OUT/videos"})
    task: str = field(default="", metadata={"help": "task, all or module:Class; empty: the checkpoint's, demos', lift"})
    episodes: int = field(default=200, metadata={"help": "episodes, one per test seed; a full entry has 200"})
    split: str = field(default="test", metadata={"help": "seeds: test, or checkpoint for choosing (never ranked)"})
    track: str = field(default="", metadata={"help": "leaderboard track, e.g. cpu-standard-1; empty: none"})
    seed_start: int = field(default=0, metadata={"help": "first seed, as an offset inside the split or absolute"})
    workers: int = field(default=2, metadata={"help": "worker processes (0: this one); does not affect results"})
    demos: PathText | None = field(
        default=None, metadata={"help": "held-out demonstrations, for R^2, skills and cue slope"}
    )
    train_demos: PathText | None = field(default=None, metadata={"help": "training ones: baselines, time-mean skill"})
    twin: PathText | None = later(None, "same network trained with the cue hidden: cue skill")
    transform: str | None = field(default=None, metadata={"help": "the checkpoint's, if it is your module:Class"})
    videos: int = field(default=4, metadata={"help": "number of first episodes to record as videos"})
    windows: int = field(default=512, metadata={"help": "held-out steps to predict, at most"})
    image_size: int = field(default=0, metadata={"help": "pixels; 0: the checkpoint's, the demos', else 64"})
    name: str | None = field(default=None, metadata={"help": "the row's label; by default the policy's name"})
    overwrite: bool = field(default=False, metadata={"help": "run every episode again and replace the record"})
    keep_going: bool = field(default=False, metadata={"help": "count a policy's errors as failures; else stop"})
    episode_limit_s: float = field(
        default=EPISODE_LIMIT_S, metadata={"help": "replace a worker that takes longer for an episode; 0: no limit"}
    )

    def __post_init__(self) -> None:
        lowest = {"workers": 0, "videos": 0, "windows": 2, "image_size": 0, "episodes": 1, "episode_limit_s": 0}
        for name, least in lowest.items():
            if getattr(self, name) < least:
                raise UserError(f"expected {name} >= {least}, got {getattr(self, name)}")
        self.check_engine()
        require_whole_track(self.track, self.split, self.seed_start, self.episodes)
        if self.name is not None:
            require_file_name(self.name)


def require_file_name(name: str) -> None:
    """Refuses a row's label that cannot be part of a file's name."""
    if not NAME_PATTERN.fullmatch(name):
        raise UserError(f"expected name of letters, digits, '.', '_', '+' and '-', got {name!r}; give name=...")
    if name.lower().endswith(RESERVED_ENDINGS):
        ending = name[name.rindex(".") :]
        raise UserError(
            f"name {name!r} ends with {ending!r}, which is reserved for files beside a record; choose another name=..."
        )
