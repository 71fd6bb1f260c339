"""Parsed JSON against type hints: every departure is refused with the file's name and the field.

`check_type` checks in place (TypedDict, list, dict, unions with null, scalars); `from_json` builds frozen dataclasses
and `to_json` gives back what JSON can hold.
"""

from __future__ import annotations

import dataclasses
import math
import re
import sys
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from smidgen.runtime.errors import UserError
from smidgen.runtime.files import read_json

# Beyond this, other JSON readers lose digits.
MAX_INTEGER = 2**53
NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}")

T = TypeVar("T")


def refuse(source: str, field: str, expected: str, got: object) -> typing.NoReturn:
    """Raises the error for one field.

    Raises:
        UserError: Always; one line that names source, field, expected and got.
    """
    shown = repr(got)
    shown = shown if len(shown) <= 80 else f"{shown[:77]}..."
    raise UserError(f"{source}: field {field or '(top level)'}: expected {expected}, got {shown}")


def check_type(value: Any, hint: Any, source: str, field: str = "") -> None:
    """Checks parsed JSON against a type hint made of TypedDict, list, dict, unions with None and scalars.

    Raises:
        UserError: Naming source, field, expected and got.
    """
    if typing.is_typeddict(hint):
        _check_mapping(value, hint, source, field)
    elif typing.get_origin(hint) is list:
        check_list(value, source, field)
        for index, entry in enumerate(value):
            check_type(entry, typing.get_args(hint)[0], source, f"{field}[{index}]")
    elif typing.get_origin(hint) is dict:
        check_object(value, source, field)
        for key, entry in value.items():
            check_type(entry, typing.get_args(hint)[1], source, f"{field}.{key}")
    elif isinstance(hint, types.UnionType):
        if value is not None:
            check_type(value, typing.get_args(hint)[0], source, field)
    elif hint is Any:
        _check_free(value, source, field)
    else:
        _check_scalar(value, hint, source, field)


def check_object(value: Any, source: str, field: str) -> None:
    """Refuses what is not a JSON object."""
    if not isinstance(value, dict):
        refuse(source, field, "an object", value)


def check_list(value: Any, source: str, field: str) -> None:
    """Refuses what is not a JSON list."""
    if not isinstance(value, list):
        refuse(source, field, "a list", value)


def check_fields(value: dict[str, Any], required: set[str], valid: set[str], source: str, field: str) -> None:
    """Refuses an object that lacks a required field or has one that nobody reads."""
    prefix = f"{field}." if field else ""
    for name in sorted(required - set(value)):
        refuse(source, f"{prefix}{name}", "a value", "nothing (missing)")
    for name in sorted(set(value) - valid):
        refuse(source, f"{prefix}{name}", f"no such field (valid: {', '.join(sorted(valid))})", value[name])


def _check_free(value: Any, source: str, field: str) -> None:
    """Checks that free JSON holds no number that JSON cannot say."""
    # A list instead of recursion: the depth is the file's choice.
    unchecked = [value]
    while unchecked:
        part = unchecked.pop()
        if isinstance(part, dict | list):
            unchecked.extend(part.values() if isinstance(part, dict) else part)
        elif isinstance(part, float) and not math.isfinite(part):
            refuse(source, field, "finite numbers", part)


def _check_mapping(value: Any, hint: Any, source: str, field: str) -> None:
    check_object(value, source, field)
    hints = typing.get_type_hints(hint)
    check_fields(value, set(hint.__required_keys__), set(hints), source, field)
    for name, entry_hint in hints.items():
        if name in value:
            check_type(value[name], entry_hint, source, f"{field}.{name}" if field else name)


def _check_scalar(value: Any, hint: type, source: str, field: str) -> None:
    # bool is an int to Python, not to a reader of the record.
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if hint is float:
        # A comparison, because a forged integer may be too large to become a float; NaN fails it too.
        fits, expected = is_number and abs(value) <= sys.float_info.max, "a finite number"
    elif hint is int:
        fits, expected = is_number and isinstance(value, int) and abs(value) <= MAX_INTEGER, "an integer below 2^53"
    else:
        fits, expected = isinstance(value, hint), {bool: "true or false", str: "a string"}[hint]
    if not fits:
        refuse(source, field, expected, value)


def from_json(hint: type[T], value: Any, source: str, field: str = "") -> T:
    """Builds a value of a type from parsed JSON.

    Args:
        hint: A dataclass, or a hint made of dataclasses, ``tuple[X, ...]``, ``tuple[X, Y]``, ``dict[str, X]``, unions
            with None and scalars. A dataclass's field with a default may be missing.
        value: Parsed JSON.
        source: The file's name, for the message.
        field: Where in the file the value stands.

    Returns:
        The value; lists have become tuples.

    Raises:
        UserError: Naming source, field, expected and got.
    """
    return typing.cast(T, _build(hint, value, source, field))


def read_versioned(hint: type[T], path: str, version: int) -> T:
    """Reads a file whose field ``version`` says what the others mean.

    Args:
        hint: A dataclass with that field.
        path: The JSON file.
        version: The one that is understood.

    Raises:
        UserError: If the file is missing, of another version or no such object, naming the field.
    """
    stored = read_json(path)
    if isinstance(stored, dict) and stored.get("version") != version:
        refuse(path, "version", str(version), stored.get("version"))
    return from_json(hint, stored, path)


def _build(hint: Any, value: Any, source: str, field: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if dataclasses.is_dataclass(hint):
        return _build_dataclass(typing.cast(type, hint), value, source, field)
    if origin is tuple:
        check_list(value, source, field)
        hints = [arguments[0]] * len(value) if arguments[-1] is Ellipsis else arguments
        if len(hints) != len(value):
            refuse(source, field, f"{len(hints)} entries", value)
        return tuple(
            _build(part, entry, source, f"{field}[{index}]")
            for index, (part, entry) in enumerate(zip(hints, value, strict=True))
        )
    if origin is dict:
        check_object(value, source, field)
        return {key: _build(arguments[1], entry, source, f"{field}.{key}") for key, entry in value.items()}
    if isinstance(hint, types.UnionType):
        return None if value is None else _build(arguments[0], value, source, field)
    check_type(value, hint, source, field)
    return float(value) if hint is float else value


def _build_dataclass(hint: type, value: Any, source: str, field: str) -> Any:
    check_object(value, source, field)
    hints = typing.get_type_hints(hint)
    fields = {entry.name: entry for entry in dataclasses.fields(hint)}
    required = {
        name
        for name, entry in fields.items()
        if entry.default is dataclasses.MISSING and entry.default_factory is dataclasses.MISSING
    }
    check_fields(value, required, set(fields), source, field)
    return hint(
        **{
            name: _build(hints[name], entry, source, f"{field}.{name}" if field else name)
            for name, entry in value.items()
        }
    )


def to_json(value: Any) -> Any:
    """What JSON can hold of a dataclass: objects and lists; `from_json` gives back the value."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {entry.name: to_json(getattr(value, entry.name)) for entry in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: to_json(entry) for key, entry in value.items()}
    if isinstance(value, tuple | list):
        return [to_json(entry) for entry in value]
    return value
