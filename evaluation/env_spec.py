"""The environment of an evaluation: task and frames, with defaults from checkpoint and demonstrations; its factory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from smidgen.data_collection.store import EpisodeStore
from smidgen.envs.specs import TaskSpec
from smidgen.envs.tasks import TASKS, named_task
from smidgen.envs.user_tasks import task_code_sha256
from smidgen.evaluation.policy_source import PolicySource
from smidgen.policies.checkpoint import Card, read_checkpoint_card
from smidgen.policies.learned_policy import Interface
from smidgen.runtime.action_spec import OTHER
from smidgen.runtime.errors import UserError

DEFAULT_TASK = "lift"
DEFAULT_IMAGE_SIZE = 64


def make_simulator(task: str, cameras: tuple[str, ...], image_size: int) -> Any:
    """Makes an environment that renders on request, and checks its pixels."""
    # Imported here: the parent process needs no simulator, and its import takes seconds.
    from smidgen.envs.selfcheck import make_checked_env

    return make_checked_env(task, cameras=cameras, image_size=image_size, observe_pixels=False)


@dataclass(frozen=True)
class EnvSpec:
    """The environment that an evaluation runs in.

    Attributes:
        task: A task's name, or ``their.module:Class`` of a user's, as a command line named it.
        cameras: Names of the cameras.
        image_size: Pixels along a side of a frame.
        make: Makes it from those three.
        code_sha256: The hash of a user's task when the evaluation began; every process refuses another.
    """

    task: str
    cameras: tuple[str, ...]
    image_size: int
    make: Callable[[str, tuple[str, ...], int], Any] = make_simulator
    code_sha256: str | None = None


def find_env_spec(source: PolicySource, image_size: int = 0, demos: str | None = None) -> EnvSpec:
    """A checkpoint decides its own; any other policy sees what its demonstrations show, or Lift at 64 pixels.

    Args:
        source: The policy; its task is empty if none was given.
        image_size: The given size; 0 for none.
        demos: The held-out demonstrations, if any; otherwise those that ``source`` was made of are used.

    Raises:
        UserError: If what was given contradicts the checkpoint, the task is unknown, or a file cannot be read.
    """
    if source.kind == "checkpoint":
        card = read_checkpoint_card(source.spec)
        if image_size and image_size != card["image_size"]:
            raise UserError(
                f"{source.spec} was trained with image_size={card['image_size']}, got image_size={image_size}; omit "
                "image_size"
            )
        require_our_actions(card["action_spec"], source.spec)
        task = task_of_file(card["task"], source.task, f"{source.spec} was trained with")
        require_interface(card, named_task(task), source.spec)
        return EnvSpec(task, tuple(card["cameras"]), card["image_size"])
    directory = demos or source.train_demos
    shown = {} if directory is None else EpisodeStore.open(directory, verify=False).manifest
    if shown:
        require_our_actions(shown["action_spec"], str(directory))
    task = source.task or task_of_file(shown.get("task", DEFAULT_TASK), "", f"{directory} was collected with")
    spec = named_task(task)
    # Demonstrations of another task are refused later, by name.
    cameras = shown["cameras"] if shown.get("task") == spec.name else spec.cameras
    return EnvSpec(task, tuple(cameras), image_size or shown.get("image_size", DEFAULT_IMAGE_SIZE))


def pinned_env_spec(
    source: PolicySource, image_size: int, demos: str | None, make: Callable[[str, tuple[str, ...], int], Any]
) -> EnvSpec:
    """As :func:`find_env_spec`, made by ``make``, with the hash of a user's task as it is now."""
    found = find_env_spec(source, image_size, demos)
    return replace(found, make=make, code_sha256=task_code_sha256(found.task))


def require_our_actions(action_spec: Mapping[str, Any], who: str) -> None:
    """Refuses a closed loop with imported actions, which nothing here executes.

    Args:
        action_spec: As JSON, from a card or a manifest.
        who: The checkpoint or data set.

    Raises:
        UserError: If a coordinate is of another robot's or controller's.
    """
    foreign = [name for name, kind in zip(action_spec["names"], action_spec["kinds"], strict=True) if kind == OTHER]
    if foreign:
        raise UserError(
            f"{who} has imported actions ({foreign[0]!r:.60}, ...) in units of their own: no environment here executes "
            "them, so there is no closed loop; smidgen-train measures them on held-out episodes (metrics.jsonl)"
        )


def require_interface(card: Card, task: TaskSpec, who: str) -> None:
    """Refuses a checkpoint whose actions or states are not those of its task, such as one trained on imported data.

    Args:
        card: The checkpoint's card.
        task: The task to run it on, of the same name.
        who: The checkpoint.

    Raises:
        UserError: If they differ.
    """
    interface, cure = Interface.from_json(card), "train it on demonstrations that smidgen-collect made"
    got, expected = ", ".join(interface.action.names), ", ".join(task.action.names)
    if got != expected:
        raise UserError(f"{who} gives actions ({got:.100}), task {task.name} takes ({expected}); {cure}")
    got, expected = ", ".join(interface.eef_state_names), ", ".join(task.eef_state_names)
    if card["config"].get("use_eef_state") and got != expected:
        raise UserError(f"{who} sees states ({got:.100}), task {task.name} has ({expected}); {cure}")


def task_of_file(name: str, given: str, who: str) -> str:
    """The specification of the task that a file names: that name, or the user's class from the command line.

    Args:
        name: A task's name from a card or a manifest; it never causes an import.
        given: The task from the command line; "" for none.
        who: The start of the message.

    Raises:
        UserError: If another task is given, or none and the file's is not one of ours.
    """
    if given and named_task(given).name != name:
        cure = "leave task out" if name in TASKS else "give the class of that task, task=their.module:Class"
        raise UserError(f"{who} task={name!s:.60}, got task={given!s:.200}; {cure}")
    if not given and name not in TASKS:
        raise UserError(
            f"{who} task={name!s:.60}, which is not a smidgen task; if it is yours, add task=their.module:Class"
        )
    return given or name
