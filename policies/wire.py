"""Messages between smidgen and a policy in another process: a JSON header, then plain arrays.

A message is ``SMG1``, the header's length as a little-endian uint32, the body's as a uint64, the header, the body. The
header is a JSON object: ``kind``, any other fields, and under ``arrays`` each array's ``dtype`` and ``shape`` by name.
The body holds the arrays' bytes one after the other, in the header's order, row by row, little-endian. Reading one
never runs code, and checks every size before it allocates. docs/foreign-policies.md is the specification.
"""

from __future__ import annotations

import json
import math
import socket
import struct
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np

PROTOCOL = 1
MAGIC = b"SMG1"
PREFIX = struct.Struct("<4sIQ")
MAX_HEADER_BYTES = 1 << 20
MAX_BODY_BYTES = 1 << 28
MAX_ARRAYS = 64
MAX_AXES = 8
DTYPES = {name: np.dtype(f"<{name}") for name in ("u1", "i1", "i4", "i8", "f2", "f4", "f8")}


class WireError(Exception):
    """A message that does not follow the protocol, or a connection that ended."""


@dataclass(frozen=True, eq=False)
class Message:
    """One message.

    Attributes:
        kind: What it asks or answers.
        fields: Further JSON values by name.
        arrays: Arrays by name.
    """

    kind: str
    fields: dict[str, Any] = field(default_factory=dict)
    arrays: dict[str, np.ndarray] = field(default_factory=dict)


def encode(message: Message) -> bytes:
    """A message as bytes.

    Raises:
        WireError: If it is too long, or an array has another type than those of :data:`DTYPES`.
    """
    described, parts = {}, []
    for name, array in message.arrays.items():
        code = f"{array.dtype.kind}{array.dtype.itemsize}"
        if code not in DTYPES:
            raise WireError(f"array {name!r} is {array.dtype}; valid: {', '.join(DTYPES)}")
        described[name] = {"dtype": code, "shape": list(array.shape)}
        parts.append(np.ascontiguousarray(array, dtype=DTYPES[code]).tobytes())
    header = json.dumps({**message.fields, "kind": message.kind, "arrays": described}, allow_nan=False).encode()
    body = b"".join(parts)
    _require_sizes(len(header), len(body))
    return PREFIX.pack(MAGIC, len(header), len(body)) + header + body


def decode(header: bytes, body: bytearray | bytes) -> Message:
    """A message out of its two parts.

    Raises:
        WireError: If either does not follow the protocol.
    """
    fields = _json_object(header)
    kind, described = fields.pop("kind", None), fields.pop("arrays", None)
    if not isinstance(kind, str) or not isinstance(described, dict):
        raise WireError("a header holds no kind or no arrays")
    return Message(kind, fields, _arrays(described, body))


def _json_object(header: bytes) -> dict[str, Any]:
    try:
        fields = json.loads(header.decode(), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise WireError(f"a header is not JSON: {error}") from error
    if not isinstance(fields, dict):
        raise WireError("a header is not a JSON object")
    return fields


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _arrays(described: dict[str, Any], body: bytearray | bytes) -> dict[str, np.ndarray]:
    if len(described) > MAX_ARRAYS:
        raise WireError(f"a message holds {len(described)} arrays; at most {MAX_ARRAYS}")
    arrays, start = {}, 0
    for name, value in described.items():
        dtype, shape = _layout(name, value)
        end = start + math.prod(shape) * dtype.itemsize
        if end > len(body):
            raise WireError(f"array {name!r} of shape {shape} goes beyond the {len(body)} bytes of its message")
        arrays[name] = np.frombuffer(body, dtype=dtype, count=math.prod(shape), offset=start).reshape(shape)
        start = end
    if start != len(body):
        raise WireError(f"a message of {len(body)} bytes holds arrays of {start}")
    return arrays


def _layout(name: str, value: Any) -> tuple[np.dtype[Any], tuple[int, ...]]:
    if not isinstance(value, dict) or value.keys() != {"dtype", "shape"}:
        raise WireError(f"array {name!r:.40} needs dtype and shape alone")
    code, shape = value["dtype"], value["shape"]
    if not isinstance(code, str) or code not in DTYPES:
        raise WireError(f"array {name!r:.40} is {code!r:.40}; valid: {', '.join(DTYPES)}")
    if not isinstance(shape, list) or len(shape) > MAX_AXES:
        raise WireError(f"array {name!r:.40} has shape {shape!r:.40}; expected a list of at most {MAX_AXES} lengths")
    if not all(type(length) is int and 0 <= length <= MAX_BODY_BYTES for length in shape):
        raise WireError(f"array {name!r:.40} has shape {shape!r:.40}; expected whole numbers from 0")
    return DTYPES[code], tuple(shape)


def _require_sizes(header_bytes: int, body_bytes: int) -> None:
    if header_bytes > MAX_HEADER_BYTES or body_bytes > MAX_BODY_BYTES:
        raise WireError(
            f"a message has a header of {header_bytes} bytes and a body of {body_bytes}; at most {MAX_HEADER_BYTES} "
            f"and {MAX_BODY_BYTES}"
        )


def send(connection: socket.socket, message: Message, limit_s: float) -> None:
    """Sends one message.

    Args:
        connection: A connected stream socket.
        message: What to send.
        limit_s: Seconds after which this fails.

    Raises:
        WireError: If the peer is gone, or does not read in time.
    """
    connection.settimeout(limit_s)
    try:
        connection.sendall(encode(message))
    except TimeoutError as error:
        raise WireError(f"it did not read a message within {limit_s:g} s") from error
    except OSError as error:
        raise WireError(f"the connection ended ({error})") from error


def receive(connection: socket.socket, limit_s: float) -> Message:
    """Receives one message.

    Args:
        connection: A connected stream socket.
        limit_s: Seconds after which this fails, for the whole message.

    Raises:
        WireError: If the peer is gone, silent for too long, or sends something else.
    """
    deadline = time.monotonic() + limit_s
    magic, header_bytes, body_bytes = PREFIX.unpack(_exactly(connection, PREFIX.size, deadline, limit_s))
    if magic != MAGIC:
        raise WireError(f"a message begins with {magic!r}, not {MAGIC!r}: it speaks something else")
    _require_sizes(header_bytes, body_bytes)
    header = _exactly(connection, header_bytes, deadline, limit_s)
    return decode(bytes(header), _exactly(connection, body_bytes, deadline, limit_s))


def _exactly(connection: socket.socket, num_bytes: int, deadline: float, limit_s: float) -> bytearray:
    # Grows with what arrives: a header may promise more than the peer will send.
    received = bytearray()
    while len(received) < num_bytes:
        left_s = deadline - time.monotonic()
        try:
            connection.settimeout(max(left_s, 1e-3))
            part = connection.recv(min(num_bytes - len(received), 1 << 20))
        except TimeoutError as error:
            raise WireError(f"no answer within {limit_s:g} s") from error
        except OSError as error:
            raise WireError(f"the connection ended ({error})") from error
        if not part:
            raise WireError("the connection ended")
        received += part
    return received
