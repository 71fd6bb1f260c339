"""Checkpoints: ``model.safetensors`` beside ``checkpoint.json``. Loading reads numbers and text, never runs code.

The card pins the model by its SHA-256, so the card's own hash identifies the checkpoint. The configuration is rebuilt
field by field with its types checked, and every tensor's shape is compared before a network of that size exists.
"""

from __future__ import annotations

import math
import os
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor
from typing_extensions import TypedDict

from smidgen.policies.learned_policy import Interface, LearnedPolicy, LearnedPolicyConfig
from smidgen.policies.registry import TRAINED, policy_from_json, policy_to_json, train_first
from smidgen.runtime.errors import UserError
from smidgen.runtime.files import atomic_directory, canonical_json, read_json, sha256_bytes, sha256_file
from smidgen.runtime.flat_config import flat_values
from smidgen.runtime.schemas import Rule, Sha256, check_type, require_version
from smidgen.runtime.user_modules import is_class_spec

SCHEMA_VERSION = 1
MODEL_NAME = "model.safetensors"
CARD_NAME = "checkpoint.json"
RUN_CHECKPOINT = Path("checkpoints") / "final"
# Far above anything that trains, and low enough that a forged configuration cannot take the machine's memory or time.
_MAX_COUNT = 2**16
_MAX_LAYERS = 1024
_MAX_TOKENS = 2**24
_MAX_POSITION_NUMBERS = 2**28


_Names = Annotated[list[str], Rule(lambda names: 0 < len(names) <= _MAX_COUNT, "one name or more")]


class Card(TypedDict):
    """``checkpoint.json``."""

    schema_version: int
    task: str
    action_spec: dict[str, Any]
    cameras: _Names
    image_size: int
    eef_state_names: _Names
    config: dict[str, Any]
    provenance: dict[str, Any]
    model_sha256: Sha256


def save_checkpoint(directory: Path | str, policy: LearnedPolicy, provenance: Mapping[str, Any]) -> None:
    """Writes a checkpoint; the whole directory appears at once.

    Args:
        directory: Where; must not exist.
        policy: What to save.
        provenance: Where it comes from, as JSON: hash and seeds of the data set, training settings, step, versions.

    Raises:
        UserError: If the directory exists or cannot be written.
    """
    directory = Path(directory)
    if directory.exists():
        raise UserError(f"{directory} exists already; a checkpoint is never written over another")
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in policy.state_dict().items()}
    model = save(tensors)
    card = {
        "schema_version": SCHEMA_VERSION,
        **policy.interface.to_json(),
        "config": policy_to_json(policy.config),
        "provenance": dict(provenance),
        "model_sha256": sha256_bytes(model),
    }
    with atomic_directory(directory) as temporary:
        (temporary / MODEL_NAME).write_bytes(model)
        (temporary / CARD_NAME).write_bytes(canonical_json(card))


def resolve_checkpoint(path: Path | str) -> Path:
    """The checkpoint's own directory, given it or the training run that it ended.

    Raises:
        UserError: If neither is there.
    """
    path = Path(path)
    for candidate in (path, path / RUN_CHECKPOINT):
        # os.path's answer is False for a name that no file can have, where Path's raises.
        if os.path.isfile(candidate / CARD_NAME):
            return candidate
    if not os.path.exists(path):
        if str(path) in TRAINED:
            raise train_first(str(path))
        raise UserError(f"{path} does not exist; expected a checkpoint or a training run")
    if (path / "metrics.jsonl").is_file() or (path / "resume").is_dir():
        raise UserError(f"{path}: the training run is not finished; run the same smidgen-train again")
    raise UserError(f"{path} is no checkpoint: it has no {CARD_NAME}; smidgen-train makes one in OUT/{RUN_CHECKPOINT}")


def checkpoint_sha256(path: Path | str) -> str:
    """SHA-256 of the card, which holds the model's: the identity of a checkpoint, as 64 hexadecimal digits."""
    return sha256_file(resolve_checkpoint(path) / CARD_NAME)


def read_checkpoint_card(path: Path | str) -> Card:
    """``checkpoint.json``, its fields checked; the model is not read.

    Raises:
        UserError: If it is missing, damaged, or of another schema version; the message names the file.
    """
    card_path = resolve_checkpoint(path) / CARD_NAME
    card = read_json(card_path)
    fix = "train it again, or use the smidgen that wrote it"
    require_version(card, (SCHEMA_VERSION,), str(card_path), fix=fix)
    check_type(card, Card, str(card_path))
    return typing.cast(Card, card)


def load_checkpoint(path: Path | str, expect_task: str | None = None, transform: str | None = None) -> LearnedPolicy:
    """Loads a policy, ready to act. Runs no code but ours, and the transform's that you name.

    Args:
        path: A checkpoint, or the training run that it ended.
        expect_task: Refuse a checkpoint of another task.
        transform: ``their.module:Class`` of the input transform, where the policy was trained with one of yours.

    Raises:
        UserError: If it is no checkpoint, of another version or task, truncated or altered; the message names the file.
            Also if it was trained with another transform than the one named, or with a user's and none is named.
    """
    directory = resolve_checkpoint(path)
    card = read_checkpoint_card(directory)
    _require_named_transform(directory, card["config"].get("transform"), transform)
    if expect_task is not None and card["task"] != expect_task:
        raise UserError(
            f"{directory} was trained on task {card['task']!r:.60}, not {expect_task!r}; use task={card['task']:.60}"
        )
    tensors = _read_model(directory / MODEL_NAME, card["model_sha256"])
    try:
        policy = _build_policy(card, tensors, directory)
    except UserError as error:
        if str(directory) in str(error):
            raise
        raise UserError(f"{directory / CARD_NAME}: {error}") from error
    policy.load_state_dict(tensors)
    return policy.eval()


def _require_named_transform(directory: Path, trained: object, named: str | None) -> None:
    """A card may not decide which of the user's modules are imported: only who loads it may."""
    if named is not None and trained != named:
        raise UserError(f"{directory} was trained with transform={trained!s:.200}, got transform={named:.200}")
    if named is None and isinstance(trained, str) and is_class_spec(trained):
        raise UserError(
            f"{directory} was trained with transform={trained:.200}, code that is not smidgen's; to import and run it, "
            f"add transform={trained:.200}"
        )


def _read_model(path: Path, sha256: str) -> dict[str, Tensor]:
    if not path.is_file():
        raise UserError(f"{path} is missing; copy the whole checkpoint directory again")
    content = path.read_bytes()
    if sha256_bytes(content) != sha256:
        raise UserError(f"{path} is truncated or altered: its SHA-256 is not the card's; copy the checkpoint again")
    try:
        return load(content)
    except (SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
        # RuntimeError is PyTorch's word for a shape that does not fit.
        raise UserError(f"{path} is no readable safetensors file ({str(error)[:80]})") from error


def _build_policy(card: Card, tensors: Mapping[str, Tensor], directory: Path) -> LearnedPolicy:
    model_path = directory / MODEL_NAME
    config = policy_from_json(card["config"], str(directory / CARD_NAME), "config")
    interface = Interface.from_json(card)
    _refuse_forged_sizes(config, interface)
    with torch.device("meta"):
        # Has the right shapes and no memory: a network is only built for real once its tensors are there.
        expected = LearnedPolicy(config, interface).state_dict()
    if set(expected) != set(tensors):
        differing = sorted(set(expected) ^ set(tensors))
        raise UserError(f"{model_path}: tensors missing or unknown: {', '.join(differing):.120}")
    for name, tensor in tensors.items():
        if (tensor.shape, tensor.dtype) != (expected[name].shape, expected[name].dtype):
            raise UserError(
                f"{model_path}: tensor {name!r} should be {expected[name].dtype} {tuple(expected[name].shape)} "
                f"by the card, is {tensor.dtype} {tuple(tensor.shape)}"
            )
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise UserError(f"{model_path}: tensor {name!r} holds NaN or infinity")
    with torch.random.fork_rng(devices=[]):
        return LearnedPolicy(config, interface)


def _refuse_forged_sizes(config: LearnedPolicyConfig, interface: Interface) -> None:
    counts = {"image_size": interface.image_size, **flat_values(config)}
    for key, value in counts.items():
        limit = _MAX_LAYERS if key == "num_layers" else _MAX_COUNT
        if isinstance(value, int) and not 0 <= value <= limit:
            raise UserError(f"{key} should lie in 0..{limit}, is {str(value)[:20]}")
    bytes_per_pixel = 3 * len(interface.cameras)
    axes = [config.num_frames, interface.image_size, interface.image_size, bytes_per_pixel]
    if math.prod(axes) > 3 * _MAX_TOKENS:
        raise UserError(f"{math.prod(axes)} input bytes are more than the {3 * _MAX_TOKENS} that can be")
    if config.num_position_numbers(axes) > _MAX_POSITION_NUMBERS:
        raise UserError(f"num_bands {counts['num_bands']} is too large for a grid of {axes}")


def recorded_facts(path: str) -> dict[str, Any]:
    """What a record says of a checkpoint: its hash, its input, and the demonstrations and settings of its training.

    Values are null where the policy has no such thing.

    Args:
        path: The checkpoint, or the training run that it ended.

    Raises:
        UserError: If it cannot be read.
    """
    stored = read_checkpoint_card(path)
    config, provenance = stored["config"], stored["provenance"]
    data_set_sha256, seeds = provenance.get("data_set_sha256"), provenance.get("data_set_seeds", [])
    check_type(data_set_sha256, Sha256 | None, path, "provenance.data_set_sha256")
    check_type(seeds, list[int], path, "provenance.data_set_seeds")
    training: dict[str, Any] = {name: provenance[name] for name in ("step", "training_config") if name in provenance}
    return {
        "checkpoint_sha256": checkpoint_sha256(path),
        "transform": config.get("transform"),
        "standardise_before": config.get("standardise_before"),
        "standardise_after": config.get("standardise_after"),
        "data_set_sha256": data_set_sha256,
        "data_set_seeds": [min(seeds), max(seeds)] if seeds else [],
        "training": {**training, "num_demonstrations": len(seeds)},
    }
