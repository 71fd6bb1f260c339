"""Which task a policy is evaluated on and which frames it sees, where the command line leaves that open."""

from __future__ import annotations

from dataclasses import dataclass

from smidgen.data_collection.store import EpisodeStore
from smidgen.envs.tasks import get_task
from smidgen.evaluation.policy_source import PolicySource
from smidgen.policies.checkpoint import read_checkpoint_card
from smidgen.runtime.errors import UserError

DEFAULT_TASK = "lift"
DEFAULT_IMAGE_SIZE = 64


@dataclass(frozen=True)
class Surroundings:
    """A task, and the frames that are seen of it."""

    task: str
    cameras: tuple[str, ...]
    image_size: int


def find_surroundings(source: PolicySource, image_size: int = 0, demos: str | None = None) -> Surroundings:
    """A checkpoint decides its own; any other policy sees what its demonstrations show, or Lift at 64 pixels.

    Args:
        source: The policy; its task is empty where none was given.
        image_size: What was given; 0 for nothing.
        demos: The held-out demonstrations, if any. Without them those that ``source`` was made of.

    Raises:
        UserError: If what was given contradicts the checkpoint, the task is unknown, or a file cannot be read.
    """
    if source.kind == "checkpoint":
        card = read_checkpoint_card(source.spec)
        for key, given in (("task", source.task), ("image_size", image_size)):
            if given and given != card[key]:
                raise UserError(
                    f"{source.spec} was trained with {key}={card[key]!s:.60}, got {key}={given!s:.60}; leave {key} out"
                )
        return Surroundings(card["task"], tuple(card["cameras"]), card["image_size"])
    directory = demos or source.train_demos
    shown = {} if directory is None else EpisodeStore.open(directory, verify=False).manifest
    task = source.task or shown.get("task", DEFAULT_TASK)
    # Demonstrations of another task are refused later, by name.
    cameras = shown["cameras"] if shown.get("task") == task else get_task(task).cameras
    return Surroundings(task, tuple(cameras), image_size or shown.get("image_size", DEFAULT_IMAGE_SIZE))
