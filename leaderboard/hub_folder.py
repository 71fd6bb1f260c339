"""A checkpoint as a folder for the Hugging Face Hub, in the shape that LeRobot (0.4.4) gives its policies.

``config.json`` has the fields of LeRobot's ``PreTrainedConfig``, and under ``smidgen`` the checkpoint's own card.
``checkpoint.json`` and ``model.safetensors`` are the checkpoint to the byte, so the folder itself is a checkpoint:
whoever downloads it evaluates it with ``policy=FOLDER``, which compares every hash.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smidgen.leaderboard.checkpoint_card import checkpoint_card, require_same_checkpoint, unevaluated_card
from smidgen.leaderboard.row_card import commands_block
from smidgen.leaderboard.rows import Run
from smidgen.policies import zoo
from smidgen.policies.checkpoint import (
    CARD_NAME,
    MODEL_NAME,
    Card,
    load_checkpoint,
    policy_kind,
    read_checkpoint_card,
    recorded_facts,
)
from smidgen.policies.learned_policy import Interface
from smidgen.policies.registry import policy_from_json
from smidgen.runtime.errors import UserError
from smidgen.runtime.files import canonical_json, read_text
from smidgen.runtime.user_modules import is_class_spec

CONFIG_NAME, README_NAME = "config.json", "README.md"
# The Hub's own rule is a little stricter; it refuses what this lets through.
_REPO = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)


@dataclass(frozen=True)
class Repository:
    """Where a checkpoint goes, and what its owner says about it.

    Attributes:
        name: ``OWNER/NAME``.
        private: Whether only its owner sees it.
        license: The licence's identifier on the Hub, such as ``mit``; empty: none is given.
        datasets: ``OWNER/NAME`` of the data sets on the Hub that it was trained on.

    Raises:
        UserError: If a name is not ``OWNER/NAME``.
    """

    name: str
    private: bool = False
    license: str = ""
    datasets: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in (self.name, *self.datasets):
            if not _REPO.fullmatch(name):
                raise UserError(f"expected OWNER/NAME, a repository on the Hub, got {name!r:.200}")


def hub_files(checkpoint: Path, repository: Repository, run: Run | None = None) -> dict[str, bytes]:
    """Content of every file of the folder, by name; the same arguments always give the same bytes.

    Args:
        checkpoint: The checkpoint's directory.
        repository: Where it goes.
        run: The record of its evaluation, for the card; a policy of the zoo has its card already.

    Raises:
        UserError: If the checkpoint is damaged or needs code that is not smidgen's, or the record is of another one.
    """
    card = read_checkpoint_card(checkpoint)
    if is_class_spec(transform := str(card["config"].get("transform"))):
        raise UserError(
            f"{checkpoint} was trained with transform={transform:.200}, code of your own, without which nobody could "
            "run it from the Hub; publish it with its code elsewhere"
        )
    name = load_checkpoint(checkpoint).name
    text = _card_text(checkpoint, name, repository, run)
    return {
        CONFIG_NAME: canonical_json(lerobot_config(card, repository)),
        CARD_NAME: (checkpoint / CARD_NAME).read_bytes(),
        MODEL_NAME: (checkpoint / MODEL_NAME).read_bytes(),
        README_NAME: (_header(card, repository) + text).encode(),
    }


def lerobot_type(card: Card) -> str:
    """The policy's type, as LeRobot's ``config.json`` names it: ``smidgen_perceiver``."""
    return f"smidgen_{policy_kind(card)}"


def lerobot_config(card: Card, repository: Repository) -> dict[str, Any]:
    """``config.json``: the fields of LeRobot's ``PreTrainedConfig``, and ``smidgen``, the checkpoint's card.

    A smidgen policy normalises its own input and output, hence the normalisation ``IDENTITY``.
    """
    interface, config = Interface.from_json(card), policy_from_json(card["config"])
    pixels = [3, interface.image_size, interface.image_size]
    inputs = {f"observation.images.{camera}": _feature("VISUAL", pixels) for camera in interface.cameras}
    if config.use_eef_state:
        inputs["observation.state"] = _feature("STATE", [len(interface.eef_state_names)])
    return {
        "type": lerobot_type(card),
        "n_obs_steps": config.num_frames,
        "chunk_size": config.horizon,
        "n_action_steps": config.num_executed,
        "input_features": inputs,
        "output_features": {"action": _feature("ACTION", [interface.action.size])},
        "normalization_mapping": dict.fromkeys(("VISUAL", "STATE", "ACTION"), "IDENTITY"),
        "device": "cpu",
        "use_amp": False,
        "use_peft": False,
        "push_to_hub": True,
        "repo_id": repository.name,
        "private": repository.private,
        "tags": _tags(card),
        "license": repository.license or None,
        "pretrained_path": None,
        "smidgen": card,
    }


def _feature(kind: str, shape: Sequence[int]) -> dict[str, Any]:
    return {"type": kind, "shape": list(shape)}


def _tags(card: Card) -> list[str]:
    # Not "lerobot": who filters by it expects that LeRobot alone can run what they find.
    return ["robotics", "imitation-learning", "smidgen", lerobot_type(card), card["task"]]


def _header(card: Card, repository: Repository) -> str:
    """The Hub's metadata, as YAML in front of the card; JSON's lists and texts are YAML's."""
    fields: dict[str, Any] = {"library_name": "smidgen", "pipeline_tag": "robotics", "tags": _tags(card)}
    fields |= {"license": repository.license} if repository.license else {}
    fields |= {"datasets": list(repository.datasets)} if repository.datasets else {}
    lines = [f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in fields.items()]
    return "\n".join(["---", *lines, "---", "", ""])


def _card_text(checkpoint: Path, name: str, repository: Repository, run: Run | None) -> str:
    folder = repository.name.partition("/")[2]
    to_run = [
        f"hf download {repository.name} --local-dir {folder}",
        f"smidgen-eval policy={folder} episodes=20 out=outputs/results",
    ]
    facts = recorded_facts(str(checkpoint))
    if run is not None:
        require_same_checkpoint(run, facts["checkpoint_sha256"], "add the record of evaluating what is uploaded")
        return checkpoint_card(run, to_run)
    if checkpoint.is_relative_to(zoo.FOLDER):
        return read_text(checkpoint / README_NAME) + f"\n{commands_block('To run it from the Hub', to_run)}\n"
    training = facts.pop("training")
    shown = {"task": read_checkpoint_card(checkpoint)["task"], **facts}
    shown |= {key: training[key] for key in ("num_demonstrations", "step") if key in training}
    known = {key.replace("_", " "): value for key, value in shown.items() if value not in (None, [])}
    return unevaluated_card(name, known, to_run)
