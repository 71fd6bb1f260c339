"""The exception that means "the user can fix this": commands print its message on one line and exit with 2."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """A user's mistake; the message is one line that says what was expected, what was found, and how to fix it."""


class UserCodeError(UserError):
    """A failure in the user's own code; commands print its traceback before the message.

    Args:
        message: The one-line message.
        trace: The traceback, from the user's code on; "" where nothing was raised.
    """

    def __init__(self, message: str, trace: str = "") -> None:
        super().__init__(message)
        self.trace = trace


# Names in a message about an unknown one: all of them up to so many, else so few.
MOST_LISTED, NUM_EXAMPLES = 40, 10


def unknown_name(kind: str, name: object, valid: Iterable[str], likely: str | None = None) -> UserError:
    """Builds the error for a name that is not in a registry.

    Args:
        kind: What the name stands for, e.g. ``"task"``.
        name: The name that was given.
        valid: Every valid name.
        likely: The name that was probably meant, or "" for none, if the caller knows; by default the closest in
            spelling.

    Returns:
        An error that suggests the closest match, if any, and lists the valid names; of more than ``MOST_LISTED``, those
        that are spelled most like ``name``, and how many others there are.
    """
    names = sorted(valid)
    close = [likely] if likely is not None else difflib.get_close_matches(str(name)[:200], names, n=1)
    hint = f" (did you mean {close[0]!r}?)" if any(close) else ""
    listed = names
    if len(names) > MOST_LISTED:
        listed = sorted(difflib.get_close_matches(str(name)[:200], names, n=NUM_EXAMPLES, cutoff=0.0))
    others = f" and {len(names) - len(listed)} others" if len(listed) < len(names) else ""
    return UserError(f"unknown {kind} {name!r:.200}{hint}; valid: {', '.join(listed)}{others}")
