"""Hashes the code behind a user's class: its module, the user's modules that it imports, and the files it declares.

Modules are found by reading import statements, never by running code, so every process finds the same ones. A module is
the user's if it belongs to the class's own package, or is outside the standard library, installed packages and smidgen.
If a module computes the names that it imports, every module of its package counts.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import importlib
import importlib.util
import itertools
import os
import pkgutil
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

from smidgen.runtime.differences import differences
from smidgen.runtime.errors import UserError
from smidgen.runtime.files import regular_file_size, sha256_bytes, sha256_file

_INSTALLED = frozenset({"site-packages", "dist-packages"})
_LIBRARY = tuple(Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib"))
_IMPORTERS = ("importlib.import_module", "import_module", "__import__")
# For every module imported through `fresh_import` in this process: the hashes of its files.
_imported: dict[str, dict[str, str]] = {}


def hash_modules(module_name: str) -> dict[str, str]:
    """SHA-256 of a module's source and of every user module that it imports, directly or indirectly.

    Args:
        module_name: The class's module.

    Returns:
        Hashes by file, relative to Python's search path (``package/module.py``), in order; {} if there is no such
        module.
    """
    return {_file_name(spec): sha256_bytes(source) for spec, source in _users_modules(module_name)}


def hash_files(declared: object, module_name: str, owner: str) -> dict[str, str]:
    """SHA-256 of the files that a class declares with ``files = ("weights.pt",)``.

    Args:
        declared: The class's ``files``: a path, or several. A relative one is looked up beside the module's file,
            then in the working directory. A directory stands for every file in it.
        module_name: The class's module.
        owner: Named in the message.

    Returns:
        Hashes by declared path, absolute ones by their last part: where a file lies does not identify it.

    Raises:
        UserError: If a file is missing or found in both places, or ``files`` does not hold paths.
    """
    paths = declared if isinstance(declared, tuple | list) else [declared]
    if not all(isinstance(path, str | os.PathLike) for path in paths):
        raise UserError(f"{owner}: expected files, a tuple of paths, got {declared!r:.80}")
    hashes: dict[str, str] = {}
    for path in map(Path, paths):
        found = _find_file(path, module_name, owner)
        name = path.name if path.is_absolute() else path.as_posix()
        for file in sorted(found.rglob("*")) if found.is_dir() else [found]:
            if not file.is_dir():
                key = name if file == found else f"{name}/{file.relative_to(found).as_posix()}"
                hashes[_unused(key, hashes)] = _sha256_of_file(file, _signature(file))
    return hashes


@contextlib.contextmanager
def fresh_import(module_name: str) -> Iterator[None]:
    """Inside the block, an import reads the module from disk, even if this process has imported it before.

    Raises:
        UserError: If one of its files changes in the meantime.
    """
    before = hash_modules(module_name)
    if _imported.get(module_name, before) != before:
        _forget(module_name)
    _imported[module_name] = before
    writes_bytecode, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        # No .pyc: it identifies its source by size and whole seconds, which an edit may leave unchanged.
        yield
    finally:
        sys.dont_write_bytecode = writes_bytecode
    after = hash_modules(module_name)
    if changed := changed_files(before, {name: after.get(name, "") for name in before}):
        raise UserError(f"{' and '.join(changed)} changed while {module_name} was being imported; run again")
    _imported[module_name] = after


def changed_files(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """The files whose hashes differ, or that are in only one of the two, in order."""
    return [each.path for each in differences(before, after)]


def _users_modules(root: str) -> Iterator[tuple[ModuleSpec, bytes]]:
    """The user's modules and their sources, sorted by name."""
    importlib.invalidate_caches()
    found: dict[str, tuple[ModuleSpec, bytes]] = {}
    waiting, seen = [root], set()
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        for spec in _specs(name):
            source = None if spec.name in found or not _is_users(spec, root) else _source(spec)
            if source is not None:
                found[spec.name] = (spec, source)
                waiting.extend(_imports(source, spec))
    return (found[name] for name in sorted(found))


def _specs(name: str) -> Iterator[ModuleSpec]:
    """The packages around a module, outermost first, then the module; as far as they exist."""
    parts = name.split(".")
    places: Iterable[str] | None = None
    for count in range(1, len(parts) + 1):
        spec = _find_spec(".".join(parts[:count]), places)
        if spec is None:
            return
        yield spec
        if spec.submodule_search_locations is None:
            return
        places = list(spec.submodule_search_locations)


def _find_spec(name: str, places: Iterable[str] | None) -> ModuleSpec | None:
    # importlib.util.find_spec would import the packages around a submodule.
    loaded = getattr(sys.modules.get(name), "__spec__", None)
    if loaded is not None or places is not None:
        return loaded or PathFinder.find_spec(name, list(places or ()))
    with contextlib.suppress(ImportError, ValueError):
        return importlib.util.find_spec(name)
    return None


def _is_users(spec: ModuleSpec, root: str) -> bool:
    if spec.name == root:
        return True
    if not spec.has_location or spec.origin is None or spec.name.partition(".")[0] == "smidgen":
        return False
    if spec.name.partition(".")[0] == root.partition(".")[0]:
        return True
    file = Path(spec.origin)
    return not _INSTALLED & set(file.parts) and not any(file.is_relative_to(folder) for folder in _LIBRARY)


def _source(spec: ModuleSpec) -> bytes | None:
    """A module's source; None if it has none (a namespace package) or it has been deleted."""
    with contextlib.suppress(OSError):
        if spec.origin is not None and os.path.isfile(spec.origin):
            return Path(spec.origin).read_bytes()
        read = getattr(spec.loader, "get_data", None)
        if spec.origin is not None and read is not None:
            # In a zip file.
            return bytes(read(spec.origin))
    return None


def _file_name(spec: ModuleSpec) -> str:
    parts = spec.name.split(".")
    is_package = spec.submodule_search_locations is not None
    return "/".join([*(parts if is_package else parts[:-1]), Path(str(spec.origin)).name])


def _imports(source: bytes, spec: ModuleSpec) -> Iterator[str]:
    """Names that a module may import; some name classes and functions, for which no module is found."""
    names, imports_by_computed_name = _named_imports(source, spec.name, spec.parent or "")
    yield from names
    if imports_by_computed_name:
        yield from _all_modules(spec.parent or "")


# Called for every episode; parsing takes longer than reading and hashing.
@functools.lru_cache(maxsize=1024)
def _named_imports(source: bytes, name: str, parent: str) -> tuple[tuple[str, ...], bool]:
    """The names in a source's imports, and whether it imports a module whose name is computed."""
    names, computes_a_name = [], False
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):
        return (), False
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = _absolute("." * node.level + (node.module or ""), parent)
            names += [base, *(f"{base}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in _IMPORTERS and node.args:
            literal = _literal(node.args[0])
            computes_a_name |= literal is None
            names += [] if literal is None else [_absolute(literal, parent)]
        elif isinstance(node, ast.Assign) and "__all__" in [ast.unparse(target) for target in node.targets]:
            # `from package import *` imports the modules among these.
            named = [_literal(part) for part in ast.walk(node.value)]
            names += [f"{name}.{each}" for each in named if each is not None]
    return tuple(names), computes_a_name


def _literal(node: ast.AST) -> str | None:
    """A string literal; None for anything else."""
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def _absolute(name: str, parent: str) -> str:
    with contextlib.suppress(ImportError):
        return importlib.util.resolve_name(name, parent)
    return ""


def _all_modules(package: str) -> Iterator[str]:
    for spec in _specs(package):
        if spec.name == package and spec.submodule_search_locations is not None:
            for module in pkgutil.iter_modules(spec.submodule_search_locations, f"{package}."):
                yield module.name
                if module.ispkg:
                    yield from _all_modules(module.name)


def _forget(module_name: str) -> None:
    """Removes the user's modules from ``sys.modules``, so that an import reads them again."""
    files = set(_imported.pop(module_name)) | set(hash_modules(module_name))
    for name, module in list(sys.modules.items()):
        spec = getattr(module, "__spec__", None)
        if spec is not None and spec.origin is not None and _file_name(spec) in files and _is_users(spec, module_name):
            del sys.modules[name]


def _find_file(path: Path, module_name: str, owner: str) -> Path:
    origins = [Path(spec.origin).parent for spec in _specs(module_name) if spec.origin is not None]
    beside = origins[-1] if origins else Path.cwd()
    found = [place / path for place in (beside, Path.cwd()) if (place / path).exists()]
    if not found:
        where = "does not exist" if path.is_absolute() else f"is neither in {beside} nor in {Path.cwd()}"
        raise UserError(f"{owner}: {path}, listed in files, {where}")
    if not found[0].samefile(found[-1]):
        raise UserError(f"{owner}: {path} is both in {beside} and in {Path.cwd()}; give an absolute path in files")
    return found[0]


def _unused(name: str, taken: Mapping[str, str]) -> str:
    """The name, numbered if it is already taken."""
    numbered = itertools.chain([name], (f"{name} ({number})" for number in itertools.count(2)))
    return next(each for each in numbered if each not in taken)


def _signature(path: Path) -> tuple[int, ...]:
    regular_file_size(path)
    status = path.stat()
    return (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


@functools.lru_cache(maxsize=256)
def _sha256_of_file(path: Path, signature: tuple[int, ...]) -> str:
    """SHA-256 of a file, cached by its signature: weights may be large and are checked after every episode."""
    return sha256_file(path)
