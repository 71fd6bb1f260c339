"""A data set's manifest: one header for the whole set and one row for each episode, with every field checked.

The header is stored in ``manifest.json`` and in every ``episode.json``, so that an interrupted collection can resume
from its finished episodes alone. Neither contains a date, a host or a path: the same settings give the same bytes.
"""

from __future__ import annotations

import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, get_type_hints

from typing_extensions import TypedDict

from smidgen.data_collection.array_files import require_regular_file
from smidgen.data_collection.outcome import Outcome, check_outcome
from smidgen.runtime.action_spec import ActionSpec
from smidgen.runtime.differences import differences
from smidgen.runtime.errors import UserError
from smidgen.runtime.files import read_json
from smidgen.runtime.schemas import Rule, Sha256, check_type, refuse, require_version, within

SCHEMA_VERSION = 1
MANIFEST_NAME = "manifest.json"
EPISODES_NAME, MODELS_NAME = "episodes", "models"
EPISODE_SIDECAR = "episode.json"
ARRAY_FILES = ("arrays.npz", "counterfactuals.npz", "frames.npy")
# In the rows of an imported set that brings MuJoCo models; stored once for all episodes that share it.
MODEL_FILE = "model.xml"

_MAX_STEPS = 1_000_000
MAX_IMAGE_SIZE = 4096
_MAX_NAMES = 1024
_MAX_NAME_CHARACTERS = 200
_MAX_CONTROL_HZ = 1_000_000

_Text = Annotated[
    str, Rule(lambda name: name.isprintable() and len(name) <= _MAX_NAME_CHARACTERS, "a short, printable name")
]
_AnyNames = Annotated[list[_Text], Rule(lambda names: len(names) <= _MAX_NAMES, f"at most {_MAX_NAMES} names")]
_Names = Annotated[list[_Text], Rule(lambda names: 0 < len(names) <= _MAX_NAMES, f"1 to {_MAX_NAMES} names")]


class Header(TypedDict):
    """The fields shared by all episodes of a set."""

    schema_version: int
    task: _Text
    environment: dict[str, Any]
    versions: dict[str, Any]
    expert: dict[str, Any]
    phases: _Names
    action_spec: dict[str, Any]
    eef_state_names: _AnyNames  # an imported set may have none
    cameras: _Names
    image_size: Annotated[int, within(1, MAX_IMAGE_SIZE)]
    control_hz: Annotated[float, within(1e-6, _MAX_CONTROL_HZ)]
    history: Annotated[int, within(1, _MAX_STEPS)]
    config: dict[str, Any]


class Attempt(Outcome):
    """One attempt, successful or not."""

    num_counterfactuals: Annotated[int, within(0, _MAX_STEPS)]
    error: str | None
    files: dict[str, Sha256]


class Sidecar(Header, Attempt):
    """``episode.json``."""


class Manifest(Header):
    """``manifest.json``."""

    num_episodes: int
    num_successes: int
    episodes: list[Attempt]


class ModelFiles(TypedDict):
    """In the header of an imported set whose episodes bring their MuJoCo model: how its frames were drawn."""

    robosuite: _Text  # the version; "" if the set does not say
    image_sizes: dict[_Text, Annotated[list[int], Rule(lambda size: len(size) == 2, "rows and columns")]]
    visual_meshes: bool
    collision_meshes: bool


HEADER_FIELDS, ATTEMPT_FIELDS = (tuple(get_type_hints(part)) for part in (Header, Attempt))


def episode_directory_name(seed: int) -> str:
    """Name of an episode's directory: its seed in nine digits."""
    return f"{seed:09d}"


def read_manifest(path: Path) -> dict[str, Any]:
    """Reads a whole manifest.

    Raises:
        UserError: If it is missing, not a regular file, does not match the schema or contradicts itself; the message
            names file and field.
    """
    manifest = _read(path, Manifest)
    rows = manifest["episodes"]
    for index, row in enumerate(rows):
        _check_row(row, (*ARRAY_FILES, EPISODE_SIDECAR), str(path), f"episodes[{index}].")
    seeds = [row["seed"] for row in rows]
    if sorted(set(seeds)) != seeds:
        raise UserError(f"{path}: expected the episodes' seeds in increasing order without repeats")
    got = (manifest["num_episodes"], manifest["num_successes"])
    expected = (len(rows), sum(row["success"] for row in rows))
    if got != expected:
        raise UserError(f"{path}: num_episodes, num_successes: expected {expected} as in the rows, got {got}")
    return manifest


def read_sidecar(directory: Path, seed: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and row from a finished episode's ``episode.json``.

    Raises:
        UserError: If it is missing, damaged, or belongs to another episode.
    """
    path = directory / episode_directory_name(seed) / EPISODE_SIDECAR
    sidecar = _read(path, Sidecar)
    _check_row(sidecar, ARRAY_FILES, str(path), "")
    if sidecar["seed"] != seed:
        raise UserError(f"{path}: expected seed {seed}, got {sidecar['seed']}")
    header, row = ({name: sidecar[name] for name in names} for names in (HEADER_FIELDS, ATTEMPT_FIELDS))
    return header, row


def _read(path: Path, schema: type) -> dict[str, Any]:
    require_regular_file(path)
    value, source = read_json(path), str(path)
    require_version(value, (SCHEMA_VERSION,), source, fix="collect it again")
    check_type(value, schema, source)
    ActionSpec.from_json(value["action_spec"], source)
    return typing.cast(dict[str, Any], value)


def _check_row(row: Any, file_names: tuple[str, ...], source: str, prefix: str) -> None:
    if row["success"] and row["error"] is None and not row["num_steps"]:
        raise UserError(f"{source}: seed {row['seed']}: a success without steps")
    check_outcome(row, _MAX_STEPS, source, prefix)
    if set(row["files"]) - {MODEL_FILE} != set(file_names):
        refuse(
            source, f"{prefix}files", f"the files {', '.join(sorted(file_names))} and no others", sorted(row["files"])
        )


def build_manifest(header: Mapping[str, Any], rows: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The manifest of a finished set, independent of the order of its rows."""
    ordered = sorted(rows, key=lambda row: int(row["seed"]))
    num_successes = sum(bool(row["success"]) for row in ordered)
    return {**header, "num_episodes": len(ordered), "num_successes": num_successes, "episodes": ordered}


def changed_fields(present: Mapping[str, Any], asked: Mapping[str, Any]) -> str:
    """Where two headers differ, in words; "" if they are equal."""
    found = differences(present, asked)
    return "; ".join(f"{each.path}: {each.there!r:.60} there, {each.here!r:.60} requested" for each in found)


def array_sizes(header: Mapping[str, Any]) -> dict[str, int]:
    """Lengths of the named axes that are the same for every episode."""
    return {
        "cameras": len(header["cameras"]),
        "height": header["image_size"],
        "width": header["image_size"],
        "action": len(header["action_spec"]["names"]),
        "eef_state": len(header["eef_state_names"]),
        "history": header["history"],
    }
