"""Forged containers: safetensors, ``.npy`` and ``.npz``, taken apart and put together without the readers' own code."""

from __future__ import annotations

import io
import json
import random
import re
import struct
import warnings
import zipfile
from typing import Any

from tests.fuzz.hostile import CANARY, NAMES, NUMBERS, PICKLES, TEXTS
from tests.fuzz.mutations import spoil_bytes, spoil_json, to_bytes

_LENGTH_BYTES = 8
_SHAPE_NUMBERS = (0, 1, -1, 2**16, 2**31, 2**40, 10**12, 2**62, 2**63, 10**17, 10**18, 10**19, 10**30)
_DTYPES = ("BOOL", "U8", "I8", "F8_E4M3", "F8_E8M0", "F4", "C64", "BF16", "F16", "I16", "U64", "F32", "F64", "X", "")
_DESCR = ("'|O'", "'O'", "'<U1000000000'", "'|V1000000000'", "'<M8[s]'", "'>f8'", "'<f4'", "'<c16'", "'|S0'", "'<i8'")
_DESCR_CODE = ("[('x', '|O')]", f"__import__('{CANARY}')", "[[]]", "None", "1e999", "(1,)", "{}", "'" * 3)


def split_safetensors(content: bytes) -> tuple[dict[str, Any], bytes]:
    """Header and data of a safetensors file."""
    length = int.from_bytes(content[:_LENGTH_BYTES], "little")
    return json.loads(content[_LENGTH_BYTES : _LENGTH_BYTES + length]), content[_LENGTH_BYTES + length :]


def join_safetensors(header: bytes, data: bytes, length: int | None = None) -> bytes:
    """A safetensors file of a header and data; ``length`` is what it says of its header's."""
    announced = len(header) if length is None else length
    return (announced % 2**64).to_bytes(_LENGTH_BYTES, "little") + header + data


def spoil_safetensors(rng: random.Random, content: bytes) -> bytes:
    """A forged entry, a spoiled header, a false length, or spoiled bytes."""
    kind = rng.randrange(8)
    if kind == 0:
        return spoil_bytes(rng, content)
    header, data = split_safetensors(content)
    if kind == 1:
        length = rng.choice((0, 1, 2, 7, 2**20, 2**27, 2**31, 2**40, 2**63, 2**64 - 1))
        return join_safetensors(json.dumps(header).encode(), data, length)
    if kind < 4:
        return join_safetensors(to_bytes(rng, spoil_json(rng, header)), data)
    _forge_entry(rng, header)
    return join_safetensors(json.dumps(header).encode(), data if rng.random() < 0.8 else data[: rng.randrange(99)])


def _forge_entry(rng: random.Random, header: dict[str, Any]) -> None:
    name = rng.choice(sorted(key for key in header if key != "__metadata__"))
    entry = header[name]
    start, end = entry["data_offsets"]
    edit = rng.randrange(8)
    if edit == 0:
        entry["dtype"] = rng.choice(_DTYPES)
    elif edit == 1:
        entry["shape"] = [rng.choice(_SHAPE_NUMBERS) for _ in range(rng.randrange(6))]
    elif edit == 2:
        # The right number of bytes, another shape.
        entry["shape"] = rng.choice(([*entry["shape"], 1], [1] * 70 + entry["shape"], entry["shape"][::-1]))
    elif edit == 3:
        entry["data_offsets"] = rng.choice(([start, start], [end, start], [0, 2**63], [start, end + 8], [-1, end]))
    elif edit == 4:
        entry.update(shape=rng.choice(([0], [0, 10**12], [10**12, 0])), data_offsets=[start, start])
    elif edit == 5:
        header[rng.choice((*NAMES, *TEXTS))] = header.pop(name)
    elif edit == 6:
        header[f"{name}.more"] = {"dtype": "F32", "shape": [10**12], "data_offsets": [end, end + 4 * 10**12]}
    else:
        header["__metadata__"] = rng.choice(
            ({"x": "y" * 1000}, {"smidgen": "[" * 3000}, {"smidgen": "{}"}, {"x": 1}, [])
        )


def spoil_npy(rng: random.Random, content: bytes) -> bytes:
    """A forged shape or type in a header of the right length, or spoiled bytes; a pickle in place of the data."""
    kind = rng.randrange(6)
    if kind == 0 or not content.startswith(b"\x93NUMPY"):
        return spoil_bytes(rng, content)
    length = int.from_bytes(content[8:10], "little")
    header, data = content[10 : 10 + length].decode("latin-1"), content[10 + length :]
    if kind < 3:
        shape = ", ".join(str(rng.choice(_SHAPE_NUMBERS)) for _ in range(rng.randrange(6)))
        header = re.sub(r"\([^)]*\)", f"({shape},)", header)
    elif kind < 5:
        header = re.sub(r"'descr': '[^']*'", lambda _: f"'descr': {rng.choice((*_DESCR, *_DESCR_CODE))}", header)
        data = rng.choice((data, *PICKLES))
    else:
        header = rng.choice((header.replace("False", "True"), f"__import__('{CANARY}')", "{" * 500, header * 100))
    announced = rng.choice((len(header), len(header), len(header), rng.choice((0, 10, 65_535))))
    version = rng.choice((content[6:8], content[6:8], content[6:8], b"\x02\x00", b"\x03\x00", b"\xff\xff"))
    return content[:6] + version + struct.pack("<H", announced % 65_536) + header.encode("latin-1") + data


def spoil_npz(rng: random.Random, content: bytes) -> bytes:
    """Members renamed, doubled, missing, compressed, spoiled or said to be longer; or spoiled bytes."""
    if rng.random() < 0.3:
        return spoil_bytes(rng, content)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = [(member.filename, archive.read(member)) for member in archive.infolist()]
    for _ in range(rng.choice((1, 1, 2))):
        _spoil_member(rng, members)
    method = rng.choice((zipfile.ZIP_STORED,) * 4 + (zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA))
    buffer = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w", method) as archive:
        warnings.simplefilter("ignore")  # of a name that stands there twice
        for name, data in members:
            archive.writestr(zipfile.ZipInfo(name), data, method)
    joined = buffer.getvalue()
    return _forge_directory(rng, joined) if rng.random() < 0.3 else joined


def _spoil_member(rng: random.Random, members: list[tuple[str, bytes]]) -> None:
    place = rng.randrange(len(members))
    name, data = members[place]
    edit = rng.randrange(8)
    if edit == 0 and len(members) > 1:
        del members[place]
    elif edit == 1:
        members.append((rng.choice((name, *NAMES)).encode("utf-8", "replace").decode()[:60_000], data))
    elif edit == 2:
        members[place] = (rng.choice(NAMES).encode("utf-8", "replace").decode()[:60_000], data)
    elif edit == 3:
        members[place] = (name, data + b"\0" * rng.choice((1, 1000, 1 << 20)))
    else:
        members[place] = (name, spoil_npy(rng, data))


def _forge_directory(rng: random.Random, content: bytes) -> bytes:
    """Sizes, offsets, flags or method of one entry of the central directory, overwritten."""
    start = content.rfind(b"PK\x01\x02")
    field, width = rng.choice(((8, 2), (10, 2), (16, 4), (20, 4), (24, 4), (28, 2), (30, 2), (32, 2), (42, 4)))
    value = int(rng.choice(NUMBERS[:20])) % (1 << 8 * width)
    return content[: start + field] + value.to_bytes(width, "little") + content[start + field + width :]
