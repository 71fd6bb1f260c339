"""From the command line to a plan: which policy, which seeds, which held-out windows, and the record's fixed part."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from smidgen.data_collection.store import EpisodeStore
from smidgen.envs.seeds import SEED_RANGES
from smidgen.envs.specs import TaskSpec
from smidgen.envs.tasks import named_task
from smidgen.envs.user_tasks import task_code, task_code_sha256
from smidgen.evaluation.env_spec import EnvSpec, find_env_spec, make_simulator
from smidgen.evaluation.held_out_predictions import spread_steps
from smidgen.evaluation.policy_source import PolicySource, build_card
from smidgen.evaluation.protocol import HOLD_STEPS, PROTOCOL_VERSION, SPLITS, evaluation_seeds
from smidgen.evaluation.record_schema import SCHEMA_VERSION, PolicyCard
from smidgen.evaluation.records import RESERVED_ENDINGS, find_records, record_path
from smidgen.evaluation.statistics import CONFIDENCE
from smidgen.evaluation.video_files import video_name
from smidgen.policies.checkpoint import RUN_CHECKPOINT, checkpoint_sha256, read_checkpoint_card, resolve_checkpoint
from smidgen.policies.policy import Policy
from smidgen.runtime.errors import UserError
from smidgen.runtime.places import require_outside
from smidgen.runtime.schemas import NAME_PATTERN
from smidgen.runtime.settings import PathText
from smidgen.runtime.workers import EPISODE_LIMIT_S

MAX_CURVE_ROWS = 400
PACKAGES = ("smidgen", "torch", "numpy", "mujoco", "robosuite")


@dataclass(frozen=True)
class EvalConfig:
    """What to evaluate; ``workers``, ``keep_going``, ``episode_limit_s`` and ``out`` leave no trace in the record."""

    policy: PathText = field(metadata={"help": "expert, random, noop, mean_action, ..., checkpoint or module:Class"})
    out: PathText = field(metadata={"help": "directory of the records; their videos go to OUT/videos"})
    task: str = field(default="", metadata={"help": "task, all or module:Class; empty: the checkpoint's, demos', lift"})
    episodes: int = field(default=200, metadata={"help": "episodes, one per test seed; a full entry has 200"})
    split: str = field(default="test", metadata={"help": "seeds: test, or checkpoint for choosing (never ranked)"})
    seed_start: int = field(default=0, metadata={"help": "first seed, as an offset inside the split or absolute"})
    workers: int = field(default=2, metadata={"help": "worker processes (0: this one); changes no byte"})
    demos: PathText | None = field(
        default=None, metadata={"help": "held-out demonstrations, for R^2, skills, cue slope"}
    )
    train_demos: PathText | None = field(default=None, metadata={"help": "training ones: baselines, time-mean skill"})
    twin: PathText | None = field(
        default=None, metadata={"help": "same network trained with the cue hidden: cue skill"}
    )
    transform: str | None = field(default=None, metadata={"help": "the checkpoint's, if it is your module:Class"})
    videos: int = field(default=4, metadata={"help": "first episodes to film"})
    windows: int = field(default=512, metadata={"help": "held-out steps to predict, at most"})
    image_size: int = field(default=0, metadata={"help": "pixels; 0: the checkpoint's, the demos', else 64"})
    name: str | None = field(default=None, metadata={"help": "the row's label; the policy's own by default"})
    overwrite: bool = field(default=False, metadata={"help": "run every episode again and replace the record"})
    keep_going: bool = field(default=False, metadata={"help": "count a policy's errors as failures; else stop at one"})
    episode_limit_s: float = field(
        default=EPISODE_LIMIT_S, metadata={"help": "a worker that takes longer for an episode is replaced; 0: no limit"}
    )

    def __post_init__(self) -> None:
        lowest = {"workers": 0, "videos": 0, "windows": 2, "image_size": 0, "episodes": 1, "episode_limit_s": 0}
        for name, least in lowest.items():
            if getattr(self, name) < least:
                raise UserError(f"expected {name} >= {least}, got {getattr(self, name)}")
        if self.name is not None:
            _require_file_name(self.name)


@dataclass(frozen=True, eq=False)
class Plan:
    """An evaluation that has passed every check that needs no simulator.

    Attributes:
        config: As given.
        source: The policy, as workers build it.
        card: The policy's card.
        task: The task's specification.
        env_spec: The environment to run in.
        seeds: The test seeds.
        demos: Held-out demonstrations, if any.
        train_demos: Training demonstrations, if any.
        twin: The policy's twin that was trained with the cue hidden, if any.
        steps: Held-out steps to predict, by seed; empty where the policy cannot be measured.
        unmeasured_reason: Why nothing can be measured on held-out demonstrations, or "".
        fixed: The part of the record that is known before the first episode.
    """

    config: EvalConfig
    source: PolicySource
    card: PolicyCard
    task: TaskSpec
    env_spec: EnvSpec
    seeds: range
    demos: EpisodeStore | None
    train_demos: EpisodeStore | None
    twin: PolicySource | None
    steps: dict[int, tuple[int, ...]]
    unmeasured_reason: str
    fixed: dict[str, Any]

    @property
    def record_path(self) -> Path:
        """Where the record will stand."""
        return record_path(self.config.out, self.task.name, self.card["name"])


def make_plan(config: EvalConfig, make: Callable[..., Any] = make_simulator) -> Plan:
    """Checks everything that needs no simulator.

    Args:
        config: What to evaluate.
        make: Makes the environment, from task, cameras and image size.

    Raises:
        UserError: For an unknown task or policy, a checkpoint of another task or frame size than was asked for, seeds
            outside the test range, demonstrations of another task or with seeds of the training set, a damaged data set
            or checkpoint.
    """
    require_outside(config.out)
    env_spec = _find_env_spec(config, make)
    config = replace(config, task=env_spec.task, image_size=env_spec.image_size)
    task = named_task(config.task)
    _require_protocol(task)
    seeds = evaluation_seeds(config.split, config.seed_start, config.episodes)
    source = PolicySource(config.policy, config.task, config.train_demos, config.transform)
    train_demos, demos = (_open_demos(path, task.name) for path in (config.train_demos, config.demos))
    policy = source.build()
    card = build_card(source, policy, config.name)
    _require_file_name(card["name"])
    source = source.pinned(card)
    _require_own_record(record_path(config.out, task.name, card["name"]))
    _require_disjoint(card, demos, train_demos)
    twin = _open_twin(config, task, demos, train_demos)
    reason = _why_unmeasured(policy, env_spec, demos)
    steps = {} if reason or demos is None else spread_steps(demos, config.windows)
    fixed = _fixed_part(config, card, task, seeds, env_spec, demos, train_demos)
    if twin is not None:
        fixed["config"]["twin_sha256"] = checkpoint_sha256(twin.spec)
    return Plan(config, source, card, task, env_spec, seeds, demos, train_demos, twin, steps, reason, fixed)


def _find_env_spec(config: EvalConfig, make: Callable[..., Any]) -> EnvSpec:
    source = PolicySource(config.policy, config.task, config.train_demos, config.transform)
    source.check()
    found = find_env_spec(source, config.image_size, config.demos)
    return replace(found, make=make, code_sha256=task_code_sha256(found.task))


def _open_twin(
    config: EvalConfig, task: TaskSpec, demos: EpisodeStore | None, train_demos: EpisodeStore | None
) -> PolicySource | None:
    if config.twin is None:
        return None
    source = PolicySource(config.twin, config.task, transform=config.transform)
    source.check()
    if source.kind != "checkpoint" or demos is None:
        raise UserError(f"expected twin= a checkpoint, beside demos=DIR, got twin={config.twin} demos={config.demos}")
    trained_on = read_checkpoint_card(config.twin)["task"]
    if trained_on != task.name:
        raise UserError(
            f"twin {config.twin} was trained on task {trained_on!r:.60}, policy {config.policy} is evaluated on "
            f"{task.name!r}; expected the same network, trained on the same task with hide_cue=true"
        )
    card = build_card(source, source.build(), None)
    _require_disjoint(card, demos, train_demos)
    return source.pinned(card)


def _require_protocol(task: TaskSpec) -> None:
    if task.hold_steps != HOLD_STEPS:
        raise UserError(
            f"task {task.name!r}: expected task.hold_steps={HOLD_STEPS}, as the protocol of evaluations has it, got "
            f"{task.hold_steps}"
        )


def _require_file_name(name: str) -> None:
    if not NAME_PATTERN.fullmatch(name):
        raise UserError(f"expected name of letters, digits, '.', '_', '+' and '-', got {name!r}; give name=...")
    if name.lower().endswith(RESERVED_ENDINGS):
        ending = name[name.rindex(".") :]
        raise UserError(
            f"name {name!r} ends with {ending!r}, as files beside a record do; give name=... another ending"
        )


def _require_own_record(path: Path) -> None:
    """Names that differ in capitals alone are one file on some file systems."""
    for other in find_records(path.parent):
        if other.name.lower() == path.name.lower() and other.name != path.name:
            raise UserError(f"{path} and {other} are one file on some file systems; give name=... another name")


def _open_demos(directory: str | None, task: str) -> EpisodeStore | None:
    if directory is None:
        return None
    store = EpisodeStore.open(directory)
    if store.manifest["task"] != task:
        raise UserError(
            f"{directory} holds task {store.manifest['task']!r}, expected {task!r}; use demonstrations of it"
        )
    if not store.training_seeds:
        raise UserError(f"{directory} holds no successful episode; collect more")
    return store


def _require_disjoint(card: PolicyCard, demos: EpisodeStore | None, train_demos: EpisodeStore | None) -> None:
    """A test seed is never trained on, and held-out means held out."""
    bounds = card["data_set_seeds"]
    if bounds and bounds[1] >= min(SEED_RANGES[split].start for split in SPLITS):
        raise UserError(
            f"policy {card['name']!r} was trained on seeds up to {bounds[1]}, inside an evaluation's range; refused"
        )
    if demos is None:
        return
    if bounds and any(bounds[0] <= seed <= bounds[1] for seed in demos.seeds):
        raise UserError(
            f"{demos.directory} holds seeds between {bounds[0]} and {bounds[1]}, on which policy {card['name']!r} was "
            "trained; expected held-out demonstrations: collect some with split=validation"
        )
    if train_demos is not None and set(train_demos.seeds) & set(demos.seeds):
        raise UserError(f"{demos.directory} and {train_demos.directory} share seeds; demos= are the held-out ones")


def _why_unmeasured(policy: Policy, env_spec: EnvSpec, demos: EpisodeStore | None) -> str:
    if demos is None:
        return "needs demos=DIR, held-out demonstrations"
    if "privileged" in policy.observes:
        return "the policy observes privileged state, which demonstrations do not store"
    seen = (list(demos.manifest["cameras"]), demos.manifest["image_size"])
    wanted = (list(env_spec.cameras), env_spec.image_size)
    if "frames" in policy.observes and seen != wanted:
        return f"the demonstrations were filmed with {seen}, the policy sees {wanted}"
    return ""


def _fixed_part(
    config: EvalConfig,
    card: PolicyCard,
    task: TaskSpec,
    seeds: range,
    env_spec: EnvSpec,
    demos: EpisodeStore | None,
    train_demos: EpisodeStore | None,
) -> dict[str, Any]:
    filmed = list(seeds)[: config.videos]
    return {
        "schema_version": SCHEMA_VERSION,
        "task": task.name,
        "policy": card,
        "protocol": {
            "version": PROTOCOL_VERSION,
            "split": config.split,
            "seed_start": seeds[0],
            "episodes": len(seeds),
            "horizon": task.horizon,
            "hold_steps": HOLD_STEPS,
            "control_hz": task.control_hz,
            "confidence": CONFIDENCE,
            "inference": "batch of one on one thread",
        },
        "config": {
            # A checkpoint is known by its hash; the path it lay at says nothing to a reader elsewhere.
            "policy": "checkpoint" if card["kind"] == "checkpoint" else config.policy,
            "cameras": list(env_spec.cameras),
            "image_size": env_spec.image_size,
            "windows": config.windows,
            "demos_sha256": demos.sha256 if demos else None,
            "train_demos_sha256": train_demos.sha256 if train_demos else None,
            **({"task": config.task, "task_code": code} if (code := task_code(config.task)) else {}),
        },
        "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
        "training_curve": read_curve(config.policy) if card["kind"] == "checkpoint" else [],
        "videos": [{"seed": seed, "file": video_name(task.name, card["name"], seed)} for seed in filmed],
    }


def read_curve(checkpoint: str) -> list[dict[str, Any]]:
    """Validation rows of the run's metrics.jsonl, thinned evenly; [] if the checkpoint lies outside of a run.

    Raises:
        UserError: If a row is no JSON object.
    """
    directory, num_parts = resolve_checkpoint(checkpoint).resolve(), len(RUN_CHECKPOINT.parts)
    if directory.parts[-num_parts:] != RUN_CHECKPOINT.parts:
        return []
    path = directory.parents[num_parts - 1] / "metrics.jsonl"
    if not path.is_file():
        return []
    rows = []
    # On \n alone: other line ends may stand inside a JSON text.
    for number, line in enumerate(path.read_bytes().rstrip(b"\n").split(b"\n"), start=1):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UserError(
                f"{path}: line {number} is no JSON; a run still training? Evaluate when it has ended"
            ) from error
        if not isinstance(row, dict):
            raise UserError(f"{path}: line {number}: expected a JSON object, got {type(row).__name__}")
        if row.get("split") != "train":
            rows.append(row)
    kept = np.unique(np.linspace(0, len(rows) - 1, min(len(rows), MAX_CURVE_ROWS)).round().astype(int))
    return [rows[index] for index in kept]
