"""Makes a validated plan from settings: policy, environment, seeds and held-out windows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from smidgen.data_collection.store import EpisodeStore
from smidgen.envs.specs import TaskSpec
from smidgen.envs.tasks import named_task
from smidgen.evaluation.config import EvalConfig, require_file_name
from smidgen.evaluation.demonstrations import measured_steps, open_demonstrations, open_twin, require_disjoint
from smidgen.evaluation.env_spec import EnvSpec, make_simulator, pinned_env_spec
from smidgen.evaluation.fixed_part import fixed_part
from smidgen.evaluation.policy_source import PolicySource, build_card
from smidgen.evaluation.protocol import HOLD_STEPS, evaluation_seeds
from smidgen.evaluation.records import PolicyCard, find_records, record_path
from smidgen.runtime.errors import UserError
from smidgen.runtime.places import require_outside


@dataclass(frozen=True, eq=False)
class EvaluationPlan:
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
        twin: The policy's twin, trained with the cue hidden, if any.
        steps: Held-out steps to predict, by seed; empty if the policy cannot be measured.
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
        """The path of the record."""
        return record_path(self.config.out, self.task.name, self.card["name"])


def make_plan(config: EvalConfig, make: Callable[..., Any] = make_simulator) -> EvaluationPlan:
    """Checks everything that needs no simulator.

    Args:
        config: What to evaluate.
        make: Makes the environment, from task, cameras and image size.

    Raises:
        UserError: For an unknown task or policy, a checkpoint of another task or frame size than requested, seeds
            outside the test range, demonstrations of another task or with seeds of the training set, a damaged data set
            or checkpoint.
    """
    require_outside(config.out)
    source = PolicySource(config.policy, config.task, config.train_demos, config.transform)
    source.check()
    env_spec = pinned_env_spec(source, config.image_size, config.demos, make)
    config = replace(config, task=env_spec.task, image_size=env_spec.image_size)
    task = named_task(config.task)
    _require_protocol(task)
    seeds = evaluation_seeds(config.split, config.seed_start, config.episodes)
    source = PolicySource(config.policy, config.task, config.train_demos, config.transform)
    train_demos, demos = (open_demonstrations(path, task.name) for path in (config.train_demos, config.demos))
    policy = source.build()
    card = build_card(source, policy, config.name)
    require_file_name(card["name"])
    source = source.pinned(card)
    _require_own_record(record_path(config.out, task.name, card["name"]))
    require_disjoint(card, demos, train_demos)
    twin = open_twin(config, task, demos, train_demos)
    steps, reason = measured_steps(policy, env_spec, demos, config.windows)
    if demos is not None and steps and "frames" in policy.observes:
        demos = demos.with_cameras(env_spec.cameras)
    fixed = fixed_part(config, card, task, seeds, env_spec, demos, train_demos, twin)
    return EvaluationPlan(config, source, card, task, env_spec, seeds, demos, train_demos, twin, steps, reason, fixed)


def _require_protocol(task: TaskSpec) -> None:
    if task.hold_steps != HOLD_STEPS:
        raise UserError(
            f"task {task.name!r}: expected task.hold_steps={HOLD_STEPS}, as in the evaluation protocol, got "
            f"{task.hold_steps}"
        )


def _require_own_record(path: Path) -> None:
    """Refuses a name that differs from another only in case: some file systems treat both as one file."""
    for other in find_records(path.parent):
        if other.name.lower() == path.name.lower() and other.name != path.name:
            raise UserError(f"{path} and {other} are the same file on some file systems; choose another name=...")
