"""Libraries that only an extra installs, imported where they are asked for."""

from __future__ import annotations

import importlib
from typing import Any

from smidgen.runtime.errors import UserError


class LazyLibrary:
    """A library that is imported when something of it is first asked for.

    Args:
        name: The module.
        install: The command that installs it, for the error.
    """

    def __init__(self, name: str, install: str) -> None:
        self._name, self._install = name, install

    def __getattr__(self, attribute: str) -> Any:
        return getattr(optional_library(self._name, self._install), attribute)


def optional_library(name: str, install: str) -> Any:
    """Imports a library that may be missing.

    Args:
        name: The module.
        install: The command that installs it, for the error.

    Raises:
        UserError: If it is not installed, with that command.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UserError(f"{name} cannot be imported ({error}); install it: {install}") from error
