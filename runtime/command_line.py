"""From ``key=value`` on the command line to a frozen dataclass, and from an exception to an exit code.

The dataclass beside the class that it configures is the only schema; Hydra's structured configs check names and types.
"""

from __future__ import annotations

import dataclasses
import errno
import os
import select
import sys
import traceback
import typing
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Any, TypeVar

from smidgen.runtime.errors import UserError, unknown_name

Config = TypeVar("Config")

EXIT_OK, EXIT_OURS, EXIT_USER, EXIT_INTERRUPTED = 0, 1, 2, 130
_MAX_LINE_CHARACTERS = 1500
# No path is longer, and no number that Python would read.
_MAX_OVERRIDE_CHARACTERS = 4200
# Of a path that the user typed, and not of what we do with it.
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
    """Runs a command and turns what happens into an exit code.

    Args:
        body: The command; takes the arguments after the program's name. ``--version`` among them is answered here.
        argv: Those arguments; the process's own by default.

    Returns:
        0 when all is well, 2 for a :class:`UserError` (one line on stderr), 130 when interrupted, 1 for our own faults.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        if wants_version(arguments):
            print(f"smidgen {version('smidgen')}")
        else:
            body(arguments)
        # Else it would show only at exit, where nobody catches it, that a reader has gone.
        sys.stdout.flush()
    except UserError as error:
        print(f"error: {one_line(str(error))}", file=sys.stderr)
        return EXIT_USER
    except KeyboardInterrupt:
        print("interrupted; run the same command again to go on", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        if not _reader_has_gone():
            traceback.print_exc()
            return EXIT_OURS
        # The reader of our output (head, less) has gone; Python would complain once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_OK
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
    """Text on one line, without characters that would make a terminal do something; what files hold may be in it."""
    flat = " ".join(text.split())
    shown = "".join(char if char.isprintable() else repr(char)[1:-1] for char in flat)
    return shown if len(shown) <= _MAX_LINE_CHARACTERS else f"{shown[:_MAX_LINE_CHARACTERS]}..."


def _reader_has_gone() -> bool:
    """Whether nobody reads what this process prints any more; other pipes than those can break as well."""
    outputs = select.poll()
    for descriptor in (1, 2):
        outputs.register(descriptor, 0)
    return any(event & select.POLLERR for _, event in outputs.poll(0))


def compose_config(schema: type[Config], overrides: Sequence[str]) -> Config:
    """Builds a frozen dataclass from Hydra overrides.

    Args:
        schema: The dataclass; fields without a default must be given.
        overrides: ``key=value`` strings in Hydra's grammar (``betas=[0.9,0.999]``, ``perceiver.num_latents=16``).

    Returns:
        An instance of ``schema``.

    Raises:
        UserError: For an unknown key (the message lists the valid ones), a bad value, or a missing one.
    """
    # Imported here: Hydra takes a third of a second, and a --help should not wait for it.
    from hydra import compose, initialize
    from hydra.core.config_store import ConfigStore
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    for override in overrides:
        _check_key(schema, override)
    store = ConfigStore.instance()
    store.store(name="smidgen", node=_writable(OmegaConf.structured(schema)))
    try:
        with initialize(version_base="1.3", config_path=None):
            composed = compose(config_name="smidgen", overrides=list(overrides))
        missing = sorted(str(key) for key in OmegaConf.missing_keys(composed))
        if missing:
            raise UserError(f"missing {', '.join(f'{key}=...' for key in missing)}; --help lists every key")
        return typing.cast(Config, OmegaConf.to_object(composed))
    except (HydraException, OmegaConfBaseException, OverflowError) as error:
        raise UserError(_first_line(error)) from error


def _writable(node: Any) -> Any:
    """OmegaConf marks frozen dataclasses read-only, and overrides are writes: until composed, lift that."""
    from omegaconf import DictConfig, OmegaConf

    OmegaConf.set_readonly(node, False)
    for key in node:
        child = node._get_node(key)
        if isinstance(child, DictConfig) and not child._is_none() and not child._is_missing():
            _writable(child)
    return node


def _first_line(error: Exception) -> str:
    """Hydra wraps the useful message in a general one; the innermost cause is what the user wants to read."""
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    if isinstance(cause, UserError):
        return str(cause)
    lines = str(cause).strip().splitlines() or [type(cause).__name__]
    key = next((line.strip() for line in lines if line.strip().startswith("full_key:")), "")
    return f"{lines[0]}{f' ({key})' if key else ''}"


def _check_key(schema: type[Any], override: str) -> None:
    if len(override) > _MAX_OVERRIDE_CHARACTERS:
        raise UserError(
            f"expected key=value of at most {_MAX_OVERRIDE_CHARACTERS} characters, got {override[:80]!r}..."
        )
    key, separator, _ = override.partition("=")
    if not separator:
        raise UserError(f"expected key=value, got {override!r:.200}; --help lists the keys")
    if key[:1] in "+~":
        raise UserError(f"{override!r:.200}: keys cannot be added or removed here, only set as key=value")
    node: Any = schema
    prefix = ""
    for part in key.split("."):
        if not dataclasses.is_dataclass(node):
            raise UserError(f"{prefix.rstrip('.')!r} holds no further keys, got {key!r:.200}")
        hints = typing.get_type_hints(node)
        names = [field.name for field in dataclasses.fields(node)]
        if part not in names:
            raise unknown_name("key", f"{prefix}{part}", [f"{prefix}{name}" for name in names])
        node, prefix = hints[part], f"{prefix}{part}."


def command_help(usage: str, summary: str, schema: type[Any]) -> str:
    """Text for ``--help``: usage, what the command does, and every key with its default and meaning.

    Args:
        usage: The command line, e.g. ``"smidgen-train demos=DIR [key=value ...]"``.
        summary: A few lines on what it does.
        schema: The dataclass; each field's ``metadata["help"]`` is its meaning.
    """
    rows = _help_rows(schema, "")
    width = max(len(left) for left, _ in rows)
    lines = [f"  {left:<{width}}  {text}" for left, text in rows]
    return "\n".join([f"usage: {usage}", "", summary.strip(), "", *lines])


def _help_rows(schema: type[Any], prefix: str) -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    hints = typing.get_type_hints(schema)
    for field in dataclasses.fields(schema):
        if dataclasses.is_dataclass(hints[field.name]):
            rows += _help_rows(typing.cast(type, hints[field.name]), f"{prefix}{field.name}.")
            continue
        rows.append((f"{prefix}{field.name}={_default_text(field)}", str(field.metadata.get("help", ""))))
    return rows


def _default_text(field: dataclasses.Field[Any]) -> str:
    default = field.default
    if field.default_factory is not dataclasses.MISSING:
        default = field.default_factory()
    if default is dataclasses.MISSING or default == "???":
        return "..."
    if isinstance(default, list | tuple):
        return f"[{','.join(str(item) for item in default)}]"
    return "null" if default is None else str(default).lower() if isinstance(default, bool) else str(default)


def wants_help(arguments: Sequence[str]) -> bool:
    """Whether a command line asks for help."""
    return any(argument in ("-h", "--help") for argument in arguments)


def wants_version(arguments: Sequence[str]) -> bool:
    """Whether a command line asks for the version."""
    return "--version" in arguments
