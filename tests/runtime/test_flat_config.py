from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from smidgen.runtime.flat_config import flat_fields, flat_values, nested, part


@dataclass(frozen=True)
class Inner:
    width: int = field(default=4, metadata={"help": "width"})
    sizes: tuple[int, ...] = (1, 2)


@dataclass(frozen=True, kw_only=True)
class Outer:
    out: str
    names: list[str] = field(default_factory=list)
    inner: Inner = part(lambda: Inner(width=9))


@dataclass(frozen=True)
class Other:
    depth: int = 2


def test_keys_of_parts_stand_among_the_owners():
    fields = flat_fields(Outer)
    assert list(fields) == ["out", "names", "width", "sizes"]
    hint, width = fields["width"]
    assert (hint, width.default, width.metadata["help"]) == (int, 9, "width")


def test_flat_and_nested_are_each_others_inverse():
    config = Outer(out="x", names=["a"], inner=Inner(width=1, sizes=(3,)))
    assert flat_values(config) == {"out": "x", "names": ["a"], "width": 1, "sizes": (3,)}
    assert nested(Outer, flat_values(config)) == config


def test_what_is_missing_takes_the_owners_default():
    assert nested(Outer, {"out": "x"}).inner == Inner(width=9)
    assert nested(Outer, {"out": "x", "sizes": (5,)}).inner == Inner(width=9, sizes=(5,))


def test_another_class_can_be_chosen_for_a_part():
    assert list(flat_fields(Outer, inner=Other)) == ["out", "names", "depth"]
    assert nested(Outer, {"out": "x", "depth": 3}, inner=Other).inner == Other(depth=3)


def test_unknown_keys_are_refused():
    with pytest.raises(TypeError, match="Outer has no depth"):
        nested(Outer, {"out": "x", "depth": 3})


def test_a_key_stands_once():
    @dataclass(frozen=True)
    class Twice:
        width: int = 1
        inner: Inner = part(Inner)

    # The annotation is a string that names a class of this module.
    with pytest.raises(AssertionError, match="a key twice"):
        flat_fields(Twice)
