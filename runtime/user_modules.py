"""Imports users' classes, named ``their.module:Class``, and reports their failures by file and line.

All user code runs through this module. Any failure in it becomes one line that names the key, the file and the line.
"""

from __future__ import annotations

import contextlib
import difflib
import importlib
import importlib.util
import inspect
import os
import sys
import sysconfig
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from smidgen.runtime.errors import UserCodeError, UserError

_MAX_TRACE_CALLS = 30
_MAX_TRACE_CHARACTERS = 8000
_LIBRARIES = tuple({sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")})


def is_class_spec(spec: str) -> bool:
    """Whether a spec has the form ``their.module:Class``."""
    module, separator, name = spec.partition(":")
    return bool(separator) and name.isidentifier() and all(part.isidentifier() for part in module.split("."))


def load_class(spec: str, kind: str) -> type:
    """Imports a user's module and returns the named class.

    Args:
        spec: ``their.module:Class``; the module is searched on Python's path, then in the working directory.
        kind: What it stands for, e.g. ``"policy"``; messages begin with it.

    Raises:
        UserError: If there is no such module or class, another module shadows it, it is abstract, or its import fails;
            the message names the file, and the line if there is one.
    """
    found = load_object(spec, kind)
    if not isinstance(found, type):
        raise UserError(f"{_named(kind, spec)}: expected a class, {spec.partition(':')[2]!r} is {_a(found)}")
    if inspect.isabstract(found):
        lacking = ", ".join(
            name for name, value in inspect.getmembers(found) if getattr(value, "__isabstractmethod__", False)
        )
        raise UserError(f"{_named(kind, spec)}: the class is abstract; implement {lacking}")
    return found


def load_object(spec: str, kind: str) -> object:
    """As :func:`load_class`, for any object in the module.

    Raises:
        UserError: If there is no such module or name, another module shadows it, or importing it fails.
    """
    module_name, _, name = spec.partition(":")
    _search_working_directory()
    _require_not_hidden(module_name, kind, spec)
    try:
        with user_code_errors(kind, spec, f"importing {module_name}"):
            module = importlib.import_module(module_name)
            return getattr(module, name)
    except UserError as error:
        cause = error.__cause__
        if isinstance(cause, ModuleNotFoundError) and f"{module_name}.".startswith(f"{cause.name}."):
            raise _no_module(module_name, str(cause.name), kind, spec) from cause
        if isinstance(cause, AttributeError) and cause.obj is sys.modules.get(module_name) and cause.name == name:
            raise _no_name(module_name, name, kind, spec) from cause
        raise


@contextlib.contextmanager
def user_code_errors(
    kind: str, spec: str, doing: str, passing: tuple[type[BaseException], ...] = (), shows_trace: bool = False
) -> Iterator[None]:
    """Context for running a user's code: any exception becomes one line that names their file and line.

    Args:
        kind: What the code stands for, e.g. ``"policy"``.
        spec: ``their.module:Class``.
        doing: What is being done, e.g. ``"making it"``.
        passing: Exceptions that pass unchanged because the user's code is not at fault.
        shows_trace: Whether commands print the traceback before the line.

    Raises:
        UserError: For any exception, ``SystemExit`` included; Ctrl-C and termination signals pass.
        UserCodeError: The same, if the traceback is shown.
    """
    try:
        yield
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        if isinstance(error, passing):
            raise
        if isinstance(error, SystemExit | GeneratorExit) and is_ours(error):
            raise
        place = user_code_location(error, spec.partition(":")[0])
        message = f"{_named(kind, spec)}: {doing} failed at {place}: {_error_text(error)}"
        raise (
            UserCodeError(message, user_traceback(error, _first_call(error, spec.partition(":")[0])))
            if shows_trace
            else UserError(message)
        ) from error


def passed_through_module(error: BaseException, module_name: str) -> bool:
    """Whether an exception passed through a user's module, or another one in its package."""
    return _first_call(error, module_name) is not None


def _first_call(error: BaseException, module_name: str) -> TracebackType | None:
    """Where the user's code was first entered; None if it was not."""
    top, call = module_name.partition(".")[0], error.__traceback__
    while call is not None and str(call.tb_frame.f_globals.get("__name__")).partition(".")[0] != top:
        call = call.tb_next
    return call


def user_traceback(error: BaseException, start: TracebackType | None = None) -> str:
    """The traceback of an error in a user's code, cut to a readable length.

    Args:
        error: What their code raised.
        start: Where it begins; by default after smidgen's own calls.
    """
    inner = error.__traceback__ if start is None else start
    while start is None and inner is not None and _is_smidgens(inner):
        inner = inner.tb_next
    found = traceback.TracebackException(
        type(error), error, inner or error.__traceback__, limit=-_MAX_TRACE_CALLS, compact=True
    )
    trace = "".join(found.format())
    if len(trace) <= _MAX_TRACE_CHARACTERS:
        return trace
    half = _MAX_TRACE_CHARACTERS // 2
    return f"{trace[:half]}\n[...]\n{trace[-half:]}"


def _is_smidgens(call: TracebackType) -> bool:
    module = str(call.tb_frame.f_globals.get("__name__"))
    return module.partition(".")[0] in ("smidgen", "contextlib")


def user_code_location(error: BaseException, module_name: str) -> str:
    """The line of the user's code that an exception comes from, as ``file:line``.

    Args:
        error: What their code raised.
        module_name: Their module; its file is returned if none of their lines was reached.

    Returns:
        The innermost call in a file of the user's, that is, in their package or outside any library.
    """
    if isinstance(error, SyntaxError) and error.filename and os.path.exists(error.filename):
        return f"{_short(error.filename)}:{error.lineno}" if error.lineno else _short(error.filename)
    top = module_name.partition(".")[0]
    for frame, line in reversed(list(traceback.walk_tb(error.__traceback__))):
        module, file = str(frame.f_globals.get("__name__")), frame.f_code.co_filename
        is_of_a_library = module.partition(".")[0] == "smidgen" or file.startswith((*_LIBRARIES, "<"))
        if module.partition(".")[0] == top or not is_of_a_library:
            return f"{_short(file)}:{line}"
    with contextlib.suppress(Exception):
        spec = importlib.util.find_spec(module_name)
        if spec is not None and spec.origin:
            return _short(spec.origin)
    return module_name


def is_ours(error: BaseException) -> bool:
    """Whether our own code raised it, as a signal handler does in the middle of other code."""
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    return str(frame.f_globals.get("__name__")).startswith("smidgen.")


def _search_working_directory() -> None:
    """Adds the working directory to the search path, which console scripts omit; last, so that it shadows nothing."""
    with contextlib.suppress(FileNotFoundError):  # it was deleted
        if os.getcwd() not in sys.path:
            sys.path.append(os.getcwd())


def _require_not_hidden(module_name: str, kind: str, spec: str) -> None:
    """Refuses a module in the working directory if Python would import another of the same name instead."""
    top = module_name.partition(".")[0]
    theirs = [path for path in (Path(f"{top}.py"), Path(top) / "__init__.py") if os.path.isfile(path)]
    try:
        found = importlib.util.find_spec(top)
    except ValueError:  # of __main__, and what was made by hand
        return
    if not theirs or found is None or any(_is_same(path, found.origin) for path in theirs):
        return
    is_pythons = top in sys.stdlib_module_names
    other = "Python's own module" if is_pythons else f"the module {found.origin or top}"
    raise UserError(f"{_named(kind, spec)}: {theirs[0]} is shadowed by {other} of the same name; rename yours")


def _is_same(path: Path, origin: str | None) -> bool:
    return origin is not None and os.path.exists(origin) and os.path.samefile(path, origin)


def _no_module(module_name: str, missing: str, kind: str, spec: str) -> UserError:
    if module_name.endswith(".py"):
        name = spec.partition(":")[2]
        return UserError(f"{_named(kind, spec)}: expected a module, got a file; write {module_name[:-3]}:{name}")
    return UserError(f"{_named(kind, spec)}: no module {missing!r:.200}; run from its directory or install it")


def _no_name(module_name: str, name: str, kind: str, spec: str) -> UserError:
    module = sys.modules[module_name]
    names = [each for each, value in vars(module).items() if _is_class_of(value, module_name)]
    close = difflib.get_close_matches(name, names, n=1)
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    listing = f"its classes: {', '.join(names)}" if names else "it has no class"
    file = getattr(module, "__file__", None)
    where = _short(file) if file else f"module {module_name}"
    return UserError(f"{_named(kind, spec)}: {where} has no {name!r:.100}{hint}; {listing}")


def _is_class_of(value: object, module_name: str) -> bool:
    return isinstance(value, type) and value.__module__ == module_name


def _error_text(error: BaseException) -> str:
    if isinstance(error, SystemExit):
        return f"sys.exit({'' if error.code is None else repr(error.code)})"
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, SyntaxError):
        return f"{type(error).__name__}: {error.msg}"
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _named(kind: str, spec: str) -> str:
    return f"{kind} {spec!r:.200}"


def _a(value: object) -> str:
    kind = type(value).__name__
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"


def _short(file: str) -> str:
    """A path as the user would type it: relative below the working directory."""
    with contextlib.suppress(OSError, ValueError):
        return str(Path(file).relative_to(Path.cwd()))
    return file
