"""How valid input becomes hostile: bytes, parsed JSON, and what stands where a file was expected.

Every function draws from a ``random.Random``, so that a seed gives the same case anywhere and hypothesis may hand in a
generator of its own.
"""

from __future__ import annotations

import copy
import json
import random
import re
from collections.abc import Callable
from typing import Any

from tests.fuzz.hostile import BYTES, KEYS, NUMBERS, TARGETS, TEXTS
from tests.fuzz.reader import DIRECTORY, LINK, MISSING, PIPE, Entry, Special

DEPTHS = (1, 50, 200, 399, 400, 700, 900, 5000, 100_000)
# A nest is written as text: nothing could walk a tree so deep.
_NEST = re.compile(r'"@nest-(\d+)-(list|object)"')


def spoil_bytes(rng: random.Random, data: bytes) -> bytes:
    """One to four edits anywhere: flipped, inserted, deleted, doubled or overwritten bytes, or a cut."""
    spoiled = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4))):
        rng.choice(_BYTE_EDITS)(rng, spoiled)
    return bytes(spoiled)


def _place(rng: random.Random, data: bytearray) -> int:
    # Headers decide more than what follows: half of the edits go to the first 200 bytes.
    return rng.randrange(1 + min(len(data), rng.choice((200, 1 << 30))))


def _flip(rng: random.Random, data: bytearray) -> None:
    place = _place(rng, data)
    if place < len(data):
        data[place] ^= 1 << rng.randrange(8)


def _overwrite(rng: random.Random, data: bytearray) -> None:
    place, token = _place(rng, data), rng.choice(BYTES)
    data[place : place + len(token)] = token


def _insert(rng: random.Random, data: bytearray) -> None:
    place = _place(rng, data)
    data[place:place] = rng.choice(BYTES)


def _delete(rng: random.Random, data: bytearray) -> None:
    place = _place(rng, data)
    del data[place : place + rng.choice((1, 2, 8, 64, 1000))]


def _cut(rng: random.Random, data: bytearray) -> None:
    del data[_place(rng, data) :]


def _double(rng: random.Random, data: bytearray) -> None:
    place = _place(rng, data)
    data[place:place] = data[place : place + rng.choice((1, 16, 200))]


def _count(rng: random.Random, data: bytearray) -> None:
    """Eight bytes that a container may take for a length."""
    place = rng.choice((0, _place(rng, data)))
    width = rng.choice((1, 2, 4, 8))
    value = rng.choice((0, 1, 2**7, 2**8 - 1, 2**15, 2**31, 2**32 - 1, 2**40, 2**63, 2**64 - 1)) % (1 << 8 * width)
    data[place : place + width] = value.to_bytes(width, rng.choice(("little", "big")))


_BYTE_EDITS: tuple[Callable[[random.Random, bytearray], None], ...] = (
    *(_flip, _overwrite, _insert, _delete, _cut, _double, _count),
)


def hostile_value(rng: random.Random) -> Any:
    """A number, a text, a container or a deep nest."""
    kind = rng.randrange(10)
    if kind < 4:
        return rng.choice(NUMBERS)
    if kind < 7:
        return rng.choice(TEXTS)
    if kind < 8:
        return rng.choice((None, True, False, [], {}, [None], [[]], {"": None}, [0] * 1000, {"_target_": "os.system"}))
    return f"@nest-{rng.choice(DEPTHS)}-{rng.choice(('list', 'object'))}"


def spoil_json(rng: random.Random, value: Any) -> Any:
    """One to three edits at places drawn evenly over the tree's levels; the original stays as it is."""
    root = [copy.deepcopy(value)]
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        outer, key = _walk(rng, root)
        rng.choice(_JSON_EDITS)(rng, outer, key)
    return root[0] if root else None


def _walk(rng: random.Random, root: list[Any]) -> tuple[Any, Any]:
    outer: Any = root
    key: Any = 0
    while root and isinstance(outer[key], dict | list) and outer[key] and rng.random() < 0.8:
        outer = outer[key]
        key = rng.choice(sorted(outer)) if isinstance(outer, dict) else rng.randrange(len(outer))
    return outer, key


def _replace(rng: random.Random, outer: Any, key: Any) -> None:
    outer[key] = hostile_value(rng)


def _nudge(rng: random.Random, outer: Any, key: Any) -> None:
    """A value of the same kind: what gets past the checks of types."""
    value = outer[key]
    if isinstance(value, bool):
        outer[key] = not value
    elif isinstance(value, int | float):
        as_float = float(value) if abs(value) < 1e300 else 0.5
        outer[key] = rng.choice((value + 1, value - 1, -value, value * 2, value * 1000, 0, as_float, str(value)))
    elif isinstance(value, str):
        outer[key] = rng.choice((value + "x", value[:-1], value.upper(), value * 2, rng.choice(TEXTS), [value]))
    else:
        outer[key] = rng.choice(([], {}, [value], {"x": value}, list(value or ()), None))


def _remove(rng: random.Random, outer: Any, key: Any) -> None:
    if len(outer) > 1 or isinstance(outer, dict):
        del outer[key]


def _add(rng: random.Random, outer: Any, key: Any) -> None:
    if isinstance(outer, dict):
        outer[rng.choice((*KEYS, f"{key}s"))] = hostile_value(rng)
    else:
        outer.insert(rng.randrange(len(outer) + 1), rng.choice((copy.deepcopy(outer[key]), hostile_value(rng))))


def _rename(rng: random.Random, outer: Any, key: Any) -> None:
    if isinstance(outer, dict):
        outer[rng.choice((*KEYS, rng.choice(TEXTS)))] = outer.pop(key)


def _swap(rng: random.Random, outer: Any, key: Any) -> None:
    other = rng.choice(sorted(outer)) if isinstance(outer, dict) else rng.randrange(len(outer))
    outer[key], outer[other] = outer[other], outer[key]


_JSON_EDITS: tuple[Callable[[random.Random, Any, Any], None], ...] = (
    *(_replace, _replace, _replace, _nudge, _nudge, _nudge, _remove, _add, _rename, _swap),
)


def to_bytes(rng: random.Random, value: Any) -> bytes:
    """JSON as a file may hold it: any spacing, escaped or not, lone surrogates as they are."""
    text = json.dumps(value, indent=rng.choice((None, 1)), ensure_ascii=rng.random() < 0.5)
    text = _NEST.sub(lambda nest: _nested(int(nest[1]), nest[2]), text)
    return text.encode("utf-8", "surrogatepass")


def _nested(depth: int, kind: str) -> str:
    opening, closing = ("[", "]") if kind == "list" else ('{"x":', "}")
    return f"{opening * depth}0{closing * depth}"


def spoil_json_file(rng: random.Random, data: bytes) -> bytes:
    """A JSON file, spoiled in its tree (mostly) or in its bytes."""
    if rng.random() < 0.2:
        return spoil_bytes(rng, data)
    return to_bytes(rng, spoil_json(rng, json.loads(data)))


def spoil_place(rng: random.Random) -> Entry:
    """What may stand where a file was expected."""
    kind = rng.choice((LINK, LINK, PIPE, DIRECTORY, MISSING))
    return Special(kind, rng.choice(TARGETS) if kind == LINK else "")
