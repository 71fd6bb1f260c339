"""Checks JSON files against their schemas; an error is one line that names the file and the field.

A schema is a TypedDict or a frozen dataclass, validated by pydantic: strict, no unknown fields, no NaN or infinity.
`check_type` checks parsed JSON without changing it; `from_json` builds dataclasses, `to_json` is its inverse.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import re
import typing
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

import typing_extensions

from smidgen.runtime.errors import UserError
from smidgen.runtime.files import read_json

# pydantic is imported when the first file is read: it takes a tenth of a second, which --help should not cost.
if typing.TYPE_CHECKING:
    from pydantic_core import CoreSchema, SchemaValidator

# Beyond this, other JSON readers lose precision.
MAX_INTEGER = 2**53
NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}")
_SHA256_PATTERN = re.compile(r"[0-9a-f]{64}")
# Our wording; pydantic's for all other errors.
_EXPECTED = {
    "missing": "a value",
    "extra_forbidden": "no such field",
    "unexpected_keyword_argument": "no such field",
    "bool_type": "true or false",
    "string_type": "a string",
    "int_type": "an integer below 2^53",
    "int_from_float": "an integer below 2^53",
    "less_than_equal": "an integer below 2^53",
    "greater_than_equal": "an integer below 2^53",
    "float_type": "a finite number",
    "finite_number": "a finite number",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "an object",
    "dataclass_type": "an object",
}

T = TypeVar("T")


@dataclass(frozen=True)
class Rule:
    """A constraint on a value besides its type: ``Annotated[str, Rule(str.isupper, "capitals")]``.

    Attributes:
        holds: Whether a value of the type satisfies it.
        expected: The constraint in words.
    """

    holds: Callable[[Any], Any]
    expected: str

    def __get_pydantic_core_schema__(self, source: Any, handler: Callable[[Any], CoreSchema]) -> CoreSchema:
        from pydantic_core import core_schema

        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def _check(self, value: Any) -> Any:
        if not self.holds(value):
            raise ValueError(self.expected)
        return value


def one_of(valid: Collection[str]) -> Rule:
    """The rule that a string is one of the given ones."""
    return Rule(valid.__contains__, f"one of {', '.join(valid)}")


def within(low: float, high: float) -> Rule:
    """The rule that a number lies in ``low..high``, bounds included."""
    return Rule(lambda number: low <= number <= high, f"{low}..{high}")


Name = Annotated[str, Rule(NAME_PATTERN.fullmatch, "letters, digits, '.', '_', '+' and '-'")]
Sha256 = Annotated[str, Rule(_SHA256_PATTERN.fullmatch, "64 hexadecimal digits")]


def refuse(source: str, field: str, expected: str, got: object, fix: str = "") -> typing.NoReturn:
    """Raises the error for one field.

    Raises:
        UserError: Always; one line that names source, field, expected and got, and the fix if there is one.
    """
    shown = repr(got)
    shown = shown if len(shown) <= 80 else f"{shown[:77]}..."
    # A key of an untrusted file may hold a line break.
    place = (field if field.isprintable() else repr(field)[1:-1]) or "(top level)"
    raise UserError(f"{source}: field {place}: expected {expected}, got {shown}{fix and f'; {fix}'}")


def check_type(value: Any, hint: Any, source: str, field: str = "") -> None:
    """Checks parsed JSON against a schema.

    Args:
        value: Parsed JSON.
        hint: A TypedDict, or a list or dict of them or of scalars; None may be allowed beside each.
        source: The file's name, for the message.
        field: Where in the file the value is.

    Raises:
        UserError: Naming source, field, expected and got.
    """
    _validated(lambda validator: validator.validate_python(value), hint, source, field)


def from_json(hint: type[T], value: Any, source: str, field: str = "") -> T:
    """Builds a value of a type from parsed JSON.

    Args:
        hint: A frozen dataclass of dataclasses, tuples, dicts and scalars, or a tuple or dict of them; None may be
            allowed beside each. A dataclass field with a default may be missing.
        value: Parsed JSON.
        source: The file's name, for the message.
        field: Where in the file the value is.

    Returns:
        The value; lists have become tuples.

    Raises:
        UserError: Naming source, field, expected and got.
    """
    # In strict mode a list becomes a tuple, and an object a dataclass, only when read from JSON text.
    text = json.dumps(value)
    return typing.cast(T, _validated(lambda validator: validator.validate_json(text), hint, source, field))


def require_version(
    value: object, readable: tuple[int, ...], source: str, field: str = "schema_version", fix: str = ""
) -> None:
    """Refuses parsed JSON of an unsupported version; anything but an object is left to the schema.

    Raises:
        UserError: Naming source and field, and the fix.
    """
    # Exact types: True and 1.0 are 1.
    if isinstance(value, dict) and (type(found := value.get(field)) is not int or found not in readable):
        refuse(source, field, " or ".join(map(str, readable)), found, fix)


def read_versioned(hint: type[T], path: str, version: int) -> T:
    """Reads a file that has a ``version`` field.

    Args:
        hint: A dataclass with that field.
        path: The JSON file.
        version: The supported version.

    Raises:
        UserError: If the file is missing, of another version or does not match the schema, naming the field.
    """
    stored = read_json(path)
    require_version(stored, (version,), path, "version")
    return from_json(hint, stored, path)


def to_json(value: Any) -> Any:
    """A dataclass as JSON objects and lists; `from_json` is the inverse."""
    from pydantic_core import to_jsonable_python

    return to_jsonable_python(value)


def _validated(validate: Callable[[SchemaValidator], Any], hint: Any, source: str, field: str) -> Any:
    from pydantic import ValidationError

    try:
        return validate(_validator(hint))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
    reason = first["ctx"]["error"] if first["type"] == "value_error" else None
    if isinstance(reason, UserError):
        raise UserError(f"{source}: {reason}")  # a dataclass that validates itself does not know its file
    expected = reason or _EXPECTED.get(first["type"], first["msg"].removeprefix("Input should be "))
    if first["type"] == "too_long":
        expected = f"at most {first['ctx']['max_length']} entries"
    got = "nothing (missing)" if first["type"] == "missing" else first["input"]
    refuse(source, _place(field, first["loc"]), str(expected), got)


def _place(field: str, path: tuple[str | int, ...]) -> str:
    steps = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return f"{field}{steps}" if field else steps.removeprefix(".")


@functools.cache
def _validator(hint: Any) -> SchemaValidator:
    from pydantic import ConfigDict, TypeAdapter, with_config
    from pydantic_core import CoreConfig, SchemaValidator

    config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)
    if dataclasses.is_dataclass(hint) or typing_extensions.is_typeddict(hint):
        schema = TypeAdapter(with_config(config)(hint)).core_schema
    else:
        schema = TypeAdapter(hint, config=config).core_schema
    return SchemaValidator(_hardened(schema), CoreConfig(strict=True, allow_inf_nan=False))


def _hardened(schema: Any) -> Any:
    """A schema that stops at a list's first wrong entry and limits numbers to what JSON can represent."""
    if isinstance(schema, list | tuple):
        return type(schema)(map(_hardened, schema))
    if not isinstance(schema, dict):
        return schema
    kind = schema.get("type")
    extra: dict[str, Any] = {}
    if kind in ("list", "dict", "tuple"):
        extra = {"fail_fast": True}  # one message for each entry of a forged file would exhaust memory
    elif kind == "int":
        extra = {"ge": -MAX_INTEGER, "le": MAX_INTEGER}
    elif kind == "any":
        return {"type": "function-after", "schema": schema, "function": {"type": "no-info", "function": _FINITE._check}}
    return {key: _hardened(part) for key, part in schema.items()} | extra


def _is_finite(value: Any) -> bool:
    """Whether untyped JSON contains finite numbers only."""
    # A list instead of recursion: the file decides the depth.
    unchecked = [value]
    while unchecked:
        part = unchecked.pop()
        if isinstance(part, dict | list):
            unchecked.extend(part.values() if isinstance(part, dict) else part)
        elif isinstance(part, float) and not math.isfinite(part):
            return False
    return True


_FINITE = Rule(_is_finite, "finite numbers")
