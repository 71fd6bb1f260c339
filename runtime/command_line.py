"""Parses ``key=value`` arguments into a frozen dataclass and maps exceptions to exit codes.

Each dataclass is the only schema of its settings; ``settings.py`` parses every value by the type of its field.
"""

from __future__ import annotations

import dataclasses
import errno
import signal
import sys
import textwrap
import traceback
import typing
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from typing import Any, TypeVar

from smidgen.runtime.errors import UserCodeError, UserError
from smidgen.runtime.flat_config import is_later
from smidgen.runtime.interrupt import StopRequested, unwinding_signals
from smidgen.runtime.settings import MAX_SETTING_CHARACTERS, how_to_write, read_value, unknown_key
from smidgen.runtime.streams import lost_output, protect_streams

Config = TypeVar("Config")

EXIT_OK, EXIT_OURS, EXIT_USER, EXIT_INTERRUPTED = 0, 1, 2, 130
HELP_ALL = "--help-all"
HELP_WIDTH = 118
_MAX_LINE_CHARACTERS = 1500
_HOW_READ = "Text is taken literally (~ is your home); lists are [a,b]; if a key is repeated, the last one wins."
# Errors caused by the path that the user typed, not by what we do with it.
_ERRORS_OF_NAMES = (
    errno.ENAMETOOLONG,
    errno.ELOOP,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EEXIST,
    errno.EACCES,
    errno.EPERM,
)


def run_command(body: Callable[[list[str]], None], argv: Sequence[str] | None = None) -> int:
    """Runs a command and returns its exit code.

    Args:
        body: The command; takes the arguments after the program's name. ``--version`` is handled here.
        argv: Those arguments; ``sys.argv[1:]`` by default.

    Returns:
        0 on success, 2 for a :class:`UserError` (one line on stderr, below the traceback if the user's own code
        failed), 130 when interrupted, 143 when stopped by SIGTERM, 129 by SIGHUP, 1 for internal errors and for output
        that could not be written (the work itself is done).
    """
    protect_streams()
    try:
        code = _exit_code(body, list(sys.argv[1:] if argv is None else argv))
    except SystemExit as stop:
        if stop.code or not (lost := lost_output()):
            raise
        code = EXIT_OK
    else:
        lost = lost_output()
    if lost:
        print(f"error: cannot write to standard output: {lost}", file=sys.stderr)
    return code or (EXIT_OURS if lost else EXIT_OK)


def _exit_code(body: Callable[[list[str]], None], arguments: list[str]) -> int:
    try:
        if wants_version(arguments):
            print(f"smidgen {version('smidgen')}")
        else:
            with unwinding_signals():
                body(arguments)
    except UserError as error:
        if isinstance(error, UserCodeError):
            print(error.trace, end="", file=sys.stderr)
        print(f"error: {one_line(str(error))}", file=sys.stderr)
        return EXIT_USER
    except StopRequested as stopped:
        name = signal.Signals(stopped.signal_number).name
        print(f"stopped by {name}; run the same command again to resume", file=sys.stderr)
        return 128 + stopped.signal_number
    except KeyboardInterrupt:
        print("interrupted; run the same command again to resume", file=sys.stderr)
        return EXIT_INTERRUPTED
    except OSError as error:
        if error.errno not in _ERRORS_OF_NAMES or error.filename is None:
            traceback.print_exc()
            return EXIT_OURS
        print(f"error: {one_line(str(error.filename)[:200])}: {error.strerror}; choose another path", file=sys.stderr)
        return EXIT_USER
    except Exception:
        traceback.print_exc()
        return EXIT_OURS
    return EXIT_OK


def one_line(text: str) -> str:
    """Text on one line with control characters escaped: it may quote the content of untrusted files."""
    flat = " ".join(text.split())
    shown = "".join(char if char.isprintable() else repr(char)[1:-1] for char in flat)
    return shown if len(shown) <= _MAX_LINE_CHARACTERS else f"{shown[:_MAX_LINE_CHARACTERS]}..."


def compose_config(schema: type[Config], overrides: Sequence[str]) -> Config:
    """Builds a frozen dataclass from ``key=value`` settings.

    Args:
        schema: The dataclass; fields without a default must be given.
        overrides: ``key=value`` strings (``betas=[0.9,0.999]``, ``perceiver.num_latents=16``), each value parsed by
            its field's type (:func:`smidgen.runtime.settings.read_value`). If a key is repeated, the last one wins.

    Returns:
        An instance of ``schema``.

    Raises:
        UserError: For an unknown key (the message lists the valid ones), a bad value, or a missing one.
    """
    given: dict[str, Any] = {}
    for index in range(len(overrides)):
        _check_form(schema, overrides, index)
    for override in overrides:
        key, _, text = override.partition("=")
        *owners, name = key.split(".")
        field_type, default = _field_of(schema, key)
        inner = given
        for owner in owners:
            inner = inner.setdefault(owner, {})
        inner[name] = read_value(key, text, field_type, default)
    if missing := sorted(_missing(schema, given, "")):
        raise UserError(f"missing {', '.join(f'{key}=...' for key in missing)}; --help lists every key")
    return _build(schema, given)


def _check_form(schema: type[Any], words: Sequence[str], index: int) -> None:
    word = words[index]
    if len(word) > MAX_SETTING_CHARACTERS:
        raise UserError(f"expected key=value of at most {MAX_SETTING_CHARACTERS} characters, got {word[:80]!r}...")
    if "=" not in word or word[:1] in ("-", "="):
        raise how_to_write(words, index, [field.name for field in dataclasses.fields(schema)])
    if word[:1] in "+~":
        raise UserError(f"{word!r:.200}: keys cannot be added or removed, only set as key=value")


def _field_of(schema: type[Any], key: str) -> tuple[Any, Any]:
    """Type and default of the field named by a dotted key."""
    node: Any = schema
    prefix = ""
    default: Any = dataclasses.MISSING
    for part in key.split("."):
        if not dataclasses.is_dataclass(node):
            raise UserError(f"{prefix.rstrip('.')!r} has no keys of its own, got {key!r:.200}")
        fields = {field.name: field for field in dataclasses.fields(node)}
        if part not in fields:
            raise unknown_key(f"{prefix}{part}", [f"{prefix}{name}" for name in fields])
        node, prefix = typing.get_type_hints(node, include_extras=True)[part], f"{prefix}{part}."
        default = fields[part].default
    if dataclasses.is_dataclass(node):
        names = ", ".join(f"{prefix}{field.name}=..." for field in dataclasses.fields(node))
        raise UserError(f"{key!r:.200} has keys of its own: {names}")
    return node, default


def _missing(schema: type[Any], given: dict[str, Any], prefix: str) -> Iterator[str]:
    hints = typing.get_type_hints(schema)
    for field in dataclasses.fields(schema):
        has_default = field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
        if dataclasses.is_dataclass(hints[field.name]) and not has_default:
            inner = typing.cast(type, hints[field.name])
            yield from _missing(inner, given.get(field.name, {}), f"{prefix}{field.name}.")
        elif not has_default and field.name not in given:
            yield f"{prefix}{field.name}"


def _build(schema: type[Config], given: dict[str, Any]) -> Config:
    """The dataclass with the given values; all others, nested dataclasses included, keep their defaults."""
    hints = typing.get_type_hints(schema)
    values = dict(given)
    for field in dataclasses.fields(typing.cast(Any, schema)):
        if not dataclasses.is_dataclass(hints[field.name]) or field.name not in given:
            continue
        inner = typing.cast(type, hints[field.name])
        if field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
            kept = {each.name: getattr(default, each.name) for each in dataclasses.fields(inner)}
            values[field.name] = _build(inner, kept | given[field.name])
        else:
            values[field.name] = _build(inner, given[field.name])
    return schema(**values)


def command_help(usage: str, summary: str, schema: type[Any], *, everything: bool = False) -> str:
    """Text for ``--help``: usage, what the command does, and every key with its default and meaning.

    Args:
        usage: The command line, e.g. ``"smidgen-train demos=DIR [key=value ...]"``.
        summary: What it does, in a few lines.
        schema: The dataclass; each field's ``metadata["help"]`` is its meaning.
        everything: Whether to explain the later fields too (``flat_config.later``), not only to name them.
    """
    named = [] if everything else [each.name for each in dataclasses.fields(schema) if is_later(each)]
    rows = [(key, left, text) for key, left, text in _help_rows(schema, "") if key not in named]
    width = max(len(left) for _, left, _ in rows)
    lines = [f"  {left:<{width}}  {text}" for _, left, text in rows]
    if named:
        lines += textwrap.wrap(f"More ({HELP_ALL}): {', '.join(named)}.", HELP_WIDTH)
    return "\n".join([f"usage: {usage}", "", summary.strip(), *lines, _HOW_READ])


def _help_rows(schema: type[Any], prefix: str) -> list[tuple[str, str, str]]:
    """Key, key with its default, and meaning of each field."""
    rows: list[tuple[str, str, str]] = []
    hints = typing.get_type_hints(schema)
    for field in dataclasses.fields(schema):
        key = f"{prefix}{field.name}"
        if dataclasses.is_dataclass(hints[field.name]):
            rows += _help_rows(typing.cast(type, hints[field.name]), f"{key}.")
            continue
        rows.append((key, f"{key}={_default_text(field)}", str(field.metadata.get("help", ""))))
    return rows


def _default_text(field: dataclasses.Field[Any]) -> str:
    default = field.default
    if field.default_factory is not dataclasses.MISSING:
        default = field.default_factory()
    if default is dataclasses.MISSING:
        return "..."
    if isinstance(default, list | tuple):
        return f"[{','.join(str(item) for item in default)}]"
    return "null" if default is None else str(default).lower() if isinstance(default, bool) else str(default)


def wants_help(arguments: Sequence[str]) -> bool:
    """Whether a command line asks for help."""
    return any(argument in ("-h", "--help", HELP_ALL) for argument in arguments)


def wants_version(arguments: Sequence[str]) -> bool:
    """Whether a command line asks for the version."""
    return "--version" in arguments
