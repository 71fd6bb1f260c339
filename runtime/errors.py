"""The exception that means "the user can fix this": commands print its message on one line and exit with 2."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """A mistake of the user's; the message is one line that says what was expected, what was got, and the fix."""


class UserCodeError(UserError):
    """A fault in the user's own code; commands print its traceback before the line.

    Args:
        message: The line.
        trace: The traceback, from the user's code on; "" where nothing was raised.
    """

    def __init__(self, message: str, trace: str = "") -> None:
        super().__init__(message)
        self.trace = trace


def unknown_name(kind: str, name: object, valid: Iterable[str], likely: str | None = None) -> UserError:
    """Builds the error for a name that a registry does not hold.

    Args:
        kind: What the name stands for, e.g. ``"task"``.
        name: The name that was given.
        valid: Every name that would have been right.
        likely: The one that was probably meant, or "" for none, where the caller knows; by default the closest in
            spelling.

    Returns:
        An error that lists the valid names and, where one is close, the likeliest.
    """
    names = sorted(valid)
    close = [likely] if likely is not None else difflib.get_close_matches(str(name)[:200], names, n=1)
    hint = f" (did you mean {close[0]!r}?)" if any(close) else ""
    return UserError(f"unknown {kind} {name!r:.200}{hint}; valid: {', '.join(names)}")
