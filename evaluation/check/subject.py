"""The policy to check, and the episodes to check it on, opened so that they fit each other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from smidgen.data_collection.array_files import Array
from smidgen.data_collection.formats.reader import EpisodeReader, open_reader
from smidgen.evaluation.check.config import CheckConfig
from smidgen.policies.baselines import DemoStatistics
from smidgen.policies.checkpoint import Card, is_checkpoint, read_checkpoint_card
from smidgen.policies.policy import is_users_policy, load_policy
from smidgen.policies.policy_calls import PolicyCalls
from smidgen.policies.registry import BASELINES, plays_back_demonstrations
from smidgen.runtime.action_spec import ActionSpec
from smidgen.runtime.errors import UserError


@dataclass(frozen=True, eq=False)
class Means:
    """Sums over all episodes of a set, from which the mean of all but one follows: nobody is compared with himself.

    Attributes:
        sum_SA: Sum of the actions at each step; an episode that has ended goes on with its last.
        total_A: Sum over all steps of all episodes.
        num_steps: How many steps those are.
        num_episodes: Episodes.
    """

    sum_SA: Array
    total_A: Array
    num_steps: int
    num_episodes: int

    @classmethod
    def of(cls, actions: Iterator[Array]) -> Means:
        """Sums over episodes that are read one at a time."""
        sum_SA, last_A, total_A, num_steps, num_episodes = np.empty((0, 0)), np.zeros(0), np.zeros(0), 0, 0
        for actions_SA in actions:
            if not num_episodes:
                sum_SA, last_A, total_A = np.empty((0, actions_SA.shape[1])), *np.zeros((2, actions_SA.shape[1]))
            longer = max(len(actions_SA) - len(sum_SA), 0)
            # Episodes that have ended before stay at their last action.
            sum_SA = np.concatenate([sum_SA, np.tile(last_A, (longer, 1))])
            sum_SA += _padded(actions_SA, len(sum_SA))
            last_A, total_A = last_A + actions_SA[-1], total_A + actions_SA.sum(axis=0)
            num_steps, num_episodes = num_steps + len(actions_SA), num_episodes + 1
        return cls(sum_SA, total_A, num_steps, num_episodes)

    def without(self, actions_SA: Array) -> DemoStatistics:
        """The means of all other episodes."""
        time_mean_SA = (self.sum_SA - _padded(actions_SA, len(self.sum_SA))) / (self.num_episodes - 1)
        mean_A = (self.total_A - actions_SA.sum(axis=0)) / (self.num_steps - len(actions_SA))
        return DemoStatistics(mean_A, time_mean_SA)

    def all(self) -> DemoStatistics:
        """The means of all episodes."""
        return DemoStatistics(self.total_A / self.num_steps, self.sum_SA / self.num_episodes)


def _padded(actions_SA: Array, num_steps: int) -> Array:
    return np.pad(actions_SA, ((0, num_steps - len(actions_SA)), (0, 0)), mode="edge")


@dataclass(frozen=True, eq=False)
class Subject:
    """Who is asked, and about what.

    Attributes:
        name: The policy's name, or the file of its predictions.
        calls: The policy; None if there are only its predictions.
        reader: The episodes.
        action: The action's coordinates.
        means: Means of the episodes' actions.
        notes: What else the user should know, a sentence each.
    """

    name: str
    calls: PolicyCalls | None
    reader: EpisodeReader
    action: ActionSpec
    means: Means
    notes: tuple[str, ...] = ()

    @property
    def cameras(self) -> list[str]:
        """The cameras that it is shown."""
        return list(self.reader.header["cameras"])


def open_subject(config: CheckConfig) -> Subject:
    """Opens the episodes as the policy sees them, then the policy.

    Raises:
        UserError: If either cannot be opened, or they do not fit each other.
    """
    card = _card(config.policy)
    cameras, image_size = config.cameras, config.image_size
    if card is not None:
        cameras, image_size = cameras or tuple(card["cameras"]), image_size or card["image_size"]
    reader = open_reader(Path(config.data), cameras, image_size)
    if reader.num_episodes < 2:
        raise UserError(f"{config.data} has one episode; frames are swapped between episodes: expected at least two")
    means = Means.of(reader.actions())
    action = ActionSpec.from_json(reader.header["action_spec"], config.data)
    if config.policy is None:
        return Subject(Path(str(config.predictions)).name, None, reader, action, means)
    if card is not None:
        _require_fit(config, card, reader)
    calls = _open_policy(config.policy, config.transform, reader, means)
    _require_observable(config.policy, calls, reader)
    return Subject(calls.policy.name, calls, reader, action, means, _notes(card, reader))


def _card(spec: str | None) -> Card | None:
    if spec is None or spec in BASELINES or is_users_policy(spec) or not is_checkpoint(spec):
        return None
    return read_checkpoint_card(spec)


def _notes(card: Card | None, reader: EpisodeReader) -> tuple[str, ...]:
    seeds = set(card["provenance"].get("data_set_seeds", [])) if card is not None else set()
    if not seeds & set(reader.numbers):
        return ()
    return ("it was trained on some of these episodes: error and skill flatter it, and held-out ones say more",)


def _require_fit(config: CheckConfig, card: Card, reader: EpisodeReader) -> None:
    """Refuses a checkpoint that was trained for something else than the data shows."""
    header = reader.header
    facts = {
        "task": (card["task"], header["task"]),
        "cameras": (", ".join(card["cameras"]), ", ".join(header["cameras"])),
        "image_size": (card["image_size"], header["image_size"]),
        "actions": (", ".join(card["action_spec"]["names"]), ", ".join(header["action_spec"]["names"])),
    }
    if card["config"].get("use_eef_state"):
        facts["states"] = (", ".join(card["eef_state_names"]), ", ".join(header["eef_state_names"]))
    for name, (trained, shown) in facts.items():
        if trained != shown:
            raise UserError(
                f"{config.policy} was trained with {name} {trained!s:.200}, {config.data} has {shown!s:.200}; give the "
                "data that it was trained for"
            )


def _open_policy(spec: str, transform: str | None, reader: EpisodeReader, means: Means) -> PolicyCalls:
    statistics = means.all() if plays_back_demonstrations(spec) else None
    header = reader.header
    return PolicyCalls.built(lambda: load_policy(spec, header["action_spec"], statistics, header["task"], transform))


def _require_observable(spec: str, calls: PolicyCalls, reader: EpisodeReader) -> None:
    if "privileged" in calls.observes:
        raise UserError(f"policy {spec!r:.200} observes privileged state, which no data set stores")
    if "eef_state" in calls.observes and not reader.header["eef_state_names"]:
        raise UserError(f"policy {spec!r:.200} observes the state, and {reader.path} has none")
