"""``smidgen-check control``: a policy and its blind arm on the same seeds; what the blind arm does too is not sight."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from smidgen.evaluation.check.blind_arms import blind_arm
from smidgen.evaluation.check.compare import Comparison, compare, comparison_json, in_words
from smidgen.evaluation.check.outcomes import Outcomes
from smidgen.evaluation.env_spec import find_env_spec, make_simulator
from smidgen.evaluation.policy_source import PolicySource
from smidgen.evaluation.protocol import SPLITS, evaluation_seeds
from smidgen.evaluation.rollout import rollout
from smidgen.runtime.command_line import command_help, compose_config, wants_help
from smidgen.runtime.errors import UserError, unknown_name
from smidgen.runtime.files import write_json_atomic
from smidgen.runtime.progress import progress
from smidgen.runtime.settings import PathText

FROZEN, SHUFFLED, TIME_MEAN = "frozen", "shuffled", "time_mean"
CONTROLS = {
    FROZEN: "the first frame of the episode at every step",
    SHUFFLED: "the frames of recorded episodes, at the same steps",
    TIME_MEAN: "the recorded episodes' average trajectory, without the policy",
}
USAGE = "smidgen-check control policy=SPEC control=NAME [key=value ...]"
SUMMARY = """
Runs a policy in our environments, and its blind arm on the same seeds:
what the blind arm achieves as well is not owed to sight. frozen: it keeps
seeing the first frame. shuffled: it sees the frames of recorded episodes.
time_mean: the recorded average trajectory takes its place.
"""


@dataclass(frozen=True)
class ControlConfig:
    """What to run."""

    policy: PathText = field(metadata={"help": "checkpoint, module:Class, process:COMMAND, ..."})
    control: str = field(metadata={"help": f"blind arm: {', '.join(CONTROLS)}"})
    data: PathText | None = field(default=None, metadata={"help": "recorded episodes: shuffled, time_mean"})
    task: str = field(default="", metadata={"help": "task; empty: the checkpoint's, or lift"})
    episodes: int = field(default=50, metadata={"help": "episodes of each arm"})
    split: str = field(default="checkpoint", metadata={"help": f"seeds: {', '.join(SPLITS)}"})
    transform: str | None = field(default=None, metadata={"help": "the checkpoint's, if it is yours"})
    out: PathText | None = field(default=None, metadata={"help": "JSON file to write as well"})

    def __post_init__(self) -> None:
        if self.control not in CONTROLS:
            raise unknown_name("control", self.control, CONTROLS)
        if self.control != FROZEN and self.data is None:
            raise UserError(f"control={self.control} needs recorded episodes; add data=DIR")


def control(config: ControlConfig, make: Callable[..., Any] = make_simulator) -> Comparison:
    """Runs both arms.

    Args:
        config: What to run.
        make: Makes the environment, from task, cameras and image size.

    Raises:
        UserError: If policy, task and data do not fit, or the policy observes no frames.
    """
    source = PolicySource(config.policy, config.task, config.data, config.transform)
    source.check()
    spec = find_env_spec(source, demos=config.data)
    source = PolicySource(config.policy, spec.task, config.data, config.transform)
    calls = source.open()
    if "frames" not in calls.observes:
        raise UserError(f"policy {config.policy!r:.200} observes no frames; without them it is its own blind arm")
    seeds = evaluation_seeds(config.split, 0, config.episodes)
    if config.control == TIME_MEAN:
        blind = PolicySource(TIME_MEAN, spec.task, config.data).open()
    else:
        blind = blind_arm(calls, spec, None if config.control == FROZEN else config.data)
    arms = {calls.policy.name: calls, f"{calls.policy.name}, {config.control}": blind}
    found = []
    with (
        contextlib.closing(make(spec.task, spec.cameras, spec.image_size)) as env,
        progress(2 * len(seeds), "running both arms (episodes)") as advance,
    ):
        for name, arm in arms.items():
            success = {}
            for seed in seeds:
                success[str(seed)] = bool(rollout(env, arm, seed).row["success"])
                advance(1, "")
            found.append(Outcomes(Path(config.policy), name, success, is_by_seed=True))
    return compare(*found)


def control_command(arguments: list[str]) -> None:
    """The verb ``control``."""
    if wants_help(arguments):
        print(command_help(USAGE, SUMMARY, ControlConfig))
        return
    config = compose_config(ControlConfig, arguments)
    found = control(config)
    print(f"control: {CONTROLS[config.control]}")
    print("\n".join(in_words(found)))
    if config.out is not None:
        Path(config.out).parent.mkdir(parents=True, exist_ok=True)
        write_json_atomic(config.out, {"control": config.control, **comparison_json(found)})
        print(config.out)
