"""Nested configurations with flat keys: each part sits beside the class that it configures; users type no prefixes.

@dataclass(frozen=True)
class Run:
    out: str
    network: Network = part(Network)      # Network's fields are keys of Run: width=64, not network.width=64
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

Config = TypeVar("Config")

_IS_PART = {"part": True}


def part(factory: Callable[[], Any]) -> Any:
    """A field that holds a nested configuration whose keys are merged into the owner's.

    Args:
        factory: Makes the part with its defaults; usually the part's class.
    """
    return dataclasses.field(default_factory=factory, metadata=_IS_PART)


def later(default: Any, text: str) -> Any:
    """A field that came after the first files were written; they hold it only where it differs from its default.

    Args:
        default: What was done before there was a choice.
        text: Its help; ``--help`` lists the field by its name alone, ``--help-all`` explains it.
    """
    return dataclasses.field(default=default, metadata={"help": text, "is_later": True})


def is_later(each: dataclasses.Field[Any]) -> bool:
    """Whether a field was made by :func:`later`."""
    return bool(each.metadata.get("is_later"))


def flat_fields(schema: type[Any], **chosen: type[Any]) -> dict[str, tuple[Any, Any]]:
    """Type and field of each key, parts included; a part's fields have the defaults that the owner sets.

    Args:
        schema: A dataclass.
        chosen: The class of a part, where it is not the annotated one.
    """
    found: dict[str, tuple[Any, Any]] = {}
    hints = typing.get_type_hints(schema, include_extras=True)
    for each in dataclasses.fields(schema):
        own = {each.name: (hints[each.name], _copy(each))}
        if is_part(each):
            default = _default_part(each, chosen)
            own = flat_fields(type(default))
            for name, value in flat_values(default).items():
                hint, inner = own[name]
                own[name] = (hint, dataclasses.field(default=value, metadata=inner.metadata))
        assert not found.keys() & own.keys(), f"{schema.__name__} has a key twice: {found.keys() & own.keys()}"
        found |= own
    return found


def nested(schema: type[Config], flat: Mapping[str, Any], **chosen: type[Any]) -> Config:
    """Builds a nested configuration from flat keys; missing ones take their defaults.

    Raises:
        TypeError: If a key is not in the schema.
    """
    unknown = flat.keys() - flat_fields(schema, **chosen).keys()
    if unknown:
        raise TypeError(f"{schema.__name__} has no {', '.join(sorted(unknown))}")
    values = {}
    for each in dataclasses.fields(schema):  # type: ignore[arg-type]
        if is_part(each):
            values[each.name] = _updated(_default_part(each, chosen), flat)
        elif each.name in flat:
            values[each.name] = flat[each.name]
    return schema(**values)


def flat_values(config: Any) -> dict[str, Any]:
    """The value of every key, parts included."""
    values: dict[str, Any] = {}
    for each in dataclasses.fields(config):
        value = getattr(config, each.name)
        values |= flat_values(value) if is_part(each) else {each.name: value}
    return values


def stored_values(config: Any) -> dict[str, Any]:
    """The values that files hold: all but those of later fields at their default."""
    values: dict[str, Any] = {}
    for each in dataclasses.fields(config):
        value = getattr(config, each.name)
        if is_part(each):
            values |= stored_values(value)
        elif not (is_later(each) and value == each.default):
            values[each.name] = value
    return values


def is_part(each: dataclasses.Field[Any]) -> bool:
    """Whether a field is a part."""
    return bool(each.metadata.get("part"))


def _default_part(each: dataclasses.Field[Any], chosen: Mapping[str, type[Any]]) -> Any:
    assert each.default_factory is not dataclasses.MISSING
    return chosen[each.name]() if each.name in chosen else each.default_factory()


def _updated(config: Any, flat: Mapping[str, Any]) -> Any:
    """A configuration updated with those keys that belong to it."""
    changes = {}
    for each in dataclasses.fields(config):
        if is_part(each):
            changes[each.name] = _updated(getattr(config, each.name), flat)
        elif each.name in flat:
            changes[each.name] = flat[each.name]
    return dataclasses.replace(config, **changes)


def _copy(each: dataclasses.Field[Any]) -> Any:
    """A field with the same default that can be bound to another class."""
    if each.default_factory is not dataclasses.MISSING:
        return dataclasses.field(default_factory=each.default_factory, metadata=each.metadata)
    return dataclasses.field(default=each.default, metadata=each.metadata)
