"""smidgen-eval saliency policy=outputs/lift/raw out=outputs/saliency

Shows what a checkpoint looks at while it acts: for one success and one failure, the plain video, the same episode under
a heat map of the frames' pixels (policies/saliency.py), and a picture of a few moments.
On a 2-core CPU a success and a failure of Lift take about a minute, ``seeds=[0] method=attention`` a quarter of it. It
ends with a line per episode with the share of the saliency that lies on the cue.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from smidgen.envs.user_tasks import running_task
from smidgen.evaluation.env_spec import make_simulator, task_of_file
from smidgen.evaluation.protocol import SPLITS, evaluation_seeds
from smidgen.evaluation.records import Record, read_record
from smidgen.evaluation.watched_episode import (
    Pictures,
    RecordedEpisode,
    WatchedEpisode,
    episode_maps,
    full_heat,
    record_episode,
    require_method,
)
from smidgen.policies.checkpoint import checkpoint_sha256, load_checkpoint
from smidgen.policies.learned_policy import LearnedPolicy
from smidgen.policies.saliency import METHODS
from smidgen.runtime.command_line import command_help, compose_config, wants_help
from smidgen.runtime.errors import UserError, unknown_name
from smidgen.runtime.places import require_outside
from smidgen.runtime.settings import PathText

USAGE = "smidgen-eval saliency policy=CHECKPOINT out=DIR [key=value ...]"
SUMMARY = """
Makes videos of what a checkpoint looks at. For each episode it writes OUT/<task>-<name>-<seed>.mp4, the plain video;
the same with -<method>.mp4, as long, under a heat map of the pixels; and -<method>.png, a few moments of both.
Without seeds= it picks one success and one failure: from record=, preferring collapsed episodes to other
failures, or by trying seeds of the split.
"""
COLLAPSED = "collapsed"


@dataclass(frozen=True)
class SaliencyConfig:
    """Which checkpoint to watch, in which episodes, and by which method."""

    policy: PathText = field(metadata={"help": "a checkpoint, or its training run"})
    out: PathText = field(metadata={"help": "directory of the videos and pictures"})
    task: str = field(default="", metadata={"help": "the checkpoint's, if it is your module:Class"})
    transform: str | None = field(default=None, metadata={"help": "the checkpoint's, if it is your module:Class"})
    method: str = field(default="input", metadata={"help": f"saliency: {', '.join(METHODS)} (smooth: 8 times as long)"})
    record: PathText | None = field(default=None, metadata={"help": "the checkpoint's record, to choose episodes from"})
    seeds: tuple[int, ...] = field(default=(), metadata={"help": "episodes, as seeds or offsets inside the split"})
    split: str = field(default="checkpoint", metadata={"help": f"seeds: {', '.join(SPLITS)}; record= brings its own"})
    episodes: int = field(default=20, metadata={"help": "seeds to try for a success and a failure, at most"})
    scale: float | None = field(
        default=None, metadata={"help": "saliency at full heat, to compare runs; null: from this run's videos"}
    )

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise unknown_name("saliency method", self.method, METHODS)
        if self.record is not None and self.seeds:
            raise UserError("record= and seeds= both choose the episodes; give only one of them")
        if self.scale is not None and not self.scale > 0:
            raise UserError(f"expected scale above 0, got {self.scale}; null takes it from the videos")


def chosen_seeds(record: Record) -> list[int]:
    """The first success of a record, and its first collapsed episode, or else its first failure."""
    successes = [row for row in record["episodes"] if row["success"]]
    failures = [row for row in record["episodes"] if not row["success"]]
    failures.sort(key=lambda row: row["label"] != COLLAPSED)
    return [row["seed"] for row in (*successes[:1], *failures[:1])]


def watch(config: SaliencyConfig, make: Callable[..., Any] = make_simulator) -> list[Path]:
    """Runs the episodes and writes their videos and pictures.

    Args:
        config: What to watch.
        make: Makes the environment, from task, cameras and image size.

    Returns:
        The overlay videos.

    Raises:
        UserError: For a policy that is not a checkpoint, a record of another, a method that does not apply, or seeds
            outside the split.
    """
    sha256 = checkpoint_sha256(config.policy)
    policy = load_checkpoint(config.policy, transform=config.transform)
    record = _open_record(config)
    seeds = _wanted_seeds(config, record)
    require_method(policy, config.method)
    interface = policy.interface
    task = task_of_file(interface.task, config.task, f"{config.policy} was trained with")
    with (
        contextlib.closing(make(task, interface.cameras, interface.image_size)) as env,
        running_task(task, "an episode"),
    ):
        wanted = {seed: record_episode(env, policy, seed) for seed in seeds} if seeds else _search(config, env, policy)
        control_hz = env.unwrapped.task.control_hz
    labels = {row["seed"]: row["label"] for row in record["episodes"]} if record else {}
    watched = []
    for seed, episode in wanted.items():
        maps_SNHW, label = episode_maps(policy, episode.video, config.method), _label(episode, labels.get(seed))
        watched.append(WatchedEpisode(episode.result, episode.video, maps_SNHW, label))
    name = record["policy"]["name"] if record else policy.name
    scale = config.scale or full_heat(watched)
    pictures = Pictures(Path(config.out), interface.task, name, config.method, scale, control_hz, sha256)
    return [pictures.write(episode) for episode in watched]


def _open_record(config: SaliencyConfig) -> Record | None:
    if config.record is None:
        return None
    record = read_record(config.record)
    if record["policy"]["checkpoint_sha256"] != checkpoint_sha256(config.policy):
        raise UserError(
            f"{config.record} is the record of another policy ({record['policy']['name']!r}) than {config.policy}; "
            "expected one of this checkpoint"
        )
    return record


def _wanted_seeds(config: SaliencyConfig, record: Record | None) -> list[int]:
    """The seeds that are known before the first episode; none where they are to be searched for."""
    if record is not None:
        return chosen_seeds(record)
    if not config.seeds:
        evaluation_seeds(config.split, 0, config.episodes)
    return [evaluation_seeds(config.split, seed, 1)[0] for seed in config.seeds]


def _search(config: SaliencyConfig, env: Any, policy: LearnedPolicy) -> dict[int, RecordedEpisode]:
    """The first success and the first failure among the split's first seeds, as far as there are any."""
    found: dict[bool, RecordedEpisode] = {}
    for seed in evaluation_seeds(config.split, 0, config.episodes):
        episode = record_episode(env, policy, seed)
        found.setdefault(episode.result.row["success"], episode)
        if len(found) == 2:
            break
    else:
        missing = "failure" if True in found else "success"
        print(f"warning: no {missing} in {config.episodes} episodes; episodes=... tries more", file=sys.stderr)
    return {episode.result.row["seed"]: episode for _, episode in sorted(found.items(), reverse=True)}


def _label(episode: RecordedEpisode, recorded: str | None) -> str:
    """The label of the episode's outcome; a record's takes precedence, as collapse needs other episodes."""
    row = episode.result.row
    if recorded is None or recorded == row["label"]:
        return row["label"]
    if recorded == COLLAPSED and not row["success"]:
        return recorded
    print(
        f"warning: seed {row['seed']} ended here with {row['label']!r}, in the record with {recorded!r}; "
        "another machine gives other last bits",
        file=sys.stderr,
    )
    return row["label"]


def saliency(arguments: list[str]) -> None:
    """Body of the command.

    Raises:
        UserError: For a mistake in the arguments.
    """
    if wants_help(arguments):
        print(command_help(USAGE, SUMMARY, SaliencyConfig))
        return
    config = compose_config(SaliencyConfig, arguments)
    require_outside(config.out)
    watch(config)
