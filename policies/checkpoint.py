"""Checkpoints: ``model.safetensors`` beside ``checkpoint.json``. Loading reads numbers and text, never runs code.

The card contains the model's SHA-256, so the card's own hash identifies the checkpoint. The configuration is rebuilt
field by field with type checks, and every tensor's shape is compared before a network of that size is built.
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
from smidgen.policies.registry import TRAINED, policy_from_json, policy_to_json, stored_kind, train_first
from smidgen.policies.zoo import is_zoo, zoo_checkpoint
from smidgen.runtime.errors import UserError
from smidgen.runtime.files import atomic_directory, canonical_json, read_json, sha256_bytes, sha256_file
from smidgen.runtime.flat_config import flat_values
from smidgen.runtime.schemas import Rule, Sha256, check_type, require_version
from smidgen.runtime.user_modules import is_class_spec

SCHEMA_VERSION = 1
MODEL_NAME = "model.safetensors"
CARD_NAME = "checkpoint.json"
RUN_CHECKPOINT = Path("checkpoints") / "final"
# Far above any trainable size, yet low enough that a forged configuration cannot exhaust memory or time.
_MAX_COUNT = 2**16
_MAX_LAYERS = 1024
_MAX_TOKENS = 2**24
_MAX_POSITION_NUMBERS = 2**28


_Names = Annotated[list[str], Rule(lambda names: 0 < len(names) <= _MAX_COUNT, "at least one name")]


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
    """Writes a checkpoint directory atomically.

    Args:
        directory: The directory; must not exist.
        policy: The policy to save.
        provenance: Its provenance, as JSON: hash and seeds of the data set, training settings, step, versions.

    Raises:
        UserError: If the directory exists or cannot be written.
    """
    directory = Path(directory)
    if directory.exists():
        raise UserError(f"{directory} already exists; checkpoints are never overwritten")
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


def halve_checkpoint(source: Path | str, directory: Path | str) -> None:
    """Writes a copy of a checkpoint with its weights in half precision, a checkpoint of its own with its own hash.

    Args:
        source: A checkpoint, or the training run that produced it.
        directory: The directory of the copy; must not exist.

    Raises:
        UserError: If the source cannot be read, or the directory exists.
    """
    directory, card = Path(directory), read_checkpoint_card(source)
    if directory.exists():
        raise UserError(f"{directory} already exists; checkpoints are never overwritten")
    tensors = _read_model(resolve_checkpoint(source) / MODEL_NAME, card["model_sha256"])
    model = save({name: _halved(tensor) for name, tensor in tensors.items()})
    with atomic_directory(directory) as temporary:
        (temporary / MODEL_NAME).write_bytes(model)
        (temporary / CARD_NAME).write_bytes(canonical_json({**card, "model_sha256": sha256_bytes(model)}))


def _halved(tensor: Tensor) -> Tensor:
    """In half precision, where the values are in its range."""
    half = tensor.half()
    return half if tensor.dtype == torch.float32 and bool(half.isfinite().all()) else tensor


def resolve_checkpoint(path: Path | str) -> Path:
    """The checkpoint directory, given itself, the training run that produced it, or ``zoo:TASK/NAME``.

    Raises:
        UserError: If there is none of these.
    """
    path = zoo_checkpoint(str(path)) if is_zoo(str(path)) else Path(path)
    for candidate in (path, path / RUN_CHECKPOINT):
        # os.path returns False for an impossible file name, where Path raises.
        if os.path.isfile(candidate / CARD_NAME):
            return candidate
    if not os.path.exists(path):
        if str(path) in TRAINED:
            raise train_first(str(path))
        raise UserError(f"{path} does not exist; expected a checkpoint or a training run")
    if (path / "metrics.jsonl").is_file() or (path / "resume").is_dir():
        raise UserError(f"{path}: the training run is unfinished; run the same smidgen-train again")
    raise UserError(f"{path} is not a checkpoint: it has no {CARD_NAME}; smidgen-train makes OUT/{RUN_CHECKPOINT}")


def is_checkpoint(spec: str) -> bool:
    """Whether a policy's spec is meant as a checkpoint: a path that exists, or a name in the zoo."""
    return is_zoo(spec) or os.path.exists(spec)  # unlike Path.exists, False for an impossible file name


def checkpoint_sha256(path: Path | str) -> str:
    """SHA-256 of the card, which contains the model's; identifies a checkpoint, as 64 hexadecimal digits."""
    return sha256_file(resolve_checkpoint(path) / CARD_NAME)


def read_checkpoint_card(path: Path | str) -> Card:
    """Reads and validates ``checkpoint.json``, without reading the model.

    Raises:
        UserError: If it is missing, damaged, or of another schema version; the message names the file.
    """
    card_path = resolve_checkpoint(path) / CARD_NAME
    card = read_json(card_path)
    fix = "train it again, or use the smidgen version that wrote it"
    require_version(card, (SCHEMA_VERSION,), str(card_path), fix=fix)
    check_type(card, Card, str(card_path))
    return typing.cast(Card, card)


def policy_kind(card: Card) -> str:
    """The kind of a checkpoint's policy, such as ``perceiver``."""
    return stored_kind(card["config"])


def load_checkpoint(path: Path | str, expect_task: str | None = None, transform: str | None = None) -> LearnedPolicy:
    """Loads a policy, ready to act. Runs no code except ours and that of the transform you name.

    Args:
        path: A checkpoint, or the training run that produced it.
        expect_task: Refuse checkpoints of other tasks.
        transform: ``their.module:Class`` of the input transform, if the policy was trained with one of yours.

    Raises:
        UserError: If it is not a checkpoint, of another version or task, truncated or altered; the message names the
            file. Also if it was trained with a different transform, or with a user's that is not named.
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
    """Only the caller may decide which user modules are imported, never a card."""
    if named is not None and trained != named:
        raise UserError(f"{directory} was trained with transform={trained!s:.200}, got transform={named:.200}")
    if named is None and isinstance(trained, str) and is_class_spec(trained):
        raise UserError(
            f"{directory} was trained with transform={trained:.200}, code from outside smidgen; to import and run it, "
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
        # PyTorch raises RuntimeError for a shape that does not match.
        raise UserError(f"{path} is not a readable safetensors file ({str(error)[:80]})") from error


def _build_policy(card: Card, tensors: Mapping[str, Tensor], directory: Path) -> LearnedPolicy:
    model_path = directory / MODEL_NAME
    config = policy_from_json(card["config"], str(directory / CARD_NAME), "config")
    interface = Interface.from_json(card)
    _refuse_forged_sizes(config, interface)
    with torch.device("meta"):
        # The right shapes without memory: the real network is only built once its tensors are loaded.
        expected = LearnedPolicy(config, interface).state_dict()
    if set(expected) != set(tensors):
        differing = sorted(set(expected) ^ set(tensors))
        raise UserError(f"{model_path}: tensors missing or unknown: {', '.join(differing):.120}")
    for name, tensor in tensors.items():
        stored_as = torch.float32 if tensor.dtype == torch.float16 else tensor.dtype
        if (tensor.shape, stored_as) != (expected[name].shape, expected[name].dtype):
            raise UserError(
                f"{model_path}: tensor {name!r}: expected {expected[name].dtype} {tuple(expected[name].shape)} "
                f"from the card, got {tensor.dtype} {tuple(tensor.shape)}"
            )
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise UserError(f"{model_path}: tensor {name!r} contains NaN or infinity")
    with torch.random.fork_rng(devices=[]):
        return LearnedPolicy(config, interface)


def _refuse_forged_sizes(config: LearnedPolicyConfig, interface: Interface) -> None:
    counts = {"image_size": interface.image_size, **flat_values(config)}
    for key, value in counts.items():
        limit = _MAX_LAYERS if key == "num_layers" else _MAX_COUNT
        if isinstance(value, int) and not 0 <= value <= limit:
            raise UserError(f"expected {key} in 0..{limit}, got {str(value)[:20]}")
    bytes_per_pixel = 3 * len(interface.cameras)
    axes = [config.num_frames, interface.image_size, interface.image_size, bytes_per_pixel]
    # What a policy keeps while it acts, the frames between those that it sees included.
    num_bytes = config.history * math.prod(axes[1:])
    if num_bytes > 3 * _MAX_TOKENS:
        raise UserError(f"{num_bytes} input bytes exceed the limit of {3 * _MAX_TOKENS}")
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
