"""Standard input, output and error that never end a command: closed, full, ASCII alone, or with no reader left.

What a command makes is kept in files, so output that cannot be written is dropped and the work goes on. A disk that is
full under standard output is remembered, and the command says so at its end; a reader that has left (``| head``) and
a stream that was closed (``>&-``) wanted no more.
"""

from __future__ import annotations

import codecs
import errno
import io
import os
import sys
import unicodedata
from typing import Any

_ERRORS = "smidgen.plain"
# What our tables and figures hold beside ASCII; accents are taken off the rest.
_PLAIN = dict(
    zip("≈–—−×·≥≤→±µμ‘’“”█", ["~", "-", "-", "-", "x", "*", ">=", "<=", "->", "+-", "u", "u", *"''\"\"#"], strict=True),  # noqa: RUF001
    σ="sigma",
    Δ="delta",
)


class _Kept(io.FileIO):
    """A file descriptor whose failures to write are kept instead of raised."""

    error: OSError | None = None

    def write(self, data: Any) -> int:
        """Writes what can be written; says that it wrote all."""
        try:
            return super().write(data)
        except OSError as error:
            self.error = self.error or error
            return len(data)


def hold_streams() -> None:
    """Makes this process's standard streams such that writing to them cannot fail; again, it does nothing.

    Called before anything else is opened: a file would get the number of a closed stream, and others' output with it.
    Streams that somebody replaced, as tests and notebooks do, stay theirs.
    """
    codecs.register_error(_ERRORS, _in_plain_characters)
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            # The lowest number that is free is this one. Child processes need their streams as well.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        stream = getattr(sys, name)
        if stream is None:
            # Closed at the start; should something have taken the number since, it is not ours to write to.
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8", errors=_ERRORS))  # noqa: SIM115
        elif stream is getattr(sys, f"__{name}__") and _kept_of(stream) is None:
            setattr(sys, name, _held(stream, descriptor))
    if sys.stdin is None:
        sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: SIM115


def lost_output() -> str:
    """Flushes standard output; why some of it could not be written, or "" if nobody misses any."""
    sys.stdout.flush()
    kept = _kept_of(sys.stdout)
    if kept is None or kept.error is None or kept.error.errno in (errno.EPIPE, errno.EBADF):
        return ""
    return str(kept.error.strerror)


def _held(stream: io.TextIOWrapper, descriptor: int) -> io.TextIOWrapper:
    try:
        stream.flush()
    except OSError:
        return stream  # it holds what was printed before; nothing of ours does
    if stream.fileno() != descriptor:
        return stream
    return io.TextIOWrapper(
        io.BufferedWriter(_Kept(descriptor, "w", closefd=False)),
        encoding=stream.encoding,
        errors=_ERRORS,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


def _kept_of(stream: Any) -> _Kept | None:
    raw = getattr(getattr(stream, "buffer", None), "raw", None)
    return raw if isinstance(raw, _Kept) else None


def _in_plain_characters(error: UnicodeError) -> tuple[str | bytes, int]:
    """An encoder's fallback: the nearest plain characters; bytes of a file's name that are no text stay as they are."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    pieces = (_plain(char, error.encoding) for char in error.object[error.start : error.end])
    return b"".join(pieces), error.end


def _plain(char: str, encoding: str) -> bytes:
    if "\udc80" <= char <= "\udcff":
        return char.encode("utf-8", "surrogateescape")
    near = _PLAIN.get(char) or unicodedata.normalize("NFKD", char).encode("ascii", "ignore").decode()
    return near.encode(encoding) if near else char.encode("ascii", "backslashreplace")
