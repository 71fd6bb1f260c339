"""Standard streams that never make a command fail: closed, on a full disk, ASCII only, or without a reader.

A command's results are files, so output that cannot be written is dropped and the work continues. A full disk under
standard output is remembered and reported at the end; a reader that has exited (``| head``) and a closed stream
(``>&-``) are not errors.
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
# The non-ASCII characters of our tables and figures; other characters lose their accents.
_PLAIN = dict(
    zip("≈–—−×·≥≤→±µμ‘’“”█", ["~", "-", "-", "-", "x", "*", ">=", "<=", "->", "+-", "u", "u", *"''\"\"#"], strict=True),  # noqa: RUF001
    σ="sigma",
    Δ="delta",
)


class _ErrorRecordingFile(io.FileIO):
    """A file descriptor that records write errors instead of raising them."""

    error: OSError | None = None

    def write(self, data: Any) -> int:
        """Writes what can be written; always reports that everything was."""
        try:
            return super().write(data)
        except OSError as error:
            self.error = self.error or error
            return len(data)


def protect_streams() -> None:
    """Replaces this process's standard streams with ones whose writes never fail; idempotent.

    Call it before opening anything: a file would get the number of a closed stream, and the output meant for it.
    Streams that were already replaced, as in tests and notebooks, are left alone.
    """
    codecs.register_error(_ERRORS, _in_plain_characters)
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            # The lowest free number is this one. Child processes need their streams as well.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        stream = getattr(sys, name)
        if stream is None:
            # Closed at the start; if something has taken the number since, we must not write to it.
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8", errors=_ERRORS))  # noqa: SIM115
        elif stream is getattr(sys, f"__{name}__") and _error_recording_file(stream) is None:
            setattr(sys, name, _protected(stream, descriptor))
    if sys.stdin is None:
        sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: SIM115


def lost_output() -> str:
    """Flushes standard output; returns why some of it could not be written, or "" if nothing was lost."""
    sys.stdout.flush()
    file = _error_recording_file(sys.stdout)
    if file is None or file.error is None or file.error.errno in (errno.EPIPE, errno.EBADF):
        return ""
    return str(file.error.strerror)


def _protected(stream: io.TextIOWrapper, descriptor: int) -> io.TextIOWrapper:
    try:
        stream.flush()
    except OSError:
        return stream  # it still buffers earlier output; none of our commands gets here
    if stream.fileno() != descriptor:
        return stream
    return io.TextIOWrapper(
        io.BufferedWriter(_ErrorRecordingFile(descriptor, "w", closefd=False)),
        encoding=stream.encoding,
        errors=_ERRORS,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


def _error_recording_file(stream: Any) -> _ErrorRecordingFile | None:
    raw = getattr(getattr(stream, "buffer", None), "raw", None)
    return raw if isinstance(raw, _ErrorRecordingFile) else None


def _in_plain_characters(error: UnicodeError) -> tuple[str | bytes, int]:
    """Encoding fallback: the nearest plain characters; bytes of a file name that are not text stay as they are."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    pieces = (_plain(char, error.encoding) for char in error.object[error.start : error.end])
    return b"".join(pieces), error.end


def _plain(char: str, encoding: str) -> bytes:
    if "\udc80" <= char <= "\udcff":
        return char.encode("utf-8", "surrogateescape")
    near = _PLAIN.get(char) or unicodedata.normalize("NFKD", char).encode("ascii", "ignore").decode()
    return near.encode(encoding) if near else char.encode("ascii", "backslashreplace")
